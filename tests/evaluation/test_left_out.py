"""What an evaluation leaves out, and what it refuses."""

import math
from types import SimpleNamespace

import pytest
import torch
from weighing_victim import LinearVictim, scg_and_spikefool

from spikeflip import SpikeflipError
from spikeflip.evaluation import SUITES, Member, evaluate


def test_what_cannot_attack_is_left_out_and_said(inputs, few):
    suite = SUITES["binary-l0/1"].members
    few(
        "binary-l0/1",
        *suite[:2],
        Member("pgd", "pgd", "white box"),
        Member("huge", "sda", "scores", {"candidates": 99}),
    )
    found = evaluate(LinearVictim(), *inputs, threat="binary-l0", budget=0.2, every=True)
    assert found.members[1].left_out is None
    assert "this attack is defined on images only" in found.members[2].left_out
    assert "candidates is 99" in found.members[3].left_out
    assert (found.members[2].attempted, found.members[2].alone) == (0, None)
    assert "left out" in repr(found)


class BrokenVictim(LinearVictim):
    """Whose gradient is not a number at one input."""

    def __init__(self, at):
        super().__init__()
        self.at = at

    def probe(self, spikes, request=None):
        probe = super().probe(spikes, request)
        own = probe.input_gradient

        def gradient(direction, request=None):
            found = own(direction, request)
            here = (spikes[request.rows_of(len(spikes), spikes.device)] == self.at).flatten(1).all(1)
            found.values[here] = float("nan")
            return found

        return SimpleNamespace(scores=probe.scores, input_gradient=gradient)


def test_a_gradient_that_is_not_finite_leaves_one_input_out_and_not_those_beside_it(inputs, few):
    scg_and_spikefool(few)
    spikes, labels = inputs
    ids, others = torch.arange(10), torch.arange(10) != 3
    found = evaluate(BrokenVictim(spikes[3]), spikes, labels, threat="binary-l0", budget=0.2, samples=ids, every=True)
    alone = evaluate(
        LinearVictim(), spikes[others], labels[others], threat="binary-l0", budget=0.2, samples=ids[others], every=True
    )
    assert torch.equal(found.rows["distance"][others], alone.rows["distance"])
    assert alone.rows["broken"].any()
    scg, other = found.members[1], alone.members[1]
    assert (scg.attempted, scg.broken, scg.forwards) == (9, other.broken, other.forwards)
    assert scg.left_out == "the victim's input gradient is not finite for sample 3: check its weights"
    assert f"{scg.forwards + scg.backwards:,}" in repr(found)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"threat": "image-linf"}, "threat image-linf is on images, and the inputs are spikes: choose another"),
        ({"threat": "linf"}, "threat is 'linf': choose from binary-l0, events, timing, image-linf, image-mse"),
        ({"suite": "binary-l0/7"}, "suite is 'binary-l0/7', and those of threat binary-l0 are binary-l0/1: choose one"),
        ({"suite": "image-linf/1"}, "suite is 'image-linf/1', and those of threat binary-l0 are binary-l0/1"),
        ({"budget": 40}, "budget is 40, and that of binary-l0 is a share of each sample's own spikes"),
        ({"budget": -0.1}, "budget is -0.1, and that of binary-l0 is"),
        ({"budget": math.nan}, "budget is nan, and that of binary-l0 is"),
        ({"micro_batch": 0}, "micro_batch is 0: give at least 1"),
        ({"draws": 0}, "draws is 0: give at least 1"),
        ({"seed": -1}, "seed is -1: give a whole number"),
        ({"samples": torch.arange(3)}, "samples are .* for 10 inputs"),
    ],
)
def test_refusals(inputs, options, said):
    with pytest.raises(SpikeflipError, match=said):
        evaluate(LinearVictim(), *inputs, **{"threat": "binary-l0", "budget": 0.1, **options})


def test_more_refusals(inputs, digit_victim, digits):
    spikes, labels = inputs
    with pytest.raises(SpikeflipError, match="threat binary-l0 is on spikes, and the inputs are images: choose"):
        evaluate(digit_victim, digits.images[:2], digits.labels[:2], threat="binary-l0", budget=0.1)
    with pytest.raises(SpikeflipError, match="there are 0 inputs"):
        evaluate(LinearVictim(), spikes[:0], labels[:0], threat="binary-l0", budget=0.1)
    with pytest.raises(SpikeflipError, match="spikes hold the value 2"):
        evaluate(LinearVictim(), 2 * spikes, labels, threat="binary-l0", budget=0.1)
    with pytest.raises(SpikeflipError, match="labels have shape"):
        evaluate(LinearVictim(), spikes, labels[:2], threat="binary-l0", budget=0.1)
    with pytest.raises(SpikeflipError, match="the victim is a Sequential"):
        evaluate(torch.nn.Sequential(), spikes, labels, threat="binary-l0", budget=0.1)
    counting = LinearVictim()
    counting.counts = True
    with pytest.raises(SpikeflipError, match="the victim takes counts of events"):
        evaluate(counting, spikes, labels, threat="binary-l0", budget=0.1)


def test_no_more_samples_than_the_micro_batch_allows_are_in_memory(inputs, few, monkeypatch):
    """Four times as many where no gradient is kept."""
    scg_and_spikefool(few)
    scores, seen = LinearVictim.scores, []

    def counted(self, spikes):
        seen.append(len(spikes))
        return scores(self, spikes)

    monkeypatch.setattr(LinearVictim, "scores", counted)
    evaluate(LinearVictim(), *inputs, threat="binary-l0", budget=0.2, micro_batch=2)
    assert max(seen) == 8

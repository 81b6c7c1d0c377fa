"""Which encodings decide and which verify, number for number, and what a victim is shown of the saved inputs."""

import pytest
import torch

from spikeflip import LIF, Rectangular, ReluNetwork, SpikeflipError, SpikingNetwork, judge
from spikeflip.attacks import bim
from spikeflip.attacks.result import AttackResult
from spikeflip.judging import fresh_draws
from spikeflip.snn.coding import encode, latency, winner
from spikeflip.streams import stream

T, IDS, LABELS = 5, torch.tensor([31, 4]), torch.tensor([0, 1])
ORIGINALS = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
ADVERSARIALS = torch.tensor([[0.55, 0.6], [0.7, 0.5]])


class Watched(SpikingNetwork):
    """Class k fires exactly when pixel k does; keeps what it is shown."""

    def __init__(self, **options):
        neuron = LIF(0.5, 0.0, "hard", Rectangular(4.0))
        super().__init__("2FC", (2,), time_steps=T, neuron=neuron, **options)
        with torch.no_grad():
            self.weights[0].copy_(torch.eye(2))
        self.shown = []

    def scores(self, spikes):
        self.shown.append(spikes.clone())
        return super().scores(spikes)


def result_of(steps):
    result = AttackResult.blank(ORIGINALS, None)
    result.steps.copy_(torch.tensor(steps))
    result.moments.copy_(result.steps)
    return result


def by_hand(image, sample, purpose, step, seed):
    """Spikes of one encoding, straight from the numbers of its stream."""
    numbers = torch.from_numpy(stream(seed, sample, purpose, step).random((T, 2), dtype="float32"))
    return (numbers < image).float()


@pytest.mark.parametrize("micro_batch", [1, 3, 64])
def test_every_encoding_is_the_one_that_is_documented(micro_batch):
    victim, steps, draws = Watched(), [3, 7], 8
    found = judge(
        victim, ORIGINALS, ADVERSARIALS, LABELS, None, result_of(steps), draws=draws, seed=9, samples=IDS,
        micro_batch=micro_batch,
    )  # fmt: skip
    shown = torch.cat(victim.shown)
    # The originals' first encoding, the deciding one of each update, then the fresh ones of each input.
    expected = [by_hand(ORIGINALS[n], int(IDS[n]), "encode", 0, 9) for n in (0, 1)]
    expected += [by_hand(ADVERSARIALS[n], int(IDS[n]), "encode", steps[n], 9) for n in (0, 1)]
    fresh = [[by_hand(ADVERSARIALS[n], int(IDS[n]), "judge", k, 9) for k in range(draws)] for n in (0, 1)]
    assert torch.equal(shown, torch.stack(expected + fresh[0] + fresh[1]))
    assert max(map(len, victim.shown)) <= micro_batch
    for n in (0, 1):
        says = [int(winner(spikes.mean(0, keepdim=True))) for spikes in fresh[n]]
        assert found.rows["verified"][n] == says.count(1 - n) / draws
        assert found.rows["still_right"][n] == says.count(n) / draws
    assert found.rows["prediction"].tolist() == [int(winner(spikes.mean(0, keepdim=True))) for spikes in expected[2:]]


def test_no_draw_that_verifies_is_one_that_the_attack_saw():
    """An attack keeps what fools under its own encodings; a verified rate over those again would say nothing."""
    network = Watched()
    network.time_steps = 40
    images = torch.tensor([[0.6, 0.4], [0.4, 0.6], [0.65, 0.5]])
    labels = winner(network.scores(encode(images, (2,), 40, seed=0, samples=torch.arange(3))))
    assert (labels >= 0).all()
    probe, seen = network.probe, []
    network.probe = lambda spikes, asks: (seen.append(spikes.clone()), probe(spikes, asks))[1]
    result = bim(network, images, labels, loss="ce", steps=6, step_size=0.02)
    network.shown.clear()
    judge(network, images, result.adversarials, labels, None, result, draws=6)
    seen, drawn = torch.cat(seen), torch.cat(network.shown)[2 * 3 :]
    assert (len(seen), len(drawn)) == (int(result.forwards.sum()), 6 * 3)
    assert not (drawn.unsqueeze(1) == seen.unsqueeze(0)).flatten(2).all(2).any()


@pytest.mark.parametrize(
    ("kind", "coding", "draws"), [("images", "rate", 7), ("images", "latency", 1), ("spikes", "rate", 1)]
)
def test_one_draw_is_enough_where_all_are_the_same(kind, coding, draws):
    assert fresh_draws(kind, coding, 7) == draws


def test_what_is_certain_is_judged_in_one_pass_an_input():
    """Latencies: the brighter pixel fires earlier, and a potential that decays by half says how early."""
    victim, twin = Watched(coding="latency"), ReluNetwork("2FC", (2,))
    victim.neuron = LIF(0.3, 0.5, "none")
    with torch.no_grad():
        twin.weights[0].copy_(torch.eye(2))
    dim = ORIGINALS * 0.9
    for network in (victim, twin):
        found = judge(network, dim, 0.9 - dim, LABELS, None, result_of([1, 1]), draws=9)
        assert found.draws == 1
        assert found.rows["prediction"].tolist() == [1, 0]
        assert found.rows["verified"].tolist() == [1.0, 1.0]
        assert found.rows["still_right"].tolist() == [0.0, 0.0]
    shown = torch.cat(victim.shown)
    assert torch.equal(shown, latency(torch.cat([dim, 0.9 - dim]), T))


def test_no_input_at_all():
    nothing = torch.empty(0, dtype=torch.int64)
    blank = AttackResult.blank(torch.zeros(0, 2), None)
    found = judge(Watched(), torch.zeros(0, 2), torch.zeros(0, 2), nothing, None, blank)
    assert {name: len(values) for name, values in found.rows.items()} == dict.fromkeys(found.rows, 0)
    assert found.rows["prediction"].dtype == torch.int64
    assert (found.summary()["n"], found.summary()["clean_accuracy"], found.draws) == (0, None, 100)


def test_a_victim_that_takes_images_alone_judges_no_spikes():
    spikes = torch.ones(2, 1, 2)
    with pytest.raises(SpikeflipError, match="takes images \\(N, 2\\) alone"):
        judge(ReluNetwork("2FC", (2,)), spikes, spikes, LABELS, None, result_of([1, 1]))


def test_progress_is_over_the_inputs_that_were_right():
    seen = []
    judge(
        Watched(), torch.cat([ORIGINALS, ORIGINALS[:1]]), torch.cat([ADVERSARIALS, ORIGINALS[:1]]),
        torch.tensor([0, 0, 0]), None, AttackResult.blank(torch.zeros(3, 2), None), draws=2,
        progress=lambda *at: seen.append(at),
    )  # fmt: skip
    assert seen == [(1, 2), (2, 2)]


def test_outputs_are_what_fired_in_the_encodings_that_decided():
    victim, steps = SpikingNetwork("2FC", (2,), time_steps=T, neuron=LIF(0.5, 0.0, "hard", Rectangular(4.0))), [3, 7]
    with torch.no_grad():
        victim.weights[0].copy_(torch.eye(2))
    for micro_batch in (1, 64):
        found = judge(
            victim, ORIGINALS, ADVERSARIALS, LABELS, None, result_of(steps), draws=2, seed=9, samples=IDS,
            micro_batch=micro_batch,
        )  # fmt: skip
        assert found.outputs is not None
        assert found.outputs.dtype == torch.uint8
        for n in (0, 1):
            # Class k fires exactly when pixel k does.
            assert torch.equal(found.outputs[n, 0].float(), by_hand(ORIGINALS[n], int(IDS[n]), "encode", 0, 9))
            assert torch.equal(
                found.outputs[n, 1].float(), by_hand(ADVERSARIALS[n], int(IDS[n]), "encode", steps[n], 9)
            )


def test_scores_of_a_subclass_decide_alone_and_no_outputs_are_told():
    assert judge(Watched(), ORIGINALS, ADVERSARIALS, LABELS, None, result_of([1, 1]), draws=2).outputs is None
    relu = ReluNetwork("2FC", (2,))
    assert judge(relu, ORIGINALS, ADVERSARIALS, LABELS, None, result_of([1, 1])).outputs is None

"""Intervals of samples that share an input: they hold what they say, and are no wider than they must be."""

import numpy as np
import pytest
import torch
from weighing_victim import LinearVictim, some_inputs

from spikeflip import SpikeflipError, SpikingNetwork, every_target, judge, scg
from spikeflip.evaluation import evaluate
from spikeflip.evaluation.outcome import Figures
from spikeflip.intervals import trials, wilson


def drawn(random, inputs, targets, together):
    """Successes of targets of each input; ``together`` is how alike those of an input are, from 0 to 1."""
    groups = np.repeat(np.arange(inputs), targets)
    hardness = random.random(inputs)[groups]
    own = random.random(len(groups))
    return (np.where(random.random(len(groups)) < together, hardness, own) < 0.6).astype(float), groups


@pytest.mark.parametrize("together", [0.0, 0.5, 1.0])
def test_intervals_hold_the_rate_as_often_as_they_say(together):
    """Of 60 inputs with 9 targets each. Taken as independent, targets that go together are missed far more often."""
    random, naive, held, widths = np.random.default_rng(0), 0, 0, []
    for _ in range(400):
        values, groups = drawn(random, 60, 9, together)
        rate, worth = values.mean(), trials(values, groups)
        assert 60 <= worth <= 540
        low, high = wilson(rate, worth)
        held += low <= 0.6 <= high
        widths.append(high - low)
        low, high = wilson(rate, 540)
        naive += low <= 0.6 <= high
    assert held / 400 >= 0.92
    assert (naive / 400 < 0.7) == (together == 1)
    if together == 0:
        assert np.mean(widths) < 1.1 * (high - low)


def test_the_ends():
    assert trials([], []) == 0
    assert trials([1, 1, 1, 1], [0, 0, 1, 1]) == 2  # nothing shows that they do not go together
    assert trials([0.2, 0.9, 0.4], [5, 6, 7]) == 3  # each an input of its own
    assert trials([1, 0], [5, 5]) == 1


def test_a_judgement_counts_targets_of_an_input_for_what_they_are_worth():
    network = SpikingNetwork("8FC-4FC", (20,), time_steps=6, seed=1)
    spikes = (torch.rand((12, 6, 20), generator=torch.Generator().manual_seed(0)) < 0.4).float()
    labels = network.scores(spikes).argmax(1)
    index, targets = every_target(labels, 4)
    given = spikes[index], labels[index], targets
    result = scg(network, *given, steps=3, threshold=None)
    kept = network, given[0], result.adversarials, *given[1:], result
    naive, found = judge(*kept).summary(), judge(*kept, index=index).summary()
    assert naive["clean_accuracy"] == found["clean_accuracy"]
    assert (found["clean_accuracy_n"], found["clean_accuracy_trials"]) == (36, 12)
    assert found["clean_accuracy_interval"] == pytest.approx(list(wilson(found["clean_accuracy"], 12)))
    assert "clean_accuracy_trials" not in naive
    assert naive["clean_accuracy_interval"] == pytest.approx(list(wilson(naive["clean_accuracy"], 36)))
    with pytest.raises(
        SpikeflipError, match=r"index has shape \(12,\), for 36 inputs: give what every_target returned"
    ):
        judge(*kept, index=torch.arange(12))


def test_an_evaluation_in_python_counts_them_so_too():
    index = torch.arange(4).repeat_interleave(3)
    spikes, labels = (values[index] for values in some_inputs(4))
    found = evaluate(LinearVictim(), spikes, labels, threat="binary-l0", budget=0, index=index).summary()
    assert found["clean_accuracy_interval"] == pytest.approx(list(wilson(1.0, 4)))


def test_figures_of_an_evaluation_are_over_inputs():
    flags = {name: torch.tensor([True, True, False, False]) for name in ("right", "broken", "by_attack")}
    sizes = {name: torch.ones(4).double() for name in ("own", "limit", "distance")}
    rows = flags | sizes | {"target": torch.tensor([1, 2, 1, 2]), "input": torch.tensor([0, 0, 1, 1])}
    whole = {"suite": "binary-l0/1", "threat": "binary-l0", "budget": 1.0, "kind": "spikes", "draws": 1, "seed": 0}
    found = Figures(**whole, every=False, rows=rows, members=()).summary()
    assert found["clean_accuracy_interval"] == pytest.approx(list(wilson(0.5, 2)))
    del rows["input"]
    found = Figures(**whole, every=False, rows=rows, members=()).summary()
    assert found["clean_accuracy_interval"] == pytest.approx(list(wilson(0.5, 4)))

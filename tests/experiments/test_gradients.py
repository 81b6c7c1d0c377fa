"""The gradients of the first iteration, against a plain computation and against the attack itself."""

import math
from types import SimpleNamespace

import pytest
import torch

from spikeflip import LIF, Rectangular, SpikingNetwork, scg
from spikeflip.attacks.scg import probabilistic_sampling
from spikeflip.experiments.gradients import first_gradients
from spikeflip.snn.losses import score_gradient
from spikeflip.streams import uniform

SEED = 3


@pytest.fixture
def plan(some_spikes):
    """Of 20 inputs to a tiny network, three in four as the network sees them, the others wrong from the start."""
    # So few neurons with so narrow a window that some steps get no gradient.
    neuron = LIF(0.3, 0.3, "hard", Rectangular(0.3))
    network = SpikingNetwork("4FC-3FC", (12,), time_steps=5, neuron=neuron, seed=4)
    spikes = some_spikes(20, 5, 12)
    said = network.scores(spikes).argmax(1)
    labels = torch.where(torch.arange(20) % 4 == 3, (said + 1) % 3, said)
    return SimpleNamespace(
        task=SimpleNamespace(
            victim=network, config=SimpleNamespace(seed=SEED), data=SimpleNamespace(read=lambda rows: spikes[rows])
        ),
        rows=torch.arange(20),
        labels=labels,
        samples=100 + 7 * torch.arange(20),
        settings={"loss": "mse"},
    )


def slow(plan):
    """By autograd, input by input: the gradients of those that are right, and how many elements sampling keeps."""
    network, gradients, kept, labels = plan.task.victim, [], [], []
    for row in range(len(plan.rows)):
        spikes = plan.task.data.read(plan.rows[row : row + 1]).clone().requires_grad_()
        label = plan.labels[row : row + 1]
        scores = network(spikes)
        best = scores[0].max()
        if int((scores[0] == best).sum()) > 1 or int(scores[0].argmax()) != int(label):
            continue
        scores.backward(score_gradient("mse", scores.detach(), label)[1])
        gradient = spikes.grad[0]
        numbers = uniform(SEED, plan.samples[row : row + 1], "sample", torch.tensor([0]), gradient.shape)[0]
        largest, count = float(gradient.abs().max()), 0
        for value, number in zip(gradient.flatten().tolist(), numbers.flatten().tolist(), strict=True):
            count += value != 0 and number < abs(value) / largest
        gradients.append(gradient)
        kept.append(count)
        labels.append(int(label))
    return torch.stack(gradients), kept, labels


def test_against_a_slow_computation(plan):
    gradients, kept, labels = slow(plan)
    found = first_gradients(plan)
    before = [int((gradient != 0).sum()) for gradient in gradients]
    assert 0 < len(labels) <= 15  # not those that are wrong from the start
    assert 0 < sum(kept) < sum(before) < gradients.numel()
    assert found["n"] == len(labels)
    assert found["elements"] == gradients.numel()
    assert found["zero"] == pytest.approx(1 - sum(before) / gradients.numel())
    assert found["masked"] == pytest.approx(1 - sum(kept) / sum(before))
    assert found["before_mean"] == pytest.approx(sum(before) / len(before))
    assert found["after_mean"] == pytest.approx(sum(kept) / len(kept))
    assert found["classes"] == sorted(set(labels))
    for name, counts in (("before", before), ("after", kept)):
        for label, mean in zip(found["classes"], found[name], strict=True):
            own = [count for count, of in zip(counts, labels, strict=True) if of == label]
            assert mean == pytest.approx(sum(own) / len(own))
    histogram = dict.fromkeys(range(-24, 0), 0)
    sizes = gradients[gradients != 0].abs()
    for size in (sizes / sizes.max()).tolist():
        histogram[max(-24, min(-1, math.floor(math.log2(size))))] += 1
    assert (found["lowest"], found["histogram"]) == (-24, list(histogram.values()))


def test_sampling_keeps_what_the_attack_keeps(plan):
    network, spikes = plan.task.victim, plan.task.data.read(plan.rows)
    gradients, kept, _ = slow(plan)
    attack = scg(network, spikes, plan.labels, steps=1, threshold=None, flipper=False, samples=plan.samples, seed=SEED)
    right = (~attack.already_wrong).nonzero().squeeze(1)
    numbers = uniform(
        SEED, plan.samples[right], "sample", torch.zeros(len(right), dtype=torch.int64), gradients.shape[1:]
    )
    mask = probabilistic_sampling(gradients, numbers) * (gradients != 0)
    assert mask.flatten(1).sum(1).tolist() == kept
    # What the attack moved is what sampling kept, but for the steps that would leave 0 and 1.
    step = torch.sign(gradients * mask)
    inside = ((spikes[right] + step) >= 0) & ((spikes[right] + step) <= 1)
    assert torch.equal(attack.adversarials[right] - spikes[right], step * inside)


def test_where_no_gradient_is_left_nothing_is_masked(plan):
    with torch.no_grad():
        plan.task.victim.weights[0].zero_()
    plan.labels = plan.task.victim.scores(plan.task.data.read(plan.rows)).argmax(1)
    found = first_gradients(plan)
    assert sum(found["histogram"]) == 0
    assert found["masked"] is None
    assert found["zero"] in (1.0, None)  # None where all are ties, and so wrong

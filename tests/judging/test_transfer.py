"""Adversarial inputs on a victim that they were not made on, worked out by hand."""

import pytest
import torch

from spikeflip import LIF, Rectangular, ReluNetwork, SpikeflipError, SpikingNetwork, judge, scg
from spikeflip.snn.coding import encode_for, winner


def reader(order, *, twin=False):
    """Says k where the pixel that ``order`` names for k is lit; one time step."""
    neuron = LIF(0.5, 0.0, "hard", Rectangular(4.0))
    network = ReluNetwork("2FC", (2,)) if twin else SpikingNetwork("2FC", (2,), time_steps=1, neuron=neuron)
    with torch.no_grad():
        network.weights[0].copy_(torch.eye(2)[list(order)])
    return network


ORIGINALS = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 1.0]])
ADVERSARIALS = torch.tensor([[0.0, 1.0], [1.0, 0.0], [1.0, 0.0], [0.5, 0.0]])
LABELS = torch.tensor([0, 0, 1, 1])


def test_rates_are_over_what_the_victim_has_right():
    found = judge(reader((0, 1)), ORIGINALS, ADVERSARIALS, LABELS, draws=2000)
    assert found.rows["already_wrong"].tolist() == [False] * 4
    # The last one fires class 0 alone in half of its encodings, and nothing in the others: a tie fools nobody.
    assert found.rows["verified"].tolist() == [1.0, 0.0, 1.0, pytest.approx(0.5, abs=0.04)]
    assert found.rows["success"][:3].tolist() == [True, False, True]
    assert found.rows["mse"].tolist() == [1.0, 0.0, 1.0, 0.625]
    swapped = judge(reader((1, 0)), ORIGINALS, ADVERSARIALS, LABELS)
    assert swapped.rows["already_wrong"].all()
    assert swapped.summary()["attack_success_rate"] is None


def test_the_encoding_that_decides_is_none_that_an_attack_has_seen():
    """What succeeded by luck, in the encoding of the first step, is shown in another one."""
    victim, images = reader((0, 1)), torch.tensor([[1.0, 0.0]]).repeat(400, 1)
    labels, unsure = torch.zeros(400, dtype=torch.int64), torch.tensor([[0.0, 0.5]]).repeat(400, 1)
    first = encode_for(victim, unsure, seed=0, samples=torch.arange(400), step=torch.ones(400, dtype=torch.int64))
    lucky = winner(victim.scores(first)) == 1
    found = judge(victim, images, unsure, labels, draws=1)
    assert 0.4 < found.rows["success"][lucky].double().mean() < 0.6


def test_towards_targets():
    targets = torch.tensor([1, 1, 0, 0])
    found = judge(reader((0, 1)), ORIGINALS[:3], ADVERSARIALS[:3], LABELS[:3], targets[:3], draws=3)
    assert found.rows["success"].tolist() == [True, False, True]


def test_the_target_alone_is_success_and_not_any_other_class():
    network = SpikingNetwork("3FC", (3,), time_steps=1, neuron=LIF(0.5, 0.0, "hard", Rectangular(4.0)))
    with torch.no_grad():
        network.weights[0].copy_(torch.eye(3))
    before, after, labels = torch.eye(3)[[0, 0]], torch.eye(3)[[1, 2]], torch.tensor([0, 0])
    assert judge(network, before, after, labels, draws=2).rows["success"].tolist() == [True, True]
    found = judge(network, before, after, labels, torch.tensor([2, 2]), draws=2)
    assert found.rows["success"].tolist() == [False, True]
    assert found.rows["verified"].tolist() == [0.0, 1.0]


def test_on_the_relu_twin():
    found = judge(reader((0, 1), twin=True), ORIGINALS, ADVERSARIALS, LABELS, draws=100)
    assert found.draws == 1  # an image is the same every time
    assert found.rows["success"].tolist() == [True, False, True, True]  # 0.5 is more than nothing, every time
    assert found.rows["verified"].tolist() == [1.0, 0.0, 1.0, 1.0]


def test_on_the_twin_of_what_was_attacked(digit_victim, digits):
    images, labels = digits.images[:30], digits.labels[:30]
    result = scg(digit_victim, images, labels)
    twin = ReluNetwork.twin_of(digit_victim)
    found = judge(twin, images, result.adversarials, labels)
    said, shown = twin(images).argmax(1), twin(result.adversarials).argmax(1)
    right = said == labels
    assert found.rows["already_wrong"].tolist() == (~right).tolist()
    assert found.rows["success"].tolist() == (right & (shown != labels)).tolist()


def test_on_the_victim_itself_spikes_fool_as_they_did(deep_network, some_spikes):
    spikes = some_spikes(12, 6, 2, 9, 9)
    labels = deep_network.scores(spikes).argmax(1)
    result = scg(deep_network, spikes, labels, steps=6, threshold=None)
    found = judge(deep_network, spikes, result.adversarials, labels, draws=50)
    assert found.draws == 1
    assert found.rows["success"].tolist() == result.success.tolist()
    assert found.rows["verified"].tolist() == result.success.double().tolist()


def test_other_shapes_are_one_sentence():
    with pytest.raises(SpikeflipError, match="adversarials have shape"):
        judge(reader((0, 1)), ORIGINALS, ADVERSARIALS[:2], LABELS)
    with pytest.raises(SpikeflipError, match=r"draws is 0"):
        judge(reader((0, 1)), ORIGINALS, ADVERSARIALS, LABELS, draws=0)

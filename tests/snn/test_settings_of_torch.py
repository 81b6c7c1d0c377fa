"""PyTorch's own settings of types do not change what a network answers, nor what an attack on it finds."""

from contextlib import contextmanager

import pytest
import torch
from asking import ask

from spikeflip import LIF, ReluNetwork, SpikingNetwork, scg, simulate_saccades


@contextmanager
def float64_by_default():
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(torch.float32)


def autocast():
    return torch.autocast("cpu", dtype=torch.bfloat16)


SETTINGS = pytest.mark.parametrize("setting", [float64_by_default, autocast])


def network():
    net = SpikingNetwork("8C3-AP2-12C3-16FC-10FC", (2, 8, 8), time_steps=5, neuron=LIF(0.3, 0.3))
    with torch.no_grad():
        for weight in net.weights:
            weight.mul_(3)
    return net


def spikes(density):
    return (torch.rand((4, 5, 2, 8, 8), generator=torch.Generator().manual_seed(0)) < density).float()


def answers(victim, inputs):
    probe = victim.probe(inputs)
    gradient = probe.input_gradient(lambda scores, _: torch.arange(10.0).to(scores).expand_as(scores), ask())
    return probe.scores.clone(), victim.scores(inputs).clone(), gradient.values.clone()


@SETTINGS
@pytest.mark.parametrize("density", [0.05, 0.6])  # lists of events, and layers that are convolved densely
@pytest.mark.parametrize("engine", ["torch", "event"])
def test_scores_and_gradients(setting, engine, density):
    net, inputs = network().on(engine), spikes(density)
    expected = answers(net, inputs)
    with setting():
        found = answers(net, inputs)
    assert expected[0].any()
    assert expected[2].any()
    for one, other in zip(found, expected, strict=True):
        assert one.dtype == torch.float32
        assert torch.equal(one, other)


@SETTINGS
def test_relu_twin(setting):
    twin = ReluNetwork.twin_of(network())
    images = torch.rand((4, 1, 2, 8, 8), generator=torch.Generator().manual_seed(0))
    expected = answers(twin, images)
    with setting():
        found = answers(twin, images)
    for one, other in zip(found, expected, strict=True):
        assert one.dtype == torch.float32
        assert torch.equal(one, other)


@SETTINGS
@pytest.mark.parametrize("kind", ["images", "spikes"])
def test_attack(setting, kind):
    net = network().on("event")
    inputs = spikes(0.4) if kind == "spikes" else torch.rand((4, 2, 8, 8), generator=torch.Generator().manual_seed(0))
    labels = net.scores(spikes(0.4)).argmax(1) if kind == "spikes" else torch.tensor([5, 5, 5, 5])
    expected = scg(net, inputs, labels, steps=4)
    with setting():
        found = scg(net, inputs, labels, steps=4)
    assert torch.equal(found.adversarials, expected.adversarials)
    assert torch.equal(found.forwards, expected.forwards)


def test_a_network_is_differentiable_under_autocast_in_float32():
    net, inputs = network(), spikes(0.4)
    expected = net(inputs)
    with autocast():
        found = net(inputs.bfloat16())  # as a layer below would give it
    assert torch.equal(found, expected)
    (gradient,) = torch.autograd.grad(found.sum(), net.weights[0])
    assert gradient.any()


@SETTINGS
def test_simulated_recordings(setting):
    images = torch.rand((2, 1, 8, 8), generator=torch.Generator().manual_seed(0))
    expected = simulate_saccades(images)
    with setting():
        found = simulate_saccades(images)
    assert found.dtype == torch.float32
    assert torch.equal(found, expected)

import pytest
import torch

from spikeflip import LIF, SpikeflipError, SpikingNetwork
from spikeflip.snn.architecture import AvgPool
from spikeflip.snn.firing import measure_firing
from spikeflip.snn.startup import revive_outputs, scale_weights


def sparse(*shape, density=0.02, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return (torch.rand(shape, generator=generator) < density).float()


@pytest.mark.parametrize("engine", ["torch", "event"])
@pytest.mark.parametrize("threshold", [0.2, 0.3, 1.0])
def test_the_asked_share_of_the_stimulated_potentials_reaches_the_threshold(threshold, engine):
    neuron = LIF(threshold, 0.3, "none")
    net = SpikingNetwork("8C3-12C3-16FC-10FC", (2, 12, 12), time_steps=6, neuron=neuron).on(engine)
    spikes = sparse(16, 6, 2, 12, 12)
    scale_weights(net, spikes, 0.1)
    _, potentials = net.on("torch").engine.forward(spikes)
    for potential in potentials:
        stimulated = potential[potential != 0]
        assert float((stimulated >= threshold * (1 - 1e-5)).float().mean()) == pytest.approx(0.1, abs=0.005)


def test_weights_are_scaled_by_one_factor_a_layer():
    net, same = (SpikingNetwork("6C3-AP2-10FC", (1, 8, 8), time_steps=4) for _ in range(2))
    scale_weights(net, sparse(8, 4, 1, 8, 8, density=0.3), 0.2)
    for scaled, weight in zip(net.weights, same.weights, strict=True):
        ratio = scaled / weight
        torch.testing.assert_close(ratio, ratio.flatten()[0].expand_as(ratio))
        assert float(ratio.detach().flatten()[0]) != pytest.approx(1)


@pytest.mark.parametrize("threshold", [0.2, 0.3, 0.6, 0.9, 1.2])
def test_pooling_passes_spikes_on_at_any_threshold_that_it_can_reach(threshold):
    # Averages of spikes reach 1 / (1 - decay) = 1.43 at most; above 0.75 all four of a window must fire.
    net = SpikingNetwork("16C3-AP2-16C3-AP2-10FC", (2, 12, 12), time_steps=15, neuron=LIF(threshold, 0.3))
    spikes = sparse(16, 15, 2, 12, 12, density=0.05)
    scale_weights(net, spikes, 0.1)
    layers = measure_firing(net, spikes).layers
    assert all(layer.rate > 0.001 for layer in layers)
    assert layers[-1].silent_samples < 0.1
    if threshold < 0.75:
        for layer, found, below in zip(net.layers[1:], layers[1:], layers[:-1], strict=True):
            assert not isinstance(layer, AvgPool) or found.rate > 0.25 * below.rate


def test_pooling_that_cannot_reach_the_threshold_is_named_with_what_helps():
    net = SpikingNetwork("16C3-AP2-10FC", (2, 12, 12), time_steps=15, neuron=LIF(1.5, 0.3))
    with pytest.raises(
        SpikeflipError,
        match=r"layer 2 \(AP2\) is silent before training: it averages spikes, .* give a lower --firing-threshold",
    ):
        scale_weights(net, sparse(16, 15, 2, 12, 12), 0.1)


def test_inputs_without_spikes_are_named():
    net = SpikingNetwork("8C3-10FC", (1, 6, 6))
    with pytest.raises(SpikeflipError, match=r"layer 1 \(8C3\) is silent before training: no spike reaches it"):
        scale_weights(net, torch.zeros(4, 5, 1, 6, 6), 0.1)


def test_a_layer_without_positive_weights_is_named():
    net = SpikingNetwork("8FC-4FC", (5,))
    with torch.no_grad():
        net.weights[1].copy_(-net.weights[1].abs())
    with pytest.raises(SpikeflipError, match=r"layer 2 \(4FC\) is silent .* however its weights are scaled"):
        scale_weights(net, torch.ones(3, 5, 5), 0.1)


@pytest.mark.parametrize("engine", ["torch", "event"])
def test_revived_outputs_fire_for_the_asked_share_and_others_stay(engine):
    net = SpikingNetwork("6C3-AP2-10FC", (1, 8, 8), time_steps=6, neuron=LIF(0.3, 0.3, "none")).on(engine)
    spikes = sparse(16, 6, 1, 8, 8, density=0.3)
    scale_weights(net, spikes, 0.3)
    before, rows = net.weights[-1].detach().clone(), SpikingNetwork("6C3-AP2-10FC", (1, 8, 8), seed=5).weights[-1]
    dead = torch.zeros(10, dtype=torch.bool)
    dead[[2, 7]] = True
    revive_outputs(net, spikes, dead, rows.detach(), 0.1)
    assert torch.equal(net.weights[-1][~dead], before[~dead])
    _, potentials = net.on("torch").engine.forward(spikes)
    for k in (2, 7):
        ratio = (net.weights[-1][k] / rows[k]).detach()
        torch.testing.assert_close(ratio, ratio[0].expand_as(ratio))
        stimulated = potentials[-1][..., k][potentials[-1][..., k] != 0]
        assert float((stimulated >= 0.3 * (1 - 1e-5)).float().mean()) == pytest.approx(0.1, abs=0.02)

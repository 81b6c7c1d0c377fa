"""The peers that benchmarks compare with compute the same scores and gradients, or the comparison would say nothing."""

import importlib.util
import sys
from pathlib import Path

import pytest
import torch
from asking import ask

from spikeflip import LIF, Rectangular, SpikingNetwork, scg

_FILE = Path(__file__).parents[2] / "benchmarks" / "peers.py"
_SPEC = importlib.util.spec_from_file_location("spikeflip_benchmarks_peers", _FILE)
peers = importlib.util.module_from_spec(_SPEC)
sys.modules[_SPEC.name] = peers
_SPEC.loader.exec_module(peers)


@pytest.fixture(params=sorted(peers.PEERS))
def make_peer(request):
    """Makes the peer of a network; skips where its framework is not installed."""

    def make(network, **options):
        try:
            return peers.PEERS[request.param](network, **options)
        except ImportError as error:
            pytest.skip(f"needs {request.param} ({error})")

    return make


@pytest.fixture
def network():
    """Every kind of layer, a pool that leaves a remainder, and weights with which spikes reach the output."""
    neuron = LIF(0.3, 0.3, "hard", Rectangular(1.0))
    network = SpikingNetwork("8C3-AP2-12C5-16FC-10FC", (2, 9, 9), time_steps=6, neuron=neuron, seed=3)
    with torch.no_grad():
        for weight in network.weights:
            weight.mul_(3)
    return network


def slope(scores, _rows):
    """A gradient of the scores that differs between classes."""
    return torch.linspace(-1, 1, scores.shape[1]).expand_as(scores)


@pytest.mark.parametrize("options", [{}, {"penultimate_threshold": 0.7}, {"output_window": 0.4}])
@pytest.mark.parametrize("tuned", [False, True])
@pytest.mark.parametrize("rows", [[0, 1, 2, 3], [3, 1]])
def test_scores_and_gradients_are_the_networks(make_peer, network, some_spikes, options, tuned, rows):
    spikes, rows = some_spikes(4, 6, 2, 9, 9, density=0.1), torch.tensor(rows)
    peer = make_peer(network, tuned=tuned)
    expected_probe, probe = network.probe(spikes), peer.probe(spikes)
    expected = expected_probe.input_gradient(slope, ask(rows, **options))
    found = probe.input_gradient(slope, ask(rows, **options))
    largest = float(expected.values.abs().max())
    assert largest > 0
    torch.testing.assert_close(probe.scores, expected_probe.scores)
    torch.testing.assert_close(peer.scores(spikes), expected_probe.scores)
    torch.testing.assert_close(found.values, expected.values, rtol=1e-4, atol=1e-6 * largest)
    assert torch.equal(found.output_zero, expected.output_zero)
    assert torch.equal(found.loss_zero, expected.loss_zero)
    assert torch.equal(found.penultimate_spikes, expected.penultimate_spikes)


@pytest.mark.parametrize("zero", ["loss", "output"])
def test_the_causes_of_a_zero_gradient_are_told_apart(make_peer, network, some_spikes, zero):
    spikes, rows = some_spikes(3, 6, 2, 9, 9, density=0.1), torch.arange(3)
    if zero == "output":  # all output potentials stay at 0, outside a window of 0.3 +- 0.1
        with torch.no_grad():
            network.weights[-1].zero_()

    def gradient(scores, rows):
        return slope(scores, rows) * (zero == "output")

    found = make_peer(network).probe(spikes).input_gradient(gradient, ask(rows, output_window=0.2))
    assert found.output_zero.all()
    assert bool(found.loss_zero.all()) == (zero == "loss")
    assert not found.values.any()


@pytest.mark.parametrize("threshold", [None, 1.0])
def test_the_attack_takes_the_same_course(make_peer, digit_victim, digits, threshold):
    images, labels = digits.images[:8], digits.labels[:8]
    expected = scg(digit_victim, images, labels, steps=6, threshold=threshold)
    found = scg(make_peer(digit_victim, tuned=threshold is not None), images, labels, steps=6, threshold=threshold)
    assert expected.success.any()
    assert torch.equal(found.success, expected.success)
    assert torch.equal(found.steps, expected.steps)
    assert torch.equal(found.vanished, expected.vanished)


def test_no_gradient_is_left_behind(make_peer, network, some_spikes):
    peer = make_peer(network)
    peer.probe(some_spikes(2, 6, 2, 9, 9)).input_gradient(slope, ask(torch.arange(2)))
    assert all(weight is None or weight.grad is None for weight in peer.weights)
    assert all(weight.grad is None for weight in network.weights)


def test_a_reset_that_peers_do_not_have_is_refused(make_peer):
    network = SpikingNetwork("10FC", (4,), neuron=LIF(0.3, 0.3, "soft"))
    with pytest.raises(ValueError, match="hard reset alone, not 'soft'"):
        make_peer(network)

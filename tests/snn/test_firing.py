import pytest
import torch

from spikeflip import LIF, SpikingNetwork
from spikeflip.snn.firing import measure_firing


def two_layers():
    """Hidden neuron 0 copies input 0, neuron 1 input 1, neuron 2 never fires; the output copies neurons 0 and 1."""
    net = SpikingNetwork("3FC-2FC", (2,), time_steps=4, neuron=LIF(0.5, 0.0))
    with torch.no_grad():
        net.weights[0].copy_(torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, -1.0]]))
        net.weights[1].copy_(torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]))
    return net


SPIKES = torch.zeros(4, 4, 2)
SPIKES[0, 0, 0] = SPIKES[1, :, 1] = 1  # one spike of input 0 in sample 0, four of input 1 in sample 1


@pytest.mark.parametrize("engine", ["torch", "event"])
@pytest.mark.parametrize("micro_batch", [1, 3, 16])
def test_counts_by_hand(engine, micro_batch):
    hidden, output = measure_firing(two_layers().on(engine), SPIKES, micro_batch=micro_batch).layers
    assert (hidden.layer, output.layer) == ("1 (3FC)", "2 (2FC)")
    assert hidden.rate == pytest.approx(5 / 48)
    assert output.rate == pytest.approx(5 / 32)
    assert hidden.silent_neurons == pytest.approx(1 / 3)
    assert output.silent_neurons == 0
    assert hidden.silent_samples == output.silent_samples == 0.5


def test_the_first_silent_layer_and_the_quietest():
    net = two_layers()
    firing = measure_firing(net, SPIKES)
    assert firing.silent is None
    assert firing.quietest.layer == "1 (3FC)"
    with torch.no_grad():
        net.weights[1].zero_()
    firing = measure_firing(net, SPIKES)
    assert firing.silent.layer == firing.output.layer == "2 (2FC)"
    assert firing.quietest.silent_neurons == 1
    assert firing.as_json()[1] == {"layer": "2 (2FC)", "rate": 0.0, "silent_neurons": 1.0, "silent_samples": 1.0}

"""Models of frameworks that cannot be attacked, or not in every way."""

import pytest
import torch
from asking import ask
from equations import spikes
from faulty_models import X, refusal
from norse_styles import norse_parameters
from spikingjelly_styles import sj
from torch import nn

from spikeflip import Rectangular, SpikeflipError
from spikeflip.victims import wrap

pytestmark = pytest.mark.frameworks


def test_norse_without_surrogate():
    norse = pytest.importorskip("norse.torch")
    torch.manual_seed(0)
    hard = norse.LIF(norse_parameters(0.2)._replace(method="heaviside"))
    thing = norse.SequentialState(nn.Linear(20, 16), hard, nn.Linear(16, 5), norse.LIF(norse_parameters(0.1)))
    assert "layer '1' fires by a step without a surrogate" in refusal(thing, output=0)
    assert wrap(thing, X, output=0, surrogate=Rectangular(1.0)).penultimate_layer == "1"


def test_norse_cells_need_their_state():
    norse = pytest.importorskip("norse.torch")
    torch.manual_seed(0)
    cells = norse.SequentialState(
        nn.Linear(20, 16), norse.LIFCell(norse_parameters(0.2)), nn.Linear(16, 5), norse.LIFCell(norse_parameters(0.1))
    )
    message = refusal(cells, layout="steps", output=0)
    assert "as if every frame were a sample: the checks pass with layout 'steps+state'" in message


def test_sinabs_for_one_batch_size():
    layers = pytest.importorskip("sinabs.layers")
    torch.manual_seed(0)
    thing = nn.Sequential(
        nn.Conv2d(2, 4, 3),
        layers.IAFSqueeze(batch_size=3, spike_threshold=torch.tensor(0.2)),
        nn.Flatten(),
        nn.Linear(144, 5),
        layers.IAFSqueeze(batch_size=3, spike_threshold=torch.tensor(0.1)),
    )
    assert "give num_timesteps, not batch_size" in refusal(thing, spikes(4, 6, 2, 8, 8), layout="flat-BT")


def test_a_surrogate_that_cannot_be_reached_is_refused_when_asked_for():
    norse = pytest.importorskip("norse.torch")
    torch.manual_seed(0)
    lif = norse.LIF(norse_parameters(0.2))
    plain = lif.activation
    lif.activation = lambda *arguments: plain(*arguments)  # no global name threshold to replace
    thing = norse.SequentialState(nn.Linear(20, 16), lif, nn.Linear(16, 5), norse.LIF(norse_parameters(0.1)))
    victim = wrap(thing, X, output=0)
    with pytest.raises(SpikeflipError, match="the spike function of a LIF with the activation <lambda> cannot be"):
        victim.probe(X).input_gradient(lambda s, _: torch.ones_like(s), ask(torch.arange(4), penultimate_threshold=0.5))
    assert victim.probe(X).input_gradient(lambda s, _: torch.ones_like(s), ask(torch.arange(4))).values.any()


def test_spikingjelly_neurons_without_a_threshold():
    pytest.importorskip("spikingjelly")
    neuron = sj()[2]
    if not hasattr(neuron, "PSN"):
        pytest.skip("this release has no parallel neurons")
    torch.manual_seed(0)
    victim = wrap(nn.Sequential(nn.Linear(20, 16), neuron.PSN(6), nn.Linear(16, 5)), X)
    assert (victim.penultimate_layer, victim.penultimate_threshold) == ("1", None)
    with pytest.raises(SpikeflipError, match="layer '1' has none that could move"):
        victim.probe(X).input_gradient(lambda s, _: torch.ones_like(s), ask(torch.arange(4), penultimate_threshold=0.5))


@pytest.mark.parametrize("name", ["DSRIFNode", "DSRLIFNode"])
def test_spikingjelly_neurons_whose_spikes_are_made_inside_an_autograd_function(name):
    pytest.importorskip("spikingjelly")
    from spikingjelly.activation_based import neuron

    if not hasattr(neuron, name):
        pytest.skip(f"this version of SpikingJelly has no {name}")
    torch.manual_seed(0)
    steps = X.shape[1]
    neurons = [getattr(neuron, name)(T=steps, v_threshold=1.0) for _ in range(2)]
    thing = nn.Sequential(nn.Linear(20, 16), neurons[0], nn.Softplus(), nn.Linear(16, 5), neurons[1])
    message = refusal(thing)
    assert f"what has a threshold, '1' ({name}), '4' ({name}), has no spike function of a known name" in message
    assert "or neurons={} to attack it without thresholds and surrogates" in message
    victim = wrap(thing, X, neurons={})
    leaf = X.clone().requires_grad_()
    scores = thing(leaf.transpose(0, 1)).mean(0)
    assert torch.equal(victim.scores(X), scores)
    (expected,) = torch.autograd.grad(scores[:, 0].sum(), leaf)
    one = torch.eye(5)[0]
    found = victim.probe(X).input_gradient(lambda scores, _: one.expand_as(scores), ask()).values
    assert expected.any()
    torch.testing.assert_close(found, expected)

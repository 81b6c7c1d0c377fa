"""Estimators that a wrapped model does not serve: one sentence each that says what to choose instead."""

from dataclasses import dataclass

import pytest
import torch
from asking import gradient, same
from equations import spikes
from own_neurons import SURROGATE, Fire, Neuron, T, Whole, layers_of, linear, network, plain
from torch import nn

from spikeflip import SpikeflipError, wrap
from spikeflip.snn.estimators import HART, StraightThrough
from spikeflip.snn.gradients import Estimator


@pytest.fixture(scope="module")
def own():
    return network()


class Twice(nn.Module):
    """One module of neurons in two places."""

    def __init__(self, own):
        super().__init__()
        self.one, self.two, self.three = (linear(weight) for weight in network("16FC-16FC-5FC").weights)
        self.neuron, self.last = Whole(), Whole()

    def forward(self, x):
        return self.last(self.three(self.neuron(self.two(self.neuron(self.one(x))))))


class Deaf(Neuron):
    """Has a spike function and does not call it."""

    def forward(self, current):
        return Fire.apply(current - self.thresh)


def refusal(victim, how):
    with pytest.raises(SpikeflipError) as caught:
        gradient(victim, spikes(9, T, 20, seed=3).double(), how)
    message = str(caught.value)
    assert "\n" not in message
    assert "choose" in message
    return message


def test_refusals(own):
    inputs = spikes(9, T, 20, seed=3).double()
    once, steps = plain(own, "TB"), plain(own, "steps")
    for how in ("rga", "hart", "windowed"):
        assert "in layer '1', but of a Sequence it is not known how its potential goes" in refusal(once, how)
    assert "HART(width=1.0) cuts or averages the gradient over time in layer '1'" in refusal(steps, HART())
    assert "asks layer '1' for how fast its potential decays, which a layer of another framework" in refusal(
        steps, "rga"
    )
    last = wrap(steps.model, inputs, layout="steps", readout="last", surrogate=SURROGATE)
    assert "and the readout 'last' may look at one alone" in refusal(last, "windowed")
    assert "fires in 12 calls of (9, 16)" in refusal(wrap(Twice(own), inputs, layout="steps"), "pdsg")
    deaf = nn.Sequential(linear(own.weights[0]), Deaf(), *layers_of(own, Neuron)[2:])
    assert "layer '1' does not call its spike function" in refusal(wrap(deaf, inputs, layout="steps"), "assg")
    unknown = wrap(nn.Sequential(*layers_of(own, Neuron)), inputs, layout="steps", neurons={})
    unknown.order = type(unknown.order)((), None, None)
    with pytest.raises(SpikeflipError, match="no spiking layer of the model is known: pass neurons="):
        gradient(unknown, inputs, StraightThrough())
    low = nn.Sequential(*layers_of(own, Neuron))
    low[3].thresh = 0.0
    assert "layer '3' has a threshold that is not positive" in refusal(wrap(low, inputs, layout="steps"), "pdsg")


def test_no_threshold(own):
    inputs = spikes(9, T, 20, seed=3).double()
    victim = wrap(plain(own, "steps").model, inputs, layout="steps", neurons={Neuron: (None, "act")})
    assert "layer '1' has no threshold: choose bptt" in refusal(victim, "pdsg")


class Across(nn.Module):
    """Gives a layer, or its spike function, features first."""

    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def forward(self, x):
        return self.layer(x.T).T


class Turned(Neuron):
    """Fires with features first, and gives samples first."""

    def forward(self, current):
        return super().forward(current.T).T


@pytest.mark.parametrize(("made", "name", "n"), [(lambda: Across(Neuron()), "1.layer", 16), (Turned, "1", 9)])
def test_samples_that_do_not_come_first(own, made, name, n):
    """Also where there are as many of them as features."""
    inputs = spikes(n, T, 20, seed=3).double()
    layers = layers_of(own, Neuron)
    layers[1] = made()
    victim = wrap(nn.Sequential(*layers), inputs, layout="steps", surrogate=SURROGATE)
    same(victim, own, inputs, "straight-through")
    with pytest.raises(SpikeflipError, match=rf"^layer '{name}' fires in 6 calls of \(16, {n}\) for {n} samples"):
        gradient(victim, inputs, "pdsg")


def test_bptt_of_a_known_surrogate_for_an_estimator_that_asks(own):
    @dataclass(frozen=True)
    class Asks(Estimator):
        def slope(self, layer):
            return layer.neuron.surrogate.derivative(layer.distance)

    inputs = spikes(9, T, 20, seed=3).double()
    victim = plain(own, "steps")
    torch.testing.assert_close(gradient(victim, inputs, Asks()).values, gradient(victim, inputs, "bptt").values)
    assert "for its surrogate as a derivative" in refusal(victim.with_surrogate(None), Asks())

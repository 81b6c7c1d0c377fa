"""Models with habits of their own: what they override, hold and leave over is neither in the way nor broken."""

import pytest
import torch
from faulty_models import X, faults, model
from plain_styles import PaperNeuron, StatefulNeuron
from torch import nn

from spikeflip import scg, wrap
from spikeflip.victims import doctor
from spikeflip.victims.modules import modules, named_buffers, named_modules, named_parameters


class Groups(nn.Module):
    """Has parameters() for an optimiser of its own."""

    def __init__(self, body):
        super().__init__()
        self.body = body

    def parameters(self):
        return [{"params": list(self.body.parameters()), "lr": 0.1}]

    def forward(self, x):
        return self.body(x)


class Attributes(Groups):
    """Has other things by these names."""

    def __init__(self, body):
        super().__init__(body)
        self.__dict__["parameters"] = {"tau": 0.5}
        self.__dict__["modules"] = ["a", "b"]
        self.__dict__["buffers"] = None


class Hidden(Groups):
    """Shows none of its layers."""

    def named_modules(self):
        return iter(())

    def named_parameters(self, prefix=""):
        return iter(())


@pytest.mark.parametrize("made", [Groups, Attributes, Hidden])
def test_models_that_override_what_pytorch_asks_them(made):
    plain = wrap(model(), X)
    for thing in (made(model()), nn.Sequential(made(model()))):
        victim = wrap(thing, X)
        assert torch.equal(victim.scores(X), plain.scores(X))
        labels = victim.scores(X).argmax(1)
        assert torch.equal(scg(victim, X, labels).adversarials, scg(plain, X, labels).adversarials)
        assert faults(doctor(thing, X)) == {}
        assert victim.penultimate_layer.endswith("body.1")


def test_parts_are_those_that_pytorch_names():
    thing = nn.Sequential(model(), nn.BatchNorm1d(5), nn.Sequential(nn.Linear(5, 5), nn.Sequential(PaperNeuron())))
    thing.add_module("again", thing[0][0])
    thing.register_parameter("none", None)
    assert list(named_modules(thing)) == list(thing.named_modules())
    assert list(modules(thing)) == list(thing.modules())
    assert list(named_parameters(thing)) == list(thing.named_parameters())
    assert list(named_buffers(thing)) == list(thing.named_buffers())


class Leftover(StatefulNeuron):
    """Its forward puts back what training left in it, and so does its reset."""

    def __init__(self, thresh, value):
        super().__init__(thresh)
        self.trace = value

    def reset(self):
        super().reset()
        self.trace = 0

    def forward(self, x):
        self.trace = 0
        return super().forward(x)


@pytest.mark.parametrize("value", [3, 0.5, [1, 2], torch.ones(3), "rate"])
def test_what_a_forward_only_resets_is_put_back(value):
    thing = model(neuron=Leftover(0.2, value), last=Leftover(0.1, value))
    thing(X[:, 0])
    thing[1].trace = thing[3].trace = value
    victim = wrap(thing, X, layout="steps")
    assert faults(doctor(thing, X, layout="steps")) == {}
    assert torch.equal(victim.scores(X), victim.scores(X))
    assert thing[1].trace is value
    assert thing[3].trace is value


class Asking(PaperNeuron):
    """Lets a constant of its own ask for gradients, in a container or by itself, as a neuron of Norse does."""

    def __init__(self, thresh, place):
        super().__init__(thresh)
        self.rest = place(torch.zeros(16))

    def forward(self, x):
        (rest,) = [self.rest] if isinstance(self.rest, torch.Tensor) else self.rest
        rest.requires_grad = True
        return super().forward(x + rest)


@pytest.mark.parametrize("place", [lambda tensor: tensor, lambda tensor: (tensor,), lambda tensor: [tensor]])
def test_a_constant_that_a_forward_lets_ask_for_gradients(place):
    thing = model(neuron=Asking(0.2, place))
    (rest,) = [thing[1].rest] if isinstance(thing[1].rest, torch.Tensor) else thing[1].rest
    assert faults(doctor(thing, X)) == {}
    victim = wrap(thing, X)
    scg(victim, X, victim.scores(X).argmax(1), steps=1)
    assert not rest.requires_grad

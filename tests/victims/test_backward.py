"""The way back: gradients that depend on the batch, that are drawn, and surrogates that remember."""

import pytest
import torch
from faulty_models import X, faults, model, only, refusal
from plain_styles import PaperNeuron, StatefulNeuron
from torch import nn

from spikeflip import Rectangular, scg, wrap
from spikeflip.victims import doctor


def firing(slope):
    """A step whose derivative is ``slope`` of the distances."""

    class Own(torch.autograd.Function):
        @staticmethod
        def forward(ctx, u, *_):
            ctx.save_for_backward(u)
            return (u >= 0).to(u)

        @staticmethod
        def backward(ctx, g):
            (u,) = ctx.saved_tensors
            return g * slope(u), None

    return Own.apply


def near(u):
    return (1 - u.abs()).clamp(min=0)


BATCH = {
    "mean over the batch": lambda u: near(u) * u.abs().mean(0, keepdim=True),
    "deviation over the batch": lambda u: near(u) / u.std(0, keepdim=True),
    "share of the batch's largest": lambda u: near(u) * (u.abs() / u.abs().amax(0, keepdim=True)),
}


def with_slope(slope):
    neuron = PaperNeuron(0.2)
    neuron.act = firing(slope)
    return model(neuron=neuron)


@pytest.mark.parametrize("slope", BATCH.values(), ids=BATCH)
def test_a_gradient_that_depends_on_its_batch(slope):
    said = "a sample's gradient depends on the other samples of its batch, though its scores do not"
    assert said in refusal(with_slope(slope))
    assert said in only(with_slope(slope), "batch independence")
    victim = wrap(with_slope(slope), X, surrogate=Rectangular(1.0))
    labels = victim.scores(X).argmax(1)
    together, alone = (scg(victim, X, labels, micro_batch=n).adversarials for n in (4, 1))
    assert torch.equal(together, alone)


DRAWN = {
    "noise on the slope": lambda u: near(u) * torch.rand_like(u),
    "a slope that is dropped": lambda u: nn.functional.dropout(near(u), 0.5),
    "a width that is drawn": lambda u: (u.abs() < torch.rand(()) + 0.2).to(u),
}


@pytest.mark.parametrize("slope", DRAWN.values(), ids=DRAWN)
def test_a_gradient_that_is_drawn(slope):
    said = "two gradients of the same inputs differ, as the backward pass draws random numbers: pass surrogate="
    assert said in refusal(with_slope(slope))
    assert faults(doctor(with_slope(slope), X))["same call twice"] == "failed"
    assert wrap(with_slope(slope), X, surrogate=Rectangular(1.0)).notices == ()


class Remembering(nn.Module):
    """A spike function whose width follows a running mean of what it is given."""

    def __init__(self, place="attribute"):
        super().__init__()
        self.place = place
        if place == "buffer":
            self.register_buffer("mean", None)
        else:
            self.mean = None
        self.resets = 0

    def reset(self):
        self.mean = None
        self.resets += 1

    def forward(self, u):
        size = u.detach().abs().clone()
        self.mean = size if self.mean is None else 0.9 * self.mean + 0.1 * size
        return firing(lambda v: (1 - (v / (0.5 + size)).abs()).clamp(min=0))(u, None)


class Recalling(StatefulNeuron):
    """Resets its spike function when it begins anew, as one such repository does."""

    def __init__(self, thresh, place="attribute"):
        super().__init__(thresh)
        del self.thresh
        self.threshold, self.act_fun = thresh, Remembering(place)

    def forward(self, x):
        if self.mem is None:
            self.act_fun.reset()
            self.mem = torch.zeros_like(x)
        self.mem = self.mem * 0.5 + x
        spike = self.act_fun(self.mem - self.threshold)
        self.mem = self.mem - spike * self.threshold
        return spike


@pytest.mark.parametrize("place", ["attribute", "buffer"])
def test_a_spike_function_that_remembers_is_given_back_and_its_attributes_are_reached(place):
    thing = model(neuron=Recalling(0.2, place), last=Recalling(0.1, place))
    thing(X[:, 0])
    mean, resets = thing[1].act_fun.mean, thing[1].act_fun.resets
    kept = mean.clone()
    victim = wrap(thing, X, layout="steps")
    found = doctor(thing, X, layout="steps")
    labels = victim.scores(X).argmax(1)
    assert scg(victim, X, labels, steps=2, threshold=0.5).backwards.any()
    assert thing[1].act_fun.mean is mean
    assert torch.equal(mean, kept)
    assert thing[1].act_fun.resets == resets
    assert thing(X[:, 1]).shape == (4, 5)
    assert faults(found) == {}


class Counting:
    """A spike function that is no module and counts its calls."""

    def __init__(self):
        self.calls = 0

    def __call__(self, u, *_):
        self.calls += 1
        return firing(near)(u, None)


def test_the_look_at_a_surrogate_does_not_call_the_users_own_object():
    thing = model()
    thing[1].act = Counting()
    calls = []
    thing.register_forward_hook(lambda *_: calls.append(1))
    wrap(thing, X)
    assert thing[1].act.calls == len(calls) * X.shape[1]

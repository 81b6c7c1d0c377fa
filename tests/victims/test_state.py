"""Models that remember an earlier call: found out, reset, and left as they were."""

import copy

import numpy as np
import pytest
import torch
from equations import spikes
from faulty_models import X, model, refusal
from plain_styles import PaperNeuron, Ramp, StatefulNeuron
from torch import nn

from spikeflip.victims import doctor, wrap

GENERATOR = np.random.default_rng(0)


def test_memory_beyond_attributes():
    memory = []

    class Hidden(nn.Module):
        def forward(self, x):
            memory.append(x.detach())
            return x + 0.5 * len(memory)

    message = refusal(model(Hidden()))
    assert "remembers something of the call before" in message
    assert "layer '0' (Hidden)" in message
    assert message.endswith(
        "keep state in attributes of modules, as tensors, lists or dictionaries, and take random numbers out"
    )


@pytest.mark.parametrize("example", [torch.zeros(4, 6, 20), X], ids=["silent", "busy"])
def test_memory_in_an_object_of_no_known_kind(example):
    """On an example without spikes it stays zero."""

    class Place:
        kept = 0.0

    class Hidden(nn.Module):
        def __init__(self):
            super().__init__()
            self.place = Place()

        def forward(self, x):
            self.place.kept = 0.5 * self.place.kept + x.detach().mean()
            return x + self.place.kept

    assert "remembers something of the call before" in refusal(model(Hidden()), example)


def test_random_numbers_of_numpy():
    class Noisy(nn.Module):
        def forward(self, x):
            return x * torch.from_numpy(GENERATOR.random(x.shape, dtype=np.float32))

    message = refusal(model(Noisy()))
    assert "or draws random numbers that are not PyTorch's in layer '0' (Noisy)" in message
    assert "take random numbers out" in message


class Adapting(PaperNeuron):
    """Its threshold rises where it has fired, in buffers that it writes to in place."""

    def __init__(self, thresh, place):
        super().__init__(thresh)
        self.fired = place(torch.zeros(16, 16))

    def forward(self, x):
        (fired,) = self.fired.values() if isinstance(self.fired, dict) else [self.fired]
        spikes = super().forward(x - 0.3 * fired[: x.shape[1]])
        fired[: x.shape[1]].add_(spikes.detach().sum(0))
        return spikes


@pytest.mark.parametrize("place", [lambda tensor: tensor, lambda tensor: {"fired": tensor}])
def test_state_of_a_layer_that_is_silent_on_the_example(place):
    """It adds zeros there: what is written to is state, although it is equal."""

    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.body, self.quiet, self.other = model(), nn.Linear(20, 16), Adapting(4.0, place)
            self.quiet.weight.data.abs_()

        def forward(self, x):
            x = self.body[1](self.body[0](x)) + self.other(self.quiet(x))
            return self.body[3](self.body[2](x))

    thing, loud = Two(), spikes(4, 6, 20, density=0.9)
    victim = wrap(thing, spikes(4, 6, 20, density=0.05))
    scores = victim.scores(loud)
    assert torch.equal(victim.scores(loud), scores)
    fired = thing.other.fired
    assert not (fired["fired"] if isinstance(fired, dict) else fired).any()
    thing(loud.transpose(0, 1))
    assert (fired["fired"] if isinstance(fired, dict) else fired).any()


class Charged(nn.Module):
    """Starts half way to its threshold."""

    def __init__(self, thresh, features):
        super().__init__()
        self.thresh, self.act = thresh, lambda u: Ramp.apply(u, 1.0)
        self.register_buffer("mem", torch.full((1, features), 0.5 * thresh))

    def forward(self, x):
        potential = self.mem + x
        spikes = self.act(potential - self.thresh)
        self.mem = potential * (1 - spikes)
        return spikes


@pytest.mark.parametrize("density", [0.03, 0.5])
def test_a_start_that_is_not_zero_is_not_taken_for_a_remainder(density):
    torch.manual_seed(0)
    thing = nn.Sequential(
        nn.Linear(20, 16, bias=False), Charged(1.0, 16), nn.Linear(16, 5, bias=False), Charged(0.3, 5)
    )
    example = spikes(4, 6, 20, density=density)
    assert "holds a state of an earlier run in 1.mem, 3.mem" in refusal(thing, example, layout="steps")
    victim = wrap(thing, example, layout="steps", reset=lambda net: None)
    started = copy.deepcopy(thing)
    assert torch.equal(victim.scores(X), torch.stack([started(frame) for frame in X.unbind(1)]).mean(0))


class Recording(PaperNeuron):
    """Writes its spikes down, and looks at what it wrote before only where it is above 100."""

    looks = False

    def forward(self, x):
        spikes = super().forward(x)
        if self.looks and hasattr(self, "spikes") and (self.spikes > 100).any():
            spikes = spikes * 0
        self.spikes = spikes
        return spikes


@pytest.mark.parametrize("looks", [True, False])
def test_a_start_from_zero_is_said_where_the_start_is_looked_at(looks, caplog):
    thing = model(neuron=Recording(0.2))
    thing[1].looks = looks
    clean = wrap(thing, X).scores(X)
    thing(X.transpose(0, 1))
    victim = wrap(thing, X)
    assert torch.equal(victim.scores(X), clean)
    assert ("the victim starts from zero in 1.spikes, where the model holds other values" in caplog.text) == looks
    assert [notice.code for notice in victim.notices] == ["state-zeroed"] * looks


class Lazy(StatefulNeuron):
    """Has no membrane of its own before its first run."""

    mem = None

    def __init__(self, thresh):
        super().__init__(thresh)
        del self.mem


def test_a_copy_of_a_victim_is_one():
    victim = wrap(model(neuron=Lazy(0.3), last=Lazy(0.2)), X, layout="steps")
    other = copy.deepcopy(victim)
    assert other.model is not victim.model
    for each in (other, victim, other):
        assert torch.equal(each.scores(X), victim.scores(X))


def test_state_of_an_earlier_run_that_nobody_resets():
    class Stubborn(StatefulNeuron):
        reset = None

    thing = nn.Sequential(nn.Linear(20, 16), Stubborn(0.3), nn.Linear(16, 5), Stubborn(0.2))
    clean = wrap(thing, X, layout="steps").scores(X)
    thing(X[:3, 0])
    assert "a state of an earlier run in 1.mem" in refusal(thing, layout="steps")

    def reset(net):
        net[1].mem = net[3].mem = None

    used = thing[1].mem
    assert torch.equal(wrap(thing, X, layout="steps", reset=reset).scores(X), clean)
    assert thing[1].mem is used


class Late(StatefulNeuron):
    """Has no membrane before its first reset."""

    def __init__(self, thresh):
        super().__init__(thresh)
        del self.mem


@pytest.mark.parametrize("reset", [None, lambda net: [net[i].reset() for i in (1, 3)]])
def test_a_state_that_a_reset_creates(reset):
    thing, known = model(neuron=Late(0.3)), model(neuron=StatefulNeuron(0.3))
    thing[3], known[3] = Late(0.2), StatefulNeuron(0.2)
    victim = wrap(thing, X, layout="steps", reset=reset)
    wanted = wrap(known, X, layout="steps").scores(X)
    assert torch.equal(victim.scores(X), wanted)
    assert torch.equal(victim.scores(X), wanted)
    assert not hasattr(thing[1], "mem")


def test_a_reset_that_raises_is_blamed_itself():
    def reset(net):
        net[1].mem = torch.ones(3)
        raise ValueError("no such layer\nhere")

    thing = model(neuron=Late(0.3))
    message = refusal(thing, layout="steps", reset=reset)
    assert message == "reset= raised an error (ValueError: no such layer): give a function of the model"
    assert not hasattr(thing[1], "mem")
    found = doctor(thing, X, layout="steps", reset=reset)
    assert not found.attackable
    assert message in str(found)


def test_a_state_left_by_a_training_step_is_reset_in_place():
    """As sinabs has it: the reset writes into buffers that still hang on the graph of the last step."""

    class InPlace(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("v", torch.zeros(0))

        def forward(self, x):
            before = self.v if self.v.shape == x.shape else torch.zeros_like(x)
            self.v = 0.5 * before + x
            spikes = (self.v >= 0.3).float()
            return spikes.detach() + self.v - self.v.detach()

    thing = nn.Sequential(nn.Linear(20, 16), InPlace(), nn.Linear(16, 5))
    clean = wrap(thing, X[:3], layout="steps", neurons={}).scores(X[:3])
    thing(X[:3, 0]).sum().backward(retain_graph=True)
    left = thing[1].v
    assert left.grad_fn is not None
    victim = wrap(thing, X[:3], layout="steps", neurons={}, reset=lambda net: net[1].v.zero_())
    assert torch.equal(victim.scores(X[:3]), clean)
    assert thing[1].v is left

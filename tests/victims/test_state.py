"""Models that remember an earlier call: found out, reset, and left as they were."""

import pytest
import torch
from faulty_models import X, model, refusal
from plain_styles import StatefulNeuron
from torch import nn

from spikeflip.victims import doctor, wrap


def test_memory_beyond_attributes():
    memory = []

    class Hidden(nn.Module):
        def forward(self, x):
            memory.append(x.detach())
            return x + 0.5 * len(memory)

    message = refusal(model(Hidden()))
    assert "remembers something of the call before" in message
    assert "layer '0' (Hidden)" in message
    assert "reset=" in message


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

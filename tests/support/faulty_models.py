"""A healthy model to put a fault into, and what ``wrap`` and the doctor say of it."""

import pytest
import torch
from equations import spikes
from plain_styles import PaperNeuron
from torch import nn

from spikeflip import SpikeflipError
from spikeflip.victims import doctor, wrap

X = spikes(4, 6, 20)


def model(*extra, neuron=None, last=None):
    """Time first; in a sequence, so that a fault can be put in front."""
    torch.manual_seed(0)
    hidden, last = neuron or PaperNeuron(0.2), last or PaperNeuron(0.1)
    return nn.Sequential(*extra, nn.Linear(20, 16), hidden, nn.Linear(16, 5), last)


class Function(nn.Module):
    """A layer that applies a function."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


def faults(diagnosis):
    """What is not passed, by check."""
    return {v.check: diagnosis.state(v) for v in diagnosis.verdicts if not v}


def only(thing, check, state="failed", example=X, **options):
    """The text of the one verdict that is not passed."""
    diagnosis = doctor(thing, example, **options)
    assert faults(diagnosis) == {check: state}
    assert diagnosis.attackable == (state == "remark")
    verdict = next(v for v in diagnosis.verdicts if not v)
    assert verdict.finding
    assert verdict.fix
    assert "\n" not in str(verdict)
    return str(verdict)


def refusal(thing, example=X, **options):
    """What ``wrap`` says of it."""
    with pytest.raises(SpikeflipError) as caught:
        wrap(thing, example, **options)
    message = str(caught.value)
    assert "\n" not in message
    assert len(message) < 420
    return message


def surrogate(slope):
    """A spike function with that slope, a function of the potential minus the threshold."""

    class Own(torch.autograd.Function):
        @staticmethod
        def forward(ctx, u):
            ctx.save_for_backward(u)
            return (u >= 0).to(u)

        @staticmethod
        def backward(ctx, g):
            return g * slope(ctx.saved_tensors[0])

    return Own.apply


def with_surrogate(slope, thresh=0.2, tau=0.5):
    neuron, fire = PaperNeuron(thresh, tau), surrogate(slope)
    neuron.act = lambda u, *_: fire(u)
    return neuron


def window(width):
    return lambda u: (u.abs() <= width / 2).to(u) / width

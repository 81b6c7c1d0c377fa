"""Our own neurons by hand, in plain PyTorch, and models of them with the weights of an own network."""

import torch
from equations import spikes
from torch import nn

from spikeflip import LIF, Rectangular, SpikingNetwork, wrap

THRESHOLD, DECAY, T = 1233 / 4096, 0.5, 6
SURROGATE = Rectangular(1.0)


class Fire(torch.autograd.Function):
    @staticmethod
    def forward(ctx, u):
        ctx.save_for_backward(u)
        return (u >= 0).to(u)

    @staticmethod
    def backward(ctx, gradient):
        return gradient * (ctx.saved_tensors[0].abs() <= 0.5)


class Neuron(nn.Module):
    """The paper's, one step a call; its membrane is what it remembers."""

    def __init__(self, thresh=THRESHOLD):
        super().__init__()
        self.thresh, self.mem, self.act = thresh, None, Fire.apply

    def forward(self, current):
        self.mem = current if self.mem is None else DECAY * self.mem + current
        fired = self.act(self.mem - self.thresh)
        self.mem = self.mem * (1 - fired)
        return fired


class Sequence(Neuron):
    """The same over (T, N, ...)."""

    def forward(self, current):
        mem, out = torch.zeros_like(current[0]), []
        for x in current.unbind(0):
            mem = DECAY * mem + x
            out.append(self.act(mem - self.thresh))
            mem = mem * (1 - out[-1])
        return torch.stack(out)


class WithState(nn.Module):
    """The membranes go in and out."""

    def __init__(self, *layers):
        super().__init__()
        self.layers = nn.ModuleList(layers)

    def forward(self, x, state):
        state = state or [None] * len(self.layers)
        for i, layer in enumerate(self.layers):
            if isinstance(layer, Neuron):
                layer.mem = state[i]
                x = layer(x)
                state[i], layer.mem = layer.mem, None
            else:
                x = layer(x)
        return x, state


class Frames(nn.Module):
    """A layer of no time, on each of (T, N, ...)."""

    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def forward(self, x):
        return self.layer(x.flatten(0, 1)).unflatten(0, x.shape[:2])


def network(architecture="16FC-12FC-5FC", shape=(20,), reset="hard"):
    own = SpikingNetwork(
        architecture, shape, time_steps=T, neuron=LIF(THRESHOLD, DECAY, reset, SURROGATE), seed=2
    ).double()
    with torch.no_grad():
        for weight in own.weights:
            weight.copy_((weight * 2.5 * 64).round() / 64)
    return own


def linear(weight):
    layer = nn.Linear(*weight.shape[::-1], bias=False, dtype=weight.dtype)
    layer.weight.data.copy_(weight.detach())
    return layer


def layers_of(own, neuron):
    return [layer for weight in own.weights for layer in (linear(weight), neuron())]


def plain(own, layout):
    made = {"steps": Neuron, "steps+state": Neuron, "TB": Sequence}[layout]
    layers = layers_of(own, made)
    model = WithState(*layers) if layout == "steps+state" else nn.Sequential(*layers)
    return wrap(model, spikes(4, T, 20).double(), layout=layout, surrogate=SURROGATE)


class Whole(nn.Module):
    """A threshold on whatever it is given."""

    def __init__(self):
        super().__init__()
        self.thresh, self.act = THRESHOLD, Fire.apply

    def forward(self, x):
        return self.act(x - self.thresh)

"""Hand-written spiking models in plain PyTorch, each with a plain loop of the same equations."""

import torch
from equations import CLASSES, Cell, Loop, T, hard, ramp, soft
from torch import nn


class Ramp(torch.autograd.Function):
    @staticmethod
    def forward(ctx, u, gamma):
        ctx.save_for_backward(u)
        ctx.gamma = gamma
        return (u >= 0).to(u)

    @staticmethod
    def backward(ctx, g):
        (u,) = ctx.saved_tensors
        return g * (ctx.gamma - u.abs()).clamp(min=0) / ctx.gamma**2, None


class PaperNeuron(nn.Module):
    """As in published repositories: a loop over time in forward, ``thresh``, ``tau``, ``act``; no state is kept."""

    def __init__(self, thresh: float = 0.3, tau: float = 0.5):
        super().__init__()
        self.thresh, self.tau, self.gama, self.act = thresh, tau, 1.0, Ramp.apply

    def forward(self, x):
        mem, out = 0, []
        for t in range(x.shape[0]):
            mem = mem * self.tau + x[t]
            spike = self.act(mem - self.thresh, self.gama)
            mem = (1 - spike) * mem
            out.append(spike)
        return torch.stack(out)


class PaperModel(nn.Module):
    """An image in, repeated inside the model, scores out; takes an axis in place, as one such repository does."""

    def __init__(self):
        super().__init__()
        self.conv, self.neuron = nn.Conv2d(1, 4, 3, bias=False), PaperNeuron()
        self.head = nn.Linear(144, CLASSES)

    def forward(self, images):
        x = images.unsqueeze_(0).repeat(T, 1, 1, 1, 1)
        x = self.neuron(self.conv(x.flatten(0, 1)).unflatten(0, (T, -1)))
        return self.head(x.flatten(2)).mean(0)


def paper_loop(model):
    loop = Loop([model.conv, Cell(0.3, ramp, hard(0.5)), lambda x: model.head(x.flatten(1))])

    class Repeated:
        def scores(self, images, **options):
            return loop.scores(images.repeat_interleave(T, 1), **options)

    return Repeated()


class StatefulNeuron(nn.Module):
    """Keeps its membrane in a plain attribute, changes it in place, and counts its steps."""

    def __init__(self, thresh: float):
        super().__init__()
        self.thresh, self.mem, self.steps, self.history = thresh, None, 0, []

    def reset(self):
        self.mem, self.steps, self.history = None, 0, []

    def act(self, u):
        return Ramp.apply(u, 1.0)

    def forward(self, x):
        self.mem = torch.zeros_like(x) if self.mem is None else self.mem
        self.mem = self.mem * 0.5 + x
        spike = self.act(self.mem - self.thresh)
        self.mem = self.mem - spike * self.thresh
        self.steps += 1
        self.history.append(self.steps)
        return spike


def stateful(dtype: torch.dtype = torch.float32):
    def build():
        return nn.Sequential(nn.Linear(20, 16), StatefulNeuron(0.3), nn.Linear(16, CLASSES), StatefulNeuron(0.2)).to(
            dtype
        )

    return build


def stateful_loop(model):
    return Loop(
        [model[0], Cell(0.3, ramp, soft(0.5, 0.3)), model[2], Cell(0.2, ramp, soft(0.5, 0.2))],
    )


class TimeLast(nn.Module):
    """As lava-dl has its axes; returns a dictionary."""

    def __init__(self):
        super().__init__()
        self.fc1, self.one, self.fc2, self.two = nn.Linear(20, 16), PaperNeuron(), nn.Linear(16, CLASSES), PaperNeuron()

    def forward(self, x):
        x = self.one(self.fc1(x.movedim(-1, 0)))
        return {"membrane": x, "spikes": self.two(self.fc2(x)).movedim(0, -1)}


def time_last_loop(model):
    cell = Cell(0.3, ramp, hard(0.5))
    return Loop([model.fc1, cell, model.fc2, cell])

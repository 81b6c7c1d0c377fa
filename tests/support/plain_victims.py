"""Victims on spikes whose scores are a plain function of them, and the fewest flips that fool them."""

from itertools import pairwise
from math import prod

import torch

from spikeflip.snn.gradients import GradientRequest, InputGradient


class Plain:
    """Scores of spikes ``(N, T, F)`` by a function of ``(N, T * F)``; counts the inputs that it is asked about.

    Args:
        weights: of one layer ``(K, T * F)``, or of several with a ReLU between; multiples of a power of two make every
            sum exact.
        shape: (T, F).
        bias: ``(K,)``, of the last.
        decisions: whether scores are 1 of the winner and 0 of all others.
        gradients: whether it gives any.
    """

    coding, device, penultimate_threshold = "rate", torch.device("cpu"), None

    def __init__(self, *weights, shape, bias=0.0, decisions=False, gradients=True):
        self.weights, self.time_steps, self.input_shape = weights, shape[0], tuple(shape[1:])
        self.bias, self.decisions, self.gradients = bias, decisions, gradients
        self.asked = self.sent_back = 0

    @property
    def classes(self):
        return len(self.weights[-1])

    def forward(self, flat):
        for weight in self.weights[:-1]:
            flat = (flat @ weight.T.double()).relu()
        return flat @ self.weights[-1].T.double() + self.bias

    def scores(self, spikes):
        self.asked += len(spikes)
        assert spikes.shape[1:] == (self.time_steps, *self.input_shape)
        assert not ((spikes != 0) & (spikes != 1)).any()
        found = self.forward(spikes.flatten(1).double())
        if not self.decisions:
            return found
        alone = (found == found.amax(1, keepdim=True)).double()
        return torch.where(alone.sum(1, keepdim=True) == 1, alone, 0)

    def probe(self, spikes, request=None):
        return _Pass(self, spikes, self.scores(spikes))


class _Pass:
    def __init__(self, victim, spikes, scores):
        self.victim, self.spikes, self.scores = victim, spikes, scores

    def input_gradient(self, score_gradient, request=None):
        if not self.victim.gradients:
            raise AssertionError("a gradient is asked for")
        rows = (request or GradientRequest()).rows_of(len(self.spikes), self.scores.device)
        self.victim.sent_back += len(rows)
        flat = self.spikes[rows].flatten(1).double().requires_grad_()
        with torch.enable_grad():
            self.victim.forward(flat).backward(score_gradient(self.scores[rows], rows))
        values = flat.grad.view(-1, *self.spikes.shape[1:])
        none = torch.zeros(len(rows), dtype=torch.bool)
        return InputGradient(values.float(), none, none, torch.zeros(len(rows), dtype=torch.int64))


def made(classes=2, shape=(5, 8), n=8, *, seed=0, ahead=0.0, hidden=(), **options):
    """A victim with random weights, inputs and what it says of them; class 0 is ahead by ``ahead``."""
    generator = torch.Generator().manual_seed(seed)
    widths = [prod(shape), *hidden, classes]
    weights = [torch.randn(b, a, generator=generator) for a, b in pairwise(widths)]
    bias = torch.tensor([ahead] + [0.0] * (classes - 1))
    victim = Plain(*((256 * weight).round() / 256 for weight in weights), shape=shape, bias=bias, **options)
    spikes = (torch.rand(n, *shape, generator=generator) < 0.3).float()
    labels = victim.forward(spikes.flatten(1).double()).argmax(1)
    return victim, spikes, labels


def fewest(victim, spikes, labels, towards=None):
    """The fewest flips after which a linear victim has another class, or that of ``towards``, ahead: ``(n,)``.

    A flip adds its own gain to the difference of two scores, so the largest gains are taken until it changes sign.
    """
    scores, best = victim.scores(spikes), torch.full((len(spikes),), 10**6)
    for goal in range(victim.classes):
        behind = scores.gather(1, labels[:, None]).squeeze(1) - scores[:, goal]
        weights = victim.weights[0].double()
        gain = (weights[goal] - weights[labels]) * (1 - 2 * spikes.flatten(1))
        sums = gain.clamp(min=0).sort(1, descending=True).values.cumsum(1)
        needed = 1 + (sums <= behind[:, None]).sum(1)
        possible = (labels != goal) & (needed <= gain.shape[1])
        if towards is not None:
            possible &= towards == goal
        best = torch.where(possible, best.minimum(needed), best)
    return best


def nearest(victim, spikes, labels, targets=None):
    """The fewest flips by looking at every input of a victim of few cells: ``(n,)``."""
    cells = spikes[0].numel()
    every = (torch.arange(2**cells)[:, None] >> torch.arange(cells)) & 1
    said = victim.scores(every.float().view(-1, *spikes.shape[1:]))
    best = said.amax(1, keepdim=True)
    said = torch.where((said == best).sum(1) == 1, said.argmax(1), -1)
    distance = torch.cdist(spikes.flatten(1), every.float(), p=1).round().long()
    goal = (said[None] >= 0) & (said[None] != labels[:, None]) if targets is None else said[None] == targets[:, None]
    return torch.where(goal, distance, 10**6).amin(1)


def count(spikes, result):
    """How many cells an attack flipped in each input."""
    return (result.adversarials != spikes).flatten(1).sum(1)

"""Victims for the masking verdict: honestly trained ones, and planted fakes made of these."""

import copy
from dataclasses import dataclass, replace
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from spikeflip import LIF, Rectangular, SpikingNetwork, load_images, simulate_saccades, wrap
from spikeflip.attacks.flip_training import FlipTraining
from spikeflip.snn.perturbing import Perturb
from spikeflip.snn.training import Training, train
from spikeflip.victims import Defence
from spikeflip.victims.wrapped import WrappedModel

STEPS = 8


@cache
def digits(split: str) -> tuple[Tensor, Tensor]:
    """Images ``(N, 1, 8, 8)`` and labels."""
    data = load_images("digits", split)
    return data.images, data.labels


@cache
def events(split: str, size: int = 10) -> tuple[Tensor, Tensor]:
    """Simulated recordings ``(N, 8, 2, size, size)`` and labels."""
    images, labels = digits(split)
    most = 400 if split == "train" else 100
    return simulate_saccades(images[:most], steps=STEPS, size=size), labels[:most]


@cache
def rate(loss: str = "mse") -> SpikingNetwork:
    """Of rate-coded images."""
    return trained("64FC-10FC", digits("train"), loss=loss)


@cache
def recorded(loss: str = "mse", architecture: str = "48FC-10FC", width: float = 0.5) -> SpikingNetwork:
    """Of recordings."""
    neuron = LIF(0.3, 0.25, surrogate=Rectangular(width))
    return trained(architecture, events("train"), loss=loss, neuron=neuron, updates=80)


@cache
def hardened() -> SpikingNetwork:
    """Of recordings, trained on adversarial ones."""
    return trained("48FC-10FC", events("train"), loss="ce", updates=80, perturb=FlipTraining(0.1, warm_up=0.3))


def trained(
    architecture: str,
    data: tuple[Tensor, Tensor],
    *,
    loss: str = "mse",
    coding: str = "rate",
    neuron: LIF | None = None,
    updates: int = 60,
    perturb: Perturb | None = None,
) -> SpikingNetwork:
    """A network of ours, trained in a few seconds."""
    inputs, labels = data
    shape = inputs.shape[2:] if inputs.ndim == 5 else inputs.shape[1:]
    network = SpikingNetwork(
        architecture, tuple(shape), time_steps=STEPS, neuron=neuron or LIF(0.3, 0.25), coding=coding
    )
    settings = Training(
        updates=updates, learning_rate=5e-3, dropout=0, widest_dropout=0, validate_every=updates, loss=loss
    )
    train(network, (inputs, labels), (inputs[:50], labels[:50]), settings, perturb=perturb)
    return network


def with_surrogate(network: SpikingNetwork, surrogate: object) -> SpikingNetwork:
    """The same weights behind another surrogate."""
    other = SpikingNetwork(
        network.architecture, network.input_shape, time_steps=network.time_steps, coding=network.coding,
        neuron=replace(network.neuron, surrogate=surrogate),
    )  # fmt: skip
    other.load_state_dict(network.state_dict())
    return other


@dataclass(frozen=True)
class NoDerivative:
    """A step as it is: its derivative is zero."""

    width: float = 1.0

    def with_width(self, width: float) -> "NoDerivative":
        return self

    def derivative(self, distance: Tensor, out: Tensor | None = None) -> Tensor:
        return torch.zeros_like(distance) if out is None else out.zero_()


def needle(network: SpikingNetwork) -> SpikingNetwork:
    """A surrogate so narrow that hardly any potential is inside it."""
    return with_surrogate(network, Rectangular(1e-5))


def heaviside(network: SpikingNetwork) -> SpikingNetwork:
    """No surrogate at all."""
    return with_surrogate(network, NoDerivative())


def saturated(network: SpikingNetwork, by: float = 1000.0) -> SpikingNetwork:
    """Output weights so large that no potential of the output layer is near its threshold."""
    other = copy.deepcopy(network)
    with torch.no_grad():
        list(other.parameters())[-1].mul_(by)
    return other


class GraphCut(Defence):
    """Passes its input on, cut off from the graph."""

    def transform(self, spikes):
        return spikes.detach().clone()


class Quantised(Defence):
    """Images of few grey levels; rounding has a gradient of zero."""

    def transform(self, spikes):
        return (spikes * 3).round() / 3


class FrozenEncoder(Defence):
    """Rate coding with the same numbers for all inputs and calls, and no way back through the comparison."""

    def transform(self, spikes):
        numbers = torch.rand(spikes.shape[1:], generator=torch.Generator().manual_seed(0))
        return (numbers < spikes).float()


class StateLeak(Defence):
    """Something of each call stays for the next."""

    def __init__(self, victim):
        super().__init__(victim)
        self.kept = None

    def transform(self, spikes):
        return spikes

    def _leaky(self, scores):
        before = torch.zeros(scores.shape[1]) if self.kept is None else self.kept
        self.kept = 0.5 * before + 0.5 * scores.mean(0)
        return scores + 0.1 * self.kept

    def scores(self, spikes):
        return self._leaky(super().scores(spikes))

    def probe(self, spikes, request=None):
        found = super().probe(spikes, request)
        found.scores = self._leaky(found.scores)
        return found


class Median(Defence):
    """A cell fires with most of it and its neighbours in time; goes back straight, as its author knows that it must."""

    def transform(self, spikes):
        around = torch.stack([spikes.roll(1, 1), spikes, spikes.roll(-1, 1)])
        return around.median(0).values.maximum(spikes * (spikes.roll(1, 1) == 0))

    def backward(self, spikes, gradient):
        return gradient


class Binned(Defence):
    """Two steps become one, where either fires: a comparison, which has no gradient."""

    def transform(self, spikes):
        pairs = spikes.unflatten(1, (-1, 2)).sum(2)
        return (pairs > 0).float().repeat_interleave(2, 1)


class Constant(Defence):
    """Says the same of everything."""

    def transform(self, spikes):
        return torch.zeros_like(spikes)


class TieMaker(Defence):
    """Says that all classes are alike wherever it is not very sure."""

    sure = 0.5

    def transform(self, spikes):
        return spikes

    def _tied(self, scores):
        best = scores.topk(2, dim=1).values
        unsure = best[:, 0] - best[:, 1] < self.sure
        return torch.where(unsure.unsqueeze(1), scores.mean(1, keepdim=True).expand_as(scores), scores)

    def scores(self, spikes):
        return self._tied(super().scores(spikes))

    def probe(self, spikes, request=None):
        found = super().probe(spikes, request)
        found.scores = self._tied(found.scores)
        return found


class Noisy(Defence):
    """Drops spikes at random, with PyTorch's own numbers: a random victim, but an honest one."""

    def transform(self, spikes):
        return spikes * (torch.rand_like(spikes) < 0.8)


class OtherView(Defence):
    """What gives the gradient is another network than what answers."""

    def __init__(self, victim, view):
        super().__init__(victim)
        self.view = view

    def transform(self, spikes):
        return spikes

    def probe(self, spikes, request=None):
        return self.view.probe(spikes, request)


class Window(torch.autograd.Function):
    """A step with a triangle of half base 1 as its derivative."""

    @staticmethod
    def forward(ctx, u):
        ctx.save_for_backward(u)
        return (u >= 0).to(u)

    @staticmethod
    def backward(ctx, gradient):
        (u,) = ctx.saved_tensors
        return gradient * (1 - u.abs()).clamp(min=0)


class Neuron(nn.Module):
    """A leaky neuron in plain PyTorch, run over all steps ``(T, N, ...)``."""

    def __init__(self, threshold: float = 0.3):
        super().__init__()
        self.thresh, self.tau, self.act = threshold, 0.5, Window.apply

    def forward(self, x):
        potential, out = 0, []
        for current in x:
            potential = self.tau * potential + current
            spike = self.act(potential - self.thresh)
            potential = (1 - spike) * potential
            out.append(spike)
        return torch.stack(out)


class Direct(nn.Module):
    """Images as they are, at every step; the potentials of a linear layer are the logits."""

    def __init__(self):
        super().__init__()
        self.first, self.neuron, self.head = nn.Linear(64, 64), Neuron(), nn.Linear(64, 10)

    def forward(self, images):
        current = self.first(images.flatten(1)).expand(STEPS, len(images), 64)
        return self.head(self.neuron(current).mean(0))


@cache
def direct(*, loss: str = "ce", updates: int = 80, seed: int = 0) -> WrappedModel:
    """The network of direct coding, trained and wrapped."""
    images, labels = digits("train")
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = Direct()
        optimizer = torch.optim.Adam(model.parameters(), 5e-3)
        for _ in range(updates):
            batch = torch.randint(len(labels), (128,))
            scores = model(images[batch])
            wanted = F.one_hot(labels[batch], 10).float()
            found = F.cross_entropy(scores, labels[batch]) if loss == "ce" else F.mse_loss(scores, wanted)
            optimizer.zero_grad()
            found.backward()
            optimizer.step()
    return wrap(model.requires_grad_(False), images[:4], layout="static")

"""Neurons and loops as equations, which model styles are compared with.

A plain loop takes the weights of a model and nothing else of its framework: the equations of the neurons are written
out here, with the derivative of each framework's surrogate, so that scores and gradients can be compared with it. It
also knows the firing decision at another threshold and another surrogate.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from torch import Tensor, nn

T, CLASSES = 6, 5


def spikes(*shape: int, seed: int = 0, density: float = 0.5) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return (torch.rand(shape, generator=generator) < density).float()


# Slopes of the frameworks' surrogates at the distance to the threshold.


def sigmoid4(u):  # SpikingJelly
    s = torch.sigmoid(4 * u)
    return 4 * s * (1 - s)


def atan2(u):  # snnTorch
    return 1 / (1 + (math.pi * u).square())


def superspike(u):  # Norse
    return 1 / (1 + u.abs()).square()


def exponential(threshold):  # sinabs
    return lambda u: torch.exp(-u.abs() / (0.5 * threshold)) / (0.5 * threshold)


def ramp(u):  # the hand-written models below
    return (1 - u.abs()).clamp(min=0)


@dataclass(frozen=True)
class Cell:
    """A spiking layer of a plain loop: ``step(current, state, fire)`` to spikes and the next state, None at first."""

    threshold: Any
    slope: Callable[[Tensor], Tensor]
    step: Callable[..., tuple[Tensor, Any]]
    inclusive: bool = True
    counts: bool = False


def fire(cell: Cell, delta: Any, slope: Callable[[Tensor], Tensor] | None) -> Callable[[Tensor], Tensor]:
    def function(v: Tensor) -> Tensor:
        u = v - cell.threshold
        moved = u - delta
        if cell.counts:
            shifted = v - delta
            out = torch.where(shifted > 0, (shifted / cell.threshold).trunc(), torch.zeros(()))
        else:
            out = (moved >= 0 if cell.inclusive else moved > 0).to(v)
        return out.detach() + (u - u.detach()) * (slope or cell.slope)(u.detach())

    return function


@dataclass(frozen=True)
class Loop:
    """Layers in order, one step after the other; ``readout`` makes scores of the last layer's outputs of all steps."""

    layers: Sequence[Cell | Callable[[Tensor], Tensor]]
    readout: Callable[[Tensor], Tensor] = lambda out: out.mean(0)

    def scores(self, x: Tensor, *, delta: float = 0.0, slope=None, last_slope=None) -> tuple[Tensor, Tensor]:
        """Scores, and the spikes of the penultimate cell ``(N,)``, which fires ``delta`` higher."""
        cells = [i for i, layer in enumerate(self.layers) if isinstance(layer, Cell)]
        weights = [i for i, layer in enumerate(self.layers) if not isinstance(layer, Cell)]
        before = max((i for i in cells if i < weights[-1]), default=None)
        states: dict[int, Any] = dict.fromkeys(cells)
        outputs, count = [], torch.zeros(len(x))
        for frame in x.unbind(1):
            value = frame
            for i, layer in enumerate(self.layers):
                if isinstance(layer, Cell):
                    own = last_slope if last_slope is not None and i == cells[-1] else slope
                    step = fire(layer, delta if i == before else 0.0, own)
                    value, states[i] = layer.step(value, states[i], step)
                    if i == before:
                        count = count + value.detach().float().flatten(1).sum(1)
                else:
                    value = layer(value)
            outputs.append(value)
        return self.readout(torch.stack(outputs).float()), count


@dataclass(frozen=True)
class Style:
    """One way to write a model, how it is wrapped, and its plain loop."""

    name: str
    needs: tuple[str, ...]
    build: Callable[[], nn.Module]
    loop: Callable[[nn.Module], Loop]
    shape: tuple[int, ...] = (20,)
    options: dict[str, Any] = field(default_factory=dict)
    static: bool = False
    tolerance: float = 1e-5

    def model(self, seed: int = 0) -> nn.Module:
        for package in self.needs:
            pytest.importorskip(package)
        torch.manual_seed(seed)
        model = self.build()
        with torch.no_grad():  # so that all layers fire
            for parameter in model.parameters():
                parameter *= 2 if parameter.ndim > 1 else 1
        return model

    def inputs(self, n: int = 4, seed: int = 0) -> Tensor:
        """``(N, T, *shape)``; images ``(N, 1, *shape)`` for static models."""
        if self.static:
            return torch.rand((n, 1, *self.shape), generator=torch.Generator().manual_seed(seed))
        return spikes(n, T, *self.shape, seed=seed)

    def example(self, n: int = 4) -> Tensor:
        return self.inputs(n).squeeze(1) if self.static else self.inputs(n)


def sizes(model: nn.Module, *names: str) -> list[nn.Module]:
    return [model.get_submodule(name) for name in names]


# Neurons, as equations.


def hard(decay: float, gain: float = 1.0) -> Callable[..., tuple[Tensor, Tensor]]:
    """``v = decay v + gain x``, reset to zero by a factor with a gradient: SpikingJelly and Norse."""

    def step(x, v, spike):
        v = gain * x if v is None else decay * v + gain * x
        s = spike(v)
        return s, (1 - s) * v

    return step


def soft(decay: float, threshold: Any, gain: float = 1.0) -> Callable[..., tuple[Tensor, Tensor]]:
    def step(x, v, spike):
        v = gain * x if v is None else decay * v + gain * x
        s = spike(v)
        return s, v - s * threshold

    return step


def late(decay: float, threshold: Any) -> Callable[..., tuple[Tensor, Tensor]]:
    """SnnTorch: the reset is subtracted a step later, without a gradient."""

    def step(x, v, spike):
        if v is None:
            v = torch.zeros_like(x)
        v = decay * v + x - spike(v).detach() * threshold
        return spike(v), v

    return step

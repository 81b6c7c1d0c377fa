"""Derivatives that stand in for the one the firing function does not have.

Each is a bump of area 1 around the threshold, and ``width`` is its full width at half maximum, in units of the membrane
potential, so that those of one width can be compared. Only the backward pass knows them.
"""

import math
from dataclasses import dataclass
from numbers import Real
from typing import Protocol, Self

import torch
from torch import Tensor

from spikeflip.errors import SpikeflipError


class Surrogate(Protocol):
    """A stand-in for do/du; equal ones of the same width must compare equal."""

    @property
    def width(self) -> float:
        """Full width at half maximum, in units of the membrane potential."""
        ...

    def with_width(self, width: float) -> Self:
        """The same kind with another width."""
        ...

    def derivative(self, distance: Tensor, out: Tensor | None = None) -> Tensor:
        """The stand-in at ``distance = u - threshold``, of any shape; written to ``out``, another tensor, if given."""
        ...


@dataclass(frozen=True)
class _OfWidth:
    width: float = 1.0

    def __post_init__(self) -> None:
        if not isinstance(self.width, Real) or not 0 < self.width < float("inf"):
            raise SpikeflipError(f"surrogate width is {self.width!r}: give a positive number, such as 0.5")

    def with_width(self, width: float) -> Self:
        """The same kind with another width."""
        return type(self)(width)


@dataclass(frozen=True)
class Rectangular(_OfWidth):
    """The rectangular window of Eq. 9: ``1 / width`` where ``|u - threshold| <= width / 2``, else 0.

    Args:
        width: full width of the window, in units of the membrane potential; the paper's ``a``. Its area is 1.

    Source: Liang et al., Exploring Adversarial Attack in Spiking Neural Networks with Spike-Compatible Gradient (2021).

    >>> Rectangular(0.5).derivative(torch.tensor([-0.3, 0.25, 0.0]))
    tensor([0., 2., 2.])
    """

    def derivative(self, distance: Tensor, out: Tensor | None = None) -> Tensor:
        """The stand-in for do/du at ``distance = u - threshold``, of any shape; written to ``out`` if given."""
        inside = torch.le(distance.abs(), self.width / 2, out=torch.empty_like(distance) if out is None else out)
        return inside.mul_(1 / self.width)


@dataclass(frozen=True)
class Triangular(_OfWidth):
    """A triangle: ``max(0, 1 - |x| / width) / width`` with ``x = u - threshold``.

    Args:
        width: full width at half maximum, which is half the base, in units of the membrane potential. The area is 1.

    Source: Wu et al., Spatio-Temporal Backpropagation for Training High-performance Spiking Neural Networks (2018),
    the second of its four curves, with ``width = 2 / sqrt(a)``.

    >>> Triangular(0.5).derivative(torch.tensor([-0.5, 0.25, 0.0]))
    tensor([0., 1., 2.])
    """

    def derivative(self, distance: Tensor, out: Tensor | None = None) -> Tensor:
        """The stand-in for do/du at ``distance = u - threshold``, of any shape; written to ``out`` if given."""
        size = torch.abs(distance, out=torch.empty_like(distance) if out is None else out)
        return size.mul_(-1 / self.width).add_(1).clamp_(min=0).mul_(1 / self.width)


@dataclass(frozen=True)
class Sigmoid(_OfWidth):
    """The slope of a logistic function: ``k s (1 - s)`` with ``s = 1 / (1 + exp(-k x))`` and ``x = u - threshold``.

    Args:
        width: full width at half maximum, in units of the membrane potential; ``k = 4 ln(1 + sqrt 2) / width`` is the
            ``alpha`` of SpikingJelly's ``Sigmoid``. The area is 1.

    Source: Wu et al., Spatio-Temporal Backpropagation for Training High-performance Spiking Neural Networks (2018),
    the third of its four curves.

    >>> Sigmoid(4 * math.log(1 + math.sqrt(2))).derivative(torch.tensor([0.0]))
    tensor([0.2500])
    """

    def derivative(self, distance: Tensor, out: Tensor | None = None) -> Tensor:
        """The stand-in for do/du at ``distance = u - threshold``, of any shape; written to ``out`` if given."""
        slope = 4 * math.log(1 + math.sqrt(2)) / self.width
        scaled = torch.mul(distance, slope, out=torch.empty_like(distance) if out is None else out)
        rising = scaled.sigmoid_()
        return rising.mul_(1 - rising).mul_(slope)


@dataclass(frozen=True)
class ATan(_OfWidth):
    """The slope of an arctangent: ``h / (pi (x^2 + h^2))`` with ``h = width / 2`` and ``x = u - threshold``.

    Args:
        width: full width at half maximum, in units of the membrane potential; ``4 / (pi width)`` is the ``alpha`` of
            SpikingJelly's ``ATan``. The area is 1, half of it within the width.

    Source: Fang et al., Incorporating Learnable Membrane Time Constant to Enhance Learning of Spiking Neural Networks
    (2021).

    >>> ATan(2.0).derivative(torch.tensor([-1.0, 0.0])) * math.pi
    tensor([0.5000, 1.0000])
    """

    def derivative(self, distance: Tensor, out: Tensor | None = None) -> Tensor:
        """The stand-in for do/du at ``distance = u - threshold``, of any shape; written to ``out`` if given."""
        half = self.width / 2
        square = torch.square(distance, out=torch.empty_like(distance) if out is None else out)
        return square.add_(half * half).reciprocal_().mul_(half / math.pi)


@dataclass(frozen=True)
class Gaussian(_OfWidth):
    """A normal density: ``exp(-x^2 / (2 s^2)) / (s sqrt(2 pi))`` with ``x = u - threshold``.

    Args:
        width: full width at half maximum, in units of the membrane potential; ``s = width / sqrt(8 ln 2)``. The area
            is 1.

    Source: Wu et al., Spatio-Temporal Backpropagation for Training High-performance Spiking Neural Networks (2018),
    the last of its four curves.

    >>> Gaussian(math.sqrt(8 * math.log(2))).derivative(torch.tensor([0.0, 1.0]))
    tensor([0.3989, 0.2420])
    """

    def derivative(self, distance: Tensor, out: Tensor | None = None) -> Tensor:
        """The stand-in for do/du at ``distance = u - threshold``, of any shape; written to ``out`` if given."""
        deviation = self.width / math.sqrt(8 * math.log(2))
        square = torch.square(distance, out=torch.empty_like(distance) if out is None else out)
        return square.mul_(-0.5 / deviation**2).exp_().mul_(1 / (deviation * math.sqrt(2 * math.pi)))


SURROGATES: dict[str, type[Rectangular | Triangular | Sigmoid | ATan | Gaussian]] = {
    "rectangular": Rectangular,
    "triangular": Triangular,
    "sigmoid": Sigmoid,
    "atan": ATan,
    "gaussian": Gaussian,
}
"""By the names that options and checkpoints have for them."""


def surrogate_name(surrogate: Surrogate) -> str:
    """The name of a surrogate in ``SURROGATES``; a SpikeflipError for one of another kind."""
    for name, kind in SURROGATES.items():
        if type(surrogate) is kind:
            return name
    raise SpikeflipError(f"{type(surrogate).__name__} has no name to be saved by: use {', '.join(SURROGATES)}")

"""Derivatives that stand in for the one the firing function does not have."""

from dataclasses import dataclass

import torch
from torch import Tensor

from spikeflip.errors import SpikeflipError


@dataclass(frozen=True)
class Rectangular:
    """The rectangular window of Eq. 9: ``1 / width`` where ``|u - threshold| <= width / 2``, else 0.

    Args:
        width: full width of the window, in units of the membrane potential; the paper's ``a``. Its area is 1.

    Source: Liang et al., Exploring Adversarial Attack in Spiking Neural Networks with Spike-Compatible Gradient (2021).

    >>> Rectangular(0.5).derivative(torch.tensor([-0.3, 0.25, 0.0]))
    tensor([0., 2., 2.])
    """

    width: float = 1.0

    def __post_init__(self) -> None:
        if not 0 < self.width < float("inf"):
            raise SpikeflipError(f"surrogate width is {self.width}: give a positive number, such as 0.5")

    def derivative(self, distance: Tensor, out: Tensor | None = None) -> Tensor:
        """The stand-in for do/du at ``distance = u - threshold``, of any shape; written to ``out`` if given."""
        inside = torch.le(distance.abs(), self.width / 2, out=torch.empty_like(distance) if out is None else out)
        return inside.mul_(1 / self.width)

"""How large a perturbation is: one vocabulary, with units, for budgets, results and tables.

All are taken per sample over its N elements (cells of a spike tensor, pixels and channels of an image), with
``d = adversarial - original``. For spikes every changed cell has ``|d| = 1``.
"""

import math
from collections.abc import Callable

from torch import Tensor

METRICS_VERSION = 1
"""Raised whenever a definition below changes: numbers of different versions are not comparable."""


def mse(difference: Tensor) -> Tensor:
    """The paper's average perturbation per point, ``sum d^2 / N``; for spikes the share of flipped cells."""
    return difference.flatten(1).square().mean(1)


def rms(difference: Tensor) -> Tensor:
    """Root of :func:`mse`, in units of the intensity."""
    return mse(difference).sqrt()


def l0(difference: Tensor) -> Tensor:
    """The number of changed elements, in cells or pixels."""
    return difference.flatten(1).ne(0).sum(1).to(difference.dtype)


def l1(difference: Tensor) -> Tensor:
    """``sum |d|``; for spikes the number of flipped cells."""
    return difference.flatten(1).abs().sum(1)


def l2(difference: Tensor) -> Tensor:
    """``sqrt(sum d^2)``."""
    return difference.flatten(1).square().sum(1).sqrt()


def linf(difference: Tensor) -> Tensor:
    """``max |d|``."""
    return difference.flatten(1).abs().amax(1)


def l2_per_point(difference: Tensor) -> Tensor:
    """``||d||_2 / N``, the paper's formula read literally; its figures are :func:`mse` (see docs/method)."""
    return l2(difference) / math.prod(difference.shape[1:])


METRICS: dict[str, Callable[[Tensor], Tensor]] = {
    "mse": mse,
    "rms": rms,
    "l0": l0,
    "l1": l1,
    "l2": l2,
    "linf": linf,
    "l2_per_point": l2_per_point,
}
"""From differences ``(N, ...)`` float to one number a sample ``(N,)``."""

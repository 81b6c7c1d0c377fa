"""When an attack is done with a sample, and which of its successes is kept."""

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from spikeflip.attacks.metrics import METRICS, Change, metric


@dataclass(frozen=True)
class Judged:
    """What a policy sees: n samples under way, after the pass that judged them."""

    change: Change
    """Of the originals, into what the victim was just asked about."""
    success: Tensor
    """``(n,)`` bool: the goal was reached in this pass."""


@dataclass(frozen=True)
class Verdict:
    """What a policy answers for its n samples."""

    cost: Tensor
    """``(n,)`` float64, of the success: the loop keeps the inputs of smallest cost. Infinite where there is none."""
    done: Tensor
    """``(n,)`` bool: nothing more is wanted of the sample."""


class Stop(Protocol):
    """Decides, after every judging pass, what a success is worth and whether to go on."""

    def __call__(self, judged: Judged) -> Verdict:
        """Judge the samples under way."""
        ...


@dataclass(frozen=True)
class FirstSuccess:
    """Stop at the first success, as the paper does."""

    def __call__(self, judged: Judged) -> Verdict:
        """See :class:`Stop`."""
        return Verdict(torch.where(judged.success, 0.0, torch.inf).double(), judged.success)


@dataclass(frozen=True)
class Smallest:
    """Use all steps, and keep the success that changes the input least.

    Args:
        metric: by which the change is measured; see :mod:`spikeflip.attacks.metrics`.

    Raises:
        SpikeflipError: there is no such metric.
    """

    metric: str = "mse"

    def __post_init__(self) -> None:
        metric(self.metric)

    def __call__(self, judged: Judged) -> Verdict:
        """See :class:`Stop`."""
        change = METRICS[self.metric](judged.change).double().cpu()
        return Verdict(torch.where(judged.success, change, torch.inf), torch.zeros_like(judged.success))

"""Losses on the vector of output spike rates (Sec. V-A of Liang et al., 2021)."""

from collections.abc import Callable
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from spikeflip.errors import SpikeflipError

LossName = Literal["mse", "ce"]
Loss = LossName | Callable[[Tensor, Tensor], Tensor]
"""A name, or a differentiable function from scores ``(N, K)`` and classes ``(N,)`` to one loss a sample ``(N,)``."""


def mse(scores: Tensor, classes: Tensor) -> Tensor:
    """Mean squared error of the rates against one-hot classes; ``(N, K)`` and ``(N,)`` to ``(N,)``."""
    return (scores - F.one_hot(classes, scores.shape[1])).square().mean(1)


def ce(scores: Tensor, classes: Tensor) -> Tensor:
    """Cross-entropy with the rates as logits; ``(N, K)`` and ``(N,)`` to ``(N,)``."""
    return F.cross_entropy(scores, classes, reduction="none")


LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {"mse": mse, "ce": ce}


def resolve(loss: Loss) -> Callable[[Tensor, Tensor], Tensor]:
    """The function of a loss given by name or as itself."""
    if callable(loss):
        return loss
    if loss not in LOSSES:
        raise SpikeflipError(f"loss is {loss!r}: choose from {', '.join(LOSSES)}, or give a function")
    return LOSSES[loss]


def score_gradient(loss: Loss, scores: Tensor, classes: Tensor) -> tuple[Tensor, Tensor]:
    """A loss ``(N,)`` and its gradient ``(N, K)`` with respect to the scores."""
    with torch.enable_grad():
        leaf = scores.detach().requires_grad_()
        values = resolve(loss)(leaf, classes)
        (gradient,) = torch.autograd.grad(values.sum(), leaf)
    return values.detach(), gradient

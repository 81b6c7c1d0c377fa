"""Losses on the vector of output spike rates (Sec. V-A of Liang et al., 2021)."""

from collections.abc import Callable
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from spikeflip.errors import SpikeflipError, choose_from

LossName = Literal["mse", "ce", "margin", "dlr"]
Loss = LossName | Callable[[Tensor, Tensor], Tensor]
"""A name, or a differentiable function from scores ``(N, K)`` and classes ``(N,)`` to one loss a sample ``(N,)``."""


def mse(scores: Tensor, classes: Tensor) -> Tensor:
    """Mean squared error of the rates against one-hot classes; ``(N, K)`` and ``(N,)`` to ``(N,)``."""
    return (scores - F.one_hot(classes, scores.shape[1])).square().mean(1)


def ce(scores: Tensor, classes: Tensor) -> Tensor:
    """Cross-entropy with the rates as logits; ``(N, K)`` and ``(N,)`` to ``(N,)``."""
    return F.cross_entropy(scores, classes, reduction="none")


def margin(scores: Tensor, classes: Tensor) -> Tensor:
    """How far the highest other rate is above that of the class; ``(N, K)`` and ``(N,)`` to ``(N,)``."""
    own = F.one_hot(classes, scores.shape[1]).bool()
    return scores.masked_fill(own, -torch.inf).amax(1) - scores[own]


def dlr(scores: Tensor, classes: Tensor) -> Tensor:
    """:func:`margin` by the distance of the highest rate from the third: the difference of logits ratio.

    Where these are equal, as rates often are, it is the margin itself.

    Source: F. Croce and M. Hein, Reliable Evaluation of Adversarial Robustness with an Ensemble of Diverse
    Parameter-free Attacks, ICML 2020.

    Raises:
        SpikeflipError: there are fewer than three classes.
    """
    check_loss(dlr, scores.shape[1])
    highest = scores.topk(3, dim=1).values
    between = highest[:, 0] - highest[:, 2]
    return margin(scores, classes) / torch.where(between > 0, between, 1)


LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {"mse": mse, "ce": ce, "margin": margin, "dlr": dlr}
TRAINING_LOSSES = ("mse", "ce")


def resolve(loss: Loss) -> Callable[[Tensor, Tensor], Tensor]:
    """The function of a loss given by name or as itself; one of a user's raises a SpikeflipError for another shape."""
    if callable(loss):
        return loss if loss in LOSSES.values() else _each_sample_its_own(loss)
    if loss not in LOSSES:
        raise SpikeflipError(f"loss is {loss!r}: {choose_from(loss, LOSSES)}, or give a function")
    return LOSSES[loss]


def _each_sample_its_own(loss: Callable[[Tensor, Tensor], Tensor]) -> Callable[[Tensor, Tensor], Tensor]:
    """A loss that is one number a sample: in a mean over the batch, a sample's part depends on its batch-mates."""

    def checked(scores: Tensor, classes: Tensor) -> Tensor:
        values = loss(scores, classes)
        if not isinstance(values, Tensor) or values.shape != classes.shape:
            found = f"shape {tuple(values.shape)}" if isinstance(values, Tensor) else f"type {type(values).__name__}"
            raise SpikeflipError(
                f"the loss of a batch of {len(classes)} is of {found}: give a function that returns one number a "
                "sample, (N,), such as torch.nn.CrossEntropyLoss(reduction='none')"
            )
        return values

    return checked


def check_loss(loss: Loss, classes: int) -> None:
    """Raise a SpikeflipError if a loss is none, or compares more classes than the victim has."""
    if resolve(loss) is dlr and classes < 3:
        raise SpikeflipError(f"dlr compares three classes, and the victim has {classes}: choose margin")


def score_gradient(loss: Loss, scores: Tensor, classes: Tensor) -> tuple[Tensor, Tensor]:
    """A loss ``(N,)`` and its gradient ``(N, K)`` with respect to the scores."""
    with torch.enable_grad():
        leaf = scores.detach().requires_grad_()
        values = resolve(loss)(leaf, classes)
        if not values.requires_grad:
            raise SpikeflipError(
                "the loss has no gradient with respect to the scores: compute it with torch, from them"
            )
        (gradient,) = torch.autograd.grad(values.sum(), leaf)
    return values.detach(), gradient

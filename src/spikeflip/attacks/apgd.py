"""APGD and SA-PGD on images: steps that are halved where they no longer help."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import ClassVar, Unpack

import torch
from torch import Tensor

from spikeflip.attacks.budget import Budget
from spikeflip.attacks.dense import EPSILON, DenseAttack, as_ball, column, direction, length, project
from spikeflip.attacks.iterated import Options
from spikeflip.attacks.result import AttackResult
from spikeflip.attacks.step import Step
from spikeflip.snn.losses import Loss, score_gradient
from spikeflip.victims import Victim

_PROGRESS = 0.75
"""Share of the steps between two checkpoints that must raise the loss."""
_INERTIA = 0.75
"""Share of a new step, beside that of the one before."""


def checkpoints(steps: int) -> list[int]:
    """After how many steps the step size is looked at.

    >>> checkpoints(100)
    [22, 41, 57, 70, 80, 87, 93, 99]
    """
    return list(_checkpoints(steps))


@cache
def _checkpoints(steps: int) -> tuple[int, ...]:
    def shares() -> Iterator[float]:
        before, now = 0.0, 0.22
        while now < 1:
            yield now
            before, now = now, now + max(now - before - 0.03, 0.06)

    return tuple(math.ceil(round(share * steps, 6)) for share in shares() if round(share * steps, 6) < steps)


@dataclass(frozen=True, kw_only=True)
class _Adaptive(DenseAttack):
    def stepped(self, step: Step, gradient: Tensor, number: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Where the next step begins, its gradient, and the share ``(n,)`` of the first step size.

        At a checkpoint the size is halved where too few steps have raised the loss, or none has since the last one
        though it was kept; these samples go back to their best image.
        """
        memory, images = step.memory, step.inputs
        loss = step.towards_goal(score_gradient(self.followed, step.judged, step.classes)[0]).to(gradient)
        first = number <= 0

        def kept(name: str, like: Tensor, initial: float = 0.0) -> Tensor:
            return memory.recall(name, like, initial=initial)

        better = first | (loss > kept("best loss", loss))
        raised = kept("raised", loss) + (loss > kept("last loss", loss)) * ~first
        best_loss = torch.where(better, loss, kept("best loss", loss))
        best = torch.where(column(better, images), images, kept("best", images))
        best_gradient = torch.where(column(better, images), gradient, kept("best gradient", gradient))
        size, halved = kept("size", loss, 1.0), kept("halved", loss, 1.0)
        due, since = self._due(number)
        stalled = (halved == 0) & (best_loss <= kept("loss at check", loss))
        halve = due & ((raised < _PROGRESS * since) | stalled)
        size = torch.where(halve, size / 2, size)
        for name, value in (
            ("best loss", best_loss), ("best", best), ("best gradient", best_gradient), ("last loss", loss),
            ("raised", torch.where(due, 0, raised)), ("size", size),
            ("halved", torch.where(due, halve.to(loss), halved)),
            ("loss at check", torch.where(due, best_loss, kept("loss at check", loss))),
        ):  # fmt: skip
            memory.keep(name, value)
        back = column(halve, images)
        return torch.where(back, best, images), torch.where(back, best_gradient, gradient), size

    def _due(self, number: Tensor) -> tuple[Tensor, Tensor]:
        """Which samples are at a checkpoint, and how many steps after the one before."""
        marks = torch.tensor([0, *checkpoints(self.steps)], device=number.device)
        at = torch.searchsorted(marks, number.clamp(min=0)).clamp(max=len(marks) - 1)
        due = (number > 0) & (marks[at] == number)
        return due, marks[at] - marks[(at - 1).clamp(min=0)]


@dataclass(frozen=True, kw_only=True)
class APGD(_Adaptive):
    """The settings of Auto-PGD; call it with a victim and images, or use :func:`apgd`.

    The loss ``"ce"``, ``"dlr"`` or ``"margin"`` makes the members of AutoAttack; towards targets it is their form with
    a target.
    """

    summary: ClassVar = "Auto-PGD: momentum, and a step that is halved, from the best image on, where the loss stalls"
    source: ClassVar = "Croce and Hein, ICML 2020"

    def advance(self, step: Step, gradient: Tensor, number: Tensor) -> Tensor:
        """See :class:`spikeflip.attacks.dense.DenseAttack`."""
        ball, memory = self.ball, step.memory
        images, gradient, size = self.stepped(step, gradient, number)
        before = memory.recall("before", images)
        along = images + column(2 * ball.limit * size, images) * direction(gradient, ball.metric)
        along = project(along, step.originals, ball)
        both = images + _INERTIA * (along - images) + (1 - _INERTIA) * (images - before)
        memory.keep("before", images)  # not sooner: it may write over what was recalled
        return torch.where(column(number > 0, images), both, along)


@dataclass(frozen=True, kw_only=True)
class SAPGD(_Adaptive):
    """The settings of stable adaptive PGD; call it with a victim and images, or use :func:`sa_pgd`.

    Args:
        published: halve the step after fixed shares of the steps and stay where the image is, as the authors' script
            does, instead of looking at the loss.

    Raises:
        SpikeflipError: a setting is out of range.
    """

    summary: ClassVar = "stable adaptive PGD: steps by a mean of the gradients over the root of that of their squares"
    source: ClassVar = "Wang et al., CVPR 2026"
    metrics: ClassVar = ("linf",)

    published: bool = False

    def start(self, step: Step) -> Tensor:
        """See :class:`spikeflip.attacks.dense.DenseAttack`; the largest element is at the edge of the ball."""
        change = super().start(step) - step.originals
        largest = change.flatten(1).abs().amax(1)
        return step.originals + self.ball.limit * change / column(largest.where(largest > 0, 1), change)

    def advance(self, step: Step, gradient: Tensor, number: Tensor) -> Tensor:
        """See :class:`spikeflip.attacks.dense.DenseAttack`; a gradient of zero makes no step."""
        images, memory = step.inputs, step.memory
        if self.published:
            marks = torch.tensor(checkpoints(self.steps), device=number.device)
            size = 0.5 ** (number.unsqueeze(1) >= marks).sum(1).to(gradient)
        else:
            images, gradient, size = self.stepped(step, gradient, number)

        def by_mean(values: Tensor) -> Tensor:
            mean = length(values, 1) / values[0].numel()
            return values / column(mean.where(mean > 0, 1), values)

        # What was seen at the start is no step of the attack.
        begun = column((number >= 0).to(gradient), gradient)
        first = (0.5 * memory.recall("first", gradient) + by_mean(gradient)) * begun
        second = (0.8 * memory.recall("second", gradient) + by_mean(gradient.square())) * begun
        memory.keep("first", first)
        memory.keep("second", second)
        ratio = torch.where(second > 0, first / second.where(second > 0, 1).sqrt(), 0).clamp(-1, 1)
        return images + column(self.ball.limit * size, images) * ratio


def apgd(
    victim: Victim,
    inputs: Tensor,
    labels: Tensor,
    targets: Tensor | None = None,
    *,
    steps: int = 25,
    loss: Loss = "ce",
    budget: Budget | float | None = EPSILON,
    gradient: str = "bptt",
    encodings: int = 1,
    output_window: float | None = None,
    **options: Unpack[Options],
) -> AttackResult:
    """Attack images with Auto-PGD.

    Args:
        victim, inputs, labels, targets: as for :func:`pgd`.
        steps, loss, budget, gradient, encodings, output_window: see :class:`APGD`.
        options: as for :func:`scg`.

    Returns:
        An :class:`AttackResult`. A start costs ``steps + 1`` forward and backward passes, each times ``encodings``, and
        the pass that judges the last one.

    Raises:
        SpikeflipError: an argument is out of range, the inputs are spikes, or ``"dlr"`` is asked for with two classes.

    Source: F. Croce and M. Hein, Reliable Evaluation of Adversarial Robustness with an Ensemble of Diverse
    Parameter-free Attacks, ICML 2020. The progress of a rate-coded image is looked at on the encoding that judged it.
    """
    attack = APGD(
        steps=steps,
        loss=loss,
        budget=as_ball(budget),
        gradient=gradient,
        encodings=encodings,
        output_window=output_window,
    )
    return attack(victim, inputs, labels, targets, **options)


def sa_pgd(
    victim: Victim,
    inputs: Tensor,
    labels: Tensor,
    targets: Tensor | None = None,
    *,
    steps: int = 25,
    published: bool = False,
    loss: Loss = "ce",
    budget: Budget | float | None = EPSILON,
    gradient: str = "bptt",
    encodings: int = 1,
    output_window: float | None = None,
    **options: Unpack[Options],
) -> AttackResult:
    """Attack images with stable adaptive PGD.

    Args:
        victim, inputs, labels, targets: as for :func:`pgd`.
        steps, published, loss, budget, gradient, encodings, output_window: see :class:`SAPGD`.
        options: as for :func:`scg`.

    Returns:
        An :class:`AttackResult`; the passes are those of :func:`apgd`.

    Raises:
        SpikeflipError: an argument is out of range, or the inputs are spikes.

    Source: J. Wang et al., Towards Reliable Evaluation of Adversarial Robustness for Spiking Neural Networks, CVPR 2026
    (arXiv:2512.22522). Where the published script divides zero by zero, a sample here makes no step.
    """
    attack = SAPGD(
        steps=steps,
        published=published,
        loss=loss,
        budget=as_ball(budget),
        gradient=gradient,
        encodings=encodings,
        output_window=output_window,
    )
    return attack(victim, inputs, labels, targets, **options)

"""What attacks on images within a ball have in common: the ball, random starts, steps along a gradient's direction."""

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from spikeflip.attacks.budget import Budget
from spikeflip.attacks.following import GradientAttack
from spikeflip.attacks.result import Trace
from spikeflip.attacks.step import Move, Step
from spikeflip.errors import SpikeflipError
from spikeflip.snn.losses import Loss, resolve
from spikeflip.snn.validation import Kind

EPSILON = Budget(8 / 255, "linf")


def project(images: Tensor, originals: Tensor, budget: Budget) -> Tensor:
    """The nearest images in [0, 1] that differ from the originals ``(n, ...)`` by no more than the budget.

    >>> project(torch.tensor([[3.0, 4.0]]), torch.zeros(1, 2), Budget(0.5, "l2"))
    tensor([[0.3000, 0.4000]])
    """
    if budget.metric == "linf":
        return budget.project(images, originals).clamp(0, 1)
    change = images - originals
    size = column(length(change), change)
    return (originals + change * (budget.limit / size.clamp(min=budget.limit or 1))).clamp(0, 1)


def length(values: Tensor, power: int = 2) -> Tensor:
    """The norm of each sample of ``(n, ...)``, ``(n,)``; added up so exactly that batch-mates do not change it."""
    norms: Tensor = torch.linalg.vector_norm(values.flatten(1).double(), power, dim=1)
    return norms.to(values)


def direction(gradient: Tensor, metric: str) -> Tensor:
    """The step of size 1 that follows a gradient ``(n, ...)`` furthest: its sign, or itself made one long."""
    if metric == "linf":
        return gradient.sign()
    size = length(gradient)
    return gradient / column(torch.where(size > 0, size, 1), gradient)


def column(values: Tensor, like: Tensor) -> Tensor:
    """Numbers ``(n,)`` of samples, for use with tensors ``(n, ...)``."""
    return values.reshape(-1, *[1] * (like.ndim - 1))


def as_ball(budget: Budget | float | None) -> Budget | None:
    """A budget as it is, or one of ``linf`` from a number."""
    return budget if isinstance(budget, Budget) or budget is None else Budget(budget, "linf")


@dataclass(frozen=True, kw_only=True)
class DenseAttack(GradientAttack):
    """The settings of an attack on images within a ball around the original.

    Args:
        budget: the ball, in ``"linf"`` or ``"l2"``; a limit of 0 returns the images as they are.

    Raises:
        SpikeflipError: a setting is out of range.
    """

    only: ClassVar[Kind | None] = "images"
    budget_in: ClassVar[str] = "linf"
    metrics: ClassVar[tuple[str, ...]] = ("linf", "l2")
    starts_at_random: ClassVar[bool] = True

    loss: Loss = "ce"
    budget: Budget | None = EPSILON

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.budget is None:
            raise SpikeflipError("budget is None: give the size of the ball, such as Budget(8 / 255, 'linf')")
        if self.budget.metric not in self.metrics:
            known = " or ".join(self.metrics)
            raise SpikeflipError(
                f"budget is in {self.budget.metric}, and this attack keeps to a ball in {known}: give that"
            )

    @property
    def ball(self) -> Budget:
        """The budget, which there is."""
        assert self.budget is not None
        return self.budget

    @property
    def followed(self) -> Loss:
        """The loss in float64, whose rounding does not depend on how many batch-mates there are."""
        loss = resolve(self.loss)
        return lambda scores, classes: loss(scores.double(), classes)

    @property
    def bound(self) -> None:
        """None: the rule itself stays in the ball."""

    @property
    def iterations(self) -> int:
        """See :class:`spikeflip.attacks.iterated.Iterated`."""
        return self.steps + self.starts_at_random

    def update(self, step: Step) -> Move:
        """A random start in the first iteration, and then steps; the first gradient is that of the original."""
        found = self.follow(step)
        vanished = ~found.values.flatten(1).any(1)
        gradient = found.values.mean(1)
        number = step.iterations.to(gradient.device) - int(self.starts_at_random)
        moved = self.advance(step, gradient, number)
        mover = torch.where(vanished, Trace.UNMOVED, Trace.SIGN)
        fresh = number < 0
        if bool(fresh.any()):
            moved = torch.where(column(fresh, moved), self.start(step), moved)
            mover = torch.where(fresh, Trace.NOISE, mover)
        moved = project(moved, step.originals, self.ball)
        return Move(moved, mover, found, vanished, forwards=self.more_passes, backwards=self.more_passes)

    def start(self, step: Step) -> Tensor:
        """Where the samples begin: anywhere in the ball."""
        numbers = 2 * step.uniform("start", step.inputs.shape[1:]).to(step.inputs) - 1
        if self.ball.metric == "l2":
            numbers = direction(numbers, "l2")
        return step.originals + self.ball.limit * numbers

    @abstractmethod
    def advance(self, step: Step, gradient: Tensor, number: Tensor) -> Tensor:
        """The images after a step, anywhere.

        Args:
            step: of the samples under way.
            gradient: ``(n, ...)``, of their images.
            number: ``(n,)``, how many steps each has made; what it gives for a random start, -1, is not used.
        """

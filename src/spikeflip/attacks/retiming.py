"""Retiming: spikes keep their pixel and polarity, and change their time bin alone."""

import math
from dataclasses import dataclass
from typing import ClassVar, Literal, Unpack

import torch
from torch import Tensor

from spikeflip.attacks.budget import Budget
from spikeflip.attacks.flips import WIDE, FewestFlips
from spikeflip.attacks.iterated import Options
from spikeflip.attacks.metrics import Change
from spikeflip.attacks.moves import Moving
from spikeflip.attacks.options import option
from spikeflip.attacks.reduce import Units, each_move
from spikeflip.attacks.result import AttackResult, Trace
from spikeflip.attacks.step import Move, Step
from spikeflip.attacks.tuned import TunedAttack
from spikeflip.errors import SpikeflipError
from spikeflip.snn.losses import Loss
from spikeflip.victims import Victim

BUDGETS = ("moved", "moved_bins", "moved_bins_max")
"""The metrics that a budget of moves is in."""
_TIMES = 5
"""How many times the moves of the first iteration are most: on some inputs few suffice, on others few get nowhere."""


@dataclass(frozen=True, kw_only=True)
class Retiming(FewestFlips, TunedAttack):
    """The settings of retiming; call it with a victim and spikes, or use :func:`retiming`.

    Args:
        window: most time bins that a spike may lie from where it was; any number when None.
        moves: most spikes that are moved in the first iteration; in the second twice as many, from the fifth on five
            times.
        budget: in moved, moved_bins or moved_bins_max, which an input may not reach; unbounded when None.

    Raises:
        SpikeflipError: a setting is out of range, or the budget is in another metric.
    """

    units: ClassVar[Units] = each_move
    summary: ClassVar = "retiming: spikes of small gradient move to free time bins of large gradient, in their own line"
    source: ClassVar = "our own, in the setting of Yu et al., ICLR 2026"

    steps: int = option(100, ge=1, le=1_000_000)
    loss: Loss = "margin"
    output_window: float | None = option(WIDE, gt=0)
    window: int | None = option(None, ge=1)
    moves: int = option(10, ge=1)
    budget: Budget | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.budget is not None and self.budget.metric not in BUDGETS:
            raise SpikeflipError(
                f"budget is in {self.budget.metric}, and what retiming does is measured in {', '.join(BUDGETS)}: "
                "give one in these"
            )

    @property
    def event_moves(self) -> Literal["fewest", "nearest"] | None:
        """See :class:`spikeflip.attacks.iterated.Described`."""
        return "fewest" if self.window is None and self._budget_in != "moved_bins_max" else "nearest"

    def update(self, step: Step) -> Move:
        """See :class:`spikeflip.attacks.iterated.Iterated`."""
        found = self.follow(step)
        vanished = ~found.values.flatten(1).any(1)
        worth = found.values
        if bool(vanished.any()):
            worth = worth.clone()
            worth[vanished] = step.uniform("search", worth.shape[1:], rows=vanished).to(worth)
        window, pays, limit = self._bounds(worth)
        moving = Moving(Change(step.originals, step.inputs), worth, window, pays, limit)
        moved, count = moving.best(self.moves * (step.iterations + 1).clamp(max=_TIMES).to(worth.device))
        mover = torch.full((len(worth),), Trace.SIGN, dtype=torch.int8)
        return Move(moved, mover, found, vanished, stuck=count == 0)

    @property
    def _budget_in(self) -> str | None:
        return None if self.budget is None else self.budget.metric

    def _bounds(self, worth: Tensor) -> tuple[int, Literal["moved", "moved_bins"], Tensor | None]:
        """The window in bins, and what a budget of another kind is in and leaves to each of n samples."""
        window = worth.shape[1] if self.window is None else self.window
        if self.budget is None:
            return window, "moved", None
        within = max(math.ceil(min(self.budget.limit, worth[0].numel() * worth.shape[1] + 1.0)) - 1, 0)
        if self.budget.metric == "moved_bins_max":
            return min(window, within), "moved", None
        pays: Literal["moved", "moved_bins"] = "moved" if self.budget.metric == "moved" else "moved_bins"
        return window, pays, torch.full((len(worth),), within, device=worth.device)


def retiming(
    victim: Victim,
    inputs: Tensor,
    labels: Tensor,
    targets: Tensor | None = None,
    *,
    steps: int = 100,
    window: int | None = None,
    moves: int = 10,
    threshold: float | Literal["auto"] | None = "auto",
    loss: Loss = "margin",
    gradient: str = "bptt",
    encodings: int = 1,
    output_window: float | None = WIDE,
    budget: Budget | float | None = None,
    **options: Unpack[Options],
) -> AttackResult:
    """Attack spikes by moving them in time: every pixel and polarity keeps the number of its spikes.

    In each iteration every spike offers its best move: to the free time bin of its line, within the window, where the
    gradient is farthest above that of its own. The best offers of each sample are taken, two of which never end in the
    same cell. A spike that was moved before may move on, or back. After a success, moves are undone until no single one
    can be; ``reduce=False`` leaves them.

    Args:
        victim: the model under attack.
        inputs: spikes ``(N, T, *input)`` of exactly 0 and 1.
        labels: true classes ``(N,)`` int64.
        targets: wanted classes ``(N,)`` int64; untargeted when not given.
        steps, window, moves, threshold, loss, gradient, encodings, output_window: see :class:`Retiming`.
        budget: a :class:`Budget` in ``moved`` (spikes; a number is one of these), ``moved_bins`` (time bins, summed;
            offers are then compared by what they give a bin) or ``moved_bins_max`` (time bins), of each sample, on the
            way and at the end. As everywhere, what reaches the limit has failed: with 21 at most 20 spikes move.
        options: as for :func:`scg`.

    Returns:
        An :class:`AttackResult`. A forward and a backward pass a step, and those of the reduction.

    Raises:
        SpikeflipError: an argument is out of range, or the inputs are images.

    Source: the setting and its three budgets are those of Y. Yu et al., Spike-Retiming Attacks, ICLR 2026, who follow
    the gradient of a soft assignment of spikes to bins; swaps by the gradient of the input are our own. On a victim
    that is linear in its spikes they are the best moves, where none is kept from its bin by the window.

    >>> from spikeflip import SpikingNetwork
    >>> network = SpikingNetwork("16FC-3FC", (20,), time_steps=6, seed=1)
    >>> spikes = (torch.arange(240).reshape(2, 6, 20) % 3 == 0).float()
    >>> result = retiming(network, spikes, network.scores(spikes).argmax(1), steps=5)
    >>> torch.equal(result.adversarials.sum(1), spikes.sum(1))
    True
    """
    budget = Budget(budget, "moved") if isinstance(budget, int | float) else budget
    attack = Retiming(
        steps=steps, window=window, moves=moves, threshold=threshold, loss=loss, gradient=gradient, encodings=encodings,
        output_window=output_window, budget=budget,
    )  # fmt: skip
    return attack(victim, inputs, labels, targets, **options)

"""What attacks that change nothing but the time bins of spikes have in common: their window, their budgets."""

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from spikeflip.attacks.budget import Budget
from spikeflip.attacks.flips import WIDE, FewestFlips
from spikeflip.attacks.moves import Cost
from spikeflip.attacks.options import option
from spikeflip.attacks.reduce import Units, each_move
from spikeflip.attacks.tuned import TunedAttack
from spikeflip.errors import SpikeflipError
from spikeflip.notices import Notice
from spikeflip.snn.estimators import estimator
from spikeflip.victims import Victim

BUDGETS = ("moved", "moved_bins", "moved_bins_max")
"""The metrics that a budget of moves is in."""


NO_ORDER = Notice(
    "no-order-in-time",
    "an estimator that averages over time, as hart does, gives all time bins of a line one gradient: with it no spike "
    "moves",
)


@dataclass(frozen=True)
class Bounds:
    """How far spikes may move.

    Args:
        window: most bins that a spike may lie from where it was.
        pays: what the limit is in.
        limit: most that a sample may pay in all; None where nothing bounds it.
    """

    window: int
    pays: Cost = "moved"
    limit: int | None = None

    def is_free(self, spikes: Tensor) -> bool:
        """Whether nothing bounds what spikes ``(n, T, *input)`` move but their number."""
        return self.pays == "moved" and self.window >= spikes.shape[1] - 1

    def for_each(self, samples: Tensor) -> Tensor | None:
        """The limit of every sample ``(n, ...)``, ``(n,)``."""
        return None if self.limit is None else torch.full((len(samples),), self.limit, device=samples.device)


@dataclass(frozen=True, kw_only=True)
class TimedAttack(FewestFlips, TunedAttack):
    """The settings of an attack that moves spikes in time by the gradient; its successes are reduced move by move.

    Args:
        window: most time bins that a spike may lie from where it was; any number when None.
        budget: in moved, moved_bins or moved_bins_max, which an input may not reach; unbounded when None.

    Raises:
        SpikeflipError: a setting is out of range, or the budget is in another metric.
    """

    units: ClassVar[Units] = each_move
    budget_in: ClassVar[str] = "moved"

    output_window: float | None = option(WIDE, gt=0)
    window: int | None = option(None, ge=1)
    budget: Budget | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.budget is not None and self.budget.metric not in BUDGETS:
            raise SpikeflipError(
                f"budget is in {self.budget.metric}, and what retiming does is measured in {', '.join(BUDGETS)}: "
                "give one in these"
            )

    def _notices(self, victim: Victim) -> tuple[Notice, ...]:
        blind = any(estimator(name).averaged for name in self.members)
        return super()._notices(victim) + (NO_ORDER,) * blind

    @property
    def event_moves(self) -> Literal["fewest", "nearest"] | None:
        """See :class:`spikeflip.attacks.iterated.Described`."""
        far = self.budget is None or self.budget.metric != "moved_bins_max"
        return "fewest" if self.window is None and far else "nearest"

    def bounds(self, spikes: Tensor) -> Bounds:
        """What window and budget leave to each sample of spikes ``(n, T, *input)``."""
        steps = spikes.shape[1]
        window = steps - 1 if self.window is None else min(self.window, steps - 1)
        if self.budget is None:
            return Bounds(window)
        most = spikes[0:1].numel() * steps + 1.0
        within = max(math.ceil(min(self.budget.limit, most)) - 1, 0)
        if self.budget.metric == "moved_bins_max":
            return Bounds(min(window, within))
        return Bounds(window, "moved" if self.budget.metric == "moved" else "moved_bins", within)


def as_moves(budget: Budget | float | None) -> Budget | None:
    """A budget as it is, or one of ``moved`` from a number."""
    return budget if isinstance(budget, Budget) or budget is None else Budget(budget, "moved")

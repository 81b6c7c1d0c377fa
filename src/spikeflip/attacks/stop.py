"""When an attack is done with a sample, and which of its successes is kept."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import ClassVar, Protocol

import torch
from torch import Tensor

from spikeflip.attacks.metrics import METRICS, Change, metric
from spikeflip.errors import SpikeflipError
from spikeflip.snn.memory import Memory


@dataclass(frozen=True)
class Judged:
    """What a policy sees: n samples under way, after the pass that judged them."""

    change: Change
    """Of the originals, into what the victim was just asked about."""
    success: Tensor
    """``(n,)`` bool: the goal was reached in this pass."""
    memory: Memory
    """What the policy keeps of each sample from one pass to the next, and over restarts."""
    fresh: Callable[[Tensor, int], Tensor]
    """Whether further encodings of the samples ``(m,)``, so many of each, reach the goal: ``(m, draws)`` bool. Every
    call draws new ones, which nothing else sees."""


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
class Last:
    """Use all steps, and keep the last success: the one that goes deepest into another class, for another victim."""

    def __call__(self, judged: Judged) -> Verdict:
        """See :class:`Stop`."""
        count = judged.memory.recall("successes", torch.zeros(len(judged.success))) + judged.success
        judged.memory.keep("successes", count)
        return Verdict(torch.where(judged.success, -count.double(), torch.inf), torch.zeros_like(judged.success))


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


@dataclass(frozen=True)
class Verified:
    """Go on with an image until it fools the victim in most fresh encodings, with a bound on how often that is wrong.

    A success is first looked at over a few encodings. Where enough of them agree, the share over many new ones is
    tested: with probability ``1 - error``, over all tests of a sample, the true share of one that is done is above
    ``confidence``. Each test takes its part of the error, ``error / (i (i + 1))`` of the i-th. Of samples that never
    pass, the inputs that did best are kept.

    Args:
        confidence: the share of encodings that must fool, in (0, 1).
        error: how often a sample may be called done though its share is not above that.

    Raises:
        SpikeflipError: a number is out of range.

    Source: a union bound over the tests; each is exact (C. Clopper and E. Pearson, Biometrika 1934).
    """

    confidence: float = 0.9
    error: float = 0.05

    draws_to_look: ClassVar[int] = 10
    fewest_draws: ClassVar[int] = 100
    most_draws: ClassVar[int] = 2000

    def __post_init__(self) -> None:
        for name in ("confidence", "error"):
            if not 0 < getattr(self, name) < 1:
                raise SpikeflipError(f"{name} is {getattr(self, name)}: give a share between 0 and 1, such as 0.9")
        if _draws(self, 1) > self.most_draws:
            raise SpikeflipError(
                f"confidence is {self.confidence}, which takes over {self.most_draws:,} encodings to tell: give less, "
                "such as 0.99"
            )

    def __call__(self, judged: Judged) -> Verdict:
        """See :class:`Stop`."""
        cost = torch.full(judged.success.shape, torch.inf, dtype=torch.float64)
        done = torch.zeros_like(judged.success)
        rows = judged.success.nonzero().squeeze(1)
        if len(rows):
            agreeing = judged.fresh(rows, self.draws_to_look).double().mean(1)
            cost[rows] = 1 - agreeing
            promising = rows[agreeing >= self.confidence]
            for row in promising.unsqueeze(1):
                done[row], cost[row] = self._tested(judged, row)
        return Verdict(cost, done)

    def _tested(self, judged: Judged, row: Tensor) -> tuple[Tensor, float]:
        """Whether a sample passes its next test, and the cost of its inputs."""
        looks = judged.memory.recall("verified looks", torch.zeros(len(judged.success)))
        look = int(looks[row]) + 1
        kept = looks.clone()
        kept[row] = look
        judged.memory.keep("verified looks", kept)
        draws = min(_draws(self, look), self.most_draws)
        hits = int(judged.fresh(row, draws).sum())
        passed = hits >= _needed(draws, self.confidence, _part(self.error, look))
        # Of two with the same share, the one that has passed is better.
        return torch.tensor([passed]), 1 - hits / draws - passed


def _part(error: float, look: int) -> float:
    """The part of an error that a look may spend; all looks together spend no more than the error."""
    return error / (look * (look + 1))


def _draws(policy: Verified, look: int) -> int:
    """How many encodings a look takes: some may fail, so twice those that all would have to succeed."""
    whole = math.log(_part(policy.error, look)) / math.log(policy.confidence)
    return max(policy.fewest_draws, 2 * math.ceil(whole))


@cache
def _needed(draws: int, share: float, error: float) -> int:
    """The fewest successes of so many that a share of ``share`` or less would give with probability up to ``error``.

    >>> _needed(100, 0.9, 0.025), _needed(35, 0.9, 0.025), _needed(34, 0.9, 0.025)
    (96, 36, 35)
    """
    tail, needed = 0.0, draws + 1
    while needed > 0:
        successes = needed - 1
        logarithm = math.lgamma(draws + 1) - math.lgamma(successes + 1) - math.lgamma(draws - successes + 1)
        tail += math.exp(logarithm + successes * math.log(share) + (draws - successes) * math.log1p(-share))
        if tail > error:
            break
        needed -= 1
    return needed

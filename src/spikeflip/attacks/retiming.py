"""Retiming: spikes keep their pixel and polarity, and change their time bin alone."""

from dataclasses import dataclass
from typing import ClassVar, Literal, Unpack

import torch
from torch import Tensor

from spikeflip.attacks.arranging import arranged, dearest_lines
from spikeflip.attacks.budget import Budget
from spikeflip.attacks.flips import WIDE, unit
from spikeflip.attacks.iterated import Options
from spikeflip.attacks.metrics import Change
from spikeflip.attacks.moves import Moving
from spikeflip.attacks.options import option
from spikeflip.attacks.result import AttackResult, Trace
from spikeflip.attacks.step import Move, Step
from spikeflip.attacks.timed import TimedAttack, as_moves
from spikeflip.snn.losses import Loss
from spikeflip.victims import Victim

_NARROW = 5
"""Bins of a window within which the best arrangement of each line is found; behind wider ones the best single moves."""


@dataclass(frozen=True, kw_only=True)
class Retiming(TimedAttack):
    """The settings of retiming; call it with a victim and spikes, or use :func:`retiming`.

    Args:
        moves: most spikes that are elsewhere than at first after the first iteration; after the n-th n times as many.
        momentum: how much of the sum of earlier gradients is kept, each by its largest element.

    Raises:
        SpikeflipError: a setting is out of range, or the budget is in another metric.
    """

    summary: ClassVar = "retiming: spikes of small gradient move to free time bins of large gradient, in their own line"
    source: ClassVar = "our own, in the setting of Yu et al., ICLR 2026"

    steps: int = option(100, ge=1, le=1_000_000)
    loss: Loss = "margin"
    moves: int = option(10, ge=1)
    momentum: float = option(0.9, ge=0, le=0.999999)

    def update(self, step: Step) -> Move:
        """See :class:`spikeflip.attacks.iterated.Iterated`."""
        found, originals = self.follow(step), step.originals
        latest = found.values.flatten(1)
        vanished = ~latest.any(1)
        if bool(vanished.any()):
            latest = latest.clone()
            latest[vanished] = step.uniform("search", latest.shape[1:], rows=vanished).to(latest)
        gradient = self.momentum * step.memory.recall("gradient", latest) + unit(latest)
        step.memory.keep("gradient", gradient)
        number = step.iterations.to(latest.device)
        moved, count = self._moved(originals, gradient.view_as(originals), self.moves * (number + 1))
        mover = torch.full((len(originals),), Trace.SIGN, dtype=torch.int8)
        # Of one gradient alone nothing else will come: inputs that stay as they are have the same again.
        return Move(moved, mover, found, vanished, stuck=(count == 0) & (number == 0))

    def _moved(self, originals: Tensor, worth: Tensor, most: Tensor) -> tuple[Tensor, Tensor]:
        """The originals with the best moves made, at most so many ``(n,)``, and how many were."""
        bounds = self.bounds(originals)
        if bounds.limit is None and bounds.window <= _NARROW and not bounds.is_free(originals):
            return _within(originals, worth, most, bounds.window)
        change, limit = Change(originals, originals), bounds.for_each(originals)
        if bounds.is_free(originals):  # every move costs one, and the limit is one on their number
            return Moving(change, worth, bounds.window).best(most if limit is None else most.minimum(limit))
        return Moving(change, worth, bounds.window, bounds.pays, limit).again(most)


def _within(originals: Tensor, worth: Tensor, most: Tensor, window: int) -> tuple[Tensor, Tensor]:
    """The best moves within a window, line by line."""
    if window == 0:
        return originals, torch.zeros_like(most)
    before, worth = originals.flatten(2), worth.flatten(2)
    after = dearest_lines(before, arranged(before, worth, window), worth, most)
    return after.view_as(originals), (after != before).flatten(1).sum(1) // 2


def retiming(
    victim: Victim,
    inputs: Tensor,
    labels: Tensor,
    targets: Tensor | None = None,
    *,
    steps: int = 100,
    window: int | None = None,
    moves: int = 10,
    momentum: float = 0.9,
    threshold: float | Literal["auto"] | None = "auto",
    loss: Loss = "margin",
    gradient: str = "bptt",
    encodings: int = 1,
    output_window: float | None = WIDE,
    budget: Budget | float | None = None,
    **options: Unpack[Options],
) -> AttackResult:
    """Attack spikes by moving them in time: every pixel and polarity keeps the number of its spikes.

    In each iteration every spike of the original offers its best move: to the free time bin of its line, within the
    window, where the mean of the gradients so far is farthest above that of its own. The best offers of each sample are
    taken, more from iteration to iteration, two of which never end in the same cell. After a success, moves are undone
    until no single one can be; ``reduce=False`` leaves them.

    Args:
        victim: the model under attack.
        inputs: spikes ``(N, T, *input)`` of exactly 0 and 1.
        labels: true classes ``(N,)`` int64.
        targets: wanted classes ``(N,)`` int64; untargeted when not given.
        steps, window, moves, momentum, threshold, loss, gradient, encodings, output_window: see :class:`Retiming`.
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
    that is linear in its spikes they are the best moves, where none is kept from its bin by the window. Momentum is
    that of Y. Dong et al., CVPR 2018.

    >>> from spikeflip import SpikingNetwork
    >>> network = SpikingNetwork("16FC-3FC", (20,), time_steps=6, seed=1)
    >>> spikes = (torch.arange(240).reshape(2, 6, 20) % 3 == 0).float()
    >>> result = retiming(network, spikes, network.scores(spikes).argmax(1), steps=5)
    >>> torch.equal(result.adversarials.sum(1), spikes.sum(1))
    True
    """
    attack = Retiming(
        steps=steps, window=window, moves=moves, momentum=momentum, threshold=threshold, loss=loss,
        gradient=gradient, encodings=encodings, output_window=output_window, budget=as_moves(budget),
    )  # fmt: skip
    return attack(victim, inputs, labels, targets, **options)

"""Soft retiming: every spike is spread over the time bins around it, and put into one of them in each iteration."""

from dataclasses import dataclass, replace
from functools import partial
from typing import ClassVar, Literal, Unpack

import torch
from torch import Tensor

from spikeflip.attacks.budget import Budget
from spikeflip.attacks.flips import WIDE
from spikeflip.attacks.iterated import Options
from spikeflip.attacks.metrics import Change
from spikeflip.attacks.moves import Assigning, Spikes, within
from spikeflip.attacks.options import option
from spikeflip.attacks.result import AttackResult, Trace
from spikeflip.attacks.step import Move, Rule, Step
from spikeflip.attacks.timed import Bounds, TimedAttack, as_moves
from spikeflip.snn.losses import Loss
from spikeflip.victims import Victim

_LARGEST = 10.0
"""Bound of a logit."""
_CROWDING = 20.0
"""Weight of cells in which more than one spike is expected, squared, in the mean over all cells."""
_OVERSPENDING = {"moved": 5.0, "moved_bins": 10.0}
"""Weight of what is expected to be paid over the limit, in parts of it."""


@dataclass(frozen=True, kw_only=True)
class SoftRetiming(TimedAttack):
    """The settings of soft retiming; call it with a victim and spikes, or use :func:`soft_retiming`.

    Args:
        rate: of the ascent on the logits, whose gradient is scaled to a largest element of 1.
        sign: follow the gradient's signs, as published; they forget which moves give most.

    Raises:
        SpikeflipError: a setting is out of range, or the budget is in another metric.
    """

    summary: ClassVar = "soft retiming: spikes are spread over time bins by logits, and projected onto one in the loop"
    source: ClassVar = "Yu et al., ICLR 2026, with a scaled step"

    steps: int = option(40, ge=1, le=1_000_000)
    loss: Loss = "ce"
    rate: float = option(1.0, gt=0)
    sign: bool = False

    def prepare(self, victim: Victim, inputs: Tensor) -> Rule:
        """See :class:`spikeflip.attacks.iterated.Iterated`."""
        super().prepare(victim, inputs)
        tuned = replace(self, threshold=self._threshold(victim))
        most = int((inputs != 0).flatten(1).sum(1).max()) if len(inputs) else 0
        return partial(tuned._spread, most=most)

    def _spread(self, step: Step, most: int) -> Move:
        """The next inputs; no sample has more than ``most`` spikes."""
        found = self.follow(step)
        bounds, originals = self.bounds(step.originals), step.originals
        spikes = Spikes.of(Change(originals, originals))
        places = Places.around(spikes, bounds.window, originals)
        whole = step.memory.recall("logits", originals.new_zeros((len(originals), most, places.cell.shape[1])))
        at = spikes.sample, within(spikes.sample)
        logits = whole[at]
        uphill = _gradient(logits, places, spikes.sample, found.values, bounds)
        logits = (logits + self.rate * self._scaled(uphill, spikes.sample, len(originals))).clamp(-_LARGEST, _LARGEST)
        whole = whole.clone()
        whole[at] = logits
        step.memory.keep("logits", whole)
        moved, _ = Assigning(
            Change(originals, originals),
            found.values,
            bounds.window,
            bounds.pays,
            bounds.for_each(originals),
            probability=places.probabilities(logits),
        ).best(torch.full((len(originals),), most, device=originals.device))
        mover = torch.full((len(originals),), Trace.SIGN, dtype=torch.int8)
        return Move(moved, mover, found, ~found.values.flatten(1).any(1))

    def _scaled(self, uphill: Tensor, sample: Tensor, n: int) -> Tensor:
        """The gradient of the logits ``(m, 2D + 1)`` by its largest element in each of n samples, or its signs."""
        if self.sign:
            return uphill.sign()
        largest = uphill.new_zeros(n).scatter_reduce(0, sample, uphill.abs().amax(1), "amax")[sample].unsqueeze(1)
        return uphill / torch.where(largest > 0, largest, 1)


@dataclass(frozen=True)
class Places:
    """The cells that m spikes may be in, by shift from -D to D: ``(m, 2D + 1)`` each.

    Args:
        cell: flat in ``(T, *input)``.
        legal: whether there is such a time bin.
        shift: ``(2D + 1,)`` bins.
    """

    cell: Tensor
    legal: Tensor
    shift: Tensor

    @classmethod
    def around(cls, spikes: Spikes, window: int, like: Tensor) -> "Places":
        """Those at most ``window`` bins away, in spikes of the shape of ``like`` ``(n, T, *input)``."""
        steps, lines = like.shape[1], like[0:1, 0].numel()
        shift = torch.arange(-window, window + 1, device=like.device)
        bin = spikes.origin.unsqueeze(1) + shift
        cell = bin.clamp(0, steps - 1) * lines + spikes.line.unsqueeze(1)
        return cls(cell, (bin >= 0) & (bin < steps), shift)

    def probabilities(self, logits: Tensor) -> Tensor:
        """Of each spike's cells, ``(m, 2D + 1)``."""
        return logits.masked_fill(~self.legal, -torch.inf).softmax(1)


def _gradient(logits: Tensor, places: Places, sample: Tensor, values: Tensor, bounds: Bounds) -> Tensor:
    """Of the objective with respect to the logits ``(m, 2D + 1)``.

    It is what the gradient ``values`` of the input says of the expected spikes of each cell, less what is paid for
    cells with more than one and for moves over the limit.
    """
    probability, flat = places.probabilities(logits), values.flatten(1)
    expected = torch.zeros_like(flat).index_put((sample.unsqueeze(1), places.cell), probability, accumulate=True)
    crowded = 2 * (expected - 1).clamp(min=0) / flat.shape[1]
    gain = (flat - _CROWDING * crowded)[sample.unsqueeze(1), places.cell]
    if bounds.limit is not None:
        distance = places.shift.abs() if bounds.pays == "moved_bins" else (places.shift != 0)
        paid = probability.new_zeros(len(flat)).index_add(0, sample, probability @ distance.to(probability))
        price = _OVERSPENDING[bounds.pays] / max(bounds.limit, 1) * distance
        gain = gain - (paid > bounds.limit)[sample].unsqueeze(1) * price
    return probability * (gain - (probability * gain).sum(1, keepdim=True))


def soft_retiming(
    victim: Victim,
    inputs: Tensor,
    labels: Tensor,
    targets: Tensor | None = None,
    *,
    steps: int = 40,
    window: int | None = None,
    rate: float = 1.0,
    sign: bool = False,
    threshold: float | Literal["auto"] | None = "auto",
    loss: Loss = "ce",
    gradient: str = "bptt",
    encodings: int = 1,
    output_window: float | None = WIDE,
    budget: Budget | float | None = None,
    **options: Unpack[Options],
) -> AttackResult:
    """Attack spikes by moving them in time, with a probability of every time bin for each spike.

    Each iteration takes the gradient at whole spikes, passes it straight through to the logits, and puts the spikes
    that are likeliest elsewhere into the free bins where they are likeliest to be, as far as the budget goes. Memory
    grows with spikes times bins of the window. After a success, moves are undone until no single one can be.

    Args:
        victim: the model under attack.
        inputs: spikes ``(N, T, *input)`` of exactly 0 and 1.
        labels: true classes ``(N,)`` int64.
        targets: wanted classes ``(N,)`` int64; untargeted when not given.
        steps, window, rate, sign, threshold, loss, gradient, encodings, output_window: see :class:`SoftRetiming`.
        budget: as for :func:`spikeflip.attacks.retiming.retiming`.
        options: as for :func:`scg`.

    Returns:
        An :class:`AttackResult`. A forward and a backward pass a step, and those of the reduction.

    Raises:
        SpikeflipError: an argument is out of range, or the inputs are images.

    Source: Y. Yu et al., Spike-Retiming Attacks, ICLR 2026, with their weights and bounds; ``sign=True`` is their step.
    Otherwise than in their release a budget is each sample's own and is spent as far as it goes, a window's projection
    is the same in the loop and at the end, logits begin equal, and a move goes to a bin that is free at first.

    >>> from spikeflip import SpikingNetwork
    >>> network = SpikingNetwork("16FC-3FC", (20,), time_steps=6, seed=1)
    >>> spikes = (torch.arange(240).reshape(2, 6, 20) % 3 == 0).float()
    >>> result = soft_retiming(network, spikes, network.scores(spikes).argmax(1), steps=5)
    >>> torch.equal(result.adversarials.sum(1), spikes.sum(1))
    True
    """
    attack = SoftRetiming(
        steps=steps, window=window, rate=rate, sign=sign, threshold=threshold, loss=loss, gradient=gradient,
        encodings=encodings, output_window=output_window, budget=as_moves(budget),
    )  # fmt: skip
    return attack(victim, inputs, labels, targets, **options)

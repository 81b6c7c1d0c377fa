"""Moves of spikes in time: which there are of each spike, what each gives, and the best of them."""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from math import prod
from typing import ClassVar, Literal

import torch
from torch import Tensor

from spikeflip.attacks.metrics import Change, in_lines

Cost = Literal["moved", "moved_bins"]
"""What a move is paid in, a metric; its limit holds for each sample."""


@dataclass(frozen=True)
class Spikes:
    """The spikes ``(m,)`` of n samples, each with the time bin where it was at first."""

    sample: Tensor
    line: Tensor
    """The pixel and polarity, its place among the cells of a time bin."""
    at: Tensor
    """The time bin."""
    origin: Tensor
    """The time bin of the original: the k-th spike of a line was its k-th."""
    was: Tensor
    """Whether there was a spike in this cell at first."""

    @classmethod
    def of(cls, change: Change) -> "Spikes":
        """The spikes of adversarials ``(n, T, *input)`` in whose lines are as many as in the originals."""
        sample, line, at = in_lines(change.adversarials)
        lines = prod(change.originals.shape[2:])
        was = change.originals.flatten(1)[sample, at * lines + line] > 0
        return cls(sample, line, at, in_lines(change.originals)[2], was)

    def __getitem__(self, index: Tensor) -> "Spikes":
        return Spikes(*(getattr(self, name)[index] for name in self.__dataclass_fields__))


@dataclass(frozen=True)
class Found:
    """Moves ``(m,)``: which spike goes to which bin, what that gives, and what it costs."""

    spike: Tensor
    bin: Tensor
    value: Tensor
    cost: Tensor

    def __getitem__(self, index: Tensor) -> "Found":
        return Found(self.spike[index], self.bin[index], self.value[index], self.cost[index])


@dataclass(frozen=True)
class Moving:
    """Where the spikes of n samples may go.

    Args:
        change: of the originals into the inputs, which have as many spikes in every line.
        worth: ``(n, T, *input)``, of a spike in each cell.
        window: most bins that a spike may lie from its origin.
        pays: what the limit is in.
        limit: ``(n,)``, most that may be paid in all; None where nothing bounds it.
    """

    change: Change
    worth: Tensor
    window: int
    pays: Cost = "moved"
    limit: Tensor | None = None

    def best(self, most: Tensor) -> tuple[Tensor, Tensor]:
        """The inputs with at most ``most`` ``(n,)`` spikes moved, those whose moves give most, and how many were.

        Every move gives something by itself, and no two end in the same cell. A spike that overtakes another is no
        longer the k-th of its line; but no other pairs of spikes and origins have smaller distances than those in order
        of time, so limits that hold for the moves hold for the metrics.
        """
        spikes = Spikes.of(self.change)
        taken = self.change.adversarials.flatten(1) > 0
        room = None if self.limit is None else self.limit - self._paid(spikes)
        won = _none(self.worth)
        waiting = torch.arange(len(spikes.at), device=most.device)
        while len(waiting):
            found = self._offers(spikes[waiting], waiting, taken, room)
            found = Found(waiting[found.spike], found.bin, found.value, found.cost)
            first = self._first(spikes, found)
            won = Found(*(torch.cat([a, b]) for a, b in zip(vars(won).values(), vars(first).values(), strict=True)))
            taken[spikes.sample[first.spike], self._cell(spikes, first)] = True
            # A spike whose bin went to another may still want one more than what is moved so far.
            least = _nth(spikes.sample[won.spike], won.value, most)
            lost = ~torch.isin(found.spike, first.spike)
            waiting = found.spike[lost & (found.value > least[spikes.sample[found.spike]])]
        won = won[_affordable(spikes.sample[won.spike], won, most, room)]
        sample = spikes.sample[won.spike]
        flat = self.change.adversarials.flatten(1).clone()
        flat[sample, spikes.at[won.spike] * self._lines + spikes.line[won.spike]] = 0
        flat[sample, self._cell(spikes, won)] = 1
        return flat.view_as(self.change.adversarials), sample.bincount(minlength=len(flat))

    def again(self, most: Tensor) -> tuple[Tensor, Tensor]:
        """The same again and again, until nothing gives more: bins that were left are free, and limits go further."""
        moving, made = self, torch.zeros_like(most)
        while True:
            moved, count = moving.best(most - made)
            made += count
            if not bool(count.any()):
                return moved, made
            moving = replace(moving, change=Change(self.change.originals, moved))

    _alike: ClassVar[bool] = True
    """Whether a cell is worth the same to every spike of its line."""

    def _order(self, reach: int) -> Iterable[int]:
        """The shifts: of moves that give the same the first is made."""
        return range(-reach, reach + 1)

    def _gain(self, spikes: Spikes, _which: Tensor, cell: Tensor, here: Tensor, _shift: int) -> Tensor:
        """What moves of these spikes to ``cell`` give; ``here`` is what where they are is worth."""
        return self.worth.flatten(1)[spikes.sample, cell] - here

    @property
    def _lines(self) -> int:
        return self.worth[0:1, 0].numel()

    def _cell(self, spikes: Spikes, moves: Found) -> Tensor:
        return moves.bin * self._lines + spikes.line[moves.spike]

    def _paid(self, spikes: Spikes) -> Tensor:
        paid = (~spikes.was).long() if self.pays == "moved" else (spikes.at - spikes.origin).abs()
        return torch.zeros_like(self.limit).index_add(0, spikes.sample, paid)  # type: ignore[arg-type]

    def _offers(self, spikes: Spikes, which: Tensor, taken: Tensor, room: Tensor | None) -> Found:
        """The best move of each of these spikes that has one; a bin at a time, so memory is that of the spikes.

        ``which`` are their places among all spikes.
        """
        steps = self.worth.shape[1]
        worth, originals = self.worth.flatten(1), self.change.originals.flatten(1)
        here = worth[spikes.sample, spikes.at * self._lines + spikes.line]
        if self._alike and self.limit is None and self.window >= steps - 1:
            return self._anywhere(spikes, taken, here)
        best = torch.full_like(here, -torch.inf)
        chosen, price = torch.full_like(spikes.at, -1), torch.zeros_like(spikes.at)
        reach = min(self.window, steps - 1)
        for shift in self._order(reach):
            bin = spikes.origin + shift
            cell = bin.clamp(0, steps - 1) * self._lines + spikes.line
            value = self._gain(spikes, which, cell, here, shift)
            if self.pays == "moved":
                cost = spikes.was.long() - originals[spikes.sample, cell].long()
            else:
                cost = abs(shift) - (spikes.at - spikes.origin).abs()
            free = (bin >= 0) & (bin < steps) & ~taken[spikes.sample, cell] & (value > 0)
            if room is not None:
                free &= cost <= room[spikes.sample]
                if self._alike and self.pays == "moved_bins":
                    value = value / cost.clamp(min=0.5)
            better = free & (value > best)
            best = torch.where(better, value, best)
            chosen, price = torch.where(better, bin, chosen), torch.where(better, cost, price)
        has = (chosen >= 0).nonzero().squeeze(1)
        return Found(has, chosen[has], best[has], price[has])

    def _anywhere(self, spikes: Spikes, taken: Tensor, here: Tensor) -> Found:
        """The same where nothing bounds a spike: all of a line want its best free bin, of equal ones the first."""
        free = self.worth.flatten(2).masked_fill(taken.view(len(taken), -1, self._lines), -torch.inf)
        best = free.amax(1, keepdim=True)
        bins = torch.arange(free.shape[1], dtype=torch.int16, device=free.device).view(1, -1, 1)
        bin = torch.where(free == best, bins, torch.iinfo(torch.int16).max).amin(1).long()
        value = best.squeeze(1)[spikes.sample, spikes.line] - here
        has = (value > 0).nonzero().squeeze(1)
        bins_of = bin[spikes.sample[has], spikes.line[has]]
        return Found(has, bins_of, value[has], torch.zeros_like(has))

    def _first(self, spikes: Spikes, found: Found) -> Found:
        """Of moves that end in the same cell the one that gives most."""
        found = found[found.value.argsort(descending=True, stable=True)]
        cells = spikes.sample[found.spike] * self.worth[0:1].numel() + self._cell(spikes, found)
        cells, order = cells.sort(stable=True)
        return found[order[cells != torch.cat([cells[:1] - 1, cells[:-1]])]]


@dataclass(frozen=True)
class Assigning(Moving):
    """The same of spikes that are worth most to themselves in one cell or another.

    A spike moves where it is likelier than where it is, and the likeliest moves come first, whatever they cost.

    Args:
        probability: ``(m, 2D + 1)``, of each of the originals' spikes by line and bin, by shift from -D to D.
    """

    probability: Tensor = field(kw_only=True)

    _alike: ClassVar[bool] = False

    def _order(self, reach: int) -> Iterable[int]:
        return sorted(super()._order(reach), key=abs)

    def _gain(self, spikes: Spikes, which: Tensor, _cell: Tensor, _here: Tensor, shift: int) -> Tensor:
        middle = self.probability.shape[1] // 2
        there = self.probability[which, middle + shift]
        here = self.probability[which, middle + spikes.at - spikes.origin]
        return torch.where(there > here, there, 0)


def _none(worth: Tensor) -> Found:
    nothing = torch.zeros(0, dtype=torch.int64, device=worth.device)
    return Found(nothing, nothing, worth.new_zeros(0), nothing)


def _ranked(sample: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
    """The order of moves ``(m,)`` by sample and there by falling value, and the rank of each in that order."""
    order = value.argsort(descending=True, stable=True)
    order = order[sample[order].argsort(stable=True)]
    return order, within(sample[order])


def within(sample: Tensor) -> Tensor:
    """How many of the same sample come before each, of samples ``(m,)`` in order."""
    return torch.arange(len(sample), device=sample.device) - torch.searchsorted(sample, sample)


def _nth(sample: Tensor, value: Tensor, most: Tensor) -> Tensor:
    """The value of rank ``most`` ``(n,)`` of each sample; of samples with fewer, -inf."""
    order, rank = _ranked(sample, value)
    last = order[rank == most[sample[order]] - 1]
    least = value.new_full((len(most),), -torch.inf)
    least[sample[last]] = value[last]
    return least


def _affordable(sample: Tensor, moves: Found, most: Tensor, room: Tensor | None) -> Tensor:
    """The best ``most`` ``(n,)`` moves of each sample that there is room for; one that is too dear is passed over."""
    order, rank = _ranked(sample, moves.value)
    order = order[rank < most[sample[order]]]
    if room is None:
        return order
    kept, left = order[:0], room.clone()
    while len(order):
        whose, cost = sample[order], moves.cost[order].clamp(min=0)
        before = cost.cumsum(0) - cost
        spent = cost + before - before[torch.searchsorted(whose, whose)]
        paid = spent <= left[whose]
        kept = torch.cat([kept, order[paid]])
        left.index_add_(0, whose[paid], -cost[paid])
        order = order[~paid]
        order = order[moves.cost[order] <= left[sample[order]]]
    return kept

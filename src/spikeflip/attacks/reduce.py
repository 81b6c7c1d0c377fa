"""Undo what an attack on spikes did not need, until no single flip, or move, can be undone."""

from collections.abc import Callable
from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor

from spikeflip.attacks.metrics import Change
from spikeflip.snn.coding import reached, winner
from spikeflip.snn.losses import margin
from spikeflip.snn.rescoring import Rescoring, rescoring, scored
from spikeflip.snn.validation import at_a_time
from spikeflip.victims import Victim

Units = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
"""What is undone together: of originals and adversarials ``(n, T, *input)``, for each of m units the sample ``(m,)``
and its changed cells ``(m, k)``, both on the CPU."""

_MANY = 256
"""Units of which blocks are undone first, before each is tried alone."""
_SCATTER = 2654435761
"""Times a cell, modulo 2^32, its place in an order that has nothing to do with where it lies."""


@dataclass(frozen=True)
class Reduced:
    """What became of n successes."""

    adversarials: Tensor
    """``(n, T, *input)``; each still reaches its goal, and would not with any one of its units undone."""
    prediction: Tensor
    """``(n,)`` int64, what the victim says of them."""
    forwards: Tensor
    """``(n,)`` int64, passes that were made, of candidates too."""


def each_flip(originals: Tensor, adversarials: Tensor) -> tuple[Tensor, Tensor]:
    """Every flip as a unit; see :data:`Units`.

    >>> each_flip(torch.tensor([[[1.0, 0, 0]]]), torch.tensor([[[0.0, 0, 1]]]))
    (tensor([0, 0]), tensor([[0],
            [2]]))
    """
    sample, cell = (originals != adversarials).flatten(1).nonzero().cpu().T
    return sample, cell.unsqueeze(1)


def each_move(originals: Tensor, adversarials: Tensor) -> tuple[Tensor, Tensor]:
    """Every spike that lies in another time bin of its pixel and polarity as a unit of two cells; see :data:`Units`.

    >>> each_move(torch.tensor([[[1.0], [0], [0]]]), torch.tensor([[[0.0], [0], [1]]]))
    (tensor([0]), tensor([[0, 2]]))
    """
    found = Change(originals.float(), adversarials.float()).moves
    lines = prod(originals.shape[2:])
    cells = torch.stack([found.before * lines + found.line, found.after * lines + found.line], 1)
    return found.sample.cpu(), cells.cpu()


def reduce_flips(
    victim: Victim,
    originals: Tensor,
    adversarials: Tensor,
    labels: Tensor,
    targets: Tensor | None = None,
    *,
    units: Units = each_flip,
    decisions_only: bool = False,
    micro_batch: int = 16,
) -> Reduced:
    """Undo flips of successful adversarials while they stay adversarial.

    Where there are many flips, blocks of them are undone first; where that cannot be, half the block is tried. Then, in
    each round, every flip that is left is undone alone. Of those that are not needed, as many as possible are undone
    together, those first whose undoing leaves the goal farthest behind, and a bisection finds how many. Flips that are
    needed in one round are not looked at in the next, and all of them again at the end: the result is 1-minimal. With
    ``units=each_move`` the two flips of a moved spike are undone together: no single move can be undone.

    Args:
        victim: that was attacked.
        originals, adversarials: spikes ``(n, T, *input)`` of 0 and 1. Adversarials that reach no goal stay as they are.
        labels: true classes ``(n,)`` int64.
        targets: wanted classes ``(n,)`` int64; None for an untargeted attack.
        units: what is undone together.
        decisions_only: look at what the victim says, and not at its scores: flips are undone in the order of cells.
        micro_batch: samples in memory at a time.

    Source: the bisection is that of L. Lun et al., Towards Effective and Sparse Adversarial Attack on Spiking Neural
    Networks via Breaking Invisible Surrogate Gradients, CVPR 2025; blocks and rounds are our own.
    """
    parts, classes = [], labels if targets is None else targets
    for rows in torch.arange(len(originals)).split(at_a_time(victim, originals, micro_batch)):
        goals = _Goals(classes.cpu()[rows], targets is not None, decisions_only)
        before, after = (spikes[rows.to(spikes.device)].to(victim.device) for spikes in (originals, adversarials))
        parts.append(
            _Reduction(rescoring(victim, after.float(), micro_batch), after, *units(before, after), goals).done()
        )
    if not parts:
        nothing = torch.zeros(0, dtype=torch.int64)
        return Reduced(adversarials, nothing, nothing)
    return Reduced(*(torch.cat([getattr(part, name) for part in parts]) for name in Reduced.__dataclass_fields__))


@dataclass(frozen=True)
class _Goals:
    classes: Tensor
    targeted: bool
    decisions_only: bool

    def reached(self, scores: Tensor, rows: Tensor) -> Tensor:
        """By how much the scores ``(m, K)`` of samples reach their goal, ``(m,)``; -inf where they do not."""
        classes = self.classes[rows]
        by = torch.ones(len(rows))
        if not self.decisions_only:
            by = margin(scores, classes).float() * (-1 if self.targeted else 1)
        return torch.where(reached(winner(scores), classes, targeted=self.targeted), by, -torch.inf)


class _Reduction:
    """The units of n samples that are left: ``sample`` ``(m,)`` and ``cells`` ``(m, k)`` of each."""

    def __init__(self, held: Rescoring, adversarials: Tensor, sample: Tensor, cells: Tensor, goals: _Goals) -> None:
        self.held, self.goals = held, goals
        self.spikes = adversarials.clone(memory_format=torch.contiguous_format)
        self.sample, self.cells = sample, cells
        self.parked = torch.zeros_like(self.sample, dtype=torch.bool)  # needed, when it was last looked at
        self.forwards = torch.zeros(len(adversarials), dtype=torch.int64)

    def done(self) -> Reduced:
        """Undo what can be undone."""
        every, none = torch.arange(len(self.spikes)), torch.full((len(self.spikes), 1), -1)
        finished = self._reached(every, none) == -torch.inf
        many = ~finished & (self.sample.bincount(minlength=len(finished)) > _MANY)
        if bool(many.any()):
            self._undo_blocks(many[self.sample].nonzero().squeeze(1))
        while not bool(finished.all()):
            finished |= self._round(~finished)
        return Reduced(self.spikes, winner(self._scores(every, none)), self.forwards)

    def _round(self, active: Tensor) -> Tensor:
        """Look at the open units of the active samples once; returns which of all samples are finished."""
        looked_at = (active[self.sample] & ~self.parked).nonzero().squeeze(1)
        by = self._reached(self.sample[looked_at], self.cells[looked_at])
        spare = by > -torch.inf
        any_spare, any_parked = self._of_sample(looked_at[spare]), self._of_sample(self.parked.nonzero().squeeze(1))
        finished = active & ~any_spare & ~any_parked
        again = active & ~any_spare & any_parked
        self.parked[looked_at[~spare]] = True
        self.parked &= ~again[self.sample]
        if bool(spare.any()):
            self._undo_most(looked_at[spare], by[spare])
        return finished

    def _undo_blocks(self, units: Tensor) -> None:
        """Undo these units block by block: one that can be undone doubles the next one, one that cannot halves it."""
        # Neighbours in time and space have much the same effect: a block is better made of flips from everywhere.
        scattered = (self.cells[units, 0] * _SCATTER % 2**32).argsort(stable=True)
        table, rows, counts = self._by_sample(units[scattered])
        undone = torch.zeros_like(self.parked)
        begin, size = torch.zeros_like(counts), (counts // 4).clamp(min=1)
        while bool((begin < counts).any()):
            some = (begin < counts).nonzero().squeeze(1)
            taken = size[some].minimum(counts[some] - begin[some])
            places = torch.arange(int(taken.max())).expand(len(some), -1)
            inside = places < taken.unsqueeze(1)
            block = table[some].gather(1, torch.where(inside, begin[some].unsqueeze(1) + places, 0))
            cells = torch.where(inside.unsqueeze(2), self.cells[block], -1).flatten(1)
            won = self._reached(rows[some], cells) > -torch.inf
            self.held.flip(rows[some[won]], cells[won])
            undone[block[inside & won.unsqueeze(1)]] = True
            begin[some] += torch.where(won, taken, (taken == 1).long())
            size[some] = torch.where(won, 2 * taken, (taken // 2).clamp(min=1))
        self._drop(undone)

    def _undo_most(self, units: Tensor, by: Tensor) -> None:
        """Undo as many of these units of each sample as a bisection finds, those that leave the most first."""
        table, rows, counts = self._by_sample(units[by.argsort(descending=True, stable=True)])
        cells = torch.where((table >= 0).unsqueeze(2), self.cells[table], -1)
        places = torch.arange(table.shape[1]).unsqueeze(1)
        low, high = torch.ones_like(counts), counts.clone()
        while bool((low < high).any()):
            some = (low < high).nonzero().squeeze(1)
            middle = (low[some] + high[some] + 1) // 2
            tried = torch.where(places < middle.view(-1, 1, 1), cells[some], -1).flatten(1)
            won = self._reached(rows[some], tried) > -torch.inf
            low[some] = torch.where(won, middle, low[some])
            high[some] = torch.where(won, high[some], middle - 1)
        chosen = places < low.view(-1, 1, 1)
        self.held.flip(rows, torch.where(chosen, cells, -1).flatten(1))
        undone = torch.zeros_like(self.parked)
        undone[table[chosen.squeeze(2)]] = True
        self._drop(undone)

    def _by_sample(self, units: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Units as a row a sample, padded with -1; whose rows they are, and how long."""
        units = units[self.sample[units].argsort(stable=True)]
        rows, counts = self.sample[units].unique_consecutive(return_counts=True)
        row = torch.arange(len(rows)).repeat_interleave(counts)
        table = torch.full((len(rows), int(counts.max())), -1)
        table[row, torch.arange(len(units)) - (counts.cumsum(0) - counts)[row]] = units
        return table, rows, counts

    def _drop(self, undone: Tensor) -> None:
        flat, cells = self.spikes.flatten(1), self.cells[undone].to(self.spikes.device)
        places = self.sample[undone].to(flat.device).unsqueeze(1), cells
        flat[places] = (flat[places] == 0).to(flat)
        self.sample, self.cells, self.parked = self.sample[~undone], self.cells[~undone], self.parked[~undone]

    def _of_sample(self, units: Tensor) -> Tensor:
        """Which samples have any of these units."""
        any_of = torch.zeros(len(self.spikes), dtype=torch.bool)
        any_of[self.sample[units]] = True
        return any_of

    def _reached(self, rows: Tensor, cells: Tensor) -> Tensor:
        return self.goals.reached(self._scores(rows, cells), rows)

    def _scores(self, rows: Tensor, cells: Tensor) -> Tensor:
        self.forwards += rows.bincount(minlength=len(self.forwards))
        return scored(self.held, rows, cells)

"""How large a perturbation is: one vocabulary, with units, for budgets, results and tables.

All are taken per sample over its N elements (cells of a spike tensor, pixels and channels of an image), with
``d = adversarial - original``. For spikes every changed cell has ``|d| = 1``.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from torch import Tensor

from spikeflip.errors import SpikeflipError, choose_from
from spikeflip.snn.validation import Kind

if TYPE_CHECKING:
    from spikeflip.data import Binned

METRICS_VERSION = 1
"""Raised whenever a definition below changes: numbers of different versions are not comparable."""


@dataclass(frozen=True)
class Recorded:
    """What the recordings behind n spike inputs say beyond them."""

    edges: Tensor
    """``(n, T + 1)`` int64, where the bins begin and end, in µs."""
    sample: Tensor
    """``(m,)`` int64, for every cell of more than one event, whose it is."""
    cell: Tensor
    """``(m,)`` int64, its place among the sample's cells."""
    more: Tensor
    """``(m,)`` int64, how many events it has beyond the first."""

    @classmethod
    def of(cls, binned: "Sequence[Binned]") -> "Recorded":
        """What n recordings say that became inputs by :func:`spikeflip.bin_events`."""
        edges = torch.from_numpy(np.stack([one.edges for one in binned])) if binned else torch.empty(0, 0).long()
        parts = [(one.count_events().flatten() - 1).clamp(min=0) for one in binned]
        cells = [part.nonzero().squeeze(1) for part in parts]
        samples = [torch.full_like(cell, at) for at, cell in enumerate(cells)]
        more = [part[cell].long() for part, cell in zip(parts, cells, strict=True)]
        return cls(edges, *(torch.cat([torch.empty(0).long(), *each]) for each in (samples, cells, more)))

    def rows(self, rows: Tensor) -> "Recorded":
        """Those of the samples ``rows`` ``(k,)``, each at most once."""
        rows = rows.cpu()
        place = torch.full((len(self.edges),), -1)
        place[rows] = torch.arange(len(rows))
        kept = place[self.sample] >= 0
        return Recorded(self.edges[rows], place[self.sample[kept]], self.cell[kept], self.more[kept])


@dataclass(frozen=True)
class Change:
    """What a metric may look at: n inputs as they were and as they are."""

    originals: Tensor
    """``(n, ...)``."""
    adversarials: Tensor
    """``(n, ...)``."""
    recorded: Recorded | None = None
    """Where they are frames of recordings."""

    @cached_property
    def difference(self) -> Tensor:
        """``(n, ...)``, d."""
        before, after = self.originals, self.adversarials
        return after - before if after.is_floating_point() else after.float() - before.float()

    @cached_property
    def moves(self) -> "Moves":
        """The pairs of a removed and an added spike of the same cell."""
        return _pair(self.difference)

    def per_sample(self, values: Tensor, of: Tensor) -> Tensor:
        """The sums of values ``(m,)`` by the samples ``of`` ``(m,)`` that they belong to, ``(n,)`` float64."""
        sums = torch.zeros(len(self.originals), dtype=torch.float64, device=values.device)
        return sums.index_add(0, of, values.double())


@dataclass(frozen=True)
class Moves:
    """Pairs ``(m,)`` of a removed spike and an added one of the same pixel and polarity, each in order of time."""

    sample: Tensor
    line: Tensor
    """The pixel and polarity, its place among the cells of a time bin."""
    before: Tensor
    """The time bin that lost the spike."""
    after: Tensor
    """The time bin that got it."""


@dataclass(frozen=True)
class Metric:
    """One number a sample.

    Args:
        name: how budgets, rows and summaries call it.
        unit: what it counts.
        meaning: in a few words.
        of: from a change of n samples to ``(n,)``.
        on: what it is defined on; ``"recordings"`` are spikes whose events are known.
        of_moves: whether it looks at spikes that moved alone, so that others may come and go at no cost.
    """

    name: str
    unit: str
    meaning: str
    of: Callable[[Change], Tensor]
    on: Literal["all", "spikes", "recordings"] = "all"
    of_moves: bool = False

    def __call__(self, change: Change) -> Tensor:
        """One number a sample, ``(n,)``."""
        if change.recorded is None:
            self.check("spikes", recorded=False)
        return self.of(change)

    def check(self, kind: Kind, *, recorded: bool) -> None:
        """Raise a SpikeflipError where there is no such number."""
        if self.on != "all" and kind == "images":
            raise SpikeflipError(f"{self.name} is a number of spikes, and the inputs are images: choose another metric")
        if self.on == "recordings" and not recorded:
            raise SpikeflipError(
                f"{self.name} is measured on recordings, and the inputs are frames alone: "
                "choose another metric, or in Python give recorded=Recorded.of(...) of what they were binned from"
            )


def _mse(change: Change) -> Tensor:
    return change.difference.flatten(1).square().mean(1)


def _l0(change: Change) -> Tensor:
    return change.difference.flatten(1).ne(0).sum(1).to(change.difference.dtype)


def _l1(change: Change) -> Tensor:
    return change.difference.flatten(1).abs().sum(1)


def _linf(change: Change) -> Tensor:
    return change.difference.flatten(1).abs().amax(1)


def _l2(change: Change) -> Tensor:
    return change.difference.flatten(1).square().sum(1).sqrt()


def _events(change: Change) -> Tensor:
    assert change.recorded is not None
    sample, cell, more = (
        part.to(change.difference.device) for part in vars(change.recorded).values() if part.ndim == 1
    )
    changed = change.difference.flatten(1)
    return change.per_sample(torch.where(changed[sample, cell] < 0, more, 0), sample) + changed.ne(0).sum(1)


def _moved(change: Change) -> Tensor:
    return change.per_sample(torch.ones_like(change.moves.sample), change.moves.sample)


def _moved_bins(change: Change) -> Tensor:
    return change.per_sample((change.moves.after - change.moves.before).abs(), change.moves.sample)


def _moved_bins_max(change: Change) -> Tensor:
    lines, moves = prod(change.originals.shape[2:]), change.moves
    kept = (change.difference.flatten(2).sum(1) == 0).flatten()  # lines with as many spikes as before

    def spikes(of: Tensor) -> tuple[Tensor, Tensor]:
        sample, line, bin = in_lines(of)
        inside = kept[sample * lines + line]
        return sample[inside], bin[inside]

    (sample, old), (_, new) = spikes(change.originals), spikes(change.adversarials)
    others = ~kept[moves.sample * lines + moves.line]
    distances = torch.cat([(new - old).abs(), (moves.after - moves.before).abs()[others]])
    return _largest(change, torch.cat([sample, moves.sample[others]]), distances)


def _distances(change: Change) -> Tensor:
    """How far each pair is apart, between the middles of its bins, in µs."""
    assert change.recorded is not None
    edges, moves = change.recorded.edges.to(change.difference.device), change.moves
    middles = (edges[:, 1:] + edges[:, :-1]).double() / 2
    return (middles[moves.sample, moves.after] - middles[moves.sample, moves.before]).abs()


def _moved_us(change: Change) -> Tensor:
    return change.per_sample(_distances(change), change.moves.sample)


def _moved_us_max(change: Change) -> Tensor:
    return _largest(change, change.moves.sample, _distances(change))


def _largest(change: Change, sample: Tensor, distances: Tensor) -> Tensor:
    """The largest of the distances ``(m,)`` of each sample ``(m,)``, 0 of none."""
    largest = torch.zeros(len(change.originals), dtype=torch.float64, device=distances.device)
    return largest.scatter_reduce(0, sample, distances.double(), "amax")


def in_lines(spikes: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The spikes of ``(n, T, *input)``, line by line in order of time: the sample, the line and the bin of each.

    >>> in_lines(torch.tensor([[[1.0, 0], [1, 1]]]))
    (tensor([0, 0, 0]), tensor([0, 0, 1]), tensor([0, 1, 1]))
    """
    lines, steps = prod(spikes.shape[2:]), spikes.shape[1]
    sample, cell = spikes.flatten(1).nonzero().unbind(1)
    line, bin = cell % lines, cell // lines
    order = ((sample * lines + line) * steps + bin).argsort()
    return sample[order], line[order], bin[order]


def _pair(difference: Tensor) -> Moves:
    """The k-th removed spike of a pixel and polarity with its k-th added one; what is left over is no move.

    Where as many are added as removed, no other pairing has a smaller sum, or a smaller largest distance.
    """
    steps = difference.shape[1]
    lines = difference.flatten(2).movedim(1, -1)  # (n, line, T)

    def ranked(changed: Tensor) -> tuple[Tensor, Tensor]:
        """The changed cells by sample, line and time, each with a key of its line and its rank there."""
        found = changed.nonzero()
        line = found[:, 0] * lines.shape[1] + found[:, 1]
        first = torch.searchsorted(line, line)  # sorted, so this is where the line begins
        return found, line * steps + torch.arange(len(line), device=line.device) - first

    (lost, lost_keys), (got, got_keys) = ranked(lines < 0), ranked(lines > 0)
    lost, got = lost[torch.isin(lost_keys, got_keys)], got[torch.isin(got_keys, lost_keys)]
    return Moves(lost[:, 0], lost[:, 1], lost[:, 2], got[:, 2])


METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric("mse", "squared intensity a point", "mean squared change; for spikes the share of flipped cells", _mse),
        Metric("rms", "intensity", "root of mse", lambda change: _mse(change).sqrt()),
        Metric("l0", "cells or pixels", "how many are changed", _l0),
        Metric(
            "l1",
            "intensity",
            "sum of the absolute changes",
            _l1,
        ),
        Metric("l2", "intensity", "Euclidean length of the change", _l2),
        Metric(
            "linf",
            "intensity",
            "largest absolute change",
            _linf,
        ),
        Metric(
            "l2_per_point",
            "intensity a point",
            "l2 / N, the paper's formula read literally; its figures are mse",
            lambda change: _l2(change) / prod(change.difference.shape[1:]),
        ),
        Metric("moved", "spikes", "spikes in another time bin of the same pixel and polarity", _moved, "spikes", True),
        Metric(
            "moved_bins",
            "time bins",
            "how many bins moved spikes are from where they were, summed",
            _moved_bins,
            "spikes",
            True,
        ),
        Metric(
            "moved_bins_max",
            "time bins",
            "how many the farthest spike is from where it was",
            _moved_bins_max,
            "spikes",
            True,
        ),
        Metric(
            "l0_events",
            "events",
            "all of cells that were emptied, one of each that was filled",
            _events,
            "recordings",
        ),
        Metric(
            "moved_us", "µs", "how far moved spikes are from where they were, summed", _moved_us, "recordings", True
        ),
        Metric("moved_us_max", "µs", "how far the farthest of them is", _moved_us_max, "recordings", True),
    )
}
"""By name; see :class:`Metric`."""


def metric(name: str, what: str = "metric") -> Metric:
    """The metric of that name; a SpikeflipError that says which there are."""
    if name not in METRICS:
        raise SpikeflipError(f"{what} is {name!r}: {choose_from(name, METRICS)}")
    return METRICS[name]

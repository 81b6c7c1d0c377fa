"""Events that go to another time bin with their spike: who goes where, and at what time of the bin."""

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from spikeflip.data.recordings import Events

Moves = Literal["fewest", "nearest"]
"""Which events of a line are said to have moved: as few as can be, or all so that none moves far."""

_Whole = NDArray[np.int64]


def destinations(before: NDArray[np.uint8], after: NDArray[np.uint8], moves: Moves = "fewest") -> _Whole:
    """Where the events of each cell go: the bin, -1 where they stay or are removed.

    The k-th spike that a pixel and polarity lost goes with the k-th that it got; what is left over moves nowhere.

    Args:
        before: frames ``(T, ...)`` of 0 and 1.
        after: of the same shape.
        moves: ``"nearest"`` lets the k-th spike of a line become its k-th spike after, where it has as many: of a run
            of three that begins a bin later, each is a bin later. Else the first has gone behind the last.

    Returns:
        ``(T, lines)``, a line for every pixel and polarity.

    >>> destinations(np.array([[1], [0], [0]], dtype=np.uint8), np.array([[0], [0], [1]], dtype=np.uint8)).tolist()
    [[2], [-1], [-1]]
    """
    steps = len(before)
    old, new = (frames.reshape(steps, -1).T for frames in (before, after))
    gone, come = old > new, new > old
    if moves == "nearest":
        whole = (old.sum(1) == new.sum(1))[:, None]
        gone, come = gone | whole & (old > 0), come | whole & (new > 0)
    (lost, lost_keys), (got, got_keys) = _ranked(gone), _ranked(come)
    _, here, there = np.intersect1d(lost_keys, got_keys, assume_unique=True, return_indices=True)
    goes = np.full((steps, old.shape[0]), -1, dtype=np.int64)
    goes[lost[here, 1], lost[here, 0]] = np.where(lost[here, 1] == got[there, 1], -1, got[there, 1])
    return goes


def _ranked(changed: NDArray[np.bool_]) -> tuple[_Whole, _Whole]:
    """The changed cells ``(line, bin)`` in order, each with a key of its line and its rank there."""
    found = np.argwhere(changed)
    line = found[:, 0]
    return found, line * changed.shape[1] + np.arange(len(line)) - np.searchsorted(line, line)


def moved_times(moving: Events, source: _Whole, target: _Whole, edges: _Whole, staying: Events) -> _Whole:
    """Times ``(m,)`` of moved events, each as far behind the beginning of its new bin as it was behind that of its old.

    In a bin of another length the distance is in proportion. A time that another event of the pixel has is changed to
    the nearest later one that is free, or earlier one where the bin ends; events of a cell keep their order. Only where
    a bin has fewer µs than the pixel has events, some share one.

    Args:
        moving: ``(m,)``, in order of time.
        source, target: bins ``(m,)``.
        edges: ``(T + 1,)`` µs.
        staying: all other events.
    """
    width = np.diff(edges)
    behind = moving["t"] - edges[source]
    # Split, as the product of two long times has no room in 64 bits.
    whole, rest = np.divmod(width[target], width[source])
    behind = behind * whole + (behind.astype(np.float64) * rest / width[source]).astype(np.int64)
    times: _Whole = edges[target] + np.minimum(behind, width[target] - 1)
    pixels, others = _pixels(moving), _pixels(staying)
    near = np.isin(others, pixels)
    busy = np.concatenate([others[near], pixels])
    taken = np.concatenate([staying["t"][near], times])
    order = np.lexsort((taken, busy))
    same = (busy[order][1:] == busy[order][:-1]) & (taken[order][1:] == taken[order][:-1])
    shared = np.unique(busy[order][1:][same])
    clash = np.flatnonzero(np.isin(pixels, shared))
    if len(clash):
        occupied = _times_of(others[near], staying["t"][near], shared)
        for pixel, bin in sorted(set(zip(pixels[clash].tolist(), target[clash].tolist(), strict=True))):
            rows = clash[(pixels[clash] == pixel) & (target[clash] == bin)]
            first, last = int(edges[bin]), int(edges[bin + 1]) - 1
            rows = rows[np.argsort(times[rows], kind="stable")]
            times[rows] = _apart(times[rows].tolist(), occupied[pixel], first, last)
    return times


def _pixels(events: Events) -> _Whole:
    return events["y"].astype(np.int64) << 16 | events["x"].astype(np.int64)


def _times_of(pixels: _Whole, times: _Whole, wanted: _Whole) -> dict[int, set[int]]:
    """The times of the events of each of these pixels."""
    found: dict[int, set[int]] = {pixel: set() for pixel in wanted.tolist()}
    some = np.isin(pixels, wanted)
    for pixel, time in zip(pixels[some].tolist(), times[some].tolist(), strict=True):
        found[pixel].add(time)
    return found


def _apart(times: list[int], occupied: set[int], first: int, last: int) -> list[int]:
    """Rising times, none of them occupied, from ``first`` to ``last``, as near as can be; unchanged without room."""
    made, free = [], first
    for time in times:
        free = max(free, time)
        while free in occupied:
            free += 1
        made.append(free)
        free += 1
    free = last
    for place in reversed(range(len(made))):
        if made[place] <= free and (place == len(made) - 1 or made[place] < made[place + 1]):
            break
        while free in occupied:
            free -= 1
        made[place] = free
        free -= 1
    return made if free >= first - 1 and all(first <= time <= last for time in made) else times

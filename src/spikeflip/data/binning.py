"""Events to frames, and the exact way back from attacked frames to events."""

from dataclasses import dataclass, replace
from itertools import pairwise
from types import UnionType
from typing import Any, Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from spikeflip.data.moving import Moves, destinations, moved_times
from spikeflip.data.recordings import EVENT, LARGEST_SIDE, Events, Recording
from spikeflip.errors import SpikeflipError
from spikeflip.limits import MOST_FRAME_CELLS, MOST_STEPS
from spikeflip.streams import stream

Rule = Literal["time", "duration", "events"]

_CHUNK = 1 << 16
_LAST_EDGE = 1 << 62


@dataclass(frozen=True)
class Binning:
    """How a recording becomes frames ``(T, 2, H, W)``.

    Channel 0 holds OFF events and channel 1 ON events, as in tonic and SpikingJelly.

    Attributes:
        steps: number of time bins T.
        rule: ``"time"``, the paper's: bins of ``time_bin`` from t = 0 on, events outside are not seen;
            ``"duration"``: equal bins from the first to the last event; ``"events"``: bins of equally many events
            (the last takes the rest), cut where the time changes: events of one µs are never parted.
        time_bin: length of a bin in ms, for the rule ``"time"`` only; whole µs are the finest.
        height: rows of a frame, at most the sensor's (and the default). Pixel row y falls into frame row
            ``y * height // sensor height``.
        width: columns of a frame, likewise.
        counted: cells count their events; otherwise they are 1 where there is at least one, which attacks need.
    """

    steps: int
    rule: Rule = "time"
    time_bin: float | None = None
    height: int | None = None
    width: int | None = None
    counted: bool = False

    def __post_init__(self) -> None:
        for name in ("steps", "time_bin", "height", "width"):
            if isinstance(value := getattr(self, name), np.generic):
                object.__setattr__(self, name, value.item())
        if self.rule not in get_args(Rule):
            raise SpikeflipError(f"rule is {self.rule!r:.80}: give one of {', '.join(get_args(Rule))}")
        if not isinstance(self.counted, bool):
            raise SpikeflipError(f"counted is {self.counted!r:.80}: give True or False")
        for name, most in (("steps", MOST_STEPS), ("height", LARGEST_SIDE), ("width", LARGEST_SIDE)):
            value = getattr(self, name)
            if (value is not None or name == "steps") and not (_is_number(value, int) and 1 <= value <= most):
                raise SpikeflipError(f"{name} is {value!r:.80}: give a whole number from 1 to {most:,}")
        time_bin: Any = self.time_bin
        longest = _LAST_EDGE / 1000 / self.steps
        if self.rule == "time" and not (_is_number(time_bin, int | float) and 0.001 <= time_bin <= longest):
            raise SpikeflipError(
                f"time_bin is {time_bin!r:.80} ms: give at least 0.001 for the rule 'time', at most {longest:.3g}"
            )
        if self.rule != "time" and time_bin is not None:
            raise SpikeflipError(
                f"time_bin is {time_bin!r:.80} ms, but the rule {self.rule!r} takes none: leave it out"
            )


def _is_number(value: object, kind: type | UnionType) -> bool:
    return isinstance(value, kind) and not isinstance(value, bool)


@dataclass(frozen=True, eq=False)
class Binned:
    """A recording in bins: the frames, and what is needed to go back.

    Attributes:
        frames: ``(T, 2, H, W)`` uint8 of 0 and 1, or int32 where counted.
        edges: ``(T + 1,)`` int64, µs, strictly ascending: bin k is ``edges[k] <= t < edges[k + 1]``.
        positions: ``(T + 1,)`` int64: bin k holds the events ``positions[k]`` to ``positions[k + 1] - 1``.
        recording: what was binned.
        binning: how.
    """

    frames: Tensor
    edges: NDArray[np.int64]
    positions: NDArray[np.int64]
    recording: Recording
    binning: Binning

    @property
    def outside(self) -> int:
        """Number of events in no bin."""
        return len(self.recording) - int(self.positions[-1] - self.positions[0])

    @property
    def bins(self) -> NDArray[np.int64]:
        """The bin of each event ``(n,)``, -1 outside."""
        bins = np.full(len(self.recording), -1)
        steps = len(self.positions) - 1
        bins[self.positions[0] : self.positions[-1]] = np.repeat(np.arange(steps), np.diff(self.positions))
        return bins

    def count_events(self) -> Tensor:
        """How many events each cell has, ``(T, 2, H, W)`` int32."""
        return bin_events(self.recording, replace(self.binning, counted=True), edges=self.edges).frames

    def write_back(self, frames: Tensor, *, seed: int = 0, sample: int = 0, moves: Moves | None = None) -> Recording:
        """The recording whose frames are ``frames``.

        Untouched events, and all outside the bins, keep their times and order. A cell that became 0 loses all its
        events. A cell that became 1 gets one, at a random µs of its bin, behind the events of the same µs; of the
        pixels that fall into the cell it sits on the middle one (the upper left of two or four).

        With ``moves``, where a pixel and polarity lost a spike in one bin and got one in another, events move:
        each keeps its pixel and its place in the bin, or takes the next µs that no other event of the pixel has; see
        :func:`spikeflip.data.moving.moved_times`.

        Args:
            frames: ``(T, 2, H, W)`` of exactly 0 and 1, of any type.
            seed: of the times of added events.
            sample: id of the recording; each has its own random stream.
            moves: which spikes moved, see :func:`spikeflip.data.moving.destinations`; none when not given.

        Raises:
            SpikeflipError: the frames have another shape or other values, or the recording's cells are counted.
        """
        if self.binning.counted:
            raise SpikeflipError("frames that count events have no way back: bin with counted=False")
        if not isinstance(frames, Tensor):
            raise SpikeflipError(f"frames are a {type(frames).__name__}: give a tensor, as torch.from_numpy makes")
        if frames.shape != self.frames.shape:
            raise SpikeflipError(f"frames have shape {tuple(frames.shape)}, the recording's {tuple(self.frames.shape)}")
        if not bool(((frames == 0) | (frames == 1)).all()):
            raise SpikeflipError("frames hold other values than 0 and 1: binarise them")
        after = frames.detach().to("cpu", torch.uint8).numpy()
        before = self.frames.numpy()
        first, last = int(self.positions[0]), int(self.positions[-1])
        events = self.recording.events
        inside = events[first:last]
        rows, columns = _lookup(self.recording, before.shape[2], before.shape[3])
        bins = self.bins[first:last]
        lines = _cells(inside, rows, columns, before.shape[2:])
        kept = after.reshape(-1)[lines + bins * before[0].size] == 1
        filled = (after == 1) & (before == 0)
        staying = np.concatenate([events[:first], inside[kept], events[last:]])
        moved = inside[:0]
        if moves is not None:
            goes = destinations(before, after, moves)
            to = goes[bins, lines]
            staying = np.concatenate([events[:first], inside[kept & (to < 0)], events[last:]])
            moved = inside[to >= 0]
            moved["t"] = moved_times(moved, bins[to >= 0], to[to >= 0], self.edges, staying)
            at, line = np.nonzero(goes >= 0)
            filled.reshape(len(after), -1)[goes[at, line], line] = False
        merged = np.concatenate([staying, moved, self._added(filled, seed, sample)])
        order = np.argsort(merged["t"], kind="stable")
        return replace(self.recording, events=merged[order], notices=())

    def moved(self, frames: Tensor, moves: Moves) -> tuple[int, int]:
        """How many spikes are added by :meth:`write_back` with ``moves``, and how many events go to another bin."""
        before, after = self.frames.numpy(), frames.detach().to("cpu", torch.uint8).numpy()
        goes = destinations(before, after, moves)
        filled, counts = (after > before).reshape(goes.shape), self.count_events().numpy().reshape(goes.shape)
        at, line = np.nonzero(goes >= 0)
        filled[goes[at, line], line] = False
        return int(filled.sum()), int(counts[goes >= 0].sum())

    def _added(self, cells: NDArray[np.bool_], seed: int, sample: int) -> Events:
        """One event for every cell."""
        bins, polarity, row, column = np.nonzero(cells)
        width = np.diff(self.edges)[bins]
        moment = (stream(seed, sample, "write").random(len(bins)) * width).astype(np.int64)
        events = np.empty(len(bins), dtype=EVENT)
        events["t"] = self.edges[bins] + np.minimum(moment, width - 1)
        events["y"] = _middles(self.recording.height, cells.shape[2])[row]
        events["x"] = _middles(self.recording.width, cells.shape[3])[column]
        events["p"] = polarity == 1
        return events


def bin_events(recording: Recording, binning: Binning, *, edges: NDArray[np.int64] | None = None) -> Binned:
    """Put the events of a recording into frames.

    Args:
        recording: any; without events all cells are 0.
        binning: how.
        edges: ``(T + 1,)`` µs, strictly ascending; from another recording's :class:`Binned`, to bin exactly as there.

    Returns:
        The frames, the edges, where each event went, and how many are outside.

    Raises:
        SpikeflipError: the frames would be larger than the sensor, or too large for memory.

    Source:
        L. Liang et al., "Exploring Adversarial Attack in Spiking Neural Networks with Spike-Compatible Gradient", 2021,
        Table VI, for ``rule="time"``.

    >>> t, x, y, p = [0, 900, 1000, 2500], [0, 1, 0, 1], [0, 0, 1, 1], [1, 0, 1, 1]
    >>> recording = Recording.from_columns(t, x, y, p, height=2, width=2)
    >>> binned = bin_events(recording, Binning(steps=2, time_bin=1))
    >>> binned.frames[:, 1].tolist(), binned.outside
    ([[[1, 0], [0, 0]], [[0, 0], [1, 0]]], 1)
    """
    height, width = _frame_size(recording, binning)
    if edges is None:
        edges = _edges(recording.events["t"], binning)
    elif len(edges) != binning.steps + 1 or (np.diff(edges) < 1).any():
        raise SpikeflipError(f"edges are {len(edges)} for {binning.steps} bins: give one more, strictly ascending")
    times = recording.events["t"]
    positions = np.array([_first_at(times, int(edge)) for edge in edges], dtype=np.int64)
    rows, columns = _lookup(recording, height, width)
    frames = np.zeros((binning.steps, 2, height, width), dtype=np.int32 if binning.counted else np.uint8)
    for frame, (first, last) in zip(frames.reshape(binning.steps, -1), pairwise(positions.tolist()), strict=True):
        for start in range(first, last, _CHUNK):
            cells = _cells(recording.events[start : min(start + _CHUNK, last)], rows, columns, (height, width))
            if binning.counted:
                frame += np.bincount(cells, minlength=frame.size).astype(np.int32)
            else:
                frame[cells] = 1
    return Binned(torch.from_numpy(frames), edges, positions, recording, binning)


def _frame_size(recording: Recording, binning: Binning) -> tuple[int, int]:
    height, width = binning.height or recording.height, binning.width or recording.width
    if height > recording.height or width > recording.width:
        raise SpikeflipError(
            f"frames of {width} × {height} are larger than the sensor of {recording.width} × {recording.height}: "
            "cells without pixels could not be written back; give a smaller size"
        )
    check_frames(binning.steps, height, width)
    return height, width


def check_frames(steps: int, height: int, width: int) -> None:
    """Raise a SpikeflipError for frames of one recording that are too large for memory."""
    if steps * 2 * height * width > MOST_FRAME_CELLS:
        raise SpikeflipError(
            f"{steps} frames of {width} × {height} have more than {MOST_FRAME_CELLS:,} cells: give fewer or smaller"
        )


def _edges(times: NDArray[np.int64], binning: Binning) -> NDArray[np.int64]:
    steps = np.arange(binning.steps + 1)
    if binning.time_bin is not None:
        return np.array(np.rint(steps * (binning.time_bin * 1000)), dtype=np.int64)
    if not len(times):
        return steps
    first, last = int(times[0]), int(times[-1])
    if binning.rule == "duration":
        span = max(last - first + 1, binning.steps)  # a bin shorter than 1 µs could take no event
        return np.array([first + k * span // binning.steps for k in range(binning.steps + 1)], dtype=np.int64)
    share = len(times) // binning.steps
    edges = np.array([*(int(times[k * share]) for k in range(binning.steps)), last + 1])
    rising: NDArray[np.int64] = np.maximum.accumulate(edges - steps) + steps  # at least 1 µs from one to the next
    return rising


def _first_at(times: NDArray[np.int64], edge: int) -> int:
    """Position of the first event at ``edge`` or later, without the copy that searchsorted makes of a packed field."""
    low, high = 0, len(times)
    while low < high:
        middle = (low + high) // 2
        if times[middle] < edge:
            low = middle + 1
        else:
            high = middle
    return low


def _lookup(recording: Recording, height: int, width: int) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """For each sensor row the offset of its frame row, for each sensor column its frame column."""
    rows = np.arange(recording.height) * height // recording.height * width
    return rows.astype(np.int32), (np.arange(recording.width) * width // recording.width).astype(np.int32)


def _cells(
    events: Events, rows: NDArray[np.int32], columns: NDArray[np.int32], size: tuple[int, ...]
) -> NDArray[np.int32]:
    """The place of each event in a flattened frame ``(2, H, W)``."""
    cells: NDArray[np.int32] = rows[events["y"]]
    cells += columns[events["x"]]
    cells += events["p"].astype(np.int32) * np.int32(size[0] * size[1])
    return cells


def _middles(sensor: int, cells: int) -> NDArray[np.int64]:
    """For each cell the middle one of the pixels that fall into it."""
    borders = -(-np.arange(cells + 1) * sensor // cells)
    return (borders[:-1] + borders[1:] - 1) // 2

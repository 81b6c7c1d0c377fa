"""Event recordings in memory: what every reader makes and every writer takes."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from numbers import Integral
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spikeflip.errors import SpikeflipError
from spikeflip.notices import Notice

Events = NDArray[np.void]

#: One event: time in µs, column, row (from the top left), polarity (True = ON, brighter). Packed, 13 bytes.
EVENT = np.dtype([("t", "<i8"), ("x", "<u2"), ("y", "<u2"), ("p", "?")])

# (height, width) of N-MNIST, DVS128, DAVIS240, ATIS, DAVIS346, VGA and HD sensors.
_USUAL_SENSORS = ((34, 34), (128, 128), (180, 240), (240, 304), (260, 346), (480, 640), (720, 1280))
#: The code of the notice that the sensor's size is a guess.
SENSOR_GUESSED = "sensor-guessed"
#: Most rows, and most columns, of a sensor.
LARGEST_SIDE = 1 << 16
_LARGEST_ZERO = 1 << 61
# 71 minutes, all that 32 bits of µs hold. No scene stays still for so long, and no bins reach so far; a clock that runs
# since 1970, or since a camera was switched on, is soon later.
_CLOCK = 1 << 32
_CHUNK = 1 << 20


@dataclass(frozen=True, eq=False)
class Recording:
    """What an event camera saw.

    Attributes:
        events: ``(n,)`` of :data:`EVENT`, times ascending; events of one time stay in the file's order.
        height: rows of the sensor.
        width: columns of the sensor.
        t0: time of the file's clock, in µs, at which ``t`` is 0. Time windows start at ``t`` = 0.
        format: name of the file format it came from, None if made in memory.
        notices: what a reader had to decide or repair.
        sensor_guessed: whether height and width are a guess from the events; the notices say so too.
        header: lines of a camera's header, ``key value``, which DAT, EVT2 and EVT3 files hold.
    """

    events: Events
    height: int
    width: int
    t0: int = 0
    format: str | None = None
    notices: tuple[Notice, ...] = ()
    sensor_guessed: bool = False
    header: tuple[str, ...] = ()

    @classmethod
    def from_columns(
        cls,
        t: ArrayLike,
        x: ArrayLike,
        y: ArrayLike,
        p: ArrayLike,
        *,
        height: int | None = None,
        width: int | None = None,
        t0: int = 0,
    ) -> "Recording":
        """Make a recording of four equally long columns.

        Args:
            t: whole µs, in any order; sorted stably.
            x: columns, 0 at the left.
            y: rows, 0 at the top.
            p: polarities 0 and 1, or -1 and 1.
            height: rows of the sensor; with ``width`` guessed from the events where not given.
            width: columns of the sensor.
            t0: see the class.

        Raises:
            SpikeflipError: a column is not of whole numbers, the lengths differ, a pixel is outside the sensor, or a
                polarity is neither of the two pairs.

        >>> recording = Recording.from_columns([20, 10], [3, 1], [0, 2], [1, -1], height=34, width=34)
        >>> recording.events["t"].tolist(), recording.events["p"].tolist(), recording.notes
        ([10, 20], [False, True], ('1 event was earlier than the one before it: sorted by time',))
        """
        return recording_of(events_of(t, x, y, p), height, width, t0=t0)

    def __len__(self) -> int:
        return len(self.events)

    @property
    def notes(self) -> tuple[str, ...]:
        """The sentences of the notices."""
        return tuple(notice.text for notice in self.notices)

    @property
    def duration(self) -> int:
        """µs from the first to the last event, 0 where there are fewer than two."""
        return int(self.events["t"][-1] - self.events["t"][0]) if len(self.events) else 0

    def between(self, start: int, stop: int) -> "Recording":
        """The events at file-clock times ``start`` to ``stop - 1`` µs, with t0 = ``start``.

        Raises:
            SpikeflipError: a time is not a whole number of µs.
        """
        for time in (start, stop):
            if not isinstance(time, Integral):
                raise SpikeflipError(f"between is asked for {time!r:.80}: give times in whole µs")
        start, stop = int(start), int(stop)
        first, last = np.searchsorted(self.events["t"], [start - self.t0, stop - self.t0])
        events = self.events[first:last].copy()
        events["t"] += self.t0 - start
        return replace(self, events=events, t0=start)


def events_of(t: ArrayLike, x: ArrayLike, y: ArrayLike, p: ArrayLike) -> Events:
    """Pack four columns into events ``(n,)``, in their order; see :meth:`Recording.from_columns`."""
    columns = {name: _column(name, values) for name, values in (("t", t), ("x", x), ("y", y), ("p", p))}
    lengths = {len(column) for column in columns.values()}
    if len(lengths) > 1:
        counts = ", ".join(f"{len(column)} of {name}" for name, column in columns.items())
        raise SpikeflipError(f"the columns of events differ in length ({counts}): give one value an event")
    for name in ("x", "y"):
        _check_range(name, columns[name], 0, LARGEST_SIDE - 1)
    _check_range("t", columns["t"], -(1 << 62), (1 << 62) - 1)
    events = np.empty(lengths.pop(), dtype=EVENT)
    for name in ("t", "x", "y"):
        events[name] = columns[name]
    events["p"] = polarities(columns["p"])
    return events


def gathered(parts: Iterable[tuple[NDArray[Any], ...]], most: int) -> Events:
    """Pack parts of the columns t, x, y, p, at most ``most`` events in all, with only one part in memory at a time."""
    events, filled, found = np.empty(most, dtype=EVENT), 0, set[int]()
    for part in parts:
        packed = events_of(*part)
        events[filled : filled + len(packed)] = packed
        filled += len(packed)
        found.update(np.unique(part[3]).tolist())
    polarities(np.array(sorted(found), dtype=np.int64))
    return events[:filled]


def polarities(values: NDArray[Any]) -> NDArray[np.bool_]:
    """ON (True) or OFF of polarities 0 and 1, or -1 and 1; a SpikeflipError for any other set."""
    on: NDArray[np.bool_] = values > 0
    low = values[~on]
    if (values > 1).any() or (low < -1).any() or (len(low) and low.min() != low.max()):
        found = ", ".join(str(value) for value in np.unique(values)[:5])
        raise SpikeflipError(f"polarities are {found}: give 0 and 1, or -1 and 1")
    return on


def recording_of(
    events: Events,
    height: int | None = None,
    width: int | None = None,
    *,
    t0: int | None = 0,
    format: str | None = None,
    notices: tuple[Notice, ...] = (),
) -> Recording:
    """Check and sort events ``(n,)`` of :data:`EVENT`, which may be changed in place.

    Args:
        events: in any order; where they must be sorted, that takes about 20 bytes an event for a moment.
        height: rows of the sensor, guessed from the events (and noted) where the file does not say.
        width: columns of the sensor.
        t0: what the file says of its zero; None for a camera clock, whose zero becomes the first event.
        format: of the file.
        notices: of the reader.

    Raises:
        SpikeflipError: a pixel lies outside the sensor, only one side of it is given, or t0 is absurd.
    """
    if (height is None) != (width is None):
        raise SpikeflipError(f"the sensor is {width} × {height}: give both its sides, or neither")
    behind = sum(int((part["t"][1:] < part["t"][:-1]).sum()) for part in _overlapping(events))
    if behind:
        events = events[np.argsort(events["t"], kind="stable")]
        are = (
            "event was earlier than the one before it" if behind == 1 else "events were earlier than those before them"
        )
        notices = (*notices, Notice("times-sorted", f"{behind:,} {are}: sorted by time", behind))
    if t0 is None:
        t0 = int(events["t"][0]) if len(events) else 0
        events["t"] -= t0
    else:
        t0 = check_zero(t0)
    bottom, right = _farthest(events)
    guessed = height is None or width is None
    if height is None or width is None:
        height, width = _guess_sensor(bottom, right)
        text = f"the file does not say the sensor's size: taken as {width} × {height}"
        notices = (*notices, Notice(SENSOR_GUESSED, text))
    height, width = _whole_sides(height, width)
    if bottom >= height or right >= width:
        outside = (events["x"] >= width) | (events["y"] >= height)
        first = events[outside][0]
        raise SpikeflipError(
            f"{int(outside.sum()):,} of {len(events):,} events lie outside the sensor of {width} × {height}, "
            f"the first at x = {first['x']}, y = {first['y']}: give the right sensor size, or remove them"
        )
    return Recording(events, height, width, t0, format, notices, guessed)


def counted_from_first(recording: Recording) -> Recording:
    """The recording, whose events may be changed in place, counted from its first event if its times are a clock's.

    ``t0`` takes up the difference, so that ``t + t0`` stays; see ``_CLOCK`` for what is a clock's.
    """
    first = int(recording.events["t"][0]) if len(recording) else 0
    if first < _CLOCK or recording.t0 + first > _LARGEST_ZERO:
        return recording
    recording.events["t"] -= first
    text = f"times are those of a clock, the first at {first:,} µs: they count from the first event, and t0 keeps it"
    return replace(
        recording, t0=recording.t0 + first, notices=(*recording.notices, Notice("absolute-clock", text, first))
    )


def check_zero(t0: int) -> int:
    """The zero of a file's clock, if times can be counted from it without overflow."""
    if not isinstance(t0, Integral) or abs(t0) > _LARGEST_ZERO:
        raise SpikeflipError(f"t0 is {t0} µs: it must be a whole number, {-_LARGEST_ZERO} to {_LARGEST_ZERO}")
    return int(t0)


def guess_sensor(events: Events) -> tuple[int, int]:
    """The height and width that are taken where a file does not say them: the least usual sensor that holds all."""
    return _guess_sensor(*_farthest(events))


def _farthest(events: Events) -> tuple[int, int]:
    """The last row and the last column of all events, -1 of none."""
    bottom, right = (max((int(part[name].max()) for part in _parts(events)), default=-1) for name in ("y", "x"))
    return bottom, right


def _guess_sensor(bottom: int, right: int) -> tuple[int, int]:
    for height, width in _USUAL_SENSORS:
        if bottom < height and right < width:
            return height, width
    return bottom + 1, right + 1


def _whole_sides(height: int, width: int) -> tuple[int, int]:
    if not all(isinstance(side, Integral) and 1 <= side <= LARGEST_SIDE for side in (height, width)):
        raise SpikeflipError(f"the sensor is {width} × {height}: both must be whole numbers from 1 to {LARGEST_SIDE}")
    return int(height), int(width)


def _column(name: str, values: ArrayLike) -> NDArray[Any]:
    column = np.asarray(values)
    if column.size == 0:
        column = column.astype(np.int64)
    if column.ndim != 1 or column.dtype.kind not in "iub":
        raise SpikeflipError(
            f"{name} is {column.dtype} of shape {column.shape}: give one whole number an event (times in µs)"
        )
    return column.astype(np.int8) if column.dtype.kind == "b" else column


def _check_range(name: str, column: NDArray[Any], low: int, high: int) -> None:
    if len(column) and (int(column.min()) < low or int(column.max()) > high):
        wrong = next(int(value) for value in (column.min(), column.max()) if not low <= int(value) <= high)
        raise SpikeflipError(f"{name} is {wrong} in one event: it must be {low} to {high}")


def _parts(events: Events) -> Iterator[Events]:
    return (events[start : start + _CHUNK] for start in range(0, len(events), _CHUNK))


def _overlapping(events: Events) -> Iterator[Events]:
    """Parts that share one event, so that every neighbouring pair is in one of them."""
    return (events[start : start + _CHUNK + 1] for start in range(0, len(events), _CHUNK))

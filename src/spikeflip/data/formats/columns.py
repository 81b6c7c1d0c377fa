"""What columns of events are called, in text and in NumPy files alike, and the units of their times."""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikeflip.data.recordings import Events, events_of
from spikeflip.errors import SpikeflipError
from spikeflip.notices import Notice

#: The columns of an event.
COLUMNS = ("t", "x", "y", "p")
#: Units in a second.
UNITS = {"s": 1, "ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}

_NAMES = {
    "t": {"t", "ts", "time", "times", "timestamp", "timestamps"},
    "x": {"x", "xs", "col", "column"},
    "y": {"y", "ys", "row"},
    "p": {"p", "ps", "pol", "polarity", "polarities", "on"},
}
_COLUMN = {name: column for column, names in _NAMES.items() for name in names}
_UNIT_WORDS = {
    "µs": "us",
    "μs": "us",
    "usec": "us",
    "microseconds": "us",
    "msec": "ms",
    "milliseconds": "ms",
    "sec": "s",
}
_UNIT_WORDS |= {"seconds": "s", "nsec": "ns", "nanoseconds": "ns"} | {unit: unit for unit in UNITS}
_MICRO = 1_000_000
_FARTHEST = 1 << 62
_WORDS = re.compile(r"[^\s_()\[\]{}:/]+")


def named(text: str) -> tuple[str, str | None]:
    """The column that a name means (the name itself, in lower case, where none), and the unit it adds, if any.

    >>> named("Timestamp [us]"), named('"polarity"'), named("time_s"), named("id")
    (('t', 'us'), ('p', None), ('t', 's'), ('id', None))
    """
    name = text.strip().strip("\"'").strip().lower()
    words = _WORDS.findall(name)
    column = _COLUMN.get(words[0] if words else "", name)
    if len(words) == 2 and column == "t" and words[1] in _UNIT_WORDS:
        return "t", _UNIT_WORDS[words[1]]
    return (column, None) if len(words) == 1 else (name, None)


def check_columns(columns: str) -> tuple[str, ...]:
    """The columns that a user names, such as ``x,y,p,t``; other names are of columns that are not read.

    Raises:
        SpikeflipError: one of t, x, y, p is missing, or there twice.
    """
    names = tuple(named(name)[0] for name in columns.split(","))
    wrong = [column for column in COLUMNS if names.count(column) != 1]
    if wrong:
        raise SpikeflipError(
            f"columns are {columns!r:.80}: name each of t, x, y and p once, in the file's order, such as x,y,p,t, and "
            "any column that is not to be read with a dash"
        )
    return names


def check_unit(unit: str) -> str:
    """A unit of time that is known; a SpikeflipError for any other."""
    if unit not in UNITS:
        raise SpikeflipError(f"time unit is {unit!r:.80}: give one of {', '.join(UNITS)}")
    return unit


def whole_times(times: NDArray[Any], unit: str) -> tuple[NDArray[np.int64], int]:
    """Times ``(n,)`` of a unit in whole µs, and how many of them had to be rounded.

    Raises:
        SpikeflipError: a time is no number, or too large.
    """
    many, few = max(_MICRO // UNITS[unit], 1), max(UNITS[unit] // _MICRO, 1)
    if times.dtype.kind == "f":
        exact = times.astype(np.float64) * many / few
        if not (np.abs(exact) <= _FARTHEST).all():
            raise SpikeflipError(
                f"a time is {times[~(np.abs(exact) <= _FARTHEST)][0]} {unit}: it is too large, or no number"
            )
        micro = np.rint(exact)
        error = np.abs(exact - micro)  # of which some is that of a floating number as large
        return micro.astype(np.int64), int((error > 4 * np.spacing(np.abs(exact))).sum())
    if many == few:
        return times, 0
    if len(times) and max(-int(times.min()), int(times.max())) > _FARTHEST // many:
        raise SpikeflipError(f"times are {times.min()} to {times.max()} {unit}: they are too large")
    micro = (times.astype(np.int64) * many + few // 2) // few
    return micro, int((times % few != 0).sum())


def rounded_times(count: int) -> Iterator[Notice]:
    """A notice that times were rounded, if any were."""
    if count:
        yield Notice("times-rounded", f"{count:,} times are finer than 1 µs: rounded to whole µs", count)


def find_columns(names: Iterable[str]) -> tuple[dict[str, str], str | None]:
    """Which of some names each column has, and the unit of time that its name says; exact names come first.

    Raises:
        SpikeflipError: a column is missing, or two names may be it.
    """
    found: dict[str, dict[str, str | None]] = {column: {} for column in COLUMNS}
    for name in names:
        column, unit = named(name)
        found.get(column, {})[name] = unit
    for column, there in found.items():
        if not there:
            raise SpikeflipError(f"it has no array {column!r}: events are t, x, y and p, one value an event")
        if len(there) > 1 and column not in there:
            raise SpikeflipError(
                f"its arrays {' and '.join(map(repr, there))} may both be {column}: name one of them {column}"
            )
    chosen = {column: column if column in there else next(iter(there)) for column, there in found.items()}
    return chosen, found["t"][chosen["t"]]


def events_from(columns: Mapping[str, NDArray[Any]], unit: str | None) -> tuple[Events, tuple[Notice, ...]]:
    """Pack arrays t, x, y and p ``(n,)``, which may be floating numbers; times are µs where no unit is given.

    Raises:
        SpikeflipError: as :func:`spikeflip.data.recordings.events_of`; or times have fractions, and no unit.
    """
    whole, count = dict(columns), 0
    if unit is not None and columns["t"].dtype.kind in "iuf":
        whole["t"], count = whole_times(columns["t"], check_unit(unit))
    whole = {name: _without_fractions(name, column) for name, column in whole.items()}
    return events_of(**whole), tuple(rounded_times(count))


def _without_fractions(name: str, column: NDArray[Any]) -> NDArray[Any]:
    """A column as whole numbers, where it holds such, whatever their type."""
    if column.dtype.kind != "f":
        return column
    whole = np.isfinite(column) & (np.abs(column) < 2.0**53) & (column % 1 == 0)
    if whole.all():
        return column.astype(np.int64)
    fix = "; give the unit of times with --time-unit s, ms, us or ns (time_unit=)" if name == "t" else ""
    raise SpikeflipError(f"{name} is {column[~whole][0]} in one event: it must be a whole number{fix}")

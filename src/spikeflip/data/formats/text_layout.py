"""What the columns of a text file are: said by the user or its first lines, or the one reading of its numbers."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import permutations

import numpy as np
from numpy.typing import NDArray

from spikeflip.data.formats.columns import COLUMNS, named
from spikeflip.errors import SpikeflipError
from spikeflip.notices import Notice

_OPTIONS = "name them with --columns t,x,y,p and --time-unit s (columns=, time_unit=)"
_MARKS = "#%"
_MAKERS = "%geometry"  # as Prophesee's tools begin a table
_MAKERS_ORDER = ("x", "y", "p", "t")
_SENSOR = re.compile(r"[#%]\s*(?:geometry|sensor|size|resolution)\W+(\d{1,5})\s*[x,× ]\s*(\d{1,5})\s*", re.IGNORECASE)
_SIZE = re.compile(r"(\d{1,5})\s+(\d{1,5})\s*")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", re.IGNORECASE)
_LARGEST_SIDE = 1 << 16
_MOSTLY_GROWS = 0.95  # of the steps of a column of times
_LONGEST_SECONDS = 1000  # of some thousand events; where they take longer, the unit is smaller
_COARSE = 3  # decimals that seconds and milliseconds may both have
_NANOSECONDS = 10**17  # µs since 1970 stay below this until the year 5138


@dataclass(frozen=True)
class Layout:
    """How a text file holds events.

    Attributes:
        separator: between two columns; None for blanks.
        names: what each column is, in the file's order.
        skipped: how many such lines come before the first event.
        unit: of times.
        unit_said: whether the file or the user says so.
        real: whether any number that is read is written as other than digits.
        height: rows of the sensor, where the first lines say so.
        width: columns of the sensor.
        notices: what was found from the numbers, and not said.
    """

    separator: str | None
    names: tuple[str, ...]
    skipped: int
    unit: str
    unit_said: bool
    real: bool
    height: int | None = None
    width: int | None = None
    notices: tuple[Notice, ...] = ()


def cells_of(line: str) -> list[str]:
    """The cells of a line."""
    return [cell.strip() for cell in line.strip().split(separator_of(line.strip()))]


def separator_of(line: str) -> str | None:
    """What stands between the cells of a line; None for blanks."""
    return next((mark for mark in ";,\t" if mark in line), None)


def is_numbers(line: str) -> bool:
    """Whether a line has numbers alone."""
    return all(_NUMBER.fullmatch(cell) for cell in cells_of(line))


def names_of(line: str) -> tuple[tuple[str, ...], str | None]:
    """What each cell of a line names, and the unit of its times."""
    found = [named(cell) for cell in cells_of(line.strip().lstrip(_MARKS))]
    return tuple(name for name, _ in found), next((unit for name, unit in found if name == "t"), None)


def names_all(line: str) -> bool:
    """Whether a line names each of the four columns once."""
    names, _ = names_of(line)
    return all(names.count(column) == 1 for column in COLUMNS)


def find_layout(lines: Sequence[str], columns: tuple[str, ...] | None, unit: str | None) -> Layout | None:
    """The layout of a file that begins with these lines, None for one that has no events.

    Args:
        lines: the first that hold anything, some thousands.
        columns: what the user says they are.
        unit: of times, as the user says.

    Raises:
        SpikeflipError: the columns can be read in no way, or in several.
    """
    start = _preamble(lines, columns)
    if start is None:
        return None
    names, said_unit, at, sensor = start
    rows = [cells_of(line) for line in lines[at:]]
    notices: tuple[Notice, ...] = ()
    if not names:
        makers = any(line.strip().lower().startswith(_MAKERS) for line in lines[:at])
        names = _only_reading(rows, _MAKERS_ORDER if makers else None)
        text = f"the columns have no names: read as {','.join(names)}, in which order they can be events"
        notices = (Notice("columns-found", text),)
    elif len(rows[0]) < len(names) or (columns and len(rows[0]) > len(names)):
        raise SpikeflipError(
            f"the line {lines[at].strip()[:80]!r} has {len(rows[0])} columns, and {len(names)} are named "
            f"({', '.join(names)[:80]}): {_OPTIONS}"
        )
    read = [cell for row in rows for cell, name in zip(row, names, strict=False) if name in COLUMNS]
    real = any(not cell.lstrip("+-").isdigit() for cell in read)
    found = unit or said_unit
    if found is None:
        time = names.index("t")
        found = _unit([row[time] for row in rows if len(row) > time and _NUMBER.fullmatch(row[time])])
        if found != "us":
            notices = (*notices, Notice("time-unit", "times have fractions of a second, and are read as seconds"))
    said = unit is not None or said_unit is not None
    return Layout(separator_of(lines[at].strip()), names, at, found, said, real, *sensor, notices)


def _preamble(
    lines: Sequence[str], columns: tuple[str, ...] | None
) -> tuple[tuple[str, ...], str | None, int, tuple[int | None, int | None]] | None:
    """What the lines before the first event say: columns, unit of time, their number, and height and width."""
    names, unit = columns or (), None
    sensor: tuple[int | None, int | None] = (None, None)
    titled = False
    for at, line in enumerate(lines):
        text = line.strip()
        if size := _SENSOR.fullmatch(text) or (_SIZE.fullmatch(text) if _is_size(lines, at) else None):
            sensor = int(size[2]), int(size[1])
        elif names_all(text):
            names, unit, titled = columns or names_of(text)[0], names_of(text)[1], True
        elif text[0] not in _MARKS:
            if titled or is_numbers(text):
                return names, unit, at, sensor
            if columns is None:
                raise SpikeflipError(_no_names(text))
            titled = True
    return None


def _no_names(line: str) -> str:
    """Why a first line that is no event does not help."""
    missing = [column for column in COLUMNS if column not in names_of(line)[0]]
    if 0 < len(missing) <= 2:
        return f"there is no column {missing[0]!r} in its first line, {line[:80]!r}: {_OPTIONS}"
    return f"its line {line[:80]!r} is no event and does not name the columns t, x, y and p: {_OPTIONS}"


def _is_size(lines: Sequence[str], at: int) -> bool:
    """Whether a line is followed by one of more than two cells."""
    return at + 1 < len(lines) and len(cells_of(lines[at + 1])) > 2


def _unit(cells: Sequence[str]) -> str:
    """The unit of times, from how they are written."""
    values = [float(cell) for cell in cells] or [0.0]
    whole = all(value % 1 == 0 for value in values)
    if whole and max(values) < _NANOSECONDS:
        return "us"
    decimals = max(len(cell.partition(".")[2].rstrip("0")) for cell in cells)
    if whole or decimals <= _COARSE or max(values) - min(values) > _LONGEST_SECONDS:
        may = "too large for µs" if whole else "fractions of a unit that the file does not say"
        raise SpikeflipError(
            f"its times, such as {cells[-1][:40]}, are {may}: give it with --time-unit s, ms, us or ns (time_unit=)"
        )
    return "s"


def _only_reading(rows: Sequence[Sequence[str]], usual: tuple[str, ...] | None = None) -> tuple[str, ...]:
    """The one order of four columns, with y behind x, in which the numbers can be events; the usual one if possible."""
    counts = sorted({len(row) for row in rows})
    if counts != [len(COLUMNS)]:
        raise SpikeflipError(f"its lines have {' or '.join(map(str, counts))} columns without names: {_OPTIONS}")
    wrong = next((cell for row in rows for cell in row if not _NUMBER.fullmatch(cell)), None)
    if wrong is not None:
        raise SpikeflipError(f"it has {wrong[:40]!r} where a number should be: {_OPTIONS}")
    table = np.array([[float(cell) for cell in row] for row in rows]).T
    on_sensor = [
        bool((column % 1 == 0).all() and (column >= 0).all() and (column < _LARGEST_SIDE).all()) for column in table
    ]
    fits = {
        "t": [_grows(column) for column in table],
        "x": on_sensor,
        "y": on_sensor,
        "p": [set(column.tolist()) <= {0, 1} or set(column.tolist()) <= {-1, 1} for column in table],
    }
    orders = [
        order
        for order in permutations(COLUMNS)
        if order.index("y") == order.index("x") + 1 and all(fits[name][at] for at, name in enumerate(order))
    ]
    if usual in orders:
        orders = [usual]
    if len(orders) != 1:
        looks = "; ".join(f"column {at}: {look}" for at, look in enumerate(_looks(table), start=1))
        may = " or ".join(",".join(order) for order in orders[:3]) or "no order of t, x, y and p"
        raise SpikeflipError(f"its columns have no names and can be {may} ({looks}): {_OPTIONS}")
    return orders[0]


def _grows(column: NDArray[np.float64]) -> bool:
    """Whether numbers may be times: nearly all steps go forward."""
    steps = np.diff(column)
    return bool(not len(steps) or (steps >= 0).mean() >= _MOSTLY_GROWS)


def _looks(table: NDArray[np.float64]) -> Iterator[str]:
    """What each column of numbers looks like."""
    for column in table:
        kind = "whole numbers" if (column % 1 == 0).all() else "numbers"
        yield f"{kind} {column.min():.10g} to {column.max():.10g}{', growing' if _grows(column) else ''}"

"""Text with a line an event: columns t, x, y, p in any order, parted by commas, semicolons, tabs or blanks.

A line before them names the columns; without one, they are those of the only order in which the numbers can be events.
Whole times are µs, and times of more than three decimals seconds, unless the name of the column has a unit. Lines that
begin with # or % may come first, and may say the sensor's size. Other columns are not read.
"""

import codecs
import warnings
from collections.abc import Iterator
from itertools import count, islice
from pathlib import Path
from typing import Any, TextIO

import numpy as np
from numpy.typing import NDArray

from spikeflip.data.formats.columns import COLUMNS, check_columns, check_unit, rounded_times, whole_times
from spikeflip.data.formats.format import Format
from spikeflip.data.formats.text_layout import Layout, cells_of, find_layout, is_numbers, names_all
from spikeflip.data.recordings import Recording, gathered, recording_of
from spikeflip.errors import SpikeflipError
from spikeflip.notices import Notice

_MARKS = ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))
_PLAIN = "latin-1"
_SHORTEST_LINE = len("0,0,0,0\n")
_CHUNK = 1 << 14
_LONGEST_LINE = 1 << 16
_FIRST = 1 << 12  # lines that the layout is found from
_LARGEST = 2.0**53


def looks_like(start: bytes) -> bool:
    """Whether the first bytes of a file can be its first lines."""
    text = _decoded(start)
    return text is not None and (not text or any(mark in text.strip() for mark in ",;\t "))


def is_table(start: bytes) -> bool:
    """Whether they are for certain, whatever the file is called."""
    for line in (_decoded(start) or "").split("\n"):
        if names_all(line):
            return True
        if line.strip() and line.lstrip()[0] not in "#%":
            return is_numbers(line) and len(cells_of(line)) >= len(COLUMNS)
    return False


def _encoding(start: bytes) -> str:
    return next((encoding for mark, encoding in _MARKS if start.startswith(mark)), _PLAIN)


def _decoded(start: bytes) -> str | None:
    """The first characters of a file, None where they are no text."""
    encoding = _encoding(start)
    if encoding == _PLAIN and not all(byte in b"\t\n\r" or 32 <= byte < 127 for byte in start):
        return None
    return codecs.getincrementaldecoder(encoding)("replace").decode(start)


def read(path: Path, columns: str | None = None, time_unit: str | None = None) -> Recording:
    """Read a file; an empty one holds no events.

    Args:
        path: the file.
        columns: what the columns are, such as ``x,y,p,t``, in place of what the file says.
        time_unit: ``s``, ``ms``, ``us`` or ``ns``, likewise.
    """
    names = None if columns is None else check_columns(columns)
    unit = None if time_unit is None else check_unit(time_unit)
    with path.open("rb") as raw:
        encoding = _encoding(raw.read(4))
    try:
        with path.open(encoding=encoding) as file:
            lines = list(islice(_lines(file, path), _FIRST))
            layout = find_layout(lines, names, unit)
            if layout is None:
                return recording_of(gathered((), 0), format=FORMAT.name)
            file.seek(0)
            rows = islice(_lines(file, path), layout.skipped, None)
            rounded = [0]
            events = gathered(_columns(rows, layout, path, rounded), path.stat().st_size // _SHORTEST_LINE + 1)
    except UnicodeError as error:
        raise SpikeflipError(
            f"{path} is not the {encoding} text that its first bytes promise: write it again"
        ) from error
    if rounded[0] and layout.unit == "us" and not layout.unit_said:
        raise SpikeflipError(
            f"{path} has {rounded[0]:,} times with fractions, of a unit that it does not say: give it with --time-unit "
            "s, ms, us or ns (time_unit=)"
        )
    notices = (*layout.notices, *_left_out(layout, rounded[0]))
    return recording_of(events, layout.height, layout.width, format=FORMAT.name, notices=notices)


def _left_out(layout: Layout, rounded: int) -> Iterator[Notice]:
    """Notices on what is in the file and not in the recording."""
    yield from rounded_times(rounded)
    others = [name for name in layout.names if name not in COLUMNS]
    if others:
        few = ", ".join(repr(name[:40]) for name in others[:3]) + (", …" if len(others) > 3 else "")
        yield Notice("other-columns", f"columns other than t, x, y and p are not read: {few}", len(others))


def _lines(file: TextIO, path: Path) -> Iterator[str]:
    """The lines that hold anything."""
    while line := file.readline(_LONGEST_LINE):
        if len(line) == _LONGEST_LINE:
            raise SpikeflipError(f"{path} has a line of {_LONGEST_LINE:,} characters or more: it is no table of events")
        if line.strip():
            yield line


def _columns(
    rows: Iterator[str], layout: Layout, path: Path, rounded: list[int]
) -> Iterator[tuple[NDArray[np.int64], ...]]:
    """Columns t, x, y, p of many rows at a time; counts in ``rounded`` the times that are not whole µs."""
    order = [layout.names.index(name) for name in COLUMNS]
    kind = np.float64 if layout.real else np.int64
    for start in count(0, _CHUNK):
        lines = list(islice(rows, _CHUNK))
        if not lines:
            return
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error", DeprecationWarning)  # older NumPy would read 1.5 as 1
                table = np.loadtxt(lines, dtype=kind, delimiter=layout.separator, usecols=order, ndmin=2, comments=None)
            parts = _whole(table, layout.unit, rounded)
        except (ValueError, OverflowError, DeprecationWarning) as error:
            reason = " ".join(str(error).split())[:200].rstrip(".") + (f" from row {start:,} on" if start else "")
            raise SpikeflipError(
                f"{path} is not a table of whole numbers ({reason}): times in µs without a named unit, polarities 0, 1"
            ) from error
        yield parts


def _whole(table: NDArray[Any], unit: str, rounded: list[int]) -> tuple[NDArray[np.int64], ...]:
    """The columns in whole numbers, times in µs."""
    pixels = table[:, 1:]
    if table.dtype.kind == "f":
        wrong = (pixels % 1 != 0) | (np.abs(pixels) >= _LARGEST)
        if wrong.any():
            raise SpikeflipError(f"{pixels[wrong][0]} is no pixel or polarity")
    time, finer = whole_times(table[:, 0], unit)
    rounded[0] += finer
    x, y, p = pixels.astype(np.int64).T
    return time, x, y, p


def write(recording: Recording, path: Path) -> None:
    """Write a header line and a line an event."""
    with path.open("wb") as file:
        file.write(b"t,x,y,p\n")
        for start in range(0, len(recording), _CHUNK):
            part = recording.events[start : start + _CHUNK]
            lines = zip(*(part[name].tolist() for name in COLUMNS), strict=True)
            file.write("".join(f"{t},{x},{y},{int(p)}\n" for t, x, y, p in lines).encode())


FORMAT = Format(
    name="csv",
    endings=(".csv", ".txt"),
    summary="text with columns t, x, y, p: named, or in the one order that fits; µs, or s with decimals",
    read=read,
    options=("columns", "time_unit"),
    write=write,
    first_time=-(1 << 62),
    holds_t0=False,
    holds_sensor=False,
)

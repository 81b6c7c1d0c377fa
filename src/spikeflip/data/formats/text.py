"""Comma-separated text: a header line naming the columns t, x, y, p in any order, then whole numbers; times in µs.

Without a header the order is t, x, y, p. Other columns are not read. ``on`` and ``polarity`` are names of p as well.
"""

import contextlib
import warnings
from collections.abc import Iterator
from itertools import chain, count, islice
from pathlib import Path
from typing import TextIO

import numpy as np
from numpy.typing import NDArray

from spikeflip.data.formats.format import Format
from spikeflip.data.recordings import Recording, gathered, recording_of
from spikeflip.errors import SpikeflipError

_ORDER = ("t", "x", "y", "p")
_NAMES = {"on": "p", "polarity": "p", "timestamp": "t", "time": "t"}
_SHORTEST_LINE = len("0,0,0,0\n")
_CHUNK = 1 << 14
_LONGEST_LINE = 1 << 16


def looks_like(start: bytes) -> bool:
    """Whether the first bytes of a file can be its first lines."""
    return not start or (b"," in start and all(byte in b"\t\n\r" or 32 <= byte < 127 for byte in start))


def is_table(start: bytes) -> bool:
    """Whether they are for certain, whatever the file is called."""
    first = start.lstrip().split(b"\n", 1)[0].decode("latin-1")
    known = set(_names(first)) >= set(_ORDER) or (first.count(",") >= 3 and _is_numbers(first))
    return known and looks_like(start)


def read(path: Path) -> Recording:
    """Read a file; an empty one holds no events."""
    with path.open(encoding="latin-1") as file:
        lines = _lines(file, path)
        first = next(lines, "")
        header = bool(first) and not _is_numbers(first)
        names = _names(first) if header else list(_ORDER)
        missing = [name for name in _ORDER if name not in names]
        if missing:
            raise SpikeflipError(
                f"{path} has no column {missing[0]!r} in its first line: name the columns t,x,y,p or leave the line out"
            )
        rows = lines if header or not first else chain([first], lines)
        columns = _columns(rows, [names.index(name) for name in _ORDER], path)
        return recording_of(gathered(columns, path.stat().st_size // _SHORTEST_LINE + 1), format=FORMAT.name)


def _lines(file: TextIO, path: Path) -> Iterator[str]:
    """The lines that hold anything."""
    while line := file.readline(_LONGEST_LINE):
        if len(line) == _LONGEST_LINE:
            raise SpikeflipError(f"{path} has a line of {_LONGEST_LINE:,} characters or more: it is no table of events")
        if line.strip():
            yield line


def _columns(rows: Iterator[str], order: list[int], path: Path) -> Iterator[tuple[NDArray[np.int64], ...]]:
    """Columns t, x, y, p of many rows at a time."""
    for start in count(0, _CHUNK):
        lines = list(islice(rows, _CHUNK))
        if not lines:
            return
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error", DeprecationWarning)  # older NumPy would read 1.5 as 1
                table = np.loadtxt(lines, dtype=np.int64, delimiter=",", usecols=order, ndmin=2, comments=None)
        except (ValueError, OverflowError, DeprecationWarning) as error:
            reason = " ".join(str(error).split())[:200].rstrip(".") + (f" from row {start:,} on" if start else "")
            raise SpikeflipError(
                f"{path} is not a table of whole numbers ({reason}): times in µs, polarities 0 and 1"
            ) from error
        yield tuple(table.T)


def _names(line: str) -> list[str]:
    cells = [cell.strip().strip('"').lower() for cell in line.lstrip("# ").split(",")]
    return [_NAMES.get(cell, cell) for cell in cells]


def _is_numbers(line: str) -> bool:
    with contextlib.suppress(ValueError):
        return all(float(cell) is not None for cell in line.split(",")[:4])
    return False


def write(recording: Recording, path: Path) -> None:
    """Write a header line and a line an event."""
    with path.open("wb") as file:
        file.write(b"t,x,y,p\n")
        for start in range(0, len(recording), _CHUNK):
            part = recording.events[start : start + _CHUNK]
            lines = zip(*(part[name].tolist() for name in _ORDER), strict=True)
            file.write("".join(f"{t},{x},{y},{int(p)}\n" for t, x, y, p in lines).encode())


FORMAT = Format(
    name="csv",
    endings=(".csv", ".txt"),
    summary="text with columns t (µs), x, y, p",
    read=read,
    write=write,
    first_time=-(1 << 62),
    holds_t0=False,
)

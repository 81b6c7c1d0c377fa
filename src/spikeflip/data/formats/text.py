"""Comma-separated text: a header line naming the columns t, x, y, p in any order, then whole numbers; times in µs.

Without a header the order is t, x, y, p. Other columns are not read. ``on`` and ``polarity`` are names of p as well.
"""

import contextlib
import warnings
from pathlib import Path

import numpy as np

from spikeflip.data.formats.format import Format
from spikeflip.data.recordings import Recording, events_of, recording_of
from spikeflip.errors import SpikeflipError

_ORDER = ("t", "x", "y", "p")
_NAMES = {"on": "p", "polarity": "p", "timestamp": "t", "time": "t"}
_LONGEST_LINE = 4096
_CHUNK = 1 << 16


def looks_like(start: bytes) -> bool:
    """Whether the first bytes of a file can be its first lines."""
    return not start or (b"," in start and all(byte in b"\t\n\r" or 32 <= byte < 127 for byte in start))


def read(path: Path) -> Recording:
    """Read a file; an empty one holds no events."""
    with path.open("rb") as file:
        first = file.readline(_LONGEST_LINE)
    header = bool(first.strip()) and not _is_numbers(first)
    names = (
        [cell.strip().strip('"').lower() for cell in first.decode("ascii", "replace").split(",")] if header else _ORDER
    )
    names = [_NAMES.get(name, name) for name in names]
    missing = [name for name in _ORDER if name not in names]
    if missing:
        raise SpikeflipError(
            f"{path} has no column {missing[0]!r} in its first line: name the columns t,x,y,p or leave the line out"
        )
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", ".*input contained no data")
            warnings.simplefilter("error", DeprecationWarning)  # older NumPy would read 1.5 as 1
            values = np.loadtxt(
                path,
                dtype=np.int64,
                delimiter=",",
                skiprows=int(header),
                usecols=[names.index(name) for name in _ORDER],
                ndmin=2,
                comments=None,
                encoding="latin-1",
            )
    except (ValueError, OverflowError, DeprecationWarning) as error:
        reason = " ".join(str(error).split())[:200].rstrip(".")
        raise SpikeflipError(
            f"{path} is not a table of whole numbers ({reason}): times in µs, polarities 0 and 1"
        ) from error
    return recording_of(events_of(*values.reshape(-1, 4).T), format=FORMAT.name)


def _is_numbers(line: bytes) -> bool:
    with contextlib.suppress(ValueError):
        return all(float(cell) is not None for cell in line.split(b",")[:4])
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

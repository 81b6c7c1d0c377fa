"""NumPy ``.npy`` files: structured arrays with fields t, x, y, p, and tonic's preprocessed DVS128 Gesture.

The latter are plain ``(N, 4)`` arrays of x, y, polarity and time in *milliseconds*; they are only read. Written are
structured arrays in µs.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from spikeflip.data.formats.columns import events_from, find_columns
from spikeflip.data.formats.format import Format
from spikeflip.data.formats.npz import described, read_header
from spikeflip.data.recordings import Recording, gathered, recording_of
from spikeflip.errors import SpikeflipError
from spikeflip.notices import Notice

MAGIC = b"\x93NUMPY"

_MILLISECONDS = Notice(
    "milliseconds", "(N, 4) numbers are read as x, y, p and milliseconds, as tonic writes DVS128 Gesture"
)
_FARTHEST = 1 << 50
"""Milliseconds, so that µs fit as well."""
_LARGEST_SIZE = 1 << 80  # Python refuses to print a thousand digits
_CHUNK = 1 << 14


def read(path: Path, time_unit: str | None = None) -> Recording:
    """Read a file of either layout.

    Args:
        path: the file.
        time_unit: ``s``, ``ms``, ``us`` or ``ns``, in place of what the name of the field says, of a structured array.
    """
    with path.open("rb") as file:
        shape, dtype = read_header(file, path)
        size = min(int(np.prod(shape, dtype=object)) * dtype.itemsize, _LARGEST_SIZE)
        there = path.stat().st_size - file.tell()
        if size != there:
            raise SpikeflipError(
                f"{path} holds {there:,} of the {size:,} bytes its header promises: it is cut or damaged"
            )
        if dtype.names and len(shape) == 1:
            names, unit = find_columns(dtype.names)
            array = np.fromfile(file, dtype, shape[0])
            events, notices = events_from({column: array[name] for column, name in names.items()}, time_unit or unit)
            return recording_of(events, format=FORMAT.name, notices=notices)
        if time_unit is None and dtype.names is None and dtype.kind in "iuf" and len(shape) == 2 and shape[1] == 4:
            events = gathered(_gesture(file, dtype, path), shape[0])
            return recording_of(events, t0=None, format=FORMAT.name, notices=(_MILLISECONDS,))
    raise SpikeflipError(
        f"{path} holds {described(shape, dtype)}: events are a structured array with t, x, y, p, or (N, 4) "
        "numbers x, y, p and milliseconds"
    )


def _gesture(file: BinaryIO, dtype: np.dtype[Any], path: Path) -> Iterator[tuple[NDArray[np.int64], ...]]:
    """Columns t, x, y, p of many rows at a time."""
    real = dtype.kind == "f"
    while len(rows := np.fromfile(file, dtype, 4 * _CHUNK).reshape(-1, 4)):
        if (
            (real and not (np.isfinite(rows).all() and (rows[:, :3] % 1 == 0).all()))
            or int(rows.min()) < -_FARTHEST
            or int(rows.max()) > _FARTHEST
        ):
            raise SpikeflipError(f"{path} holds numbers that are no events: x, y, p and milliseconds are expected")
        x, y, p = rows[:, :3].astype(np.int64).T
        t = np.rint(rows[:, 3].astype(np.float64) * 1000) if real else rows[:, 3].astype(np.int64) * 1000
        yield t.astype(np.int64), x, y, p


def write(recording: Recording, path: Path) -> None:
    """Write a structured array of t (µs), x, y, p."""
    with path.open("wb") as file:
        np.save(file, recording.events, allow_pickle=False)


FORMAT = Format(
    name="npy",
    endings=(".npy",),
    summary="NumPy structured array of t, x, y, p in µs; tonic's (N, 4) milliseconds are read as well",
    read=read,
    options=("time_unit",),
    write=write,
    first_time=-(1 << 62),
    holds_t0=False,
    holds_sensor=False,
    magic=MAGIC,
)

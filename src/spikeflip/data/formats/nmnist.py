"""N-MNIST's ``.bin``: five bytes an event, big-endian: x (8 bits), y (8), polarity (1), time in µs (23).

A record with y = 240 is no event: it moves the clock on by 2¹³ µs, so that recordings may be longer than 8.4 s.
Source: G. Orchard et al., "Converting Static Image Datasets to Spiking Neuromorphic Datasets Using Saccades", 2015.
"""

from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from spikeflip.data.formats.format import Format
from spikeflip.data.recordings import EVENT, Events, Recording, recording_of
from spikeflip.errors import SpikeflipError

_RECORD = 5
_OVERFLOW_ROW = 240
_OVERFLOW_TIME = 1 << 13
_LAST_TIME = (1 << 23) - 1
_CHUNK = 1 << 16


def read(path: Path) -> Recording:
    """Read a recording; the sensor's size is not in the file and is guessed."""
    size = path.stat().st_size
    if size % _RECORD:
        raise SpikeflipError(
            f"{path} holds {size:,} bytes, which is not a whole number of {_RECORD}-byte events: it is cut or no .bin "
            f"recording; copy it again, or cut it to {size - size % _RECORD:,} bytes"
        )
    events = np.empty(size // _RECORD, dtype=EVENT)
    filled, clock = 0, 0
    with path.open("rb") as file:
        while len(raw := np.fromfile(file, np.uint8, _CHUNK * _RECORD)):
            count, clock = _decode(raw[: len(raw) - len(raw) % _RECORD].reshape(-1, _RECORD), events[filled:], clock)
            filled += count
    return recording_of(events[:filled], format=FORMAT.name)


def _decode(raw: NDArray[np.uint8], events: Events, clock: int) -> tuple[int, int]:
    """Decode records (n, 5) to the front of ``events``; returns their number and the clock after them."""
    x, y, high, middle, low = np.ascontiguousarray(raw.T)
    times = ((high & 0x7F).astype(np.int32) << 16) | (middle.astype(np.int32) << 8) | low
    on = high >> 7
    overflow = y == _OVERFLOW_ROW
    if clock or overflow.any():
        clocks = clock + _OVERFLOW_TIME * np.cumsum(overflow, dtype=np.int64)
        clock, kept = int(clocks[-1]), ~overflow
        times, x, y, on = (times + clocks)[kept], x[kept], y[kept], on[kept]
    part = events[: len(x)]
    part["t"], part["x"], part["y"], part["p"] = times, x, y, on
    return len(x), clock


def write(recording: Recording, path: Path) -> None:
    """Write a recording; overflow records are put in where the time needs them."""
    clocks = 0
    with path.open("wb") as file:
        for start in range(0, len(recording), _CHUNK):
            clocks = _encode(recording.events[start : start + _CHUNK], file, clocks)


def _encode(events: Events, file: BinaryIO, clocks: int) -> int:
    """Write events after ``clocks`` overflow records; returns how many there are then."""
    times = events["t"]
    needed = np.maximum(-(-(times - _LAST_TIME) // _OVERFLOW_TIME), clocks)
    rest = times - needed * _OVERFLOW_TIME
    raw = np.empty((len(events), _RECORD), dtype=np.uint8)
    raw[:, 0], raw[:, 1] = events["x"], events["y"]
    raw[:, 2] = (rest >> 16) | (events["p"].astype(np.int64) << 7)
    raw[:, 3], raw[:, 4] = (rest >> 8) & 0xFF, rest & 0xFF
    more = np.diff(needed, prepend=clocks)
    if more.any():
        before = np.repeat(np.arange(len(events)), more)
        raw = np.insert(raw, before, np.array([0, _OVERFLOW_ROW, 0, 0, 0], dtype=np.uint8), axis=0)
    raw.tofile(file)
    return int(needed[-1])


FORMAT = Format(
    name="N-MNIST bin",
    endings=(".bin", ".bs2"),
    summary="5 bytes an event; at most 256 × 240 pixels and 71 minutes",
    read=read,
    write=write,
    last_time=(1 << 32) - 1,  # half a million overflow records; beyond, they would outweigh the events
    height=_OVERFLOW_ROW,
    width=1 << 8,
    holds_t0=False,
    holds_sensor=False,
)

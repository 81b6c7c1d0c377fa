"""Prophesee's DAT: text lines, a byte each for type and size of an event, then events of 8 bytes, little-endian.

An event is its time (u32, µs) and its pixel: column 0 to 13, row 14 to 27, polarity 28 to 31. Type 12 is a contrast
event; type 0 is the older name of the same, as in N-CARS, and before version 2 of the format it has the column in bits
0 to 8, the row in 9 to 16 and the polarity in 17.
Source: Prophesee, "DAT file format", Metavision documentation; A. Sironi et al., "HATS: Histograms of Averaged Time
Surfaces for Robust Event-based Object Classification", 2018, for N-CARS.
"""

from pathlib import Path

import numpy as np

from spikeflip.data.formats.format import Format
from spikeflip.data.formats.prophesee import (
    Clock,
    check_whole,
    check_zero_is_written,
    read_header,
    recording_on_clock,
    write_header,
)
from spikeflip.data.recordings import EVENT, Recording
from spikeflip.errors import SpikeflipError

_EVENT = np.dtype([("time", "<u4"), ("pixel", "<u4")])
_CONTRAST, _OLD = 12, 0
_BITS = 32
_CHUNK = 1 << 16


def read(path: Path) -> Recording:
    """Read a file; the first event becomes zero unless the header says where zero is."""
    with path.open("rb") as file:
        header = read_header(file)
        kind = file.read(2)
        if len(kind) < 2:
            raise SpikeflipError(f"{path} ends after its header: it is cut; copy it again")
        if kind[0] not in (_CONTRAST, _OLD) or kind[1] != _EVENT.itemsize:
            raise SpikeflipError(
                f"{path} is a DAT file of events of type {kind[0]} and {kind[1]} bytes: types 12 and 0 of 8 bytes are "
                "contrast events of pixels, which are read"
            )
        old = kind[0] == _OLD and (header.number("version") or 0) < 2
        columns, rows = (9, 8) if old else (14, 14)
        events = np.empty(check_whole(path, header.size + 2, _EVENT.itemsize), dtype=EVENT)
        clock, at, highest = Clock(1 << _BITS), 0, 0
        while len(raw := np.fromfile(file, _EVENT, _CHUNK)):
            part, pixel = events[at : at + len(raw)], raw["pixel"]
            part["t"] = clock.on(raw["time"].astype(np.int64))
            part["x"], part["y"] = pixel & (1 << columns) - 1, pixel >> columns & (1 << rows) - 1
            polarity = pixel >> columns + rows
            part["p"] = polarity
            highest, at = max(highest, int(polarity.max())), at + len(raw)
    if highest > 1:
        raise SpikeflipError(f"{path} has an event of polarity {highest}: they are 0 and 1; it is damaged")
    return recording_on_clock(events, header, FORMAT.name, clock.notices(_BITS))


def write(recording: Recording, path: Path) -> None:
    """Write contrast events, at the camera's times where 32 bits hold them."""
    own = ("Data file containing CD events", "Version 2", f"Width {recording.width}", f"Height {recording.height}")
    with path.open("wb") as file:
        events = write_header(file, recording, own, FORMAT.last_time)
        file.write(bytes([_CONTRAST, _EVENT.itemsize]))
        for start in range(0, len(events), _CHUNK):
            part = events[start : start + _CHUNK]
            raw = np.empty(len(part), dtype=_EVENT)
            raw["time"] = part["t"]
            raw["pixel"] = part["x"] | part["y"].astype(np.uint32) << 14 | part["p"].astype(np.uint32) << 28
            raw.tofile(file)


FORMAT = Format(
    name="DAT",
    endings=(".dat",),
    summary="Prophesee's 8-byte events",
    read=read,
    write=write,
    last_time=(1 << _BITS) - 1,
    last_clock=(1 << _BITS) - 1,
    height=1 << 14,
    width=1 << 14,
    holds_header=True,
    check=check_zero_is_written,
)

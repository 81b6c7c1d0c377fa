"""Prophesee's EVT2: text lines, then words of 4 bytes, little-endian unless the header says big.

The four highest bits say what a word is: 0 and 1 an OFF and an ON event (6 low bits of time from bit 22, column from
bit 11, row), 8 the 28 high bits of time, 10 an external trigger, 14 and 15 other data of the camera.
Source: Prophesee, "EVT 2.0 format", Metavision documentation.
"""

from pathlib import Path

import numpy as np

from spikeflip.data.formats.format import Format
from spikeflip.data.formats.prophesee import (
    Clock,
    check_whole,
    check_zero_is_written,
    left_out,
    read_header,
    recording_on_clock,
    write_header,
)
from spikeflip.data.recordings import EVENT, Recording

_ON, _HIGH, _TRIGGER = 1, 8, 10
_KNOWN = np.isin(np.arange(16), (0, _ON, _HIGH, _TRIGGER, 14, 15))
_LOW_BITS, _HIGH_BITS, _SIDE_BITS = 6, 28, 11
_SIDE = (1 << _SIDE_BITS) - 1
_CHUNK = 1 << 16


def read(path: Path) -> Recording:
    """Read a file; the first event becomes zero unless the header says where zero is."""
    with path.open("rb") as file:
        header = read_header(file)
        words = np.dtype(">u4" if header["endianness"] == "big" else "<u4")
        most = check_whole(path, header.size, words.itemsize)
        events = np.empty(most, dtype=EVENT)
        clock, filled = Clock(1 << _HIGH_BITS), 0
        high = np.full(1, -1)  # the last one before a chunk, and those in it
        kinds = np.zeros(16, dtype=np.int64)
        untimed = 0
        while len(raw := np.fromfile(file, words, _CHUNK).astype(np.uint32)):
            kind = raw >> 28
            kinds += np.bincount(kind, minlength=16)
            marks = kind == _HIGH
            high = np.append(high[-1:], clock.on((raw[marks] & (1 << _HIGH_BITS) - 1).astype(np.int64)))
            found = np.flatnonzero(kind <= _ON)
            of_event = high[np.cumsum(marks)[found]]
            if high[0] < 0:
                untimed += int((of_event < 0).sum())
                found, of_event = found[of_event >= 0], of_event[of_event >= 0]
            raw, kind = raw[found], kind[found]
            part = events[filled : filled + len(raw)]
            part["t"] = of_event << _LOW_BITS | raw >> 22 & (1 << _LOW_BITS) - 1
            part["x"], part["y"], part["p"] = raw >> _SIDE_BITS & _SIDE, raw & _SIDE, kind
            filled += len(raw)
    notices = (
        *clock.notices(_HIGH_BITS + _LOW_BITS),
        *left_out("untimed-events", untimed, "events come before the first word of time"),
        *left_out("external-signals", int(kinds[_TRIGGER]), "words are external triggers and no pixels"),
        *left_out("unknown-words", int(kinds[~_KNOWN].sum()), "words are of no kind that EVT2 defines"),
    )
    return recording_on_clock(events[:filled], header, FORMAT.name, notices)


def write(recording: Recording, path: Path) -> None:
    """Write events, at the camera's times where 34 bits hold them, with a word wherever the high bits change."""
    size = f"{recording.width}x{recording.height}"
    own = ("evt 2.0", f"format EVT2;height={recording.height};width={recording.width}", f"geometry {size}")
    with path.open("wb") as file:
        events = write_header(file, recording, own, FORMAT.last_time)
        before = -1
        for start in range(0, len(events), _CHUNK):
            part = events[start : start + _CHUNK]
            high = part["t"] >> _LOW_BITS
            words = (part["t"] & (1 << _LOW_BITS) - 1) << 22 | part["x"].astype(np.int64) << _SIDE_BITS
            words |= part["y"] | part["p"].astype(np.int64) << 28
            new = np.flatnonzero(np.diff(high, prepend=before))
            before = int(high[-1])
            np.insert(words, new, _HIGH << 28 | high[new]).astype("<u4").tofile(file)


FORMAT = Format(
    name="EVT2",
    endings=(".raw",),
    summary="Prophesee's 4-byte words",
    read=read,
    write=write,
    last_time=(1 << _HIGH_BITS + _LOW_BITS) - 1,
    last_clock=(1 << _HIGH_BITS + _LOW_BITS) - 1,
    height=1 << _SIDE_BITS,
    width=1 << _SIDE_BITS,
    holds_header=True,
    check=check_zero_is_written,
)

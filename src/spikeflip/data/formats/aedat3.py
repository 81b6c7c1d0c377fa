r"""AEDAT 3.1: text lines, then packets of events; the originals of DVS128 Gesture.

A packet's header is 28 bytes, little-endian: type and source (u16), event size, offset of the time stamp, time stamp
overflow, capacity, number of events, number of valid ones (u32). A polarity event (type 1) is data (u32: x from bit 17,
y from bit 2, polarity bit 1, valid bit 0) and time (i32, µs), to which the packet adds overflow · 2³¹. Other packets
are skipped. A recording written here keeps its zero and the sensor's size in one more text line.
Source: iniVation, "AEDAT file formats", version 3.1.
"""

import re
import struct
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from spikeflip.data.formats.format import Format
from spikeflip.data.recordings import EVENT, Recording, check_zero, recording_of
from spikeflip.errors import SpikeflipError
from spikeflip.notices import Notice

MAGIC = b"#!AER-DAT3.1"

_HEADER_END = b"#!END-HEADER"
_PACKET = struct.Struct("<HHIIIIII")
_EVENT = np.dtype([("data", "<u4"), ("time", "<i4")])
_POLARITY = 1
_OVERFLOW_BITS = 31
_MOST_OVERFLOWS = (1 << 30) - 1
_SENSORS = {"DVS128": (128, 128), "DAVIS240": (180, 240), "DAVIS346": (260, 346)}  # (height, width)
_OWN_LINE = re.compile(rb"#spikeflip t0=(-?\d{1,19}) height=(\d{1,5}) width=(\d{1,5})$")
_LONGEST_HEADER = 1 << 16
_BLOCK = 1 << 16
_WRITTEN = 1 << 12
"""Events a packet when writing."""


def read(path: Path) -> Recording:
    """Read the valid polarity events of all packets; the clock's zero becomes the first event unless the file says."""
    with path.open("rb") as file:
        height, width, t0 = _read_header(file, path)
        packets = list(_packets(file, path))
        events = np.empty(sum(count for _, count, _ in packets), dtype=EVENT)
        filled, negative = 0, 0
        for raw, clock in _blocks(file, packets):
            valid = raw["data"] & 1 == 1
            if not valid.all():
                raw, clock = raw[valid], clock[valid] if isinstance(clock, np.ndarray) else clock
            part, data = events[filled : filled + len(raw)], raw["data"]
            part["t"] = raw["time"].astype(np.int64) + clock
            part["x"], part["y"] = data >> 17, data >> 2 & 0x7FFF
            part["p"] = data >> 1 & 1
            filled += len(raw)
            negative += int((raw["time"] < 0).sum())
    invalid = len(events) - filled
    text = f"{invalid:,} events are marked invalid in the file: left out"
    notices = (Notice("invalid-events", text, invalid),) if invalid else ()
    if negative:
        text = f"{negative:,} events have negative times in their packets: they come before those that start at 0"
        notices = (*notices, Notice("negative-times", text, negative))
    events = events[:filled]
    if t0 is not None:
        events["t"] -= check_zero(t0)
    return recording_of(events, height, width, t0=t0, format=FORMAT.name, notices=notices)


def _read_header(file: BinaryIO, path: Path) -> tuple[int | None, int | None, int | None]:
    """Skip the text lines; returns height, width and zero where they say so."""
    height = width = t0 = None
    while file.tell() < _LONGEST_HEADER:
        line = file.readline(_LONGEST_HEADER).rstrip(b"\r\n")
        if line.startswith(_HEADER_END):
            return height, width, t0
        if not line.startswith(b"#"):
            break
        if own := _OWN_LINE.match(line):
            t0, height, width = (int(value) for value in own.groups())
        elif line.startswith(b"#Source"):
            known = [size for name, size in _SENSORS.items() if name.encode() in line]
            height, width = known[0] if known else (height, width)
    raise SpikeflipError(f"{path} has no line {_HEADER_END.decode()} after its AEDAT header: it is damaged or cut")


def _packets(file: BinaryIO, path: Path) -> Iterator[tuple[int, int, int]]:
    """Offset, number of events and clock of every polarity packet; everything is checked before memory is asked for."""
    size = path.stat().st_size
    at = file.tell()
    while at < size:
        file.seek(at)
        header = file.read(_PACKET.size)
        if len(header) < _PACKET.size:
            raise _cut(path, at, "a packet's header")
        kind, _, event_size, _, overflow, capacity, number, _ = _PACKET.unpack(header)
        body, end = at + _PACKET.size, at + _PACKET.size + event_size * capacity
        if number > capacity or (kind == _POLARITY and (event_size != _EVENT.itemsize or overflow > _MOST_OVERFLOWS)):
            raise SpikeflipError(
                f"{path} has a damaged packet at byte {at:,} ({number} of {capacity} events of {event_size} bytes, "
                f"{overflow} overflows of time): copy the file again"
            )
        if end > size:
            raise _cut(path, at, f"{capacity:,} events")
        if kind == _POLARITY:
            yield body, number, overflow << _OVERFLOW_BITS
        at = end


def _cut(path: Path, at: int, what: str) -> SpikeflipError:
    return SpikeflipError(
        f"{path} ends in the middle of {what} of the packet at byte {at:,}: it is cut or damaged; copy it again"
    )


def _blocks(
    file: BinaryIO, packets: list[tuple[int, int, int]]
) -> Iterator[tuple[NDArray[np.void], NDArray[np.int64] | int]]:
    """The events of packets, many small ones at a time, with the clock of each event or of all."""
    first = 0
    while first < len(packets):
        last, count = first, 0
        while last < len(packets) and count < _BLOCK:
            count += packets[last][1]
            last += 1
        group = packets[first:last]
        raw = np.empty(count, dtype=_EVENT)
        at = 0
        for offset, number, _ in group:
            file.seek(offset)
            at += file.readinto(raw[at : at + number].view(np.uint8).data) // _EVENT.itemsize  # type: ignore[attr-defined]
        clocks = [clock for *_, clock in group]
        same = clocks.count(clocks[0]) == len(clocks)
        yield raw, clocks[0] if same else np.repeat(np.array(clocks, dtype=np.int64), [n for _, n, _ in group])
        first = last


def write(recording: Recording, path: Path) -> None:
    """Write polarity packets with the times of the file's clock."""
    own = f"#spikeflip t0={recording.t0} height={recording.height} width={recording.width}"
    name = next((name for name, size in _SENSORS.items() if size == (recording.height, recording.width)), "events")
    lines = (MAGIC.decode(), "#Format: RAW", f"#Source 1: {name}", own, _HEADER_END.decode())
    with path.open("wb") as file:
        file.write("".join(f"{line}\r\n" for line in lines).encode())
        for start in range(0, len(recording), _WRITTEN):
            part = recording.events[start : start + _WRITTEN]
            times = part["t"] + recording.t0
            borders = [0, *(np.flatnonzero(np.diff(times >> _OVERFLOW_BITS)) + 1).tolist(), len(part)]
            for first, last in pairwise(borders):
                _write_packet(file, part[first:last], times[first:last])


def _write_packet(file: BinaryIO, events: NDArray[np.void], times: NDArray[np.int64]) -> None:
    raw = np.empty(len(events), dtype=_EVENT)
    raw["data"] = events["x"].astype(np.uint32) << 17 | events["y"].astype(np.uint32) << 2
    raw["data"] |= events["p"].astype(np.uint32) << 1 | 1
    raw["time"] = times & (1 << _OVERFLOW_BITS) - 1
    n = len(events)
    overflow = int(times[0]) >> _OVERFLOW_BITS
    file.write(_PACKET.pack(_POLARITY, 1, _EVENT.itemsize, 4, overflow, n, n, n))
    raw.tofile(file)


FORMAT = Format(
    name="AEDAT 3.1",
    endings=(".aedat",),
    summary="packets of 8-byte polarity events, with a header; keeps t0 and the sensor's size",
    read=read,
    write=write,
    last_time=(_MOST_OVERFLOWS + 1 << _OVERFLOW_BITS) - 1,
    height=1 << 15,
    width=1 << 15,
    absolute=True,
    magic=MAGIC,
)

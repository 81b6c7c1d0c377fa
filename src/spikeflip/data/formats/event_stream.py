"""Event Stream (ES) 2: a header of 20 bytes, then for each event its distance in time from the one before.

The header is the name, three bytes of version, the type of events (1 = DVS, 2 = ATIS) and the sensor's width and
height (u16, little-endian). A DVS event is 5 bytes: distance (µs, 7 bits) and polarity (bit 0), column and row (u16).
A byte of 255 in its place adds 127 µs, one of 254 means nothing. An ATIS event has 6 bits of distance, the polarity in
bit 1, and bit 0 set where it is a measurement of brightness and no change; in its place, bytes of 252 to 255 add 0 to 3
times 63 µs. Rows count from below.
Source: neuromorphic-paris, "Event Stream", specification of version 2.0.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikeflip.data.formats.format import Format
from spikeflip.data.formats.prophesee import left_out
from spikeflip.data.recordings import EVENT, Recording, recording_of
from spikeflip.errors import SpikeflipError

MAGIC = b"Event Stream"

_HEADER = 20
_EVENT = 5
_DVS, _ATIS = 1, 2
_UNIT = 127
_BLOCK = 1 << 13  # stays in the cache while starts are looked for
_CHUNK = 1 << 16


def read(path: Path) -> Recording:
    """Read a recording, whose times begin where its own distances say."""
    with path.open("rb") as file:
        header = file.read(_HEADER)
        data = np.fromfile(file, np.uint8)
    if len(header) < _HEADER:
        raise SpikeflipError(f"{path} ends in its header of {_HEADER} bytes: it is cut; copy it again")
    version, kind = ".".join(str(byte) for byte in header[12:15]), header[15]
    if header[12] != 2 or kind not in (_DVS, _ATIS):
        raise SpikeflipError(
            f"{path} is Event Stream {version} of type {kind}: types 1 (DVS) and 2 (ATIS) of version 2 are read"
        )
    width, height = (int.from_bytes(header[at : at + 2], "little") for at in (16, 18))
    low_bits = 1 if kind == _DVS else 2
    parts, time, brightness = [np.empty(0, dtype=EVENT)], 0, 0
    for raw, waited in _blocks(data, low_bits, path):
        events = np.empty(len(raw), dtype=EVENT)
        events["t"] = time + np.cumsum(waited + (raw[:, 0] >> low_bits))
        time = int(events["t"][-1]) if len(raw) else time
        events["x"] = raw[:, 1] | raw[:, 2].astype(np.uint16) << 8
        events["y"] = (
            height - 1 - (raw[:, 3] | raw[:, 4].astype(np.int64) << 8)
        )  # one above the sensor wraps to outside
        events["p"] = raw[:, 0] >> low_bits - 1 & 1
        if kind == _ATIS:
            kept = raw[:, 0] & 1 == 0
            brightness += int((~kept).sum())
            events = events[kept]
        parts.append(events)
    notices = left_out("external-signals", brightness, "records measure brightness and are no changes")
    return recording_of(np.concatenate(parts), height, width, format=FORMAT.name, notices=notices)


def _blocks(data: NDArray[np.uint8], low_bits: int, path: Path) -> Iterator[tuple[NDArray[Any], NDArray[np.int64]]]:
    """The bytes of events ``(n, 5)``, many at a time, and the time that bytes between them add before each."""
    idle, unit = (0xFE, _UNIT) if low_bits == 1 else (0xFC, _UNIT >> 1)
    at, carried = 0, 0
    while at < len(data):
        block = data[at : at + _BLOCK + _EVENT - 1]
        starts, end = _starts(block, idle, min(_BLOCK, len(block)))
        first = block[starts]
        waits = first >= idle
        waited = np.where(waits, (first == 0xFF) if low_bits == 1 else first & 3, 0).astype(np.int64) * unit
        starts = starts[~waits]
        if end > len(block):
            cut = at + int(starts[-1])
            raise SpikeflipError(
                f"{path} ends in the middle of an event, {len(data) - cut} of its {_EVENT} bytes are there: it is cut; "
                f"copy it again, or cut it to {_HEADER + cut:,} bytes"
            )
        total = carried + np.cumsum(waited)
        before = np.diff(total[~waits], prepend=0)
        carried = int(total[-1] - (total[~waits][-1] if len(starts) else 0))
        yield block[starts[:, None] + np.arange(_EVENT)], before
        at += end


def _starts(block: NDArray[np.uint8], idle: int, stop: int) -> tuple[NDArray[np.intp], int]:
    """Where events and bytes of time begin before ``stop``, the first of them at 0, and where the next one does.

    Each says where the next begins. Taking two steps at once, then four, then eight, finds all in a few passes.
    """
    after = np.arange(stop + 1)
    after[:-1] += np.where(block[:stop] >= idle, 1, _EVENT)
    hop = np.minimum(after, stop)
    starts = np.zeros(1, dtype=np.intp)
    while (further := hop.take(starts))[0] < stop:
        starts = np.concatenate([starts, further])
        hop = hop.take(hop)
    starts = starts[starts < stop]
    return starts, int(after[starts[-1]])


def write(recording: Recording, path: Path) -> None:
    """Write DVS events; a byte for every 127 µs between two."""
    sides = np.array([recording.width, recording.height], dtype="<u2").tobytes()
    with path.open("wb") as file:
        file.write(MAGIC + bytes([2, 0, 0, _DVS]) + sides)
        before = 0
        for start in range(0, len(recording), _CHUNK):
            part = recording.events[start : start + _CHUNK]
            waits, distance = np.divmod(np.diff(part["t"], prepend=before), _UNIT)
            before = int(part["t"][-1])
            raw = np.empty((len(part), _EVENT), dtype=np.uint8)
            raw[:, 0] = distance << 1 | part["p"]
            raw[:, 1:3] = part["x"].astype("<u2").view(np.uint8).reshape(-1, 2)
            raw[:, 3:] = (recording.height - 1 - part["y"].astype(np.int64)).astype("<u2").view(np.uint8).reshape(-1, 2)
            written = np.full(raw.size + int(waits.sum()), 0xFF, dtype=np.uint8)
            first = np.cumsum(waits) + _EVENT * np.arange(len(part))
            written[first[:, None] + np.arange(_EVENT)] = raw
            written.tofile(file)


FORMAT = Format(
    name="ES",
    endings=(".es",),
    summary="Event Stream",
    read=read,
    write=write,
    last_time=1 << 33,  # a byte for every 127 µs of silence: 68 MB at most
    height=(1 << 16) - 1,
    width=(1 << 16) - 1,
    holds_t0=False,
    magic=MAGIC,
)

"""iniVation's AEDAT4: a line, a header with a description in XML, then packets, each of one stream and compressed.

The header and what is in packets are flatbuffers with their size in front. Header: compression (0 none, 1 and 2 LZ4, 3
and 4 Zstandard), where the packets end, description. A packet is its stream and size (i32 each), then its content; that
of events is a vector of 16 bytes each: time (i64, µs), x, y (i16), polarity (a byte), 3 bytes of nothing. All is
little-endian. The zero of a recording written here is an attribute of the description, which other readers skip. Files
are written by the optional package faery.
Source: iniVation, "AEDAT file formats", version 4.0; Google, "FlatBuffers binary format".
"""

import os
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, BinaryIO
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray

from spikeflip.data.formats.format import Format
from spikeflip.data.recordings import EVENT, Recording, check_zero, recording_of
from spikeflip.errors import SpikeflipError
from spikeflip.notices import Notice

MAGIC = b"#!AER-DAT4"

_LONGEST_LINE = 4096
_LONGEST_HEADER = 1 << 24
_CODECS = {0: None, 1: "lz4", 2: "lz4", 3: "zstd", 4: "zstd"}
_EVENTS = b"EVTS"
_EVENT = np.dtype(
    {"names": ["t", "x", "y", "p"], "formats": ["<i8", "<i2", "<i2", "u1"], "offsets": [0, 8, 10, 12], "itemsize": 16}
)
_FREE, _TIGHTEST = 1 << 22, 100  # a packet unpacks to ten times its size or so
_STDERR = threading.Lock()
_T0_ATTRIBUTE = "spikeflipT0"
# Whatever reading a damaged flatbuffer, text or packet may raise.
_DAMAGE = (struct.error, ValueError, OverflowError, OSError, ElementTree.ParseError)


@dataclass(frozen=True)
class _Stream:
    """A stream: its number and type, the sensor's height and width, and the zero, each where the file says it."""

    number: int
    kind: str | None
    height: int | None
    width: int | None
    t0: int | None


def read(path: Path) -> Recording:
    """Read the first stream of events; the first event becomes zero unless the file says where zero is."""
    parts, others = [np.empty(0, dtype=_EVENT)], 0
    try:
        with path.open("rb") as file:
            codec, end, described = _read_header(file, path)
            streams = [stream for stream in described if stream.kind == _EVENTS.decode()]
            if not streams:
                raise SpikeflipError(f"{path} has no stream of events: frames alone are no recording")
            numbers = {stream.number: stream.kind for stream in described}
            for number, content in _packets(file, end, path):
                if number not in numbers:
                    raise ValueError(f"a packet of a stream {number}, which is not described")
                if numbers[number] != _EVENTS.decode():
                    continue
                events = _events(_unpacked(content, codec))
                if number == streams[0].number:
                    parts.append(events)
                else:
                    others += len(events)
    except SpikeflipError:  # itself a ValueError
        raise
    except _DAMAGE as error:
        reason = " ".join(str(error).split())[:200]
        raise SpikeflipError(f"{path} cannot be read as AEDAT4 ({reason}): it is damaged; copy it again") from error
    first = streams[0]
    notices: tuple[Notice, ...] = ()
    if len(streams) > 1:
        text = f"the file has {len(streams)} streams of events: {others:,} events of all but the first are left out"
        notices = (Notice("other-streams", text, others),)
    events = _checked(np.concatenate(parts), path)
    if first.t0 is not None:
        events["t"] -= check_zero(first.t0)
    return recording_of(events, first.height, first.width, t0=first.t0, format=FORMAT.name, notices=notices)


def _checked(raw: NDArray[np.void], path: Path) -> NDArray[np.void]:
    """Events as a recording has them."""
    if len(raw) and not 0 <= int(raw["t"].min()) <= int(raw["t"].max()) < 1 << 62:
        raise SpikeflipError(f"{path} has events at {raw['t'].min()} to {raw['t'].max()} µs: it is damaged")
    events = np.empty(len(raw), dtype=EVENT)
    for name in EVENT.names or ():
        events[name] = raw[name]
    return events


def _read_header(file: BinaryIO, path: Path) -> tuple[str | None, int, list[_Stream]]:
    """The codec of packets, where they end, and the streams; leaves the file at the first packet."""
    file.readline(_LONGEST_LINE)
    size = int.from_bytes(file.read(4), "little")
    header = file.read(min(size, _LONGEST_HEADER))
    if len(header) < size:
        raise SpikeflipError(f"{path} ends in its header of {size:,} bytes: it is cut or damaged")
    (compression,) = _field(header, 0, "<i") or (0,)
    (end,) = _field(header, 1, "<q") or (-1,)
    if compression not in _CODECS:
        raise ValueError(f"an unknown compression {compression}")
    (to_text,) = _field(header, 2, "<I") or (0,)
    start = _place(header, 2) + to_text
    (length,) = struct.unpack_from("<I", header, start)
    text = header[start + 4 : start + 4 + length].rstrip(b"\0").decode("utf-8")
    if "<!" in text:
        raise ValueError("a description that defines its own words")
    return _CODECS[compression], end if end >= 0 else path.stat().st_size, list(_streams(ElementTree.fromstring(text)))


def _streams(description: ElementTree.Element) -> Iterator[_Stream]:
    """The streams that a description names."""
    for node in description.iterfind(".//node[@name='outInfo']/node"):
        said = {entry.get("key"): (entry.text or "").strip() for entry in node.iter("attr")}
        numbers = {key: int(said[key]) for key in ("sizeX", "sizeY", _T0_ATTRIBUTE) if key in said}
        height, width = numbers.get("sizeY"), numbers.get("sizeX")
        if height is None or width is None:
            height = width = None
        number, kind = int(node.get("name", "")), said.get("typeIdentifier")
        yield _Stream(number, kind, height, width, numbers.get(_T0_ATTRIBUTE))


def _packets(file: BinaryIO, end: int, path: Path) -> Iterator[tuple[int, bytes]]:
    """Stream and content of every packet before ``end``."""
    size, at = path.stat().st_size, file.tell()
    while at < end:
        head = file.read(8)
        number, count = struct.unpack("<iI", head) if len(head) == 8 else (0, size)
        if (at := at + 8 + count) > size:
            raise SpikeflipError(f"{path} claims a packet of {count:,} bytes beyond its end: it is cut or damaged")
        yield number, file.read(count)
    if at > end:
        raise SpikeflipError(f"{path} has a packet beyond where its header says that they end: it is damaged")


def _unpacked(content: bytes, codec: str | None) -> bytes:
    """The content of a packet; a ValueError where it is far larger than events unpack to."""
    if codec is None:
        return content
    import pyarrow as pa  # takes a moment, and no other format needs it

    most = max(_FREE, _TIGHTEST * len(content))
    with pa.CompressedInputStream(pa.BufferReader(content), codec) as stream:
        unpacked: bytes = stream.read(most + 1)
    if len(unpacked) > most:
        raise ValueError(f"a packet of {len(content):,} bytes that unpacks to more than {most:,}")
    return unpacked


def _events(content: bytes) -> NDArray[np.void]:
    """The events in a flatbuffer that follows its size."""
    size, buffer = int.from_bytes(content[:4], "little"), content[4:]
    if size != len(buffer) or buffer[4:8] != _EVENTS:
        raise ValueError(f"a packet of {buffer[4:8]!r} and {len(buffer):,} of {size:,} bytes")
    vector = _field(buffer, 0, "<I")
    if vector is None:
        return np.empty(0, dtype=_EVENT)
    start = _place(buffer, 0) + vector[0]
    (number,) = struct.unpack_from("<I", buffer, start)
    return np.frombuffer(buffer, _EVENT, number, start + 4)


def _place(buffer: bytes, field: int) -> int:
    """Where a field of a flatbuffer's main table is, 0 where it is not there."""
    (table,) = struct.unpack_from("<I", buffer)
    (back,) = struct.unpack_from("<i", buffer, table)
    if not 0 <= table - back < len(buffer):
        raise ValueError("a table of fields outside its flatbuffer")
    (size,) = struct.unpack_from("<H", buffer, table - back)
    (offset,) = struct.unpack_from("<H", buffer, table - back + 4 + 2 * field) if size >= 6 + 2 * field else (0,)
    return table + offset if offset else 0


def _field(buffer: bytes, field: int, kind: str) -> tuple[Any, ...] | None:
    """The value of a field, None where it is not there."""
    place = _place(buffer, field)
    return struct.unpack_from(kind, buffer, place) if place else None


def _faery(path: Path) -> ModuleType:
    try:
        import faery
    except ImportError as error:
        raise SpikeflipError(
            f"{path} is in the format AEDAT4, which faery writes: pip install 'spikeflip[events]'"
        ) from error
    return faery  # type: ignore[no-any-return]


@contextmanager
def _damage(path: Path) -> Iterator[None]:
    """Turn whatever faery raises into one sentence; its panics are not even Exceptions, and write to stderr."""
    try:
        with _STDERR, _silence():
            yield
    except (SpikeflipError, KeyboardInterrupt, SystemExit, MemoryError):
        raise
    except BaseException as error:
        reason = " ".join(str(error).split())[:200]
        raise SpikeflipError(f"{path} cannot be written as AEDAT4 ({reason})") from error


@contextmanager
def _silence() -> Iterator[None]:
    """Nothing reaches the process's stderr, which no Python object stands for while a panic is told."""
    try:
        kept = os.dup(2)
    except OSError:  # there is none
        yield
        return
    try:
        with open(os.devnull, "wb") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def write(recording: Recording, path: Path) -> None:
    """Write the events as one stream, at the times of the file's clock."""
    faery = _faery(path)
    events = np.empty(len(recording), dtype=faery.EVENTS_DTYPE)
    for field, source in (("t", "t"), ("x", "x"), ("y", "y"), ("on", "p")):
        events[field] = recording.events[source]
    events["t"] += recording.t0
    with _damage(path):
        _encode(faery, events, (recording.width, recording.height), recording.t0, path)


def _check(recording: Recording, path: Path) -> None:
    _faery(path)
    if recording.t0 < 0:
        raise SpikeflipError(f"{path}: t0 is {recording.t0} µs and AEDAT4 holds none below 0; write .npz")


def _encode(faery: ModuleType, events: Any, size: tuple[int, int], t0: int, path: Path) -> None:
    node, value = faery.aedat.DescriptionNode, faery.aedat.DescriptionAttribute
    info = {
        "sizeX": value(attribute_type="int", value=size[0]),
        "sizeY": value(attribute_type="int", value=size[1]),
        "source": value(attribute_type="string", value="spikeflip"),
        _T0_ATTRIBUTE: value(attribute_type="long", value=t0),
    }
    stream = {
        "compression": value(attribute_type="string", value="LZ4"),
        "originalOutputName": value(attribute_type="string", value="events"),
        "typeIdentifier": value(attribute_type="string", value="EVTS"),
    }
    root = "/mainloop/Recorder/outInfo/"
    child = node(name="info", path=f"{root}0/info/", attributes=info, nodes=[])
    track = node(name="0", path=f"{root}0/", attributes=stream, nodes=[child])
    description = [node(name="outInfo", path=root, attributes={}, nodes=[track])]
    with faery.aedat.Encoder(path=path, description=description, compression=faery.aedat.LZ4_DEFAULT) as encoder:
        for start in range(0, len(events), 1 << 16):
            encoder.write(0, events[start : start + (1 << 16)])


FORMAT = Format(
    name="AEDAT4",
    endings=(".aedat4",),
    summary="iniVation's compressed packets; writing needs spikeflip[events]",
    read=read,
    write=write,
    height=1 << 15,
    width=1 << 15,
    absolute=True,
    check=_check,
    magic=MAGIC,
)

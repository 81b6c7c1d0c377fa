"""Camera makers' formats, read and written by the optional package faery: ES, AEDAT4, DAT, EVT2 and EVT3.

Where a file has a place for it, its zero is kept: the line ``% t0`` of EVT and DAT headers (faery's own), an attribute
in AEDAT4's description. ES files start at 0 by their nature. Rows are counted from the top in all of them.
"""

import os
import re
import shutil
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from spikeflip.data.formats.format import Format
from spikeflip.data.recordings import EVENT, Recording, check_zero, recording_of
from spikeflip.errors import SpikeflipError

_T0_LINE = re.compile(rb"^% t0 (\d{1,19})\s*$", re.IGNORECASE | re.MULTILINE)
_LAST_HEADER_LINE = re.compile(rb"^% (geometry|height) .*\n", re.IGNORECASE | re.MULTILINE)
_HEADER = 4096
_STDERR = threading.Lock()
_T0_ATTRIBUTE = "spikeflipT0"


def _faery(path: Path, name: str) -> ModuleType:
    try:
        import faery
    except ImportError as error:
        raise SpikeflipError(
            f"{path} is in the format {name}, which needs faery: pip install 'spikeflip[events]'"
        ) from error
    return faery  # type: ignore[no-any-return]


@contextmanager
def _damage(path: Path, name: str, action: str) -> Iterator[None]:
    """Turn whatever faery raises into one sentence; its panics are not even Exceptions, and write to stderr."""
    try:
        with _STDERR, _silence():
            yield
    except (SpikeflipError, KeyboardInterrupt, SystemExit, MemoryError):
        raise
    except BaseException as error:
        reason = " ".join(str(error).split())[:200]
        raise SpikeflipError(f"{path} cannot be {action} as {name} ({reason})") from error


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


def _check_packets(path: Path) -> None:
    """Compare the sizes that an AEDAT4 file claims with its own, as faery asks for that memory first.

    After a line come the header (a size and a flatbuffer whose second field says where the packets end) and the packets
    (stream, size, content), all little-endian. Source: iniVation, "AEDAT file formats", version 4.0.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        file.readline(_HEADER)
        at = file.tell() + 4
        header_size = int.from_bytes(file.read(4), "little")
        header = file.read(min(header_size, size))
        if len(header) < header_size:
            raise SpikeflipError(f"{path} ends in its header of {header_size:,} bytes: it is cut or damaged")
        at, end = at + header_size, _end_of_packets(header)
        end = size if end < 0 else end
        while at < end:
            file.seek(at + 4)
            count = int.from_bytes(file.read(4), "little")
            if (at := at + 8 + count) > size:
                raise SpikeflipError(f"{path} claims a packet of {count:,} bytes beyond its end: it is cut or damaged")


def _end_of_packets(header: bytes) -> int:
    """What an AEDAT4 header says of where its packets end; -1 where it does not."""
    try:
        (table,) = struct.unpack_from("<I", header)
        (back,) = struct.unpack_from("<i", header, table)
        fields, second = struct.unpack_from("<HxxxxH", header, table - back)
        return int(struct.unpack_from("<q", header, table + second)[0]) if fields > 6 and second else -1
    except struct.error:
        return -1


def _read(path: Path, *, name: str, options: dict[str, Any]) -> Recording:
    faery = _faery(path, name)
    if name == "AEDAT4":
        _check_packets(path)
    with _damage(path, name, "read"):
        stream = faery.events_stream_from_file(path, **options)
        width, height = stream.dimensions()
        found = stream.to_array()
        t0 = _stored_zero(faery, path, name)
    if len(found) and int(found["t"].max()) >= 1 << 62:
        raise SpikeflipError(f"{path} has an event at {int(found['t'].max())} µs: it is damaged")
    events = np.empty(len(found), dtype=EVENT)
    for field, source in (("t", "t"), ("x", "x"), ("y", "y"), ("p", "on")):
        events[field] = found[source]
    if t0 is not None:
        events["t"] -= check_zero(t0)
    return recording_of(events, height, width, t0=t0, format=name)


def _stored_zero(faery: ModuleType, path: Path, name: str) -> int | None:
    """The zero that the file keeps, None where it keeps none."""
    if name == "ES":
        return 0
    if name == "AEDAT4":
        with faery.aedat.Decoder(path) as decoder:
            return next((int(value) for value in _attributes(decoder.description(), _T0_ATTRIBUTE)), None)
    with path.open("rb") as file:
        line = _T0_LINE.search(file.read(_HEADER))
    return int(line[1]) if line else None


def _attributes(nodes: Any, name: str) -> Iterator[Any]:
    for node in nodes:
        if name in node.attributes:
            yield node.attributes[name].value
        yield from _attributes(node.nodes, name)


def _write(recording: Recording, path: Path, *, name: str, options: dict[str, Any]) -> None:
    faery = _faery(path, name)
    found = np.empty(len(recording), dtype=faery.EVENTS_DTYPE)
    for field, source in (("t", "t"), ("x", "x"), ("y", "y"), ("on", "p")):
        found[field] = recording.events[source]
    size = (recording.width, recording.height)
    with _damage(path, name, "written"):
        if name == "AEDAT4":
            found["t"] += recording.t0
            _write_aedat4(faery, found, size, recording.t0, path)
            return
        stream = faery.events_stream_from_array(found, dimensions=size)
        stream.to_file(path, zero_t0=False, **options)
    if name != "ES":
        _insert_zero(path, "T0" if name == "DAT" else "t0", recording.t0)


def _check(recording: Recording, path: Path, *, name: str) -> None:
    _faery(path, name)
    if recording.t0 < 0:
        raise SpikeflipError(f"{path}: t0 is {recording.t0} µs and {name} holds none below 0; write .npz")
    if name == "DAT" and not len(recording):
        raise SpikeflipError(f"{path}: a DAT file without events cannot be read back; write another format")
    if name == "EVT3" and (at := evt3_loses_count(recording)) is not None:
        times = recording.events["t"]
        raise SpikeflipError(
            f"{path}: nothing happens from {times[at - 1] if at else 0:,} to {times[at]:,} µs, and EVT3 loses count in "
            f"such a pause over a multiple of {1 << 24:,} µs: write EVT2 or .npz"
        )


def evt3_loses_count(recording: Recording) -> int | None:
    """The first event that faery's EVT3 reader would put at a wrong time, if there is one.

    A file holds the lowest 24 bits of a time in two words of 12. The reader counts on from one round of 2²⁴ µs to the
    next only where the upper word goes from all ones to zero: rounds may only meet in neighbouring upper words.
    """
    upper = recording.events["t"] >> 12
    lost = (np.diff(upper, prepend=0) > 1) & (np.diff(upper >> 12, prepend=0) > 0)
    return int(lost.argmax()) if lost.any() else None


def _insert_zero(path: Path, word: str, t0: int) -> None:
    """Put a t0 line behind the header that faery wrote."""
    longer = path.with_name(f"{path.name}.t0")
    try:
        with path.open("rb") as source, longer.open("wb") as target:
            end = max(line.end() for line in _LAST_HEADER_LINE.finditer(source.read(_HEADER)))
            source.seek(0)
            target.write(source.read(end) + f"% {word} {t0}\n".encode())
            shutil.copyfileobj(source, target)
        longer.replace(path)
    finally:
        longer.unlink(missing_ok=True)


def _write_aedat4(faery: ModuleType, events: Any, size: tuple[int, int], t0: int, path: Path) -> None:
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


def _format(name: str, endings: tuple[str, ...], summary: str, options: dict[str, Any], **limits: Any) -> Format:
    read: Callable[[Path], Recording] = partial(_read, name=name, options={"file_type": options["file_type"]})
    write: Callable[[Recording, Path], None] = partial(_write, name=name, options=options)
    check: Callable[[Recording, Path], None] = partial(_check, name=name)
    return Format(name, endings, f"{summary}; needs spikeflip[events]", read, write, check=check, **limits)


ES = _format(
    "ES",
    (".es",),
    "Event Stream",
    {"file_type": "es"},
    last_time=1 << 33,  # a byte for every 127 µs of silence: 68 MB at most
    holds_t0=False,
)
AEDAT4 = _format(
    "AEDAT4",
    (".aedat4",),
    "iniVation's compressed packets",
    {"file_type": "aedat"},
    height=1 << 15,
    width=1 << 15,
    absolute=True,
)
DAT = _format(
    "DAT",
    (".dat",),
    "Prophesee's 8-byte events",
    {"file_type": "dat", "version": "dat2"},
    last_time=(1 << 32) - 1,
    height=1 << 14,
    width=1 << 14,
)
EVT2 = _format(
    "EVT2",
    (".raw",),
    "Prophesee's 4-byte words",
    {"file_type": "evt", "version": "evt2"},
    last_time=(1 << 34) - 1,
    height=1 << 11,
    width=1 << 11,
)
EVT3 = _format(
    "EVT3",
    (".raw",),
    "Prophesee's 2-byte words",
    {"file_type": "evt", "version": "evt3"},
    height=1 << 11,
    width=1 << 11,
)

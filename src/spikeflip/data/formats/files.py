"""Reading and writing recordings; the format is found from what a file holds, then from its ending."""

import re
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from spikeflip.data.formats import (
    aedat2,
    aedat3,
    aedat4,
    dat,
    event_stream,
    evt2,
    evt3,
    nmnist,
    npy,
    npz,
    prophesee,
    text,
)
from spikeflip.data.formats.format import Format
from spikeflip.data.recordings import SENSOR_GUESSED, Recording, counted_from_first, guess_sensor, recording_of
from spikeflip.errors import NoMemoryError, SpikeflipError
from spikeflip.notices import Notice
from spikeflip.writing import whole_path

#: The formats by their names.
FORMATS: dict[str, Format] = {
    entry.name: entry
    for entry in (
        nmnist.FORMAT,
        npz.FORMAT,
        npy.FORMAT,
        text.FORMAT,
        aedat2.FORMAT,
        aedat3.FORMAT,
        event_stream.FORMAT,
        aedat4.FORMAT,
        dat.FORMAT,
        evt2.FORMAT,
        evt3.FORMAT,
    )
}
ENDINGS = frozenset(ending for entry in FORMATS.values() for ending in entry.endings)

_EVT = ((b"evt 2.0", evt2.FORMAT), (b"EVT2;", evt2.FORMAT), (b"evt 3.0", evt3.FORMAT), (b"EVT3", evt3.FORMAT))
# A word, not the first bytes alone: the % of a .bin is an event's column 37, a blank its row 32.
_CAMERA_LINE = re.compile(rb"% ?[A-Za-z][\t -~]*\r?\n")
_START = 1024
_SAID = {"columns": "columns", "time_unit": "unit of time"}


def read_recording(
    path: Path | str,
    *,
    height: int | None = None,
    width: int | None = None,
    columns: str | None = None,
    time_unit: str | None = None,
) -> Recording:
    """Read an event recording of any known format.

    Args:
        path: the file.
        height: rows of the sensor, for files that do not say, or in place of what they say (which is noted).
        width: columns of the sensor, likewise; give both or neither.
        columns: what the columns of a text file are, such as ``"x,y,p,t"``, in place of what its first line says; a
            dash stands for one that is not read.
        time_unit: ``"s"``, ``"ms"``, ``"us"`` or ``"ns"``, the unit of the times of a text, ``.npz`` or ``.npy`` file.

    Returns:
        The recording; ``format`` says what the file was, ``notices`` what was decided or repaired in reading. Times
        that are those of a clock count from the first event, and ``t0`` keeps its time.

    Raises:
        SpikeflipError: the file is missing, of no known format, damaged, or does not fit the sensor; or its format
            needs a package that is not installed.
    """
    path = Path(path)
    if (height is None) != (width is None):
        raise SpikeflipError(f"the sensor is {width} × {height}: give both its sides, or neither")
    if not path.is_file():
        what = "a folder" if path.is_dir() else "no file"
        raise SpikeflipError(f"{path} is {what}: give the file of an event recording")
    try:
        entry = format_of(path)
        given = {"columns": columns, "time_unit": time_unit}
        options = {name: value for name, value in given.items() if value is not None}
        if wrong := [name for name in options if name not in entry.options]:
            raise SpikeflipError(f"{path} is {entry.name}, which says its own {_SAID[wrong[0]]}: leave {wrong[0]} out")
        recording = counted_from_first(entry.read(path, **options))
    except OSError as error:
        raise SpikeflipError(f"{path} cannot be read ({error.strerror or error})") from error
    except MemoryError as error:
        raise NoMemoryError(f"{path} does not fit into memory: read it on a larger machine, or cut it") from error
    except SpikeflipError as error:
        raise error if str(path) in str(error) else SpikeflipError(f"{path}: {error}") from error
    if path.suffix.lower() not in entry.endings:
        text = f"the file is named {path.suffix or 'without ending'}, but holds {entry.name}"
        recording = replace(recording, notices=(*recording.notices, Notice("other-ending", text)))
    return recording if height is None or width is None else on_sensor(recording, height, width, path)


def on_sensor(recording: Recording, height: int, width: int, path: Path) -> Recording:
    """The same recording on a sensor of another size, where all its events lie on it; noted if a file said another."""
    notices = tuple(notice for notice in recording.notices if notice.code != SENSOR_GUESSED)
    if not recording.sensor_guessed and (recording.height, recording.width) != (height, width):
        said = f"{recording.width} × {recording.height}"
        text = f"the file says that the sensor is {said}: taken as {width} × {height}, as given"
        notices = (*notices, Notice("sensor-overruled", text))
    try:
        checked = recording_of(recording.events, height, width, t0=recording.t0, format=recording.format)
    except SpikeflipError as error:
        raise SpikeflipError(f"{path}: {error}") from error
    return replace(checked, notices=notices, header=recording.header)


def write_recording(
    recording: Recording, path: Path | str, *, format: str | None = None, durable: bool = True
) -> tuple[str, ...]:
    """Write a recording; the file appears whole or not at all.

    Args:
        recording: what to write.
        path: the file, replaced if it exists; its folder must exist.
        format: name of the format in :data:`FORMATS`; found from the ending when not given (``.raw`` is EVT3,
            ``.aedat`` AEDAT 3.1).
        durable: whether it must be on the disk itself, where no power cut takes it from, before this returns.

    Returns:
        One sentence for everything that the format cannot hold, such as t0.

    Raises:
        SpikeflipError: the format is unknown or only read, or cannot hold the recording; nothing was written.
    """
    path = Path(path)
    entry = FORMATS.get(format) if format is not None else _by_ending(path)
    if entry is None or entry.write is None:
        what = f"{path.name}" if format is None else f"format {format!r}"
        names = ", ".join(found.name for found in FORMATS.values() if found.write is not None)
        raise SpikeflipError(f"{what} cannot be written: choose one of {names} ({', '.join(sorted(ENDINGS))})")
    check_fits(recording, entry, path)
    try:
        with whole_path(path, durable=durable) as partial:
            try:
                entry.write(recording, partial)
            except SpikeflipError as error:
                raise SpikeflipError(str(error).replace(str(partial), str(path))) from error
    except OSError as error:
        raise SpikeflipError(
            f"{path} cannot be written ({error.strerror or error}): give a file in a folder that exists"
        ) from error
    return tuple(_lost(recording, entry))


def _lost(recording: Recording, entry: Format) -> Iterator[str]:
    """One sentence for everything that a format does not hold of a recording."""
    if recording.t0 and not entry.holds_t0:
        yield f"{entry.name} does not hold t0 = {recording.t0:,} µs: times in the file count from it"
    elif recording.t0 and entry.last_clock is not None and not prophesee.on_clock(recording, entry.last_clock):
        yield (
            f"{entry.name} has no room for the clock's times from t0 = {recording.t0:,} µs on: times in the file count "
            "from it, and a line of the header keeps it, which programs other than spikeflip and faery skip"
        )
    sensor = recording.height, recording.width
    if not entry.holds_sensor and guess_sensor(recording.events) != sensor:
        size = f"{recording.width} × {recording.height}"
        yield f"{entry.name} does not hold the sensor's size, {size}: give it where the file is read"
    if recording.header and not entry.holds_header:
        lines = f"{len(recording.header)} lines, the first {recording.header[0]!r:.80}"
        yield f"{entry.name} does not hold the camera's header ({lines})"


def writable_format(recording: Recording) -> str:
    """The format a recording is written back in: the one it came from, AEDAT 3.1 for one that is only read."""
    entry = FORMATS.get(recording.format or npz.FORMAT.name, npz.FORMAT)
    return entry.name if entry.write is not None else aedat3.FORMAT.name


def check_writable(recording: Recording, path: Path) -> None:
    """Raise a SpikeflipError if the recording could not be written back."""
    check_fits(recording, FORMATS[writable_format(recording)], path)


def check_fits(recording: Recording, entry: Format, path: Path) -> None:
    """Raise a SpikeflipError unless the format can hold the recording."""
    if recording.height > entry.height or recording.width > entry.width:
        raise SpikeflipError(
            f"{path}: a sensor of {recording.width} × {recording.height} does not fit {entry.name}, which holds "
            f"{entry.width} × {entry.height} at most; write .npz"
        )
    if len(recording):
        shift = recording.t0 if entry.absolute else 0
        first, last = (int(recording.events["t"][i]) + shift for i in (0, -1))
        if first < entry.first_time or last > entry.last_time:
            wrong = first if first < entry.first_time else last
            raise SpikeflipError(
                f"{path}: an event at {wrong} µs does not fit {entry.name}, which holds {entry.first_time} to "
                f"{entry.last_time}; write .npz, or cut the recording"
            )
    if entry.check is not None:
        entry.check(recording, path)


def format_of(path: Path) -> Format:
    """Find a file's format from its first bytes, and from its ending where these say nothing.

    Raises:
        SpikeflipError: it is of no known format.
    """
    with path.open("rb") as file:
        start = file.read(_START)
    for entry in FORMATS.values():
        if entry.magic and start.startswith(entry.magic):
            return entry
    ending = path.suffix.lower()
    if start.startswith(b"PK") and (ending in npz.FORMAT.endings or zipfile.is_zipfile(path)):
        return npz.FORMAT
    if text.is_table(start):
        return text.FORMAT
    if _CAMERA_LINE.match(start):
        if entry_ := next((entry for words, entry in _EVT if words in start), None):
            return entry_
        if b"evt 2.1" not in start and b"EVT21" not in start:
            return dat.FORMAT
    if ending in text.FORMAT.endings and text.looks_like(start):
        return text.FORMAT
    if ending in nmnist.FORMAT.endings:
        return nmnist.FORMAT
    raise SpikeflipError(
        f"{path} is no event recording of a known format: its first bytes are those of none, whatever its ending "
        f"({', '.join(FORMATS)} are known)"
    )


def _by_ending(path: Path) -> Format | None:
    ending = path.suffix.lower()
    if ending == ".raw":
        return evt3.FORMAT
    return next((entry for entry in FORMATS.values() if ending in entry.endings and entry.write is not None), None)

"""One split of an event data set: which recordings there are, and reading them on one sensor."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from pathlib import Path

import torch
from torch import Tensor

from spikeflip.data.event_layouts import Clip, Contents
from spikeflip.data.formats.files import on_sensor, read_recording
from spikeflip.data.recordings import Recording
from spikeflip.errors import SpikeflipError
from spikeflip.notices import Notice

#: The code of the notice that a label names more of a recording than there is.
LABEL_BEYOND = "label-beyond"
# The last event of a gesture may well be before its end; with a tenth of it missing, the end was not recorded.
_UNRECORDED = 0.1


@dataclass(frozen=True)
class EventSet:
    """One split of an event data set; its recordings are read when asked for.

    Attributes:
        name: key of ``EVENT_SETS``, or ``"folder "`` and the folder's name.
        split: ``"train"``, ``"test"``, or ``"all"`` from :func:`folder_of_recordings`.
        clips: the labelled recordings.
        classes: class names.
        height: rows of the sensor.
        width: columns of the sensor.
        source: one line: where the recordings came from and how many of the official ones they are.
        notices: what was decided.
        sensor_from: the file that the sensor's size was taken from; None where it was given or is the official one.
            With a file here, recordings that state another size are refused.
        columns: what the columns of text files are; see :func:`spikeflip.read_recording`.
        time_unit: of their times, likewise.
    """

    name: str
    split: str
    clips: tuple[Clip, ...]
    classes: tuple[str, ...]
    height: int
    width: int
    source: str
    notices: tuple[Notice, ...] = ()
    sensor_from: Path | None = None
    columns: str | None = None
    time_unit: str | None = None

    def __len__(self) -> int:
        return len(self.clips)

    def __iter__(self) -> Iterator[Recording]:
        return (self.read(index) for index in range(len(self)))

    @property
    def notes(self) -> tuple[str, ...]:
        """The sentences of the notices."""
        return tuple(notice.text for notice in self.notices)

    @property
    def labels(self) -> Tensor:
        """``(N,)`` int64, indices into ``classes``; -1 where nobody says the class."""
        return torch.tensor([clip.label for clip in self.clips], dtype=torch.int64)

    @cached_property
    def sha256(self) -> str:
        """Of name, label, start, stop and the file's own SHA-256 of every clip, sorted by name; reads every file.

        Names say the order of the clips too, but for stretches of files that are not in the order of their names.
        """
        files = {path: _sha256(path) for path in {clip.path for clip in self.clips}}
        digest = hashlib.sha256()
        for clip in sorted(self.clips, key=lambda clip: clip.name):
            digest.update(f"{clip.name}\0{clip.label}\0{clip.start}\0{clip.stop}\0{files[clip.path]}\n".encode())
        cut = list(dict.fromkeys(clip.path.name for clip in self.clips if clip.start is not None))
        if cut != sorted(cut):
            digest.update("\n".join(cut).encode())
        return digest.hexdigest()

    def read(self, index: int) -> Recording:
        """Read the recording of one clip, on the set's sensor.

        Raises:
            SpikeflipError: the file is missing or damaged, or its sensor or events do not fit the set's sensor.
        """
        clip = self.clips[index]
        if clip.start is None or clip.stop is None:
            recording = read_recording(clip.path, columns=self.columns, time_unit=self.time_unit)
        else:
            changed = clip.path.stat().st_mtime_ns if clip.path.is_file() else 0
            recording = _cut_out(_read_once(clip.path, changed), clip.start, clip.stop)
        if self.sensor_from is not None and not recording.sensor_guessed:
            check_same_sensor(self.sensor_from, (self.height, self.width), clip.path, size_of(recording))
        return on_sensor(recording, self.height, self.width, clip.path)


def event_set(
    name: str,
    split: str,
    contents: Contents,
    classes: tuple[str, ...],
    size: tuple[int, int],
    sensor_from: Path | None = None,
    notices: tuple[Notice, ...] = (),
) -> EventSet:
    """An event set of what was found."""
    for clip in contents.clips:
        if not clip.name.isascii() and any("\ud800" <= letter <= "\udfff" for letter in clip.name):
            raise SpikeflipError(f"the name of {str(clip.path)!a} is no UTF-8 text: rename it")
    notices = (*contents.notices, *notices)
    return EventSet(name, split, contents.clips, classes, *size, contents.source, notices, sensor_from)


def given_size(height: int | None, width: int | None) -> tuple[int, int] | None:
    """Height and width if both are given, None if neither is."""
    if (height is None) != (width is None):
        raise SpikeflipError(f"the sensor is {width} × {height}: give both height and width, or neither")
    return None if height is None or width is None else (height, width)


def check_same_sensor(first: Path, first_size: tuple[int, int], path: Path, size: tuple[int, int]) -> None:
    """Raise a SpikeflipError if two recordings of a set are of different sensors."""
    if size != first_size:
        raise SpikeflipError(
            f"{first} is of a sensor of {size_text(first_size)} and {path} of {size_text(size)}: a set has one sensor; "
            "give the size that holds all with --sensor WIDTHxHEIGHT (height=, width=), or part the recordings"
        )


def _cut_out(whole: Recording, start: int, stop: int) -> Recording:
    """The part of a recording that a label names, with a notice where the label names more than there is."""
    part = whole.between(start, stop)
    if not len(whole):
        return part
    first, last = (int(whole.events["t"][at]) + whole.t0 for at in (0, -1))
    missing = stop - 1 - last
    if start > last or stop <= first:
        missing = stop - start
        text = f"the label of {start:,} to {stop:,} µs is of no part of the recording, which has {first:,} to {last:,}"
    elif missing > _UNRECORDED * (stop - start):
        text = f"the label ends at {stop:,} µs and the recording at {last:,} µs"
    else:
        return part
    return replace(part, notices=(*part.notices, Notice(LABEL_BEYOND, text, missing)))


@lru_cache(maxsize=1)
def _read_once(path: Path, changed: int) -> Recording:
    """Read a file that several clips are cut from; ``changed`` (its time stamp) makes a changed file a new one."""
    return read_recording(path)


def size_of(recording: Recording) -> tuple[int, int]:
    """Height and width of a recording's sensor."""
    return recording.height, recording.width


def size_text(size: tuple[int, int] | None) -> str:
    """A size for a message: width × height."""
    return f"{size[1]} × {size[0]}" if size else "unknown"


def _sha256(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise SpikeflipError(f"{path} cannot be read ({error.strerror}): check its permissions") from error

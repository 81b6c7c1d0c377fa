"""Event data sets: N-MNIST, DVS128 Gesture, CIFAR10-DVS and folders of recordings, as users have them on disk."""

import contextlib
import hashlib
import importlib
import io
import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path

import torch
from torch import Tensor

from spikeflip.data.event_layouts import (
    OFFICIAL,
    Clip,
    Contents,
    Official,
    count_of,
    empty_note,
    every_nth,
    in_turn,
    left_out,
    list_folder,
    natural_order,
    split_folders,
)
from spikeflip.data.formats.files import ENDINGS, on_sensor, read_recording
from spikeflip.data.recordings import Recording
from spikeflip.errors import SpikeflipError

__all__ = ["EVENT_SETS", "Clip", "EventSet", "folder_of_recordings", "load_event_set"]

logger = logging.getLogger(__name__)

#: The event data sets by name: size, layout, licence and whom to cite.
EVENT_SETS: Mapping[str, str] = {
    "nmnist": "60,000 + 10,000 recordings of digits, 34x34, files in NMNIST/Train and NMNIST/Test; CC BY-SA 4.0 "
    "(G. Orchard et al., Converting Static Image Datasets to Spiking Neuromorphic Datasets Using Saccades, 2015)",
    "dvsgesture": "DVS128 Gesture, 98 + 24 recordings of 11 gestures each, 128x128, files in DvsGesture; CC BY 4.0 "
    "(A. Amir et al., A Low Power, Fully Event-Based Gesture Recognition System, 2017)",
    "cifar10dvs": "10,000 recordings of CIFAR-10 images, 128x128, 10 class folders in CIFAR10DVS, our fixed split; "
    "licence: see its authors' page (H. Li et al., CIFAR10-DVS: An Event-Stream Dataset for Object Classification, "
    "2017)",
}

_GUESSED = "the file does not say the sensor's size"


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
        notes: what was decided, one sentence each.
        sensor_from: the file that the sensor's size was taken from; None where it was given or is the official one.
            With a file here, recordings that state another size are refused.
    """

    name: str
    split: str
    clips: tuple[Clip, ...]
    classes: tuple[str, ...]
    height: int
    width: int
    source: str
    notes: tuple[str, ...] = ()
    sensor_from: Path | None = None

    def __len__(self) -> int:
        return len(self.clips)

    def __iter__(self) -> Iterator[Recording]:
        return (self.read(index) for index in range(len(self)))

    @property
    def labels(self) -> Tensor:
        """``(N,)`` int64, indices into ``classes``; -1 where nobody says the class."""
        return torch.tensor([clip.label for clip in self.clips], dtype=torch.int64)

    @cached_property
    def sha256(self) -> str:
        """Of name, label, start, stop and the file's own SHA-256 of every clip, sorted by name; reads every file."""
        files = {path: _sha256(path) for path in {clip.path for clip in self.clips}}
        digest = hashlib.sha256()
        for clip in sorted(self.clips, key=lambda clip: clip.name):
            digest.update(f"{clip.name}\0{clip.label}\0{clip.start}\0{clip.stop}\0{files[clip.path]}\n".encode())
        return digest.hexdigest()

    def read(self, index: int) -> Recording:
        """Read the recording of one clip, on the set's sensor.

        Raises:
            SpikeflipError: the file is missing or damaged, or its sensor or events do not fit the set's sensor.
        """
        clip = self.clips[index]
        if clip.start is None or clip.stop is None:
            recording = read_recording(clip.path)
        else:
            changed = clip.path.stat().st_mtime_ns if clip.path.is_file() else 0
            recording = _read_once(clip.path, changed).between(clip.start, clip.stop)
        if self.sensor_from is not None and not _is_guessed(recording):
            _check_same_sensor(self.sensor_from, (self.height, self.width), clip.path, _size(recording))
        return on_sensor(recording, self.height, self.width, clip.path)


def load_event_set(
    name_or_folder: str | Path,
    split: str = "test",
    *,
    root: Path | str | None = None,
    download: bool = False,
    height: int | None = None,
    width: int | None = None,
) -> EventSet:
    """Find the recordings of one split of an event data set; what is there of it is taken, and counted in ``source``.

    * ``nmnist``: ``root/NMNIST/{Train,Test}/<digit>/<number>.bin``, with or without ``NMNIST``.
    * ``dvsgesture``: ``root/DvsGesture/`` (or root) with ``user*.aedat``, ``user*_labels.csv`` and
      ``trials_to_{train,test}.txt``, else tonic's ``root/DVSGesture/ibmGesture{Train,Test}/user*/<label>.npy``.
    * ``cifar10dvs``: ``root/CIFAR10DVS/<class>/*.aedat`` (or root, or ``.aedat4``, as tonic has them); every tenth
      recording of a class is a test recording.
    * a folder: ``{train,test}/<class>/<recording>``, else ``<class>/<recording>``, of which every fifth of a class, in
      natural order, is a test recording. Its sensor is that of the first recording of each class.

    Args:
        name_or_folder: key of ``EVENT_SETS``, or a folder (always a folder if a ``Path``).
        split: ``"train"`` or ``"test"``.
        root: folder that holds the folders above; not used for a folder of recordings.
        download: let tonic fetch a named set that is not under ``root``.
        height: rows of the sensor of a folder's recordings, where they do not say or differ.
        width: columns of the sensor, likewise; give both or neither.

    Returns:
        The clips with their labels, class names, sensor, and where they came from.

    Raises:
        SpikeflipError: the name or split is unknown, the files are missing, damaged or of different sensors, or cannot
            be downloaded.

    >>> import tempfile
    >>> from spikeflip.data.formats.files import write_recording
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     for name in ("wave/1.npz", "wave/2.npz", "wave/3.npz", "wave/4.npz", "wave/10.npz", "clap/1.npz"):
    ...         (Path(folder) / name).parent.mkdir(exist_ok=True)
    ...         recording = Recording.from_columns([0, 5], [1, 2], [3, 4], [0, 1], height=8, width=8)
    ...         _ = write_recording(recording, Path(folder) / name)
    ...     test = load_event_set(folder, "test")
    ...     [clip.name for clip in test.clips], test.labels, test.classes, len(test.read(0))
    (['wave/10.npz'], tensor([1]), ('clap', 'wave'), 2)
    """
    if split not in ("train", "test"):
        raise SpikeflipError(f"unknown split {split!r} of {name_or_folder}: choose train or test")
    size = _given_size(height, width)
    if isinstance(name_or_folder, str) and name_or_folder in OFFICIAL:
        return _load_official(name_or_folder, split, root, download, size)
    folder = Path(name_or_folder).expanduser()
    if not folder.is_dir():
        raise SpikeflipError(
            f"{str(name_or_folder)!r} is neither an event data set ({', '.join(EVENT_SETS)}) nor a folder: choose one "
            "of these, or give a folder of recordings with one sub-folder a class"
        )
    return _load_folder(folder, split, size)


def folder_of_recordings(
    path: str | Path,
    classes: tuple[str, ...],
    *,
    label: int | None = None,
    height: int | None = None,
    width: int | None = None,
    unsaid: tuple[int, int] | None = None,
) -> EventSet:
    """Take one recording, or all in a folder and its sub-folders, as a set of the given classes.

    Args:
        path: a recording or a folder.
        classes: class names.
        label: class of all recordings; where not given, the class whose name the recording's sub-folder has, else -1.
        height: rows of the sensor; of the first recording of each folder where not given.
        width: columns of the sensor, likewise; give both or neither.
        unsaid: height and width to take where neither the caller nor the first file says them.

    Raises:
        SpikeflipError: there is no recording, the label is no class, or the sensors differ.
    """
    if label is not None and not 0 <= label < len(classes):
        raise SpikeflipError(f"label {label} is no class: give 0 to {len(classes) - 1}")
    size = _given_size(height, width)
    path = Path(path).expanduser()
    folder = path if path.is_dir() else path.parent
    found, others = _tree(path) if path.is_dir() else ([path] if path.is_file() else [], 0)
    if not found:
        raise SpikeflipError(
            f"{path} is no recording and no folder with any ({', '.join(sorted(ENDINGS))}): give one of both"
        )
    known = {name: at for at, name in enumerate(classes)}
    clips = []
    for file in found:
        own = known.get(file.parent.name, -1) if file.parent != folder else -1
        clips.append(Clip(file, own if label is None else label, file.relative_to(folder).as_posix()))
    contents = Contents(tuple(clips), f"{path}: {count_of(len(clips), 'recording')}", left_out(others, folder))
    name = f"{'folder' if path.is_dir() else 'file'} {path.resolve().name}"
    if size is None and unsaid is not None and _is_guessed(read_recording(found[0])):
        size = unsaid
    if size is not None:
        return _event_set(name, "all", contents, classes, size)
    firsts = list({file.parent: file for file in reversed(found)}.values())[::-1]
    return _event_set(name, "all", contents, classes, *_common_sensor(firsts))


# --- official sets ----------------------------------------------------------------------------------------------------


def _load_official(
    name: str, split: str, root: Path | str | None, download: bool, size: tuple[int, int] | None
) -> EventSet:
    official = OFFICIAL[name]
    if size not in (None, (official.height, official.width)):
        raise SpikeflipError(
            f"{official.title} is of {_text((official.height, official.width))} pixels, not {_text(size)}: leave out "
            "--sensor (height=, width=)"
        )
    if root is None:
        raise SpikeflipError(f"{name} is read from files and no root was given: add --root DIR (root=...)")
    folder = Path(root).expanduser()
    if not folder.is_dir() and (folder.exists() or not download):
        raise SpikeflipError(
            f"the root {folder} is not a folder: give an existing one with --root DIR, or add --download"
        )
    contents = official.find(folder, split) if folder.is_dir() else None
    if contents is None and download:
        _download(official, folder, split)
        contents = official.find(folder, split)
    if contents is None:
        raise SpikeflipError(
            f"{folder} has no {split} recordings of {official.title} (looked for {official.looked_for}): give another "
            "--root DIR, or add --download"
        )
    return _event_set(name, split, contents, official.classes, (official.height, official.width))


def _download(official: Official, root: Path, split: str) -> None:
    """Run tonic's download, silently."""
    try:
        fetch = getattr(importlib.import_module("tonic.datasets"), official.tonic)
    except ImportError as error:
        raise SpikeflipError("downloading event data sets needs tonic (GPL-3.0): pip install tonic") from error
    logger.info("downloading %s to %s", official.title, root)
    options = {"train": split == "train"} if official.split_by_tonic else {}
    try:
        with contextlib.redirect_stderr(io.StringIO()), contextlib.redirect_stdout(io.StringIO()):
            fetch(save_to=str(root), **options)
    except Exception as error:  # whatever urllib, tarfile or zipfile raise: to the user it is one thing
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise SpikeflipError(
            f"{official.title} could not be downloaded to {root} ({reason}): check the network, or put its files there "
            "by hand"
        ) from error


# --- folders ----------------------------------------------------------------------------------------------------------


def _load_folder(folder: Path, split: str, size: tuple[int, int] | None) -> EventSet:
    parts = split_folders(folder)
    if parts and split not in parts:
        there = next(iter(parts.values())).name
        raise SpikeflipError(
            f"{folder} has a folder {there!r} but none named {split!r}: add it, or put the class folders into {folder} "
            "itself for a fixed split"
        )
    found = {part: _class_folders(path) for part, path in (parts or {"all": folder}).items()}
    every = {part: members for part, (members, _) in found.items()}
    classes = tuple(sorted({name for members in every.values() for name in members}, key=natural_order))
    if not classes:
        raise SpikeflipError(
            f"{folder} has no sub-folder with recordings ({', '.join(sorted(ENDINGS))}): put those of each class into "
            f"one, or give one of {', '.join(EVENT_SETS)} with --root DIR"
        )
    if parts:
        chosen = every[split]
        notes = [] if chosen else [empty_note(split, f"{parts[split]} has none")]
    else:
        chosen = {name: every_nth(paths, 5, split) for name, paths in every["all"].items()}
        rule = "no split in the folder: every fifth recording of a class, in natural name order, is a test recording"
        notes = [rule] if any(chosen.values()) else [rule, empty_note(split, "no class has five")]
    clips = in_turn(
        Clip(path, label, f"{name}/{path.name}") for label, name in enumerate(classes) for path in chosen.get(name, ())
    )
    total = sum(len(paths) for members in every.values() for paths in members.values())
    source = f"recordings in {folder}: {len(clips):,} of {total:,}, {count_of(len(classes), 'class folder')}"
    contents = Contents(clips, source, (*notes, *left_out(sum(others for _, others in found.values()), folder)))
    name = f"folder {folder.resolve().name}"
    if size is not None:
        return _event_set(name, split, contents, classes, size)
    firsts = [next(members[name][0] for members in every.values() if name in members) for name in classes]
    return _event_set(name, split, contents, classes, *_common_sensor(firsts))


def _class_folders(folder: Path) -> tuple[dict[str, list[Path]], int]:
    """The recordings of every sub-folder that has any, and how many other files there are."""
    folders, files = list_folder(folder)
    members, others = {}, len(files)
    for path in folders:
        files = list_folder(path)[1]
        recordings = [file for file in files if file.suffix.lower() in ENDINGS]
        others += len(files) - len(recordings)
        if recordings:
            members[path.name] = recordings
    return members, others


def _tree(folder: Path) -> tuple[list[Path], int]:
    """The recordings in a folder and below it, and how many other files there are."""
    folders, files = list_folder(folder)
    found = [file for file in files if file.suffix.lower() in ENDINGS]
    others = len(files) - len(found)
    for path in folders:
        below, more = _tree(path)
        found, others = found + below, others + more
    return found, others


def _given_size(height: int | None, width: int | None) -> tuple[int, int] | None:
    if (height is None) != (width is None):
        raise SpikeflipError(f"the sensor is {width} × {height}: give both height and width, or neither")
    return None if height is None or width is None else (height, width)


def _common_sensor(paths: list[Path]) -> tuple[tuple[int, int], Path, tuple[str, ...]]:
    """The sensor (height, width) that all files state or let guess, the first of them, and a note if all guess."""
    sizes, guessed = [], True
    for path in paths:
        recording = read_recording(path)
        guessed = guessed and _is_guessed(recording)
        sizes.append(_size(recording))
        _check_same_sensor(paths[0], sizes[0], path, sizes[-1])
    note = (
        f"the sensor's size, {_text(sizes[0])}, is guessed from the first recording of each class: give --sensor "
        "WIDTHxHEIGHT (height=, width=) where it is another"
    )
    return sizes[0], paths[0], (note,) if guessed else ()


def _check_same_sensor(first: Path, first_size: tuple[int, int], path: Path, size: tuple[int, int]) -> None:
    if size != first_size:
        raise SpikeflipError(
            f"{first} is of a sensor of {_text(first_size)} and {path} of {_text(size)}: one set has one sensor; give "
            "the size that holds all with --sensor WIDTHxHEIGHT (height=, width=), or part the recordings"
        )


# --- both -------------------------------------------------------------------------------------------------------------


def _event_set(
    name: str,
    split: str,
    contents: Contents,
    classes: tuple[str, ...],
    size: tuple[int, int],
    sensor_from: Path | None = None,
    notes: tuple[str, ...] = (),
) -> EventSet:
    notes = (*contents.notes, *notes)
    return EventSet(name, split, contents.clips, classes, *size, contents.source, notes, sensor_from)


@lru_cache(maxsize=1)
def _read_once(path: Path, changed: int) -> Recording:
    """Read a file that several clips are cut from; ``changed`` (its time stamp) makes a changed file a new one."""
    return read_recording(path)


def _is_guessed(recording: Recording) -> bool:
    return any(note.startswith(_GUESSED) for note in recording.notes)


def _size(recording: Recording) -> tuple[int, int]:
    return recording.height, recording.width


def _text(size: tuple[int, int] | None) -> str:
    return f"{size[1]} × {size[0]}" if size else "unknown"


def _sha256(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise SpikeflipError(f"{path} cannot be read ({error.strerror}): check its permissions") from error

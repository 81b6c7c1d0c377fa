"""Folders of recordings, with a sub-folder a class or without."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

from spikeflip.data.event_layouts import (
    OFFICIAL,
    Clip,
    Contents,
    count_of,
    empty_split,
    every_nth,
    in_turn,
    left_out,
    list_folder,
    natural_order,
    own_split,
    split_folders,
)
from spikeflip.data.event_set import EventSet, check_same_sensor, event_set, given_size, size_of, size_text
from spikeflip.data.formats.files import ENDINGS, read_recording
from spikeflip.data.recordings import SENSOR_GUESSED, Recording
from spikeflip.errors import SpikeflipError
from spikeflip.notices import Notice


def folder_of_recordings(
    path: str | Path,
    classes: tuple[str, ...],
    *,
    label: int | None = None,
    height: int | None = None,
    width: int | None = None,
    unsaid: tuple[int, int] | None = None,
    columns: str | None = None,
    time_unit: str | None = None,
) -> EventSet:
    """Take one recording, or all in a folder and its sub-folders, as a set of the given classes.

    Args:
        path: a recording or a folder.
        classes: class names.
        label: class of all recordings; where not given, the class whose name the recording's sub-folder has, else -1.
        height: rows of the sensor; of the first recording of each folder where not given.
        width: columns of the sensor, likewise; give both or neither.
        unsaid: height and width to take where neither the caller nor the first file says them.
        columns: what the columns of text files are; see :func:`spikeflip.read_recording`.
        time_unit: of their times, likewise.

    Raises:
        SpikeflipError: there is no recording, the label is no class, or the sensors differ.
    """
    if label is not None and not 0 <= label < len(classes):
        raise SpikeflipError(f"label {label} is no class: give 0 to {len(classes) - 1}")
    size = given_size(height, width)
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
    read = partial(read_recording, columns=columns, time_unit=time_unit)
    if size is None and unsaid is not None and read(found[0]).sensor_guessed:
        size = unsaid
    firsts = list({file.parent: file for file in reversed(found)}.values())[::-1]
    sensor = _common_sensor(firsts, read) if size is None else (size,)
    return replace(event_set(name, "all", contents, classes, *sensor), columns=columns, time_unit=time_unit)


def load_folder(
    folder: Path, split: str, size: tuple[int, int] | None, columns: str | None = None, time_unit: str | None = None
) -> EventSet:
    """One split of a folder with a sub-folder a class; see :func:`spikeflip.data.load_event_set`."""
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
            f"one, or give one of {', '.join(OFFICIAL)} with --root DIR"
        )
    if parts:
        chosen = every[split]
        notices = [] if chosen else [empty_split(split, f"{parts[split]} has none")]
    else:
        chosen = {name: every_nth(paths, 5, split) for name, paths in every["all"].items()}
        rule = own_split(
            "no split in the folder: every fifth recording of a class, in natural name order, is a test recording"
        )
        notices = [rule] if any(chosen.values()) else [rule, empty_split(split, "no class has five")]
    clips = in_turn(
        Clip(path, label, f"{name}/{path.name}") for label, name in enumerate(classes) for path in chosen.get(name, ())
    )
    total = sum(len(paths) for members in every.values() for paths in members.values())
    source = f"recordings in {folder}: {len(clips):,} of {total:,}, {count_of(len(classes), 'class folder')}"
    contents = Contents(clips, source, (*notices, *left_out(sum(others for _, others in found.values()), folder)))
    name = f"folder {folder.resolve().name}"
    firsts = [next(members[name][0] for members in every.values() if name in members) for name in classes]
    read = partial(read_recording, columns=columns, time_unit=time_unit)
    sensor = _common_sensor(firsts, read) if size is None else (size,)
    return replace(event_set(name, split, contents, classes, *sensor), columns=columns, time_unit=time_unit)


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


def _common_sensor(
    paths: list[Path], read: Callable[[Path], Recording]
) -> tuple[tuple[int, int], Path, tuple[Notice, ...]]:
    """The sensor (height, width) that all files state or let guess, the first of them, and a notice if all guess."""
    sizes, guessed = [], True
    for path in paths:
        recording = read(path)
        guessed = guessed and recording.sensor_guessed
        sizes.append(size_of(recording))
        check_same_sensor(paths[0], sizes[0], path, sizes[-1])
    text = (
        f"the sensor's size, {size_text(sizes[0])}, is guessed from the first recording of each class: give --sensor "
        "WIDTHxHEIGHT (height=, width=) where it is another"
    )
    return sizes[0], paths[0], (Notice(SENSOR_GUESSED, text),) if guessed else ()

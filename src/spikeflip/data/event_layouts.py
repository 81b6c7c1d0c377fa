"""How N-MNIST, DVS128 Gesture and CIFAR10-DVS lie on disk: which files, labels and time windows make up a split.

Sources: G. Orchard et al., "Converting Static Image Datasets to Spiking Neuromorphic Datasets Using Saccades", 2015;
A. Amir et al., "A Low Power, Fully Event-Based Gesture Recognition System", 2017; H. Li et al., "CIFAR10-DVS: An
Event-Stream Dataset for Object Classification", 2017.
"""

import errno
import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from spikeflip.errors import SpikeflipError
from spikeflip.notices import Notice


@dataclass(frozen=True)
class Clip:
    """One labelled recording: a file, or a stretch of one.

    Attributes:
        path: the file.
        label: index of its class.
        name: relative POSIX path it should be written under, with the file's ending; unique within the set.
        start: first µs on the file's clock; None where the clip is the whole file.
        stop: first µs after the clip; None likewise.
    """

    path: Path
    label: int
    name: str
    start: int | None = None
    stop: int | None = None


@dataclass(frozen=True)
class Contents:
    """What was found of one split: its clips, a line on where they came from, and what had to be decided."""

    clips: tuple[Clip, ...]
    source: str
    notices: tuple[Notice, ...] = ()


@dataclass(frozen=True)
class Official:
    """An official data set.

    Attributes:
        title: as its authors write it.
        classes: their names.
        height: rows of the sensor.
        width: columns of the sensor.
        looked_for: what is to be in the root, for the error where it is not.
        tonic: name of its class in ``tonic.datasets``.
        split_by_tonic: whether that class takes ``train``.
        find: root and split to contents; None where the root does not have the layout, or no recording in it.
    """

    title: str
    classes: tuple[str, ...]
    height: int
    width: int
    looked_for: str
    tonic: str
    split_by_tonic: bool
    find: Callable[[Path, str], Contents | None]


def natural_order(name: str) -> tuple[list[str | int], str]:
    """Sorting key that compares numbers within names as numbers.

    >>> sorted(["c10", "c9", "b1", "c09"], key=natural_order)
    ['b1', 'c09', 'c9', 'c10']
    """
    parts = re.split("([0-9]+)", name)
    return [int(part) if at % 2 else part for at, part in enumerate(parts)], name


def list_folder(folder: Path) -> tuple[list[Path], list[Path]]:
    """The sub-folders and the files of a folder in natural order, without the hidden ones."""
    try:
        with os.scandir(folder) as found:
            entries = [(entry.name, entry.is_dir()) for entry in found if not entry.name.startswith(".")]
    except OSError as error:
        fix = "remove the link to a folder above itself" if error.errno == errno.ELOOP else "check its permissions"
        raise SpikeflipError(f"{folder} cannot be read ({error.strerror}): {fix}") from error
    entries.sort(key=lambda entry: natural_order(entry[0]))
    folders = [folder / name for name, is_folder in entries if is_folder]
    return folders, [folder / name for name, is_folder in entries if not is_folder]


def split_folders(folder: Path) -> dict[str, Path]:
    """The folders train and test, in this order; not a class that has such a name."""
    parts: dict[str, Path] = {}
    for path in list_folder(folder)[0]:
        part = path.name.lower()
        if part in ("train", "test") and list_folder(path)[0]:
            if part in parts:
                raise SpikeflipError(f"{folder} has both {parts[part].name!r} and {path.name!r}: remove one of them")
            parts[part] = path
    return {part: parts[part] for part in ("train", "test") if part in parts}


def every_nth(paths: list[Path], n: int, split: str) -> list[Path]:
    """The n-th, 2n-th, ... path for the test split, the others for training."""
    return [path for at, path in enumerate(paths, start=1) if (at % n == 0) == (split == "test")]


def in_turn(clips: Iterable[Clip]) -> tuple[Clip, ...]:
    """The first clip of each class, then the second of each: any beginning of a set holds its classes evenly."""
    seen: Counter[int] = Counter()
    ranks = {}
    for clip in clips:
        ranks[clip] = seen[clip.label]
        seen[clip.label] += 1
    return tuple(sorted(ranks, key=lambda clip: (ranks[clip], clip.label)))


def count_of(number: int, noun: str) -> str:
    """A number with its noun.

    >>> count_of(1, "file"), count_of(1200, "file")
    ('1 file', '1,200 files')
    """
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def empty_split(split: str, why: str) -> Notice:
    """A notice for a split without clips."""
    return Notice("empty-split", f"no {SPLIT_WORDS[split]} recordings here: {why}", 0)


def own_split(text: str) -> Notice:
    """A notice that the data have no split, and who is in which."""
    return Notice("own-split", text)


def left_out(others: int, folder: Path) -> tuple[Notice, ...]:
    """A notice on files that are no recordings."""
    text = f"{count_of(others, 'other file')} in {folder} left out: no recordings by their names"
    return (Notice("other-files", text, others),) if others else ()


#: The splits as sentences say them.
SPLIT_WORDS = {"train": "training", "test": "test"}

# --- N-MNIST ----------------------------------------------------------------------------------------------------------

_DIGITS = tuple("0123456789")
_NMNIST_SIZE = {"train": 60_000, "test": 10_000}


def _nmnist(root: Path, split: str) -> Contents | None:
    part = split.capitalize()
    folder = next((path for path in (root / "NMNIST" / part, root / part) if path.is_dir()), None)
    if folder is None:
        return None
    folders, _ = list_folder(folder)
    clips, others = [], 0
    for digit in folders:
        if digit.name not in _DIGITS:
            raise SpikeflipError(
                f"{folder} has a folder {digit.name!r} and N-MNIST only 0 to 9: remove it, or load {folder.parent} as "
                "a folder of your own classes"
            )
        files = list_folder(digit)[1]
        numbered = [path for path in files if re.fullmatch(r"[0-9]+\.bin", path.name)]
        others += len(files) - len(numbered)
        clips += [Clip(path, int(digit.name), f"{digit.name}/{path.name}") for path in numbered]
    if not clips:
        return None
    clips.sort(key=lambda clip: int(clip.path.stem))  # the order of MNIST
    official = f"{_NMNIST_SIZE[split]:,} official {SPLIT_WORDS[split]} recordings"
    return Contents(tuple(clips), f"N-MNIST in {folder}: {len(clips):,} of {official}", left_out(others, folder))


# --- CIFAR10-DVS ------------------------------------------------------------------------------------------------------

_CIFAR10_CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


def _cifar10dvs(root: Path, split: str) -> Contents | None:
    for folder in (root / "CIFAR10DVS", root):
        if all((folder / name).is_dir() for name in _CIFAR10_CLASSES):
            files = {name: list_folder(folder / name)[1] for name in _CIFAR10_CLASSES}
            for ending in (".aedat", ".aedat4"):  # the originals before tonic's, where both are there
                members = {name: [path for path in paths if path.suffix == ending] for name, paths in files.items()}
                if any(members.values()):
                    others = sum(len(files[name]) - len(members[name]) for name in files)
                    return _cifar10dvs_split(folder, split, members, left_out(others, folder))
    return None


def _cifar10dvs_split(
    folder: Path, split: str, members: Mapping[str, list[Path]], notices: tuple[Notice, ...]
) -> Contents:
    clips = in_turn(
        Clip(path, label, f"{name}/{path.name}")
        for label, name in enumerate(_CIFAR10_CLASSES)
        for path in every_nth(members[name], 10, split)
    )
    total = sum(len(paths) for paths in members.values())
    source = f"CIFAR10-DVS in {folder}: {total:,} of 10,000 official recordings, {len(clips):,} of them for {split}"
    rule = own_split(
        "CIFAR10-DVS has no official split: every tenth recording of a class, by number, is a test recording"
    )
    empty = () if clips else (empty_split(split, "no class has ten"),)
    return Contents(clips, source, (rule, *empty, *notices))


# --- DVS128 Gesture ---------------------------------------------------------------------------------------------------

_GESTURES = (
    "hand clapping",
    "right hand wave",
    "left hand wave",
    "right arm clockwise",
    "right arm counter clockwise",
    "left arm clockwise",
    "left arm counter clockwise",
    "arm roll",
    "air drums",
    "air guitar",
    "other gestures",
)
_TRIALS = {"train": 98, "test": 24}
_TONIC_GESTURES = {"train": 1_077, "test": 264}
_LATEST = 1 << 62


def _dvsgesture(root: Path, split: str) -> Contents | None:
    for folder in (root / "DvsGesture", root):
        if (folder / f"trials_to_{split}.txt").is_file():
            return _trials(folder, split)
    for folder in (root / "DVSGesture", root):
        part = folder / f"ibmGesture{split.capitalize()}"
        if part.is_dir() and (contents := _tonic_gestures(part, split)):
            return contents
    return None


def _trials(folder: Path, split: str) -> Contents:
    """The gestures of all recordings that the list of the split names."""
    trials = folder / f"trials_to_{split}.txt"
    listed = list(dict.fromkeys(line.strip() for line in _lines(trials) if line.strip()))
    for name in listed:
        if not re.fullmatch(r"[\w-]+\.aedat", name):
            raise SpikeflipError(
                f"{trials} lists {name[:80]!r}: every line must be the name of an .aedat file beside it, like "
                "user01_led.aedat; fetch it again"
            )
    there = [folder / name for name in listed if (folder / name).is_file()]
    if listed and not there:
        raise SpikeflipError(
            f"none of the {count_of(len(listed), 'recording')} that {trials} lists is beside it (the first is "
            f"{listed[0]}): give their folder with --root DIR"
        )
    clips: list[Clip] = []
    notices: list[Notice] = []
    for path in there:
        labels = path.with_name(f"{path.stem}_labels.csv")
        if not labels.is_file():
            raise SpikeflipError(f"{labels} does not exist, which says when {path.name}'s gestures are: fetch it again")
        windows, cut = _windows(labels)
        clips += _named(path, windows)
        notices += cut
    source = (
        f"DVS128 Gesture in {folder}: {count_of(len(clips), 'gesture')} from {len(there)} of {len(listed)} listed "
        f"{SPLIT_WORDS[split]} trials ({_TRIALS[split]} official)"
    )
    if not listed:
        notices.append(empty_split(split, f"{trials.name} is empty"))
    return Contents(tuple(clips), source, tuple(notices))


def _named(path: Path, windows: list[tuple[int, int, int]]) -> list[Clip]:
    """Clips of one recording; a gesture that is made twice gets a number."""
    clips, times_made = [], Counter[int]()
    for label, start, stop in windows:
        times_made[label] += 1
        number = f"_{times_made[label]}" if times_made[label] > 1 else ""
        gesture = f"{label + 1:02}_{_GESTURES[label].replace(' ', '_')}"
        clips.append(Clip(path, label, f"{path.stem}/{gesture}{number}{path.suffix}", start, stop))
    return clips


def _windows(labels: Path) -> tuple[list[tuple[int, int, int]], list[Notice]]:
    """Label, start and stop of every gesture in order of time, without overlaps, and a notice on each that was cut."""
    rows = []
    for number, line in enumerate(_lines(labels), start=1):
        if line.strip() and not (number == 1 and line.lstrip("\ufeff").startswith("class")):
            rows.append(_window(line, f"{labels}, line {number}"))
    if not rows:
        raise SpikeflipError(f"{labels} lists no gesture: it must have lines class,startTime_usec,endTime_usec")
    rows.sort(key=lambda row: row[1])
    windows, notices = [], []
    for (label, start, stop), (_, following, _) in pairwise([*rows, (0, _LATEST, _LATEST)]):
        if start == following:
            raise SpikeflipError(f"{labels} has two gestures that start at {start} µs: correct one of them")
        if stop > following:
            text = f"{labels.name}: class {label + 1} ends at {stop} µs, after the next starts: cut at {following} µs"
            notices.append(Notice("gesture-cut", text, stop - following))
        windows.append((label, start, min(stop, following)))
    return windows, notices


def _window(line: str, where: str) -> tuple[int, int, int]:
    cells = [cell.strip() for cell in line.split(",")]
    if len(cells) != 3 or not all(re.fullmatch("[0-9]{1,18}", cell) for cell in cells):
        raise SpikeflipError(
            f"{where} is {line.strip()[:80]!r}: it must be class, start and end in whole µs; fetch it again"
        )
    label, start, stop = (int(cell) for cell in cells)
    if not 1 <= label <= len(_GESTURES):
        raise SpikeflipError(f"{where} has class {label}: classes are 1 to {len(_GESTURES)}; fetch it again")
    if stop <= start:
        raise SpikeflipError(
            f"{where} has a gesture from {start} to {stop} µs: it must end after its start; fetch it again"
        )
    return label - 1, start, stop


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError as error:
        raise SpikeflipError(f"{path} cannot be read ({error.strerror}): check its permissions") from error


def _tonic_gestures(folder: Path, split: str) -> Contents | None:
    """One file a gesture, named by its label: tonic's preprocessed version."""
    clips, others = [], 0
    for trial in list_folder(folder)[0]:
        files = list_folder(trial)[1]
        labelled = [path for path in files if path.suffix == ".npy" and path.stem in _TONIC_LABELS]
        others += len(files) - len(labelled)
        clips += [Clip(path, _TONIC_LABELS[path.stem], f"{trial.name}/{path.name}") for path in labelled]
    if not clips:
        return None
    source = (
        f"DVS128 Gesture, tonic's version, in {folder}: {len(clips):,} of its {_TONIC_GESTURES[split]:,} "
        f"{SPLIT_WORDS[split]} gestures"
    )
    whole_ms = Notice("whole-milliseconds", "tonic's version has times in whole ms")
    return Contents(tuple(clips), source, (whole_ms, *left_out(others, folder)))


_TONIC_LABELS = {str(label): label for label in range(len(_GESTURES))}

OFFICIAL: Mapping[str, Official] = {
    "nmnist": Official(
        "N-MNIST",
        _DIGITS,
        34,
        34,
        "<digit>/<number>.bin in NMNIST/Train and NMNIST/Test, or in Train and Test",
        "NMNIST",
        True,
        _nmnist,
    ),
    "dvsgesture": Official(
        "DVS128 Gesture",
        _GESTURES,
        128,
        128,
        "trials_to_train.txt and trials_to_test.txt in DvsGesture or in the root itself, or <user>/<label>.npy in "
        "DVSGesture/ibmGestureTrain and ibmGestureTest",
        "DVSGesture",
        True,
        _dvsgesture,
    ),
    "cifar10dvs": Official(
        "CIFAR10-DVS",
        _CIFAR10_CLASSES,
        128,
        128,
        "all ten class folders, airplane to truck, with .aedat or .aedat4 files, in CIFAR10DVS or in the root itself",
        "CIFAR10DVS",
        False,
        _cifar10dvs,
    ),
}

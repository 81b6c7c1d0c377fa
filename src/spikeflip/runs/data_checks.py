"""What is remarkable in data that were loaded, as notices: pure functions of what the loader counted.

The codes are listed, with their figures, in ``docs/recordings.md``.
"""

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from spikeflip.data import Binned, Clip
from spikeflip.data.event_set import LABEL_BEYOND
from spikeflip.errors import SpikeflipError
from spikeflip.notices import Notice

MOSTLY_OUTSIDE = 0.5
"""The share of events outside the bins from which on a victim sees the smaller part of its data."""
UNEVEN = 10
"""How often the largest class holds the smallest: answering with it alone then looks like an accuracy."""
FEW_TESTED = 20
"""Below so many test inputs even an accuracy of 100 % has a 95 % interval that begins below 84 %."""
_LONGEST_NAME = 120

EMPTY, ONE_BIN, FEW_BINS, OUTSIDE = "empty-input", "one-bin", "few-bins", "events-outside"

# What is said of many recordings at once, by the code of what is said of each; {where} names how many, and the first.
_OF_MANY = {
    "times-sorted": "times were not in order {where}: events were sorted by time",
    "absolute-clock": "times are those of a clock {where}: they count from the first event; t0 keeps its time, which a "
    "csv or npy file cannot hold when it is written",
    "sensor-guessed": "the sensor's size is not said {where}, and guessed: give --sensor where it is another",
    "sensor-overruled": "another sensor is said {where} than the one given, which counts",
    "other-ending": "the ending does not fit the content {where}: the content counts",
    "invalid-events": "events are marked invalid {where}: left out",
    "external-signals": "records are external signals and no pixels {where}: left out",
    "columns-found": "columns have no names {where}: they are read in an order in which they can be events",
    "time-unit": "times have fractions of a second {where}, and are read as seconds",
    "times-rounded": "times are finer than 1 µs {where}: rounded to whole µs",
    "other-columns": "columns other than t, x, y and p are not read {where}",
    "other-streams": "there is more than one stream of events {where}: the first is read",
    "untimed-events": "events come before the first word of time {where}: left out",
    "unknown-words": "words are of no kind that the format defines {where}: left out",
    "clock-round": "the clock went round {where}: later times count on from there",
    "negative-times": "times are negative {where}: they come before those that start at 0",
    "milliseconds": "(N, 4) numbers are read as x, y, p and milliseconds {where}, as tonic writes DVS128 Gesture",
    LABEL_BEYOND: "labels name more than was recorded {where}: are they of these recordings?",
    EMPTY: "no event lies in the bins {where}: the victim sees nothing there",
    ONE_BIN: "all events that are seen lie in one bin {where}: times are taken as µs; --time-unit where they are not",
    FEW_BINS: "all events that are seen lie in less than a quarter of the bins {where}: is the time bin too long?",
    OUTSIDE: "most events lie outside the bins {where}: the victim does not see them",
}


@dataclass(frozen=True)
class Seen:
    """What a recording became in the bins: its counts of events, and what is to be said of it."""

    name: str
    events: int
    outside: int
    notices: tuple[Notice, ...]

    @classmethod
    def of(cls, name: str, binned: Binned) -> "Seen":
        """Count a binned recording, and add to its reader's notices what is remarkable in the bins."""
        n, outside, steps = len(binned.recording), binned.outside, binned.binning.steps
        notices = list(binned.recording.notices)
        if not n:
            notices.append(Notice(EMPTY, "it has no events: the victim sees nothing", 0))
        elif outside == n:
            first, last = (int(binned.recording.events["t"][at]) for at in (0, -1))
            begin, end = (int(binned.edges[at]) for at in (0, -1))
            text = (
                f"none of its {n:,} events lies in the bins: they are at {first:,} to {last:,} µs, and the bins at "
                f"{begin:,} to {end:,} µs; the victim sees nothing"
            )
            notices.append(Notice(EMPTY, text, n))
        elif steps > 1 and n - outside > 1 and np.count_nonzero(np.diff(binned.positions)) == 1:
            text = (
                f"all {n - outside:,} events that are seen lie in 1 of {steps} bins: times are taken as µs; are "
                "they frame numbers?"
            )
            notices.append(Notice(ONE_BIN, text, n - outside))
        elif outside < n and (used := int(np.count_nonzero(np.diff(binned.positions)))) < steps / 4:
            text = f"all {n - outside:,} events that are seen lie in {used} of {steps} bins: is the time bin too long?"
            notices.append(Notice(FEW_BINS, text, used))
        return cls(name, n, outside, tuple(notices))


def class_counts(labels: Tensor, classes: Sequence[str]) -> dict[str, int]:
    """How many inputs each class has, by name; those whose class nobody says are not counted."""
    counts = labels[labels >= 0].bincount(minlength=len(classes)).tolist()
    return dict(zip(classes, counts, strict=True))


def check_labels(labels: Tensor, classes: Sequence[str], what: str) -> tuple[Notice, ...]:
    """Whether all inputs are of one class, or some classes have many times the inputs of others.

    Args:
        labels: ``(N,)``, -1 where nobody says the class.
        classes: their names.
        what: the inputs in a sentence, such as ``"training images"``.
    """
    counts = {name: count for name, count in class_counts(labels, classes).items() if count}
    n = sum(counts.values())
    if not n:
        return ()
    most, least = max(counts, key=counts.__getitem__), min(counts, key=counts.__getitem__)
    if len(classes) == 1:
        return (Notice("one-class", f"there is one class, {most!r}: every answer is right, whatever is seen", 1),)
    if len(counts) == 1 < n:
        return (Notice("one-class", f"all {n:,} {what} are of class {most!r}: rates say nothing of the others", 1),)
    ratio = counts[most] / counts[least]
    if ratio < UNEVEN:
        return ()
    text = (
        f"class counts of the {what} differ much, from {counts[least]:,} of {least!r} to {counts[most]:,} of {most!r}: "
        f"answering {most!r} always would be right in {counts[most] / n:.0%}"
    )
    return (Notice("uneven-classes", text, ratio),)


def check_sensor(size: tuple[int, int], trained: tuple[int, int] | None) -> tuple[Notice, ...]:
    """Whether a sensor, height and width, is another than that of the victim's training data, if that is known."""
    if trained in (None, size):
        return ()
    ours, theirs = (f"{width} × {height}" for height, width in (size, trained))
    text = f"the sensor has {ours} pixels, and that of the victim's training {theirs}: events are scaled to its cells"
    return (Notice("other-sensor", text),)


def check_images(images: Tensor, what: str) -> tuple[Notice, ...]:
    """How many images ``(N, ...)`` are blank, all pixels 0."""
    blank = (~_filled(images)).nonzero().flatten()
    if not len(blank):
        return ()
    text = (
        f"{len(blank):,} of {len(images):,} {what} are blank (first: number {int(blank[0])}): the victim sees nothing"
    )
    return (Notice(EMPTY, text, len(blank)),)


def check_recordings(seen: Sequence[Seen], of_set: Iterable[Notice], what: str, frames: str) -> tuple[Notice, ...]:
    """What is to be said of recordings together: of their set, of reading them, and of what lies in the bins.

    Args:
        seen: every recording.
        of_set: what was decided in finding them.
        what: the recordings in a sentence, such as ``"training recordings"``.
        frames: how they were binned, in words.
    """
    events, outside = (sum(getattr(one, name) for one in seen) for name in ("events", "outside"))
    return (
        *_gathered(of_set),
        *together([(one.name, one.notices) for one in seen], what),
        *check_outside(events, outside, frames, f" of the {what}"),
    )


def check_outside(events: int, outside: int, frames: str, of: str = "") -> tuple[Notice, ...]:
    """Whether most of the events lie outside the bins; the figure is their share."""
    if not events or outside / events < MOSTLY_OUTSIDE:
        return ()
    share = f"{outside / events:.1%} of {events:,} events{of}"
    text = f"{share} lie outside the bins ({frames}): the victim does not see them"
    return (Notice(OUTSIDE, text, outside / events),)


def check_labelled_parts(clips: Sequence[Clip], seen: Sequence[Seen]) -> None:
    """Raise a SpikeflipError for a file of labels that names no part of its recording.

    Args:
        clips: all of the set.
        seen: the first of them, or all.
    """
    left = Counter(clip.path for clip in clips)
    for clip, one in zip(clips, seen, strict=False):
        left[clip.path] -= not one.events and any(notice.code == LABEL_BEYOND for notice in one.notices)
    for path, count in left.items():
        if not count:
            raise SpikeflipError(
                f"none of the labels of {path} is of a part of that recording: give the labels that belong to it, with "
                "times of its clock in µs"
            )


def together(of: Sequence[tuple[str, Sequence[Notice]]], what: str = "recordings") -> tuple[Notice, ...]:
    """Notices of many recordings, as one for each kind: how many recordings it is of, and the first of them.

    A notice of a kind that is not of single recordings stays as it is, once.

    Args:
        of: each recording's name and notices.
        what: the recordings in a sentence.

    >>> late = Notice("times-sorted", "2 events were earlier than those before them: sorted by time", 2)
    >>> [notice.text for notice in together([("a.csv", [late]), ("b.csv", []), ("c.csv", [late])])]
    ['times were not in order in 2 of 3 recordings (first: a.csv): events were sorted by time']
    """
    counts: dict[str, int] = {}
    firsts: dict[str, tuple[str, Notice]] = {}
    others: dict[Notice, None] = {}
    for name, notices in of:
        for code, notice in {notice.code: notice for notice in notices if notice.code in _OF_MANY}.items():
            counts[code] = counts.get(code, 0) + 1
            firsts.setdefault(code, (name[-_LONGEST_NAME:], notice))
        others |= dict.fromkeys(notice for notice in notices if notice.code not in _OF_MANY)
    if len(of) == 1:
        return (*(replace(notice, text=f"{name}: {notice.text}") for name, notice in firsts.values()), *others)
    where = {code: f"in {n:,} of {len(of):,} {what} (first: {firsts[code][0]})" for code, n in counts.items()}
    said = (Notice(code, _OF_MANY[code].format(where=where[code]), n) for code, n in counts.items())
    return (*said, *others)


def _gathered(of_set: Iterable[Notice]) -> Iterator[Notice]:
    """Notices of a set, with cut gestures as one."""
    cuts: list[Notice] = []
    for notice in of_set:
        if notice.code == "gesture-cut":
            cuts.append(notice)
        else:
            yield notice
    if len(cuts) > 1:
        text = f"{len(cuts):,} gestures end after the next starts and are cut there, the first of {cuts[0].text}"
        yield Notice("gesture-cut", text, len(cuts))
    else:
        yield from cuts


# --- two splits -------------------------------------------------------------------------------------------------------


def compare_splits(
    train: tuple[Tensor, Tensor], test: tuple[Tensor, Tensor], classes: Sequence[str]
) -> tuple[Notice, ...]:
    """What keeps an accuracy on test inputs from saying how a victim does on new ones.

    Args:
        train: inputs ``(N, ...)`` and labels ``(N,)`` that the victim is trained on.
        test: inputs and labels that its accuracy is measured on; where there are none, nothing is said of them.
        classes: class names.
    """
    trained, tested = (class_counts(labels, classes) for _, labels in (train, test))
    return (
        *_missing("class-not-trained", trained, "training", "the victim cannot learn them"),
        *_missing("class-not-tested", tested, "test", "the accuracy says nothing of them"),
        *_few(trained, tested),
        *check_repeats(train[0], test[0]),
    )


def check_repeats(train: Tensor, test: Tensor) -> tuple[Notice, ...]:
    """How many test inputs are also training inputs, cell for cell; blank ones, which are all alike, do not count.

    Takes the time of one pass over both, and a checksum an input of memory.
    """
    known = set(_digests(train))
    repeated = sum(digest in known for digest in _digests(test))
    if not repeated:
        return ()
    text = (
        f"{repeated:,} of {len(test):,} test inputs are in the training set as well: the accuracy is in part that on "
        "inputs known by heart; part the data anew"
    )
    return (Notice("repeated-inputs", text, repeated),)


def _digests(inputs: Tensor) -> Iterator[bytes]:
    """The checksum of each input that is not blank."""
    values = inputs.cpu().contiguous().numpy()
    for at in _filled(inputs).nonzero().flatten().tolist():
        yield hashlib.blake2b(values[at], digest_size=16).digest()


def _filled(inputs: Tensor) -> Tensor:
    """``(N,)`` bool, whether an input has any value but 0."""
    return inputs.flatten(1).any(1).bool() if inputs.numel() else torch.zeros(len(inputs), dtype=torch.bool)


def _missing(code: str, counts: Mapping[str, int], split: str, means: str) -> Iterator[Notice]:
    missing = [name for name, count in counts.items() if not count]
    if missing and any(counts.values()):
        few = ", ".join(repr(name) for name in missing[:3]) + (", …" if len(missing) > 3 else "")
        text = f"there is no {split} input for {len(missing):,} of {len(counts):,} classes ({few}): {means}"
        yield Notice(code, text, len(missing))


def _few(trained: Mapping[str, int], tested: Mapping[str, int]) -> Iterator[Notice]:
    single = [name for name, count in trained.items() if count == 1]
    if single:
        text = (
            f"there is only 1 training input for {len(single):,} of {len(trained):,} classes (first: {single[0]!r}): "
            "the victim can know it by heart, and no other of its class"
        )
        yield Notice("few-training-inputs", text, len(single))
    n = sum(tested.values())
    if 0 < n < FEW_TESTED:
        inputs = "1 test input" if n == 1 else f"{n} test inputs"
        yield Notice("few-test-inputs", f"the accuracy is of {inputs}: that is too few to tell good from bad", n)

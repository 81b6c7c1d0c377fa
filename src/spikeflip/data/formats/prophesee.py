"""What Prophesee's DAT and RAW (EVT2, EVT3) files share: a header of text lines, and clocks of few bits.

A header line is ``% key value``; ``% end`` is the last one, or the last that begins with a percent sign. Two keys say
where the recording's zero is: ``t0`` (faery's) that times in the file count from there, ``spikeflip_t0`` (ours) that
they are the camera's and zero is there; readers that know neither skip the line.
Source: Prophesee, "RAW file format" and "DAT file format", Metavision documentation.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from spikeflip.data.recordings import Events, Recording, check_zero, recording_of
from spikeflip.errors import SpikeflipError
from spikeflip.notices import Notice

_LINE = re.compile(rb"%(?: |[A-Za-z])[^\x00-\x08\x0a-\x1f]*\r?\n")
_LONGEST_HEADER = 1 << 16
_SIZE = re.compile(r"(\d{1,5})x(\d{1,5})")
_NUMBER = re.compile(r"-?\d{1,19}")
# Written anew, as they say what the file is; all other lines are kept.
_OWN = {"data", "evt", "format", "geometry", "version", "width", "height", "endianness", "t0", "spikeflip_t0", "end"}
_LATE = 1 << 10  # a step forward over all but this part of a clock's round is a step back over its end


@dataclass(frozen=True)
class Header:
    """The text lines before the events: key, in lower case, and value of each, and how many bytes they take."""

    lines: tuple[tuple[str, str], ...]
    size: int

    def __getitem__(self, key: str) -> str | None:
        """The value of the last line with a key, None where there is none."""
        return next((value for name, value in reversed(self.lines) if name.lower() == key), None)

    def number(self, key: str) -> int | None:
        """The whole number of a line, None where there is none."""
        value = self[key]
        return int(value) if value is not None and _NUMBER.fullmatch(value) else None

    @property
    def sensor(self) -> tuple[int | None, int | None]:
        """Height and width where the lines say both."""
        if size := _SIZE.fullmatch(self["geometry"] or ""):
            return int(size[2]), int(size[1])
        told = dict(part.split("=", 1) for part in (self["format"] or "").lower().split(";") if "=" in part)
        height, width = (told.get(side) or self[side] or "" for side in ("height", "width"))
        if _NUMBER.fullmatch(height) and _NUMBER.fullmatch(width):
            return int(height), int(width)
        return None, None

    @property
    def kept(self) -> tuple[str, ...]:
        """The camera's own lines."""
        return tuple(f"{key} {value}".rstrip() for key, value in self.lines if key.lower() not in _OWN)


def read_header(file: BinaryIO) -> Header:
    """Read the header, and leave the file at the first byte after it."""
    start = file.read(_LONGEST_HEADER)
    lines, at = [], 0
    while line := _LINE.match(start, at):
        at = line.end()
        key, _, value = line[0][1:].decode("latin-1").strip().partition(" ")
        lines.append((key, value.strip()))
        if key.lower() == "end":
            break
    file.seek(at)
    return Header(tuple(lines), at)


def write_header(file: BinaryIO, recording: Recording, own: Sequence[str], last_time: int) -> Events:
    """Write the header, and return the events with the times that the file is to hold.

    Args:
        file: open for writing.
        recording: its camera's lines are written behind ``own``.
        own: lines that say what the file is.
        last_time: the last that the format has bits for; where the camera's times are later, they count from zero.
    """
    events = recording.events
    if on_clock(recording, last_time):
        zero = f"spikeflip_t0 {recording.t0}"
        events = events.copy()
        events["t"] += recording.t0
    else:
        zero = f"t0 {recording.t0}"
    lines = (*own, *recording.header, zero, "end")
    file.write("".join(f"% {line}\n" for line in lines).encode("latin-1"))
    return events


def on_clock(recording: Recording, last_time: int) -> bool:
    """Whether all times of the camera's clock are within a format's."""
    return not len(recording) or int(recording.events["t"][-1]) + recording.t0 <= last_time


def check_zero_is_written(recording: Recording, path: Path) -> None:
    """Raise a SpikeflipError for a zero before that of the clock."""
    if recording.t0 < 0:
        raise SpikeflipError(f"{path}: t0 is {recording.t0} µs and DAT and EVT hold none below 0; write .npz")


def check_whole(path: Path, start: int, word: int) -> int:
    """The number of words of so many bytes behind ``start``; a SpikeflipError where the last is cut."""
    size = path.stat().st_size - start
    if size % word:
        raise SpikeflipError(
            f"{path} holds {size:,} bytes after its header, which is not a whole number of {word}-byte words: it is "
            f"cut; copy it again, or cut it to {start + size - size % word:,} bytes"
        )
    return size // word


def recording_on_clock(events: Events, header: Header, name: str, notices: tuple[Notice, ...]) -> Recording:
    """The recording of events at the file's times, with zero where the header says, else at the first event."""
    t0, zero = header.number("t0"), header.number("spikeflip_t0")
    if zero is not None:
        events["t"] -= check_zero(zero)
        t0 = zero
    recording = recording_of(events, *header.sensor, t0=t0, format=name, notices=notices)
    return replace(recording, header=header.kept)


class Clock:
    """Counts on a clock of few bits that goes round.

    A step back over more than half of a round is a new round, and a step forward over nearly a whole one goes back to
    the round before; other steps back are left as they are: times out of order.
    """

    def __init__(self, period: int) -> None:
        self.period = period
        self.rounds = 0
        self._last: int | None = None

    def on(self, values: NDArray[np.int64]) -> NDArray[np.int64]:
        """The values ``(n,)``, which follow those of the call before, with the rounds so far."""
        if not len(values):
            return values
        steps = np.diff(values, prepend=values[0] if self._last is None else self._last)
        turns = (steps < -(self.period // 2)).astype(np.int64)
        turns -= steps > self.period - self.period // _LATE
        self._last = int(values[-1])
        if not turns.any():
            return values + self.rounds * self.period
        rounds = self.rounds + np.cumsum(turns)
        rounds -= np.minimum(np.minimum.accumulate(rounds), 0)  # there is no round before the first
        self.rounds = int(rounds[-1])
        counted: NDArray[np.int64] = values + rounds * self.period
        return counted

    def notices(self, bits: int) -> tuple[Notice, ...]:
        """That the clock went round, for clocks that seldom do."""
        if not self.rounds:
            return ()
        text = f"the file's clock of {bits} bits went round {self.rounds:,} times: later times count on from there"
        return (Notice("clock-round", text.replace(" 1 times", " once"), self.rounds),)


def left_out(code: str, count: int, what: str) -> tuple[Notice, ...]:
    """A notice on words that are no events of pixels, where there are any."""
    return (Notice(code, f"{count:,} {what}: left out", count),) if count else ()

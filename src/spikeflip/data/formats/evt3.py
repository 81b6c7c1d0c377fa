"""Prophesee's EVT3: text lines, then words of 2 bytes, little-endian unless the header says big.

The four highest bits say what a word is: 0 the row, 2 an event (polarity bit 11, column), 3 the first column and the
polarity of vectors, 4 and 5 a vector of the next 12 and 8 columns (a bit each, then the first column moves on by as
many), 6 the low and 8 the high 12 bits of time (high bits alone: low ones are 0), 10 an external trigger, 7, 14 and 15
other data of the camera. Time goes round every 16.8 s, and readers count the rounds.
Source: Prophesee, "EVT 3.0 format", Metavision documentation.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikeflip.data.formats.format import Format
from spikeflip.data.formats.prophesee import (
    Clock,
    Header,
    check_whole,
    check_zero_is_written,
    left_out,
    read_header,
    recording_on_clock,
    write_header,
)
from spikeflip.data.recordings import EVENT, Events, Recording

_ROW, _SINGLE, _BASE, _LOW, _HIGH, _TRIGGER = 0, 2, 3, 6, 8, 10
_COLUMNS = {4: 12, 5: 8}
"""How many columns the words of vectors have."""
_KNOWN = np.isin(np.arange(16), (_ROW, _SINGLE, _BASE, *_COLUMNS, _LOW, 7, _HIGH, _TRIGGER, 14, 15))
_SIDE_BITS, _PART = 11, (1 << 12) - 1
_SIDE = (1 << _SIDE_BITS) - 1
_CHUNK = 1 << 16
# Written where half a round and a round begin, so that a pause does not hide one from any reader.
_HALF, _ROUND = (_HIGH << 12 | 1 << 11,), (_HIGH << 12 | _PART, _HIGH << 12)


@dataclass
class _State:
    """What words leave to those after them: time, row and the start of the next vector."""

    clock: Clock = field(default_factory=lambda: Clock(1 << 12))
    high: int = -1
    low: int = 0
    row: int = 0
    base: int = 0
    on: int = 0


def read(path: Path) -> Recording:
    """Read a file; the first event becomes zero unless the header says where zero is."""
    state, parts = _State(), [np.empty(0, dtype=EVENT)]
    kinds, untimed = np.zeros(16, dtype=np.int64), 0
    with path.open("rb") as file:
        header: Header = read_header(file)
        words = np.dtype(">u2" if header["endianness"] == "big" else "<u2")
        check_whole(path, header.size, words.itemsize)
        while len(raw := np.fromfile(file, words, _CHUNK)):
            kinds += np.bincount(raw >> 12, minlength=16)
            events, missed = _decode(raw.astype(np.int64), state)
            parts.append(events)
            untimed += missed
    notices = (
        *left_out("untimed-events", untimed, "events come before the first word of time"),
        *left_out("external-signals", int(kinds[_TRIGGER]), "words are external triggers and no pixels"),
        *left_out("unknown-words", int(kinds[~_KNOWN].sum()), "words are of no kind that EVT3 defines"),
    )
    return recording_on_clock(np.concatenate(parts), header, FORMAT.name, notices)


def _decode(words: NDArray[np.int64], state: _State) -> tuple[Events, int]:
    """The events of some words, which change the state, and how many there were without a time."""
    kind, value = words >> 12, words & _PART
    at, x, on = _pixels(kind, value, state)
    rows = np.append(state.row, value[kind == _ROW] & _SIDE)
    high, low = _times(kind, value, state)
    timed = high[at] >= 0
    at, x, on = at[timed], x[timed], on[timed]
    events = np.empty(len(at), dtype=EVENT)
    events["t"] = high[at] << 12 | low[at]
    events["x"], events["p"] = x, on
    events["y"] = rows[np.cumsum(kind == _ROW)[at]]
    state.row, state.high, state.low = int(rows[-1]), int(high[-1]), int(low[-1])
    return events, int((~timed).sum())


def _times(kind: NDArray[Any], value: NDArray[Any], state: _State) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The high and the low bits of time at every word, the high ones -1 before the first."""
    marks = kind == _HIGH
    high = np.append(state.high, state.clock.on(value[marks]))[np.cumsum(marks)]
    marks |= kind == _LOW
    low = np.append(state.low, np.where(kind == _LOW, value, 0)[marks])[np.cumsum(marks)]
    return high, low


def _pixels(kind: NDArray[Any], value: NDArray[Any], state: _State) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """The word, the column and the polarity of every event."""
    single = np.flatnonzero(kind == _SINGLE)
    at, x, on = single, value[single] & _SIDE, value[single] >> _SIDE_BITS
    vectors = np.flatnonzero((kind == 4) | (kind == 5))
    bases = np.flatnonzero(kind == _BASE)
    if len(vectors):
        columns = np.where(kind[vectors] == 4, 12, 8)
        of_base = np.searchsorted(bases, vectors)
        moved = np.cumsum(columns) - columns
        first = np.searchsorted(vectors, bases)  # the first vector after each base, or before any
        first = np.append(0, first)[of_base]
        starts = np.append(state.base, value[bases] & _SIDE)[of_base] + moved - moved[first]
        polarities = np.append(state.on, value[bases] >> _SIDE_BITS)[of_base]
        state.base, state.on = int(starts[-1] + columns[-1]), int(polarities[-1])
        vector, bit = np.nonzero(value[vectors, None] >> np.arange(12) & (np.arange(12) < columns[:, None]))
        at = np.append(at, vectors[vector])
        order = np.argsort(at, kind="stable")
        at = at[order]
        x = np.append(x, starts[vector] + bit)[order]
        on = np.append(on, polarities[vector])[order]
    if len(bases) and (not len(vectors) or bases[-1] > vectors[-1]):
        last = int(value[bases[-1]])
        state.base, state.on = last & _SIDE, last >> _SIDE_BITS
    return at, x, on


def write(recording: Recording, path: Path) -> None:
    """Write single events, at the camera's times up to 71 minutes, with words of time and row wherever these change."""
    size = f"{recording.width}x{recording.height}"
    own = ("evt 3.0", f"format EVT3;height={recording.height};width={recording.width}", f"geometry {size}")
    with path.open("wb") as file:
        events = write_header(file, recording, own, FORMAT.last_clock or 0)
        time, row = 0, -1
        for start in range(0, len(events), _CHUNK):
            part = events[start : start + _CHUNK]
            _encode(part, time if start else None, row).astype("<u2").tofile(file)
            time, row = int(part["t"][-1]), int(part["y"][-1])


def _encode(events: Events, time: int | None, row: int) -> NDArray[np.int64]:
    """The words of events after one at a time and row; None where they are the first."""
    times, rows = events["t"], events["y"].astype(np.int64)
    new = np.ones((len(events), 4), dtype=bool)
    new[:, 0] = np.diff(times >> 12, prepend=-1 if time is None else time >> 12) != 0
    new[:, 1] = np.diff(times, prepend=-1 if time is None else time) != 0
    new[:, 1] |= new[:, 0]
    new[:, 2] = np.diff(rows, prepend=row) != 0
    words = np.empty((len(events), 4), dtype=np.int64)
    words[:, 0] = _HIGH << 12 | times >> 12 & _PART
    words[:, 1] = _LOW << 12 | times & _PART
    words[:, 2] = rows
    words[:, 3] = _SINGLE << 12 | events["p"].astype(np.int64) << _SIDE_BITS | events["x"]
    return np.insert(words[new], *_rounds(times >> 23, (time or 0) >> 23, np.cumsum(new.sum(1)) - new.sum(1)))


def _rounds(halves: NDArray[np.int64], before: int, places: NDArray[np.int64]) -> tuple[list[int], list[int]]:
    """The words that say that half a round begins, and the places of events before which they go."""
    at: list[int] = []
    words: list[int] = []
    for index in np.flatnonzero(np.diff(halves, prepend=before)).tolist():
        for half in range(int(halves[index - 1] if index else before) + 1, int(halves[index]) + 1):
            said = _HALF if half % 2 else _ROUND
            at += [int(places[index])] * len(said)
            words += said
    return at, words


FORMAT = Format(
    name="EVT3",
    endings=(".raw",),
    summary="Prophesee's 2-byte words",
    read=read,
    write=write,
    last_time=(1 << 40) - 1,  # two words for every 16.8 s of silence: 256 KB at most
    last_clock=(1 << 32) - 1,
    height=1 << _SIDE_BITS,
    width=1 << _SIDE_BITS,
    holds_header=True,
    check=check_zero_is_written,
)

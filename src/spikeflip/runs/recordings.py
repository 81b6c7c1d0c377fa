"""The recordings of a run: read once, attacked as frames, written back beside the run and read afresh."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from spikeflip.data import (
    Binned,
    Binning,
    EventSet,
    Recording,
    bin_events,
    read_recording,
    write_recording,
)
from spikeflip.data.event_layouts import Clip
from spikeflip.data.formats import check_writable, writable_format
from spikeflip.data.moving import Moves
from spikeflip.errors import SpikeflipError
from spikeflip.limits import MOST_KEPT_EVENTS

FOLDER = "adversarial"


@dataclass(frozen=True)
class Written:
    """Adversarial recordings on disk: the frames they were read back as, their files, and counts ``(N,)`` of events."""

    frames: Tensor
    in_same_bins: Tensor
    """The same, where a recording is binned by its events: in the bins of the original."""
    files: list[str]
    counts: dict[str, Tensor]


@dataclass(frozen=True)
class Carried:
    """Recordings in memory, also for a machine that does not have their files."""

    clips: tuple[Clip, ...]
    recordings: tuple[Recording, ...]

    def binned(self, binning: Binning) -> list[Binned]:
        """Each of them in bins."""
        return [bin_events(recording, binning) for recording in self.recordings]


@dataclass
class Recordings:
    """The recordings of a set, read once as long as they fit into memory together."""

    found: EventSet
    unwritable: dict[int, str] = field(default_factory=dict)
    """Why some cannot be written back."""
    _kept: dict[int, Recording] = field(default_factory=dict)
    _room: int = field(default_factory=lambda: MOST_KEPT_EVENTS)

    def read(self, index: int) -> Recording:
        """One of them."""
        if index in self._kept:
            return self._kept[index]
        recording = self.found.read(index)
        try:
            check_writable(recording, self.found.clips[index].path)
        except SpikeflipError as error:
            self.unwritable[index] = str(error)
        if len(recording) <= self._room:
            self._kept[index] = recording
            self._room -= len(recording)
        return recording

    def carried(self, rows: Tensor) -> Carried:
        """Some of them, in memory."""
        at = rows.tolist()
        return Carried(tuple(self.found.clips[row] for row in at), tuple(self.read(row) for row in at))

    def check_writable(self, rows: Tensor) -> None:
        """Raise a SpikeflipError now rather than after the attack if one that was read cannot be written back."""
        for row in rows.unique().tolist():
            if row in self.unwritable:
                raise SpikeflipError(self.unwritable[row])


def write_adversarials(
    folder: Path,
    clips: Sequence[Clip],
    binned: Sequence[Binned],
    rows: Tensor,
    targets: Tensor | None,
    adversarials: Tensor,
    *,
    seed: int,
    samples: Tensor,
    moves: Moves | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Written:
    """Write one recording a row of ``adversarials`` under ``folder/adversarial`` and read each back.

    Args:
        folder: of the run, or of a shard of it.
        clips: what was attacked.
        binned: the same, in bins.
        rows: ``(N,)`` positions in these.
        targets: ``(N,)`` wanted classes; each gets a sub-folder. None for an untargeted attack.
        adversarials: ``(N, T, 2, H, W)`` of 0 and 1.
        seed: of the attack.
        samples: ``(N,)`` sample ids.
        moves: which spikes that changed their bin alone take their events with them.
        progress: called with (written, all).
    """
    frames = torch.empty(adversarials.shape, dtype=torch.uint8)
    same = torch.empty_like(frames)
    files: list[str] = []
    names = ("events", "events_added", "events_removed", "events_outside", *(("events_moved",) if moves else ()))
    counts: dict[str, list[int]] = {name: [] for name in names}
    for i, row in enumerate(rows.tolist()):
        before = binned[row]
        recording = before.write_back(adversarials[i], seed=seed, sample=int(samples[i]), moves=moves)
        name = clips[row].name
        goal = "" if targets is None else f"to-{int(targets[i])}/"
        path = folder / FOLDER / f"{goal}{name}"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_recording(recording, path, format=writable_format(recording), durable=False)
        again = read_recording(path, height=recording.height, width=recording.width)
        frames[i] = bin_events(again, before.binning).frames
        by_time = before.binning.rule == "time"
        same[i] = frames[i] if by_time else bin_events(again, before.binning, edges=before.edges).frames
        files.append(f"{FOLDER}/{goal}{name}")
        added, moved = int(((adversarials[i].cpu() == 1) & (before.frames == 0)).sum()), 0
        if moves is not None:
            added, moved = before.moved(adversarials[i], moves)
        events = len(before.recording)
        found = (events, added, events + added - len(again), before.outside, *((moved,) if moves else ()))
        for key, value in zip(counts, found, strict=True):
            counts[key].append(value)
        if progress is not None:
            progress(i + 1, len(rows))
    return Written(
        frames, same, files, {name: torch.tensor(values, dtype=torch.int64) for name, values in counts.items()}
    )

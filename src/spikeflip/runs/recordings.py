"""Adversarial recordings: written back beside a run, read afresh, and shown to a victim."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from spikeflip.data import Binning, Recording, bin_events, folder_of_recordings, read_recording, write_recording
from spikeflip.data.event_layouts import Clip
from spikeflip.data.formats import check_writable, writable_format
from spikeflip.errors import SpikeflipError
from spikeflip.judging.notices import Circumstances, did_not_learn
from spikeflip.notices import Notice, as_json
from spikeflip.runs.circumstances import learned
from spikeflip.runs.config import VictimConfig, sides
from spikeflip.runs.data_checks import Seen, check_outside
from spikeflip.runs.inputs import binning_for, describe_binning, stored_sensor
from spikeflip.runs.victim import as_config, load_victim
from spikeflip.snn.coding import winner

FOLDER = "adversarial"
_SILENT = Notice(
    "silent-victim",
    "the victim is silent: no output neuron fires for this recording, so the answer is none of the classes",
)


@dataclass(frozen=True)
class Written:
    """Adversarial recordings on disk: the frames they were read back as, their files, and counts ``(N,)`` of events."""

    frames: Tensor
    files: list[str]
    counts: dict[str, Tensor]


class Recordings(Protocol):
    """Recordings with their names, read when asked for: an ``EventSet``, or :class:`Carried`."""

    @property
    def clips(self) -> tuple[Clip, ...]:
        """Their names and files."""

    def read(self, index: int) -> Recording:
        """One of them."""


@dataclass(frozen=True)
class Carried:
    """Recordings in memory, for a machine that does not have their files."""

    clips: tuple[Clip, ...]
    recordings: tuple[Recording, ...]

    @classmethod
    def of(cls, recordings: Recordings) -> "Carried":
        """Read them all."""
        return cls(recordings.clips, tuple(recordings.read(index) for index in range(len(recordings.clips))))

    def read(self, index: int) -> Recording:
        """One of them."""
        return self.recordings[index]


def check_all_writable(recordings: Recordings, rows: Tensor) -> None:
    """Raise a SpikeflipError now rather than after the attack if a recording cannot be written back."""
    for row in rows.unique().tolist():
        check_writable(recordings.read(row), recordings.clips[row].path)


def write_adversarials(
    folder: Path,
    recordings: Recordings,
    binning: Binning,
    rows: Tensor,
    targets: Tensor | None,
    adversarials: Tensor,
    *,
    seed: int,
    samples: Tensor,
    progress: Callable[[int, int], None] | None = None,
) -> Written:
    """Write one recording a row of ``adversarials`` under ``folder/adversarial`` and read each back.

    Args:
        folder: of the run, or of a shard of it.
        recordings: what was attacked.
        binning: how it became frames.
        rows: ``(N,)`` positions in ``recordings``.
        targets: ``(N,)`` wanted classes; each gets a sub-folder. None for an untargeted attack.
        adversarials: ``(N, T, 2, H, W)`` of 0 and 1.
        seed: of the attack.
        samples: ``(N,)`` sample ids.
        progress: called with (written, all).
    """
    frames = torch.empty(adversarials.shape, dtype=torch.uint8)
    files: list[str] = []
    counts: dict[str, list[int]] = {name: [] for name in ("events", "events_added", "events_removed", "events_outside")}
    for i, row in enumerate(rows.tolist()):
        binned = bin_events(recordings.read(row), binning)
        recording = binned.write_back(adversarials[i], seed=seed, sample=int(samples[i]))
        name = recordings.clips[row].name
        goal = "" if targets is None else f"to-{int(targets[i])}/"
        path = folder / FOLDER / f"{goal}{name}"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_recording(recording, path, format=writable_format(recording), durable=False)
        again = read_recording(path, height=recording.height, width=recording.width)
        frames[i] = bin_events(again, binning).frames
        files.append(f"{FOLDER}/{goal}{name}")
        added = int(((adversarials[i].cpu() == 1) & (binned.frames == 0)).sum())
        for key, value in zip(
            counts,
            (len(binned.recording), added, len(binned.recording) + added - len(again), binned.outside),
            strict=True,
        ):
            counts[key].append(value)
        if progress is not None:
            progress(i + 1, len(rows))
    return Written(frames, files, {name: torch.tensor(values, dtype=torch.int64) for name, values in counts.items()})


def judge_files(
    victim: Path | VictimConfig,
    files: Sequence[Path],
    *,
    sensor: str | None = None,
    columns: str | None = None,
    time_unit: str | None = None,
) -> list[dict[str, Any]]:
    """What a victim makes of recordings, read afresh.

    Args:
        victim: folder that ``train`` wrote, or the configuration of another victim.
        files: recordings, or folders of them.
        sensor: ``WIDTHxHEIGHT`` for files that do not say it; the victim's training data's when not given.
        columns: what the columns of text files are; see :func:`spikeflip.read_recording`.
        time_unit: of their times, likewise.

    Returns:
        A dict a recording: file, format, prediction (None for a tie), the rate of each class, events inside and outside
        the bins, how it was binned, the reader's notes, and ``notices``: of reading and binning it, and of a victim
        that is silent or never learned.
    """
    loaded = load_victim(as_config(victim))
    network, binning = loaded.victim, binning_for(loaded)
    classes = loaded.facts.get("classes") or [str(k) for k in range(network.classes)]
    unlearned = did_not_learn(Circumstances(learned=learned(loaded.facts)))
    height, width = sides(sensor)
    answers: list[dict[str, Any]] = []
    for source in files:
        found = folder_of_recordings(
            source,
            tuple(classes),
            height=height,
            width=width,
            unsaid=stored_sensor(loaded),
            columns=columns,
            time_unit=time_unit,
        )
        for index, clip in enumerate(found.clips):
            recording: Recording = found.read(index)
            binned = bin_events(recording, binning)
            seen, frames = Seen.of(str(clip.path), binned), describe_binning(binned.binning)
            if tuple(binned.frames.shape[1:]) != network.input_shape:
                raise SpikeflipError(
                    f"{clip.path} gives frames of shape {tuple(binned.frames.shape[1:])} and the victim takes "
                    f"{network.input_shape}: give the right --sensor"
                )
            scores = network.scores(binned.frames.unsqueeze(0).float())
            best = int(winner(scores)[0])
            fires = bool(scores.any()) or not bool(binned.frames.any())
            of_victim = (unlearned, None if fires else _SILENT)
            notices = (
                *found.notices,
                *seen.notices,
                *check_outside(seen.events, seen.outside, frames),
                *loaded.notices,
                *getattr(network, "notices", ()),
                *(notice for notice in of_victim if notice is not None),
            )
            answers.append(
                {
                    "file": str(clip.path),
                    "format": recording.format,
                    "prediction": None if best < 0 else classes[best],
                    "rates": dict(zip(classes, (round(float(rate), 6) for rate in scores[0]), strict=True)),
                    "events": seen.events,
                    "events_outside": seen.outside,
                    "frames": frames,
                    "notes": list(recording.notes),
                    "notices": as_json(notices),
                }
            )
    return answers

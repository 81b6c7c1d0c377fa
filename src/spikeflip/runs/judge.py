"""What a victim makes of recordings, read afresh."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from spikeflip.data import Recording, bin_events, folder_of_recordings
from spikeflip.errors import SpikeflipError
from spikeflip.judging.notices import Circumstances, did_not_learn
from spikeflip.notices import Notice, as_json
from spikeflip.runs.circumstances import learned
from spikeflip.runs.config import VictimConfig, sides
from spikeflip.runs.data_checks import Seen, check_outside, check_sensor
from spikeflip.runs.inputs import binning_for, describe_binning, stored_sensor
from spikeflip.runs.victim import as_config, load_victim
from spikeflip.snn.coding import winner

_SILENT = Notice(
    "silent-victim",
    "the victim is silent: no output neuron fires for this recording, so the answer is none of the classes",
)


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
                *check_sensor((found.height, found.width), stored_sensor(loaded)),
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

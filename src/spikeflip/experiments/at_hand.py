"""What a reader of rows must know of their data: what was at hand and how it was used, as victims and runs say it."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from spikeflip.experiments.presets import Preset
from spikeflip.experiments.rows import Rows
from spikeflip.report.loading import read_json
from spikeflip.snn.checkpoint import DESCRIPTION

Facts = Mapping[str, Any]
_SPLITS = {"train": "training", "test": "test"}


def remarks(rows: Rows, preset: Preset, out: Path) -> dict[str, str]:
    """A sentence for each data set of the rows, without its full stop.

    Args:
        rows: with the names of their victims and runs.
        preset: what it notes of a data set stands first.
        out: folder of ``victims/`` and ``runs/``.
    """
    said = {}
    for name in rows.values("data"):
        part = rows.where(data=name)
        victims = {
            victim: read_json(out / "victims" / victim / DESCRIPTION)["facts"] for victim in part.values("victim")
        }
        attacked = [
            (read_json(out / "runs" / row["run"] / "config.json")["data"], victims[row["victim"]]["data"])
            for row in part
            if "run" in row
        ]
        said[name] = remark(preset.data[name].note, list(victims.values()), attacked)
    return {name: text for name, text in said.items() if text}


def remark(note: str, victims: Sequence[Facts], attacked: Sequence[tuple[Facts, Facts]]) -> str:
    """The sentence of one data set.

    Args:
        note: of the preset.
        victims: facts of the trained victims.
        attacked: for each run the facts of the data that were attacked, and of those its victim was trained on.

    >>> data = {"name": "N-MNIST", "split": "train", "size": 1000, "sha256": "ab", "frames": "15 bins"}
    >>> remark("", [{"data": data}], [(data | {"split": "test", "size": 100, "sha256": "cd"}, data)])
    '1,000 training recordings and 100 test recordings were at hand'
    """
    data = [*(victim["data"] for victim in victims), *(of for of, _ in attacked)]
    parts = [note, _counts(data), _trained_on(attacked), _beginning(victims), *_notes(data)]
    return "; ".join(part for part in parts if part)


def _counts(data: Iterable[Facts]) -> str:
    """How many inputs the splits have that were loaded, each with all its sizes where there were several."""
    sizes: dict[str, list[int]] = {}
    recordings = False
    for facts in data:
        recordings = recordings or "frames" in facts
        sizes.setdefault(facts["split"], []).append(facts["size"])
    words = "recordings" if recordings else "images"
    counts = [
        f"{' or '.join(f'{n:,}' for n in dict.fromkeys(sizes[split]))} {word} {words}"
        for split, word in _SPLITS.items()
        if split in sizes
    ]
    return f"{' and '.join(counts)} were at hand" if counts else ""


def _trained_on(attacked: Iterable[tuple[Facts, Facts]]) -> str:
    same = {(of["split"], of["sha256"]) == (seen["split"], seen["sha256"]) for of, seen in attacked}
    if True not in same:
        return ""
    return f"what is attacked is {'in part ' if False in same else ''}what the victims were trained on"


def _beginning(victims: Iterable[Facts]) -> str:
    """Whether spiking victims began with the weights of another."""
    began = {victim.get("start_sha256") is not None for victim in victims if not victim.get("config", {}).get("twin")}
    if True not in began:
        return ""
    return f"{'some of ' if False in began else ''}the victims began with the weights of a trained ReLU network"


def _notes(data: Iterable[Facts]) -> Iterator[str]:
    """What reading the files decided, once each."""
    yield from dict.fromkeys(str(note) for facts in data for note in facts.get("notes", ()))

"""What kind of result a folder holds, and what to say where it is no finished run."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from spikeflip.errors import SpikeflipError
from spikeflip.limits import LARGEST_FACTS
from spikeflip.reading import small_text

_OF_RUNS = ("rows.parquet", "adversarials.safetensors", "outputs.safetensors", "trace.parquet")


def is_evaluation(folder: Path) -> bool:
    """Whether a folder is one that ``evaluate`` writes, finished or not, by its ``config.json``."""
    path = folder / "config.json"
    try:
        config = json.loads(small_text(path, LARGEST_FACTS)) if path.is_file() else None
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(config, dict) and "suite" in config and "attack" not in config


def check_no_evaluation(folder: Path) -> None:
    """Raise a SpikeflipError if a folder is one that ``evaluate`` writes, and no run of ``attack``."""
    if is_evaluation(folder):
        finished = (folder / "evaluation.json").is_file()
        fix = "see its report.html" if finished else "give its evaluate command again"
        raise SpikeflipError(f"{folder} is an evaluation, not a run of attack: {fix}")


def missing(path: Path) -> SpikeflipError:
    """The error that says what a folder lacks to be a finished run; one of ``evaluate`` is refused as what it is."""
    check_no_evaluation(path.parent)
    return SpikeflipError(f"{path.parent} is no finished run, {path.name} is missing: give its attack command again")


def check_kept(folder: Path, manifest: Mapping[str, Any]) -> None:
    """Raise a SpikeflipError if a run has lost one of the files that its manifest says it ended with."""
    held = manifest.get("files")
    for name in _OF_RUNS:
        if isinstance(held, list) and name in held and not (folder / name).exists():
            raise missing(folder / name)

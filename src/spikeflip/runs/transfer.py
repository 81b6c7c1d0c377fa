"""The adversarial inputs of a run, shown to another victim."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from spikeflip.errors import SpikeflipError
from spikeflip.judging import judge
from spikeflip.notices import Notice
from spikeflip.report.loading import open_inputs, read_facts, read_rows
from spikeflip.runs.circumstances import learned
from spikeflip.runs.config import VictimConfig
from spikeflip.runs.victim import as_config, load_victim

Progress = Callable[[str, int, int], None]

_OTHERS_LABELS = Notice(
    "labels-of-another-victim",
    "the labels are what the attacked victim said: clean accuracy then says how often both victims agree, not how "
    "often this one is right",
)
_TOGETHER = 256
"""Rows in memory at a time."""


def transfer_run(
    run: Path,
    victim: Path | VictimConfig,
    *,
    successes: bool = True,
    draws: int = 20,
    seed: int = 0,
    device: str = "cpu",
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Judge what a finished run saved on another victim.

    Args:
        run: a finished run; on images, or on recordings whose frames the other victim takes.
        victim: the victim that is shown the adversarial inputs: its folder, or the configuration of another one.
        successes: only those that fooled the victim they were made on; all when false.
        draws: fresh encodings of every image.
        seed: of the encodings.
        device: where the victim runs.
        progress: called with the stage, and rows done of all.

    Returns:
        The summary of a :class:`spikeflip.judging.Judgement` without what only an attack has, with ``goal``,
        ``successes_only`` and ``of``, the rows of the run.

    Raises:
        SpikeflipError: the run is damaged or not finished, or its inputs do not fit the victim, or there is no
            such device.
    """
    codes = {notice["code"] for notice in read_facts(run, "summary").get("notices", ())}
    description, saved = read_facts(run, "config"), open_inputs(run)
    rows = read_rows(run, saved.samples)
    loaded = load_victim(as_config(victim), device)
    network = loaded.victim
    _check_fits(run, saved.shape, network.input_shape)
    _check_classes(run, rows, network.classes)
    _check_names(run, description.get("classes"), loaded.facts.get("classes"))
    targeted = description.get("goal") == "targeted"
    chosen = np.flatnonzero(rows["success"] > 0) if successes else np.arange(len(saved.samples))
    parts: list[dict[str, torch.Tensor]] = []
    for number in range(max(1, -(-len(chosen) // _TOGETHER))):
        part = chosen[number * _TOGETHER : (number + 1) * _TOGETHER]
        both = [saved.read(int(row)) for row in part]
        before, after = (
            torch.tensor(np.array([pair[side] for pair in both])).float().reshape(len(part), *saved.shape)
            for side in (0, 1)
        )
        labels, targets, samples = (torch.tensor(rows[name][part]).long() for name in ("label", "target", "sample"))
        judgement = judge(
            network,
            before,
            after,
            labels,
            targets if targeted else None,
            draws=draws,
            seed=seed,
            samples=samples,
        )
        parts.append(judgement.rows)
        if progress is not None:
            progress("transfer", min(len(chosen), (number + 1) * _TOGETHER), len(chosen))
    together = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
    together["input"] = torch.tensor(rows["input"][chosen])
    known = replace(
        judgement.circumstances,
        learned=learned(loaded.facts),
        attack=(*loaded.notices, *judgement.circumstances.attack),
        data=(_OTHERS_LABELS,) if "own-labels" in codes else (),
    )
    return {
        "goal": "targeted" if targeted else "untargeted",
        "successes_only": successes,
        "of": len(saved.samples),
        **replace(judgement, rows=together, circumstances=known).summary(),
    }


def _check_classes(run: Path, rows: Mapping[str, NDArray[Any]], classes: int) -> None:
    largest = max(int(rows[name].max(initial=-1)) for name in ("label", "target"))
    if largest >= classes:
        raise SpikeflipError(
            f"{run} holds inputs of class {largest}, and the victim has classes 0 to {classes - 1}: choose a victim of "
            "the same data"
        )


def _check_names(run: Path, ours: object, theirs: object) -> None:
    """Labels and targets are positions in the classes: both must name them alike, where both do."""
    if ours and theirs and ours != theirs:
        raise SpikeflipError(
            f"{run} holds inputs of the classes {ours!s:.200}, and the victim has {theirs!s:.200}: choose a victim of "
            "the same data"
        )


def _check_fits(run: Path, saved: tuple[int, ...], taken: tuple[int, ...]) -> None:
    if tuple(saved[len(saved) - len(taken) :]) != tuple(taken):
        raise SpikeflipError(
            f"{run} holds inputs of shape {tuple(saved)}, and the victim takes {tuple(taken)}: choose a victim of the "
            "same data"
        )

"""Learning a pattern on a part of a data set, into a file that attacks are given."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from spikeflip.attacks import Pattern, learn_patch, learn_universal, save_pattern
from spikeflip.attacks.pattern import MARK
from spikeflip.errors import SpikeflipError
from spikeflip.notices import as_json
from spikeflip.reading import may_replace
from spikeflip.runs.circumstances import circumstances, not_of_attacks
from spikeflip.runs.config import AttackConfig, DataConfig, VictimConfig
from spikeflip.runs.pattern_config import PatternConfig
from spikeflip.runs.plan import Plan, make_plan, open_task
from spikeflip.victims import Victim

Progress = Callable[[str, int, int], None]
_SHARED = {*DataConfig.model_fields, *VictimConfig.model_fields, "split", "target", "samples", "device", "seed"}


def run_learning(config: PatternConfig, out: Path, *, progress: Progress | None = None) -> dict[str, Any]:
    """Learn a pattern and write it into the file ``out``; returns what is known of it, and ``notices``.

    Args:
        config: on what it is learned, and how.
        out: the file, of safetensors; one that holds a pattern is replaced.
        progress: called with the stage, and what is done of what.

    Raises:
        SpikeflipError: an option is wrong, the victim or the data cannot be used, or ``out`` holds something else.
    """
    _check_options(config)
    if not out.parent.is_dir():
        raise SpikeflipError(f"--out {out} is in no folder that is there: make it, or give another file")
    if not may_replace(out, MARK):
        raise SpikeflipError(f"--out {out} holds something that is no pattern: give another file")
    own = config.model_fields_set | {"split", "samples"}  # whose defaults are others
    task = open_task(AttackConfig(**{name: getattr(config, name) for name in own & _SHARED}))
    if task.kind != "spikes":
        raise SpikeflipError(
            f"{task.data.facts['name']} are images, and patterns are learned on spikes: give recordings, or "
            "--simulate-events"
        )
    plan = make_plan(task)
    learned = _learn(config, plan.task.loaded.attacked(task.engine, "float32", None), plan, progress)
    save_pattern(learned, out)
    return {
        "file": str(out),
        "kind": learned.kind,
        "cells": learned.cells,
        "sha256": learned.sha256,
        **learned.facts,
        "notices": as_json(not_of_attacks(circumstances(plan))),
    }


def _check_options(config: PatternConfig) -> None:
    """Raise a SpikeflipError unless the options are those of the kind of pattern."""
    needed, others = ("cells", ("side", "place")) if config.kind == "universal" else ("side", ("cells",))
    if getattr(config, needed) is None:
        what = "how many cells are flipped" if needed == "cells" else "the side of the square, in pixels"
        raise SpikeflipError(f"--{needed} is missing: a {config.kind} pattern needs it, {what}")
    for name in others:
        if (value := getattr(config, name)) is not None:
            raise SpikeflipError(f"--{name} {value} is no option of a {config.kind} pattern: leave it out")
    if config.target in ("all", "next"):
        raise SpikeflipError(f"--target is {config.target}, and a pattern leads to one class: name it")


def _learn(config: PatternConfig, victim: Victim, plan: Plan, progress: Progress | None) -> Pattern:
    """The pattern, which knows on what it was learned."""
    inputs = plan.task.data.read(plan.rows)
    options: dict[str, Any] = {
        "target": None if plan.targets is None or not len(plan.rows) else int(plan.targets[0]),
        "steps": config.steps,
        "loss": config.loss,
        "gradient": config.gradient,
        "output_window": config.output_window,
        "seed": config.seed,
        "micro_batch": config.micro_batch,
        "progress": None if progress is None else lambda done, every: progress("learn", done, every),
    }
    if config.kind == "universal":
        assert config.cells is not None
        learned = learn_universal(victim, inputs, plan.labels, cells=config.cells, **options)
    else:
        assert config.side is not None
        place = None if config.place is None else tuple(map(int, config.place.split(",")))
        learned = learn_patch(victim, inputs, plan.labels, side=config.side, place=place, **options)
    data = plan.task.data.facts
    facts = {
        "data": str(data["name"])[:200],
        "data_sha256": str(data["sha256"]),
        "split": str(data["split"]),
        "victim_sha256": plan.task.loaded.sha256,
    }
    return replace(learned, facts={**learned.facts, **facts})

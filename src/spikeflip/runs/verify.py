"""Attacking some inputs of a finished run again, to see whether the run says what its configuration gives.

A sample's random streams are named by its id, and on this package's networks its result depends on no other sample:
only the rows looked at are run, as one small run of their own, and what that writes is compared with what the run
holds. Foreign models round by how many samples they see: of these, whole shards are run.
"""

import hashlib
import json
import stat
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import ValidationError
from safetensors import SafetensorError, safe_open

from spikeflip.attacks import Pattern
from spikeflip.data import EVENT_SETS, IMAGE_SETS
from spikeflip.errors import SpikeflipError
from spikeflip.interop import EVERY_ATTACK
from spikeflip.report.loading import SavedInputs, damaged, open_inputs, read_facts, read_rows, read_whole_rows
from spikeflip.runs.attack_options import options_model
from spikeflip.runs.circumstances import circumstances
from spikeflip.runs.config import AttackConfig, VictimConfig, explain
from spikeflip.runs.described import wrong_facts
from spikeflip.runs.merge import DAMAGE, summarise
from spikeflip.runs.plan import Plan, make_plan, open_task, pattern_identity
from spikeflip.runs.shard import LATER_COLUMNS, OUTPUTS, ROWS
from spikeflip.runs.victim import as_config, load_victim

Progress = Callable[[str, int, int], None]

_TOGETHER = 64
"""Rows in memory at a time."""


def verify_run(
    run: Path,
    *,
    victim: Path | VictimConfig,
    root: Path | None = None,
    data: Path | None = None,
    input: Path | None = None,
    pattern: Path | None = None,
    device: str = "cpu",
    samples: int = 20,
    seed: int = 0,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Compute rows of a run again, and compare them and their adversarial inputs with what the run holds.

    The summary is made again too, of all rows as the run holds them, and what ``config.json`` says beside its options:
    settings, goal, classes, names and figures of the data and the victim.

    Args:
        run: a finished run.
        victim: its victim: the folder, or the configuration of another one, without what the run says of it.
        root: the folder with its data set's files, where the data have one.
        data: the folder of recordings that was attacked, where the run's ``--data`` was one.
        input: the recordings that were attacked, where the run was of ``--input``.
        pattern: the pattern that was put on the inputs, where the attack takes one.
        device: where the victim runs.
        samples: how many rows; all where the run has no more; of a foreign model or attack those of whole shards.
        seed: of the choice of the rows.
        progress: called with the stage, and what is done of what.

    Returns:
        ``rows`` of the run, ``checked`` row numbers, and ``differences``: one dict a row and column that differ, with
        ``row``, ``column``, ``stored`` and ``recomputed``. Inputs are the columns ``originals`` and ``adversarials``,
        what the output layer fires is ``outputs``, and the bytes of a row's recording are ``recording``. The summary is
        of ``row`` None, with its names as columns; ``config.json`` is of ``row`` ``"config"``, with columns such as
        ``settings.threshold``. ``notices`` of the whole run as they are now, whatever the run holds: they are
        sentences, and not compared.

    Raises:
        SpikeflipError: the run is damaged or not finished, the victim or data are others, or ``samples`` is below 1.
    """
    if samples < 1:
        raise SpikeflipError(f"--samples is {samples}: verify at least 1 row")
    if not 0 <= seed < 1 << 63:
        raise SpikeflipError(f"--seed is {seed}: give a whole number from 0 to 2^63 - 1")
    description = read_facts(run, "config")
    summary = read_facts(run, "summary")
    saved = open_inputs(run)
    read_rows(run, saved.samples)
    named = as_config(victim)
    config = _config(run, description, named, {"root": root, "input": input}, data, device, pattern)
    loaded = load_victim(config, device)
    _check_same(run, "victim", "weights_sha256", description, loaded.sha256)
    # Earlier versions did not write it.
    if "description_sha256" in (description.get("victim") or {}):
        _check_same(run, "victim", "description_sha256", description, loaded.description_sha256)
    task = open_task(config, loaded)
    _check_same(run, "data", "sha256", description, str(task.data.facts.get("sha256")))
    _check_pattern(run, description, task.pattern)
    plan = make_plan(task)
    if not np.array_equal(plan.samples.numpy(), saved.samples):
        raise SpikeflipError(
            f"{run / 'rows.parquet'} is damaged: its rows are not the {len(plan.rows):,} inputs and targets that "
            "config.json asks for; restore it, or delete the folder and attack again"
        )
    n, parts = len(saved.samples), _parts(plan, samples, seed)
    chosen = np.concatenate(parts)
    differences: list[dict[str, Any]] = []
    worker = plan.work().worker(loaded)
    for number, part in enumerate(parts):
        with tempfile.TemporaryDirectory() as folder:
            shown = None if progress is None else _after(progress, sum(map(len, parts[:number])), len(chosen))
            worker.attack(_only(plan, part).shard(0), Path(folder), shown or (lambda *_: None))
            differences += _differences(run, saved, part, Path(folder))
    made = _summary(run, plan)
    notices = made.pop("notices")
    # What another version says beside it is not compared, nor an interval over targets that it took for independent.
    other = {name.replace("_trials", "_interval") for name in made.keys() - summary.keys()}
    differences += [
        {"row": None, "column": name, "stored": summary[name], "recomputed": value}
        for name, value in made.items()
        if name in summary and name not in other and not _same(summary[name], value)
    ]
    differences += wrong_facts(description, plan)
    return {"run": str(run), "rows": n, "checked": chosen.tolist(), "differences": differences, "notices": notices}


def _config(
    run: Path,
    description: Mapping[str, Any],
    victim: VictimConfig,
    places: Mapping[str, Path | None],
    data: Path | None,
    device: str,
    pattern: Path | None,
) -> AttackConfig:
    """The options of the run, validated as if they were given now; "auto" is what it was then.

    Where files are, which code is run and where the victim runs is for the user to say, never for the run, which may
    be a stranger's.
    """
    options, settings = (description.get(name) for name in ("options", "settings"))
    if not isinstance(options, dict):
        raise SpikeflipError(f"{run / 'config.json'} has no options: it is damaged, or no attack wrote it")
    attack = str(options.get("attack", "scg"))
    own = options_model(attack).model_fields if attack in EVERY_ATTACK else {}
    # What is stored at its default was not asked for: a victim may not have it.
    known = {str(name): value for name, value in options.items() if name not in own or value != own[name].default}
    if isinstance(settings, dict) and "engine" in settings:
        known["engine"] = settings["engine"]
    behind = known.pop("defence", None)
    if behind != victim.defence:
        said = " ".join(map(str, behind)) if isinstance(behind, list) else "none"
        raise SpikeflipError(f"{run} attacked a victim with other defences ({said:.200}): give those with --defence")
    known |= {name: getattr(victim, name) for name in victim.model_fields_set}
    source, facts = known.get("data"), description.get("data")
    whole = isinstance(facts, dict) and facts.get("split") == "all"
    a_set = not isinstance(source, str) or source in {*IMAGE_SETS, *EVENT_SETS}
    if data is None and places["input"] is None and (whole or not a_set):
        way = "--input" if a_set else "--data or --input"
        raise SpikeflipError(f"{run} attacked a folder of recordings: give that folder with {way}")
    if data is not None:
        known["data"] = str(data)
    if "pattern" in own:
        if pattern is None:
            raise SpikeflipError(f"{run} put a pattern on the inputs: give its file with --pattern")
        known["pattern"] = pattern
    elif pattern is not None:
        raise SpikeflipError(f"--pattern {pattern} is given, and the attack of {run} takes none: leave it out")
    try:
        return AttackConfig(**known | dict(places) | {"download": False, "device": device})
    except ValidationError as error:
        raise SpikeflipError(f"{run / 'config.json'} is damaged or of another version ({explain(error)})") from error


def _check_same(run: Path, part: str, name: str, description: Mapping[str, Any], found: str) -> None:
    stored = description.get(part)
    expected = str(stored.get(name)) if isinstance(stored, dict) else "nothing"
    if expected != found:
        fix = "--victim" if part == "victim" else "--root or --input"
        other = "another victim" if part == "victim" else "other data"
        raise SpikeflipError(
            f"{run} attacked {other} (sha256 {expected[:12]}, not {found[:12]}): give the {part} of the run with {fix}"
        )


def _check_pattern(run: Path, description: Mapping[str, Any], pattern: Pattern | None) -> None:
    identity = description.get("identity")
    for name, found in pattern_identity(pattern).items():
        stored = identity.get(name) if isinstance(identity, dict) else None
        if stored != found:
            raise SpikeflipError(
                f"{run} has another pattern (sha256 {str(stored)[:12]}, not {found[:12]}): give its own with --pattern"
            )


def _parts(plan: Plan, samples: int, seed: int) -> list[NDArray[np.int64]]:
    """Rows to attack again, in what is attacked together: whole shards where batches matter, else any rows."""
    n, random = len(plan.rows), np.random.default_rng(seed)
    if not plan.task.batches_matter:
        chosen = np.sort(random.choice(n, min(samples, n), replace=False))
        return [chosen[first : first + _TOGETHER] for first in range(0, len(chosen), _TOGETHER)] or [chosen]
    size = plan.task.config.shard_size
    numbers = np.sort(random.choice(plan.shards, min(-(-samples // size), plan.shards), replace=False))
    return [np.arange(n)[number * size : (number + 1) * size] for number in numbers.tolist()]


def _only(plan: Plan, chosen: NDArray[np.int64]) -> Plan:
    """The plan of these rows alone, in one shard."""
    rows = torch.from_numpy(chosen)
    task = replace(plan.task, config=plan.task.config.model_copy(update={"shard_size": len(chosen)}))
    targets = None if plan.targets is None else plan.targets[rows]
    return replace(
        plan, task=task, rows=plan.rows[rows], labels=plan.labels[rows], targets=targets, samples=plan.samples[rows]
    )


def _after(progress: Progress, before: int, every: int) -> Progress:
    return lambda stage, done, _: progress(f"{stage} again", before + done, every)


def _differences(run: Path, saved: SavedInputs, chosen: NDArray[np.int64], again: Path) -> list[dict[str, Any]]:
    at = np.arange(len(chosen))
    stored, made, inputs = read_whole_rows(run, chosen), read_whole_rows(again, at), open_inputs(again)
    fired = _outputs(run, saved.samples, chosen)
    fired_again = None if fired is None else _outputs(again, inputs.samples, at)
    found: list[dict[str, Any]] = []
    for i, row in enumerate(chosen.tolist()):
        for name in dict.fromkeys((*made, *stored)):
            if name in LATER_COLUMNS - stored.keys():
                continue
            old, new = (part[name][i] if name in part else None for part in (stored, made))
            if not _same(old, new):
                found.append({"row": row, "column": name, "stored": old, "recomputed": new})
        pairs = list(zip(("originals", "adversarials"), saved.read(row), inputs.read(i), strict=True))
        if fired is not None:
            pairs.append(("outputs", fired[i], np.zeros(0) if fired_again is None else fired_again[i]))
        for name, before, after in pairs:
            if before.dtype != after.dtype or not np.array_equal(before, after):
                change = {"stored": _describe(before), "recomputed": _describe(after, before)}
                found.append({"row": row, "column": name, **change})
        if "file" in made:
            # The name that was made again: a stranger's could lead anywhere.
            new = _recording(again / made["file"][i])
            old = _recording(run / made["file"][i], like=new)
            if old != new:
                found.append({"row": row, "column": "recording", "stored": old, "recomputed": new})
    return found


def _outputs(folder: Path, samples: NDArray[np.int64], rows: NDArray[np.int64]) -> list[NDArray[Any]] | None:
    """What the output layer fires of some rows; None where a run does not hold it, as those of earlier versions."""
    path = folder / OUTPUTS
    if not path.exists():
        return None
    try:
        with safe_open(path, framework="numpy") as file:
            if not np.array_equal(file.get_tensor("samples"), samples):
                raise ValueError("its samples are not those of the inputs")
            fired = file.get_slice("outputs")
            return [np.asarray(fired[row : row + 1])[0] for row in rows.tolist()]
    except (OSError, SafetensorError, KeyError, TypeError, ValueError, IndexError) as error:
        raise damaged(path, error) from error


def _recording(path: Path, like: str = "") -> str:
    """The size and checksum of a file; the size alone where that is another than the one it shall be ``like``."""
    try:
        facts = path.lstat()
        if not stat.S_ISREG(facts.st_mode):
            return "no plain file"
        size = f"{facts.st_size:,} bytes"
        if like and not like.startswith(f"{size}, "):
            return size
        return f"{size}, sha256 {hashlib.sha256(path.read_bytes()).hexdigest()[:12]}"
    except OSError as error:
        return f"nothing that can be read ({error.strerror})"


def _summary(run: Path, plan: Plan) -> dict[str, Any]:
    """The summary of the rows as the run holds them."""
    known = circumstances(plan)
    try:
        made = summarise(run / ROWS, goal=plan.goal, kind=plan.task.kind, draws=plan.draws, known=known)
    except DAMAGE as error:
        reason = " ".join(str(error).split())[:200]
        raise SpikeflipError(
            f"{run / ROWS} is damaged ({reason}): restore it, or delete the folder and attack again"
        ) from error
    again: dict[str, Any] = json.loads(json.dumps(made))
    return again


def _same(old: object, new: object) -> bool:
    both_nan = isinstance(old, float) and isinstance(new, float) and old != old and new != new
    return both_nan or old == new


def _describe(values: NDArray[Any], other: NDArray[Any] | None = None) -> str:
    text = f"{values.dtype} {'×'.join(map(str, values.shape))}, sum {float(values.sum(dtype=np.float64)):g}"
    if other is None or other.shape != values.shape:
        return text
    return f"{text}, {int((other != values).sum()):,} of {values.size:,} values differ"

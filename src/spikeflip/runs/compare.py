"""Finished and unfinished runs side by side: listed, pooled over an option, or two of them compared input by input."""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikeflip.errors import SpikeflipError, choose_from
from spikeflip.intervals import exact, wilson
from spikeflip.report.facts import check_figures, count, real
from spikeflip.report.folders import check_kept, check_no_evaluation, is_evaluation
from spikeflip.report.loading import open_inputs, read_facts, read_rows
from spikeflip.runs.progress import rows_done

_DEEPEST = 4
_BESIDE = ("manifest.json", "summary.json", "rows.parquet", "shards")
_NOT_RUNS = frozenset({"adversarial", "shards"})
WITHOUT_EFFECT = frozenset({"micro_batch", "device", "download", "executor", "workers", "address"})
"""Options that say how a run is executed, not what it finds."""


@dataclass(frozen=True)
class _Found:
    """A run that can be listed: what tells it from others, and its figures, None until it is finished."""

    name: str
    victim: str
    goal: str
    settings: Mapping[str, Any]
    given: Sequence[str] | None
    """Names of the options that were given; None where the run does not say it."""
    identity: tuple[str, ...]
    """Checksums of the victim's weights and the data."""
    description: str | None
    """Checksum of what the victim is beside its weights; None where the run does not say it."""
    figures: Mapping[str, Any] | None
    done: float | None = None


def list_runs(folders: Sequence[Path], *, merge: Sequence[str] = ()) -> list[dict[str, Any]]:
    """List the runs in folders, one row each, or one row for all that differ in the options ``merge`` alone.

    Args:
        folders: run folders, or folders with runs up to four levels below.
        merge: names of options, such as ``["seed"]``. Rates are pooled over all inputs of the runs merged, and means
            over all their successes. The interval of a pooled rate is that of as many inputs as one of them attacked.

    Returns:
        Rows with the keys ``name``, ``state`` (``"finished"``, ``"unfinished"``, ``"damaged"``), ``runs``, ``victim``,
        ``goal``, ``settings`` (those that are not the same in all rows), ``given`` (the names of the options that were
        given where the run was made, None where it does not say that), ``n``, ``success`` and ``verified`` with
        ``*_low``, ``*_high`` (95 % Wilson) and ``*_n``, ``success_lowest`` and ``success_highest`` of the runs merged,
        ``mse``, ``steps`` and ``passes`` (means over successes), ``seconds``, ``done`` (share of an unfinished run),
        ``data_sha256``, ``notices`` (the codes of those of its summary, or of any run merged) and ``note``. What a run
        does not say is None.

    Raises:
        SpikeflipError: a folder is none or holds no run, no run has an option to merge, or a run is there twice.
    """
    found: list[_Found] = []
    damaged: list[dict[str, Any]] = []
    for path in find_runs(folders):
        try:
            found.append(_read(path))
        except SpikeflipError as error:
            damaged.append(_row(str(path), "damaged", note=str(error)))
    found = _told_apart(found)
    for name in merge:
        if found and not any(name in run.settings for run in found):
            known = sorted({name for run in found for name in run.settings})
            raise SpikeflipError(f"--merge {name} is no option of these runs: {choose_from(name, known)}")
    groups: dict[object, list[_Found]] = {}
    for number, run in enumerate(found):
        key = number if not merge or run.figures is None else _key(run, merge)
        groups.setdefault(key, []).append(run)
    shown = _differing(found)
    return [_listed(group, shown, merge) for group in groups.values()] + damaged


def compare_runs(first: Path, second: Path) -> dict[str, Any]:
    """Compare two runs on the inputs and targets that both attacked.

    Returns:
        ``settings`` that differ, as pairs; ``shared`` rows, and of these the ``attacked`` ones, which neither victim
        had wrong from the start; how many ``both``, ``only_first``, ``only_second`` and ``neither`` fooled;
        ``success``, ``verified``, ``steps`` and, over the inputs that both fooled, ``mse`` and ``l0`` (None of a run of
        an earlier version), as pairs, and the codes of their ``notices``; and ``second_better``, the share of the
        inputs that one alone fooled, or towards more targets, which went to the second, with its exact 95 % interval
        (Clopper and Pearson): where the interval holds a half, the runs do not show a difference in success.

    Raises:
        SpikeflipError: a run is damaged or not finished, or the two have other data or no input in common.
    """
    runs = _told_apart([_read(path) for path in (first, second)])
    for path, run in zip((first, second), runs, strict=True):
        if run.figures is None:
            raise SpikeflipError(f"{path} is not finished: resume the run first")
    if runs[0].identity[1] != runs[1].identity[1]:
        raise SpikeflipError(f"{first} and {second} attacked other data: compare runs on the same data")
    columns = [read_rows(path, open_inputs(path).samples, ("l0",)) for path in (first, second)]
    _, at, to = np.intersect1d(_pairs(columns[0]), _pairs(columns[1]), return_indices=True)
    a, b = ({name: values[rows] for name, values in part.items()} for part, rows in zip(columns, (at, to), strict=True))
    if not len(at):
        raise SpikeflipError(f"{first} and {second} have no input and target in common: compare runs that share some")
    attacked = ~(a["already_wrong"].astype(bool) | b["already_wrong"].astype(bool))
    won = [rows["success"].astype(bool)[attacked] for rows in (a, b)]
    only_first, only_second = int((won[0] & ~won[1]).sum()), int((won[1] & ~won[0]).sum())
    ahead = _ahead(a["input"][attacked], won)
    gained, alone = int((ahead > 0).sum()), int((ahead != 0).sum())
    better = gained / alone if alone else None
    low, high = exact(gained, alone)
    return {
        "runs": [str(first), str(second)],
        "settings": {name: [run.settings.get(name) for run in runs] for name in _differing(runs)},
        "victims": [run.victim for run in runs],
        "shared": len(at),
        "attacked": int(attacked.sum()),
        "both": int((won[0] & won[1]).sum()),
        "only_first": only_first,
        "only_second": only_second,
        "neither": int((~won[0] & ~won[1]).sum()),
        "success": [_mean(values) for values in won],
        "verified": [_mean(rows["verified"][attacked]) for rows in (a, b)],
        "steps": [_mean(rows["steps"][attacked]) for rows in (a, b)],
        "mse": [_mean(rows["mse"][attacked][won[0] & won[1]]) for rows in (a, b)],
        "l0": [_mean(rows["l0"][attacked][won[0] & won[1]]) if "l0" in rows else None for rows in (a, b)],
        "notices": [run.figures["notices"] for run in runs if run.figures is not None],
        "second_better": better,
        "second_better_low": low,
        "second_better_high": high,
    }


def _ahead(inputs: NDArray[Any], won: Sequence[NDArray[np.bool_]]) -> NDArray[Any]:
    """By how many targets the second run is ahead on each input: targets of one input are no trials of their own."""
    _, which = np.unique(inputs, return_inverse=True)
    return np.bincount(which, won[1].astype(float) - won[0])


def find_runs(folders: Sequence[Path]) -> list[Path]:
    """The run folders among ``folders`` and up to four levels below them, sorted, without hidden ones and links.

    Those of ``evaluate`` are left out, unless there is nothing else.
    """
    found: dict[Path, Path] = {}
    evaluations: list[Path] = []
    for folder in folders:
        if not folder.is_dir():
            raise SpikeflipError(f"{folder} is no folder: give run folders, or a folder with runs in it")
        below = [folder] if (folder / "config.json").exists() else sorted(_walk(folder, _DEEPEST))
        if not below:
            raise SpikeflipError(f"{folder} holds no run: give a folder that 'attack' wrote, or one with such folders")
        for path in below:
            if is_evaluation(path):
                evaluations.append(path)
            else:
                found.setdefault(path.resolve(), path)
    if not found and evaluations:
        check_no_evaluation(evaluations[0])
    return list(found.values())


def _walk(folder: Path, deeper: int) -> Iterator[Path]:
    try:
        with os.scandir(folder) as entries:
            below = [e.name for e in entries if not e.name.startswith(".") and e.is_dir(follow_symlinks=False)]
    except OSError:
        return
    for name in below:
        path = folder / name
        if (path / "config.json").exists() and any((path / beside).exists() for beside in _BESIDE):
            yield path
        elif deeper > 1 and name not in _NOT_RUNS:
            yield from _walk(path, deeper - 1)


def _read(path: Path) -> _Found:
    if not (path / "config.json").exists():
        raise SpikeflipError(f"{path} is no run folder, it has no config.json; give the folder that the attack wrote")
    check_no_evaluation(path)
    config = read_facts(path, "config")
    victim, data = _part(config, "victim"), _part(config, "data")
    if not (victim and data) or "attack" not in config:
        raise SpikeflipError(f"{path / 'config.json'} describes no attack: give the folder that the attack wrote")
    options = _part(config, "options")
    if data.get("split") == "all":  # of a folder: what --data and --split would be without it
        options = {name: value for name, value in options.items() if name not in ("data", "split")}
    made = _part(config, "settings")
    if options.get("epsilon") is not None:  # which says the same
        made = {name: value for name, value in made.items() if name not in ("budget", "budget_metric")}
    settings = {"data": data.get("name"), "split": data.get("split")} | options | made
    given = config.get("given")
    sha, description = str(victim.get("weights_sha256")), victim.get("description_sha256")
    finished = (path / "summary.json").exists()
    return _Found(
        name=str(path),
        victim=f"{victim.get('architecture') or victim.get('source')} ({sha if ' ' in sha else sha[:8]})",
        goal=str(config.get("goal")),
        settings={str(name): _short(value) for name, value in settings.items()},
        given=list(map(str, given)) if isinstance(given, dict) else None,
        identity=(sha, str(data.get("sha256"))),
        description=None if description is None else str(description),
        figures=_figures(path, read_facts(path, "summary"), read_facts(path, "manifest")) if finished else None,
        done=None if finished else rows_done(path, config),
    )


def _told_apart(found: Sequence[_Found]) -> list[_Found]:
    """The runs with victims of other names where their weights are the same and the rest is not."""
    known: dict[str, set[str | None]] = {}
    for run in found:
        known.setdefault(run.identity[0], set()).add(run.description)
    several = {weights for weights, descriptions in known.items() if len(descriptions - {None}) > 1}
    return [
        replace(run, victim=f"{run.victim}, described {(run.description or 'nowhere')[:8]}")
        if run.identity[0] in several
        else run
        for run in found
    ]


def _figures(path: Path, summary: Mapping[str, Any], manifest: Mapping[str, Any]) -> dict[str, Any]:
    """The figures of a summary, each checked; None for what it does not say."""
    check_kept(path, manifest)
    check_figures({"n": None, **summary}, path / "summary.json")
    figures: dict[str, Any] = {"n": summary["n"]}
    for name, key in (("success", "attack_success_rate"), ("verified", "verified_success_rate")):
        n, worth = count(summary.get(f"{key}_n")) or 0, real(summary.get(f"{key}_trials"))
        worth = worth if worth is not None and 0 < worth < n else n
        figures |= {name: real(summary.get(key)), f"{name}_n": n, f"{name}_trials": worth}
    for name, keys in (("mse", ["mse"]), ("steps", ["steps"]), ("passes", ["forwards", "backwards"])):
        parts = [real(summary.get(f"{key}_mean")) for key in keys]
        figures[name] = None if None in parts else sum(part for part in parts if part is not None)
    figures["seconds"] = real(manifest.get("seconds"))
    figures["notices"] = [notice["code"] for notice in summary.get("notices", ())]
    return figures


def _key(run: _Found, merge: Sequence[str]) -> object:
    """What is the same in all runs of a row; an option that is not given is as one that there was not yet."""
    kept = (name for name in sorted(run.settings) if name not in merge and name not in WITHOUT_EFFECT)
    said = ((name, repr(run.settings[name])) for name in kept if run.settings[name] is not None)
    return (*run.identity, run.victim, run.goal, *said)


def _listed(group: Sequence[_Found], shown: Sequence[str], merge: Sequence[str]) -> dict[str, Any]:
    first = group[0]
    settings = {name: first.settings.get(name) for name in shown}
    known = [run.given for run in group if run.given is not None]
    given = list(dict.fromkeys(name for names in known for name in names)) if len(known) == len(group) else None
    facts = {"victim": first.victim, "goal": first.goal, "given": given, "data_sha256": first.identity[1]}
    if first.figures is None:
        return _row(first.name, "unfinished", **facts, settings=settings, done=first.done)
    merged = [tuple(run.settings.get(name) for name in merge) for run in group]
    if len(group) > 1:
        for run, values in zip(group, merged, strict=True):
            other = group[merged.index(values)]
            if other is not run:
                raise SpikeflipError(
                    f"{other.name} and {run.name} have the same options, also {', '.join(merge)}: leave one of them out"
                )
        settings |= {name: [values[at] for values in merged] for at, name in enumerate(merge) if name in shown}
    name = first.name if len(group) == 1 else f"{os.path.commonpath([run.name for run in group]) or '.'} (merged)"
    return _row(name, "finished", runs=len(group), **facts, settings=settings, **_pool(group))


def _pool(group: Sequence[_Found]) -> dict[str, Any]:
    """The figures of one run, or of several taken together.

    These attacked the same inputs, which are no new trials in each of them: the intervals are over those of one run.
    """
    parts = [run.figures for run in group if run.figures is not None]
    pooled: dict[str, Any] = {"n": sum(part["n"] for part in parts)}
    for name in ("success", "verified"):
        known = [(part[name], part[f"{name}_n"]) for part in parts if part[name] is not None]
        n = sum(count for _, count in known)
        rate = min(1.0, sum(rate * count for rate, count in known) / n) if n else None
        worth = max((part[f"{name}_trials"] for part in parts if part[name] is not None), default=0)
        low, high = wilson(rate, worth) if rate is not None else (None, None)
        pooled |= {name: rate, f"{name}_low": low, f"{name}_high": high, f"{name}_n": n}
    rates = [part["success"] for part in parts if part["success"] is not None]
    if len(parts) > 1 and rates:
        pooled |= {"success_lowest": min(rates), "success_highest": max(rates)}
    for name in ("mse", "steps", "passes"):
        weighted = [(part[name], (part["success"] or 0.0) * part["success_n"]) for part in parts]
        every = sum(weight for value, weight in weighted if value is not None)
        if every:
            pooled[name] = sum(value * weight for value, weight in weighted if value is not None) / every
    seconds = [part["seconds"] for part in parts if part["seconds"] is not None]
    codes = dict.fromkeys(code for part in parts for code in part["notices"])
    return pooled | {"seconds": sum(seconds) if seconds else None, "notices": list(codes)}


def _row(name: str, state: str, **known: Any) -> dict[str, Any]:
    rates = [f"{rate}{end}" for rate in ("success", "verified") for end in ("", "_low", "_high", "_n")]
    means = ("success_lowest", "success_highest", "mse", "steps", "passes", "seconds")
    first, last = ("runs", "victim", "goal", "settings", "given", "n"), ("done", "data_sha256", "notices", "note")
    empty = dict.fromkeys((*first, *rates, *means, *last))
    return {"name": name, "state": state, **empty, **known}


def _differing(found: Sequence[_Found]) -> list[str]:
    """The settings that are not the same in all runs, in the order in which runs say them."""
    names = dict.fromkeys(name for run in found for name in run.settings)
    return [name for name in names if len({repr(run.settings.get(name)) for run in found}) > 1]


def _pairs(rows: Mapping[str, NDArray[Any]]) -> NDArray[Any]:
    pairs = np.empty(len(rows["input"]), dtype=[("input", np.int64), ("target", np.int64)])
    pairs["input"], pairs["target"] = rows["input"], rows["target"]
    return pairs


def _part(config: Mapping[str, Any], name: str) -> dict[str, Any]:
    part = config.get(name)
    return part if isinstance(part, dict) else {}


def _short(value: object) -> object:
    """A setting as a single value: plain ones as they are, all others as text."""
    return value if value is None or isinstance(value, bool | int | float) else str(value)[:200]


def _mean(values: NDArray[Any]) -> float | None:
    return float(values.mean()) if len(values) else None

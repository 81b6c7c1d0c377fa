"""Several runs on one set of axes: how many inputs they had fooled within so many steps, or so large a change."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from spikeflip.intervals import trials
from spikeflip.report import curves, pictures
from spikeflip.report.loading import Run
from spikeflip.report.tables import common, describe_settings, folder_names, hints, in_short, one_line, said_once
from spikeflip.report.templates import environment, rates

_LONGEST_NAME = 48
_NOTHING = {"value": None, "low": None, "high": None}


def render_comparison(
    runs: Sequence[Run], rows: Sequence[Mapping[str, Any]], pairs: Sequence[Mapping[str, Any]], apart: str
) -> str:
    """Makes the page that compares some runs as a string.

    Args:
        runs: At least two.
        rows: Of :func:`spikeflip.runs.list_runs`, one a run, in the same order.
        pairs: Of :func:`spikeflip.runs.compare_runs`, with the names of its runs as `first` and `second`.
        apart: What could not be compared input by input, in a sentence; empty where all could.
    """
    same = common(rows, ("victim", "goal", "n"))
    names = folder_names([run.folder for run in runs])
    page = (
        environment()
        .get_template("compare.html.j2")
        .render(
            title=f"{len(runs)} attack runs",
            same=said_once(same),
            runs=[_row(name, run, row) for name, run, row in zip(names, runs, in_short(rows), strict=True)],
            figures=figures(runs, names),
            pairs=[dict(pair) | {"better": _better(pair)} for pair in pairs],
            apart=apart,
        )
    )
    return page.encode("utf-8", "backslashreplace").decode("utf-8")


def _row(name: str, run: Run, row: Mapping[str, Any]) -> dict[str, Any]:
    known = {rate.key: rate for rate in rates(run.summary)}
    keys = {"clean": "clean_accuracy", "success": "attack_success_rate", "verified": "verified_success_rate"}
    figures = {"name": name, "n": row["n"], "mse": row["mse"], "steps": row["steps"], "hints": one_line(hints(row))}
    told = one_line(describe_settings(row["settings"]))
    return figures | {"settings": told} | {short: known.get(key, _NOTHING) for short, key in keys.items()}


def _better(pair: Mapping[str, Any]) -> dict[str, Any]:
    return {"value": pair["second_better"], "low": pair["second_better_low"], "high": pair["second_better_high"]}


def figures(runs: Sequence[Run], names: Sequence[str]) -> list[dict[str, Any]]:
    """The plots of a comparison: a title, words and a picture each.

    Runs without an attacked input are left out, and those beyond the colours that can be told apart.
    """
    told = [(name, run) for name, run in zip(_shortened(names), runs, strict=True) if _attacked(run).any()]
    drawn = dict(told[: curves.MOST_LINES])
    if not drawn:
        return []
    size, unit, whole = _size(list(drawn.values()))
    left_out = f" {len(told) - len(drawn)} more runs are left out." if len(told) > len(drawn) else ""
    words = "Share of the originally correct inputs, in one draw; the bands are 95 % intervals." + left_out
    timed = {name: run for name, run in drawn.items() if last_step(run) == 1 or not takes_all_steps(run)}
    others = " Attacks that take all steps, successful or not, are not drawn." if len(timed) < len(drawn) else ""
    found = [_figure("Success against step", words + others, "step", timed, _steps, True, "c0-")] if timed else []
    return [*found, _figure("Success against size", words, unit, drawn, size, whole, "c1-")]


def last_step(run: Run) -> int | None:
    """The most steps that a run's attack may take; None where its settings do not say."""
    settings = run.config.get("settings")
    last = settings.get("steps") if isinstance(settings, dict) else None
    return last if isinstance(last, int) and last < 1 << 31 else None


def takes_all_steps(run: Run) -> bool:
    """Whether every success has as many steps as there may be: the attack went on, and its steps tell nothing."""
    steps = _steps(run)[_attacked(run) & run.rows["success"].astype(bool)]
    return bool(len(steps) and (steps == last_step(run)).all())


def _steps(run: Run) -> NDArray[Any]:
    return run.rows["steps"]


def short_names(runs: Sequence[Run]) -> list[str]:
    """Names that tell runs apart: their own, behind a number where several have the same."""
    names = [one_line(run.name) for run in runs]
    if len({_short(name) for name in names}) == len(names):
        return names
    return [f"{number}. {name}" for number, name in enumerate(names, start=1)]


def _shortened(names: Sequence[str]) -> list[str]:
    """Names that are short enough for a legend and still tell lines apart: by their other ends, or by a number."""
    for short in ([_short(name) for name in names], [_end(name) for name in names]):
        if len(set(short)) == len(names):
            return short
    return [f"{number}. {_short(name)}" for number, name in enumerate(names, start=1)]


def _end(name: str) -> str:
    return name if len(name) <= _LONGEST_NAME else f"…{name[1 - _LONGEST_NAME :]}"


def _short(name: str) -> str:
    """Short enough for a legend; of a path the end tells more."""
    return _end(name) if "/" in name else name[:_LONGEST_NAME]


def _attacked(run: Run) -> NDArray[np.bool_]:
    return ~run.rows["already_wrong"].astype(bool)


def _size(runs: Sequence[Run]) -> tuple[Callable[[Run], NDArray[Any]], str, bool]:
    """How large a change was: in changed cells where all runs are on spikes of one shape, else as mse."""
    if all(run.kind == "spikes" for run in runs) and len({run.saved.shape for run in runs}) == 1:
        cells = int(np.prod(runs[0].saved.shape))
        return lambda run: np.rint(run.rows["mse"] * cells), "changed cells", True
    return lambda run: run.rows["mse"], "mse", False


def _figure(
    title: str,
    words: str,
    axis: str,
    runs: Mapping[str, Run],
    of: Callable[[Run], NDArray[Any]],
    whole: bool,
    prefix: str,
) -> dict[str, Any]:
    lines = {}
    for name, run in runs.items():
        attacked = _attacked(run)
        values = of(run)[attacked & run.rows["success"].astype(bool)]
        worth = trials(run.rows["success"][attacked], run.rows["input"][attacked])
        lines[name] = values[np.isfinite(values)], int(attacked.sum()), worth
    picture = pictures.to_svg(curves.compared(axis, lines, whole=whole), title=f"{title}, of each run", prefix=prefix)
    return {"title": title, "words": words, "picture": Markup(picture)}

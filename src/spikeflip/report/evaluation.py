"""The page of an evaluation: whether its figure can be trusted, the figure, what broke what, and the hardest inputs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pyarrow.parquet
from markupsafe import Markup
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from spikeflip.errors import SpikeflipError
from spikeflip.intervals import trials, wilson
from spikeflip.notices import Notice
from spikeflip.report import pictures, pixels
from spikeflip.report.cards import CardFigures, CardMember, read_figures
from spikeflip.report.curves import COLOURS
from spikeflip.report.loading import (
    SavedInputs,
    check_claims,
    number_columns,
    open_inputs,
    read_facts,
    read_whole_rows,
)
from spikeflip.report.page import flat
from spikeflip.report.pictures import plot, styled
from spikeflip.report.templates import environment

PAGE = "report.html"
_COLUMNS = ("input", "sample", "label", "right", "broken", "own", "distance")
_SHOWN = 6
"""Inputs of each kind, at most."""
_UNITS = {
    "l0": "spikes flipped",
    "l0_events": "events taken out and put in",
    "moved": "spikes moved",
    "linf": "largest change of a pixel",
    "mse": "mean squared change",
}
"""By metric, what a distance is."""
_ONE = {"l0": "spike flipped", "l0_events": "event taken out or put in", "moved": "spike moved"}
"""By metric, what a distance of 1 is."""


def render_evaluation(folder: Path) -> str:
    """Makes the page of a finished evaluation.

    Args:
        folder: With `config.json`, `manifest.json`, `evaluation.json`, `rows.parquet` and `adversarials.safetensors`.

    Raises:
        SpikeflipError: A file is missing or damaged, or they do not fit each other.
    """
    config, manifest = (read_facts(folder, name) for name in ("config", "manifest"))
    figures, saved = read_figures(folder / "evaluation.json"), open_inputs(folder)
    rows = _read_rows(folder / "rows.parquet", saved)
    named = read_whole_rows(folder, np.arange(len(saved.samples)))["broken_by"]
    classes = config.get("classes")
    names = [str(name) for name in classes] if isinstance(classes, list) else []
    least, never = _hardest(rows)
    right = int(rows["right"].sum())
    data = config.get("data")
    data = data if isinstance(data, dict) else {}
    page = (
        environment()
        .get_template("evaluation.html.j2")
        .render(
            title=f"{figures.suite} on {data.get('name', 'a data set')}",
            figures=figures,
            simulated=data.get("simulated") is True,
            notices=[Notice(**notice.model_dump()) for notice in figures.notices],
            right=right,
            unit=_UNITS.get(figures.metric, figures.metric),
            one=_ONE.get(figures.metric),
            share=figures.metric in ("l0", "l0_events", "moved"),
            attacks=_attacks(figures, manifest, named),
            curve=_inline(_success(figures, rows), "Success against the budget", "c-")
            if right and figures.clean_accuracy
            else None,
            least=[_example(saved, rows, named, row, names) for row in least],
            never=_originals(saved, rows, never, names),
            kept=int((rows["right"] & ~rows["broken"]).sum()),
            spikes=saved.whole,
            colours={
                name: f"rgb{getattr(pixels, name)}" for name in ("ON", "OFF", "ADDED", "REMOVED", "MOVED", "KEPT")
            },
            victim=config.get("victim") if isinstance(config.get("victim"), dict) else {},
            data=data,
            manifest=list(flat(manifest)),
        )
    )
    return page.encode("utf-8", "backslashreplace").decode("utf-8")


def _read_rows(path: Path, saved: SavedInputs) -> dict[str, NDArray[Any]]:
    """The columns that the page needs, as many rows as there are inputs."""
    n = len(saved.samples)
    try:
        with pyarrow.parquet.ParquetFile(path.absolute()) as file:
            check_claims(file, n)
            number_columns(file)
            table = file.read(columns=list(_COLUMNS))
        rows = {name: table[name].to_numpy() for name in _COLUMNS}
        if not np.array_equal(rows["sample"], saved.samples):
            raise ValueError("its samples are not those of adversarials.safetensors")
        return rows | {name: rows[name].astype(bool) for name in ("right", "broken")}
    except (OSError, pyarrow.ArrowException, KeyError, TypeError, ValueError) as error:
        why = " ".join(str(error).split())[:200]
        raise SpikeflipError(f"{path} is damaged ({why}): evaluate again or restore the file") from error


def _hardest(rows: Mapping[str, NDArray[Any]]) -> tuple[list[int], list[int]]:
    """The inputs that the least change broke, and the first of those that nothing broke."""
    broken = np.flatnonzero(rows["right"] & rows["broken"])
    order = np.argsort(rows["distance"][broken] / np.maximum(rows["own"][broken], 1e-12), kind="stable")
    never = np.flatnonzero(rows["right"] & ~rows["broken"])
    return [int(row) for row in broken[order][:_SHOWN]], [int(row) for row in never[:_SHOWN]]


def _attacks(figures: CardFigures, manifest: Mapping[str, Any], named: Sequence[str]) -> list[dict[str, Any]]:
    """The rows of the table of attacks."""
    seconds, worst = manifest.get("seconds_of_members"), Counter(named)
    known = seconds if isinstance(seconds, list) and len(seconds) == len(figures.members) else []
    times = [one if isinstance(one, int | float) else None for one in known] or [None] * len(figures.members)
    return [_attack(member, time, worst, figures.n) for member, time in zip(figures.members, times, strict=True)]


def _attack(member: CardMember, seconds: float | None, worst: Mapping[str, int], n: int) -> dict[str, Any]:
    return member.model_dump() | {
        "looks_at": "nothing: control" if member.view == "control" else member.view,
        "share": member.broken / n,
        "nearest": worst.get(member.name, 0),
        "passes": member.forwards + member.backwards,
        "seconds": seconds,
    }


@styled
def _success(figures: CardFigures, rows: Mapping[str, NDArray[Any]]) -> Figure:
    """Draws which share of the inputs that were right at first is broken within each budget, with 95 % intervals."""
    right = rows["right"]
    figure, axes = plot("budget", f"broken, % of {right.sum():,}")
    budgets = [point.budget for point in figures.curve]
    shares = [max(0.0, 1 - point.robust_accuracy / figures.clean_accuracy) for point in figures.curve]
    worth = trials(rows["broken"][right], rows["input"][right])
    ends = np.array([wilson(share, worth) for share in shares])
    axes.fill_between(budgets, 100 * ends[:, 0], 100 * ends[:, 1], color=COLOURS[0], alpha=0.15, linewidth=0)
    axes.plot(budgets, [100 * share for share in shares], color=COLOURS[0], marker="o", markersize=4, linewidth=1.6)
    axes.set(xlim=(0, budgets[-1] or 1), ylim=(-3, 103))
    axes.xaxis.set_major_locator(MaxNLocator(nbins=6))
    return figure


def _example(
    saved: SavedInputs, rows: Mapping[str, NDArray[Any]], named: Sequence[str], row: int, classes: Sequence[str]
) -> dict[str, Any]:
    before, after = saved.read(row)
    draw = pictures.spike_example if saved.whole else pictures.image_example
    label, number = _name(rows, row, classes), int(rows["input"][row])
    distance = rows["distance"][row].item()
    words = f"Original, adversarial and difference of input {number}, of class {label}"
    return {
        "input": number,
        "label": label,
        "by": named[row],
        "distance": int(distance) if saved.whole else distance,
        "share": distance / max(rows["own"][row], 1e-12),
        "picture": _inline(draw(before, after), words, f"e{row}-"),
    }


def _originals(
    saved: SavedInputs, rows: Mapping[str, NDArray[Any]], never: Sequence[int], classes: Sequence[str]
) -> list[Markup]:
    """Pictures of inputs that nothing broke, three in each."""
    figures = []
    for first in range(0, len(never), 3):
        some = never[first : first + 3]
        names = [f"{_name(rows, row, classes)}: input {int(rows['input'][row])}" for row in some]
        figure = pictures.originals([saved.read(row)[0] for row in some], names, spikes=saved.whole)
        figures.append(_inline(figure, f"Inputs that nothing broke: {', '.join(names)}", f"n{some[0]}-"))
    return figures


def _inline(figure: Figure, title: str, prefix: str) -> Markup:
    return Markup(pictures.to_svg(figure, title=title, prefix=prefix))


def _name(rows: Mapping[str, NDArray[Any]], row: int, classes: Sequence[str]) -> str:
    label = int(rows["label"][row])
    return classes[label] if 0 <= label < len(classes) else str(label)

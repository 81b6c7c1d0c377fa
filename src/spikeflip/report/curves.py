"""Curves of rates with their intervals: over a swept option, over an attack's steps, of several runs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike, NDArray

from spikeflip.intervals import wilson
from spikeflip.report.pictures import ACCENT, plot, styled

COLOURS = ("#1f5f8b", "#c2571a", "#3d8168", "#8a4f9e", "#8c6d1f", "#a3344a", "#50607a", "#5d8a1f")
MOST_LINES = len(COLOURS)
_MOST_TICKS = 8
_WIDE = 62  # letters of a legend beside each other


@styled
def option_curve(option: str, lines: Mapping[str, Sequence[Mapping[str, Any]]]) -> Figure:
    """Draws success (solid) and verified success (dashed) over a numeric option, both with 95 % bars.

    Args:
        option: Its name, for the axis.
        lines: By label, points with `x` and, for `success` and `verified`, the rate and its `_low` and `_high`, sorted
            by `x`; at most `MOST_LINES`.
    """
    figure, axes = plot(option.replace("_", " "), "share of attacked inputs, %")
    values = sorted({point["x"] for points in lines.values() for point in points})
    apart = between_lines(values, len(lines))
    for number, (colour, (label, points)) in enumerate(zip(COLOURS, lines.items(), strict=False)):
        aside = apart * (number - (len(lines) - 1) / 2)
        for rate, style in (("success", "-"), ("verified", "--")):
            known = [point for point in points if point[rate] is not None]
            if not known:
                continue
            x = [point["x"] + aside + (0 if rate == "success" else apart / 3) for point in known]
            y, low, high = (np.array([100 * p[f"{rate}{end}"] for p in known]) for end in ("", "_low", "_high"))
            named = label if rate == "success" else None
            bars = axes.errorbar(
                x, y, [y - low, high - y], color=colour, linestyle=style, marker="o", markersize=4, linewidth=1.4,
                label=named,
            )  # fmt: skip
            for bar in bars[2]:
                bar.set(linestyle=style, alpha=0.7)
    axes.set_ylim(-3, 103)
    name_values(axes, values)
    if len(lines) > 1:
        _explain(figure, axes)
    return figure


@styled
def vanished_curve(steps: ArrayLike, share: ArrayLike, running: ArrayLike) -> Figure:
    """Draws the share of inputs without a gradient at each step, with its 95 % interval.

    Args:
        steps: `(S,)` from 1.
        share: `(S,)` in [0, 1].
        running: `(S,)` the number of inputs that are still attacked.
    """
    figure, axes = plot("step", "without a gradient, %")
    ends = np.array([wilson(float(at), int(n)) for at, n in zip(np.asarray(share), np.asarray(running), strict=True)])
    _band(axes, np.asarray(steps), 100 * np.asarray(share), 100 * ends[:, 0], 100 * ends[:, 1])
    axes.set_ylim(-3, 103)
    return figure


@styled
def spikes_curve(steps: ArrayLike, quartiles: ArrayLike) -> Figure:
    """Draws the penultimate layer's spikes at each step: `(S,)` steps, `(S, 3)` quartiles."""
    figure, axes = plot("step", "penultimate spikes")
    low, middle, high = np.asarray(quartiles).T
    _band(axes, np.asarray(steps), middle, low, high)
    axes.set_ylim(bottom=0)
    axes.yaxis.set_major_locator(MaxNLocator(nbins=5, integer=True))
    return figure


def _band(axes: Axes, x: NDArray[Any], y: NDArray[Any], low: NDArray[Any], high: NDArray[Any]) -> None:
    axes.fill_between(x, low, high, color=ACCENT, alpha=0.2, linewidth=0)
    axes.plot(x, y, color=ACCENT, linewidth=1.6, marker="o", markersize=3 if len(x) <= 60 else 0)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=7, integer=True))


@styled
def compared(what: str, lines: Mapping[str, tuple[ArrayLike, int, float]], *, whole: bool) -> Figure:
    """Draws, of several runs, the share of attacked inputs fooled within so many steps or so large a change.

    Args:
        what: What is on the axis.
        lines: By name, `(M,)` the step or size at which each success came, the number of attacked inputs, at least 1,
            and how many independent trials these are worth; at most `MOST_LINES`.
        whole: Whether these are whole numbers.
    """
    figure, axes = plot(what, "fooled, % of attacked")
    finite = {name: np.sort(np.asarray(at, dtype=float)) for name, (at, *_) in lines.items()}
    end = max((float(at[-1]) for at in finite.values() if at.size), default=1.0) or 1.0
    for colour, (name, at) in zip(COLOURS, finite.items(), strict=False):
        _, n, worth = lines[name]
        places, counts = np.unique(at, return_counts=True)
        rates = np.concatenate(([0], np.cumsum(counts) / n))
        ends = np.array([wilson(float(rate), worth) for rate in rates])
        x = [0, *places, end]
        drawn = [100 * np.append(values, values[-1]) for values in (rates, ends[:, 0], ends[:, 1])]
        axes.step(x, drawn[0], where="post", color=colour, linewidth=1.6, label=name)
        axes.fill_between(x, drawn[1], drawn[2], step="post", color=colour, alpha=0.12, linewidth=0)
    axes.set(xlim=(0, end), ylim=(0, 100))
    axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=whole))
    if len(lines) > 1:
        _explain(figure, axes)
    return figure


def _closest(values: Sequence[float]) -> float:
    return min(after - before for before, after in pairwise(values))


def name_values(axes: Axes, values: Sequence[float]) -> None:
    """A tick at each value, or where they are many or crowd at those that leave room, the last one always."""
    if len(values) < 2:
        return
    room = (values[-1] - values[0]) / _MOST_TICKS
    kept = [values[-1]]
    for value in reversed(values[:-1]):
        if kept[-1] - value > room:
            kept.append(value)
    kept.reverse()
    axes.set_xticks(kept, [f"{value:.12g}" for value in kept])


def between_lines(values: Sequence[float], lines: int) -> float:
    """How far lines are set aside, so that none hides another where they agree; not at all over a single value."""
    if len(values) < 2:
        return 0.0
    return min(0.012 * (values[-1] - values[0]), 0.4 * _closest(values) / lines)


def _explain(figure: Figure, axes: Axes) -> None:
    """Puts the legend below the plot, which keeps its height, in as many columns as the labels leave room for."""
    handles, labels = axes.get_legend_handles_labels()
    columns = max(1, min(3, len(labels), _WIDE // (max(map(len, labels)) + 6)))
    box, before = axes.get_position(), figure.get_figheight()
    added = (math.ceil(len(labels) / columns) * 13 + 4) / 72
    after = before + added
    figure.set_figheight(after)
    axes.set_position((box.x0, (box.y0 * before + added) / after, box.width, box.height * before / after))
    figure.legend(
        handles, labels, loc="lower left", bbox_to_anchor=(0.1, 0), ncols=columns, frameon=False, fontsize=8.5,
        borderpad=0.2, labelspacing=0.4,
    )  # fmt: skip

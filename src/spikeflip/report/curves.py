"""Curves over a swept option: success and verified success, with their intervals."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from spikeflip.report.pictures import plot, styled

COLOURS = ("#1f5f8b", "#c2571a", "#3d8168", "#8a4f9e", "#8c6d1f", "#a3344a", "#50607a", "#5d8a1f")
MOST_LINES = len(COLOURS)
_MOST_TICKS = 8
_WIDE = 62  # letters of a legend beside each other


@styled
def option_curve(option: str, lines: Mapping[str, Sequence[Mapping[str, Any]]]) -> Figure:
    """Draws success (solid, with 95 % bars) and verified success (dashed) over a numeric option.

    Args:
        option: Its name, for the axis.
        lines: By label, points with `x`, `success`, `success_low`, `success_high` and `verified`, sorted by `x`; at
            most `MOST_LINES`.
    """
    figure, axes = plot(option.replace("_", " "), "share of attacked inputs, %")
    values = sorted({point["x"] for points in lines.values() for point in points})
    apart = between_lines(values, len(lines))
    for number, (colour, (label, points)) in enumerate(zip(COLOURS, lines.items(), strict=False)):
        aside = apart * (number - (len(lines) - 1) / 2)
        x = [point["x"] + aside for point in points]
        y = [100 * point["success"] for point in points]
        below = [at - 100 * point["success_low"] for at, point in zip(y, points, strict=True)]
        above = [100 * point["success_high"] - at for at, point in zip(y, points, strict=True)]
        axes.errorbar(x, y, [below, above], color=colour, marker="o", markersize=4, linewidth=1.4, label=label)
        known = [point for point in points if point["verified"] is not None]
        axes.plot([p["x"] + aside for p in known], [100 * p["verified"] for p in known], color=colour, linestyle="--")
    axes.set_ylim(-3, 103)
    name_values(axes, values)
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
    """How far lines are set aside, so that none hides another where they agree."""
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

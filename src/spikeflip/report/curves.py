"""Curves over a swept option: success and verified success, with their intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure

from spikeflip.report.pictures import plot, styled

_COLOURS = ("#1f5f8b", "#c2571a", "#3d8168", "#8a4f9e", "#8c6d1f", "#a3344a", "#50607a", "#5d8a1f")
MOST_LINES = len(_COLOURS)


@styled
def option_curve(option: str, lines: Mapping[str, Sequence[Mapping[str, Any]]]) -> Figure:
    """Draws success (solid, with 95 % bars) and verified success (dashed) over a numeric option.

    Args:
        option: Its name, for the axis.
        lines: By label, points with `x`, `success`, `success_low`, `success_high` and `verified`, sorted by `x`; at
            most `MOST_LINES`.
    """
    figure, axes = plot(option.replace("_", " "), "share of attacked inputs, %")
    for colour, (label, points) in zip(_COLOURS, lines.items(), strict=False):
        x = [point["x"] for point in points]
        y = [100 * point["success"] for point in points]
        below = [at - 100 * point["success_low"] for at, point in zip(y, points, strict=True)]
        above = [100 * point["success_high"] - at for at, point in zip(y, points, strict=True)]
        axes.errorbar(x, y, [below, above], color=colour, marker="o", markersize=4, linewidth=1.4, label=label)
        known = [point for point in points if point["verified"] is not None]
        axes.plot([p["x"] for p in known], [100 * p["verified"] for p in known], color=colour, linestyle="--")
    axes.set_ylim(-3, 103)
    if len(lines) > 1:
        axes.legend(frameon=False, fontsize=8.5)
    return figure

"""Figures for papers: a sweep's curves, robustness over the size of the change, one input before and after.

They are as wide as one column of a paper or two, and follow Matplotlib's own style files; the data of each are rows for
a CSV file beside it.
"""

from __future__ import annotations

import io
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
import matplotlib.style
import numpy as np
from cycler import cycler
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator, NullLocator
from numpy.typing import NDArray

from spikeflip.errors import SpikeflipError, nearest
from spikeflip.report.curves import COLOURS, MOST_LINES, between_lines, name_values

WIDTHS = {1: 3.5, 2: 7.16}
"""Inches: one column of a paper, and two with the gap between them, as in IEEE's transactions."""
FORMATS = {".pdf": b"%PDF-", ".svg": b"<svg", ".png": b"\x89PNG"}
"""By ending, what such a file has at its beginning."""
_HEIGHT, _LINE = 2.2, 0.16
"""Inches: of a plot, and of a line of its legend."""
_MOST_BANDS = 4
"""Intervals of more lines hide each other; they are in the data."""
_MARKS = ("o", "s", "^", "D", "v", "P", "X", "*")
_DASHES = ("-", "--", ":", "-.")
"""Where a style has fewer colours than there are lines."""
_LOGARITHMIC = 30
"""Values that reach over more than this factor are drawn on a logarithmic axis."""
_NO_DATE: dict[str, dict[str, Any]] = {
    ".pdf": {"CreationDate": None, "Creator": "spikeflip", "Producer": None},
    ".svg": {"Date": None, "Creator": "spikeflip"},
    ".png": {"Software": "spikeflip"},
}
_RULES = {
    "axes.axisbelow": True,
    "axes.edgecolor": "#444444",
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.labelsize": 8,
    "axes.linewidth": 0.6,
    "axes.prop_cycle": cycler(color=COLOURS),
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlesize": 8,
    "font.size": 8,
    "grid.alpha": 0.5,
    "grid.color": "#cccccc",
    "grid.linewidth": 0.5,
    "legend.fontsize": 7,
    "legend.frameon": False,
    "lines.linewidth": 1.2,
    "lines.markersize": 3.5,
    "pdf.fonttype": 42,  # journals refuse Type 3
    "savefig.dpi": 300,
    "svg.hashsalt": "spikeflip",
    "xtick.labelsize": 7,
    "xtick.major.width": 0.6,
    "ytick.labelsize": 7,
    "ytick.major.width": 0.6,
}


@dataclass(frozen=True)
class Robustness:
    """Of one run, robust accuracy over the size of the change, `(S,)` each; the first size is 0."""

    sizes: NDArray[np.float64]
    rate: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    n: int


@contextmanager
def styled_for_paper(style: str | None) -> Iterator[None]:
    """Draws as figures of this module look, or as a style says on top of that.

    Args:
        style: Name of a style of Matplotlib, or a `.mplstyle` file.

    Raises:
        SpikeflipError: There is no such style.
    """
    own = [] if style is None else [_checked(style)]
    with matplotlib.style.context(["default", _RULES, *own]):
        yield


def _checked(style: str) -> str:
    # Matplotlib itself would take an address for a style, and fetch it.
    if style in matplotlib.style.available or (style.endswith(".mplstyle") and Path(style).is_file()):
        return style
    near = nearest(style, matplotlib.style.available)
    meant = f"did you mean {near}? " if near else ""
    raise SpikeflipError(f"--style {style} is no style of Matplotlib and no .mplstyle file: {meant}give one of these")


def sweep_figure(option: str, lines: Mapping[str, Sequence[Mapping[str, Any]]], *, columns: int = 1) -> Figure:
    """Draws success (solid, with 95 % bars) over a numeric option, and verified success (dashed) where it differs.

    Args:
        option: Its name.
        lines: By label, as :func:`spikeflip.report.sweep.curve_lines` gives them.
        columns: Of the paper, 1 or 2.
    """
    figure, axes = _axes(columns)
    every = [point for points in lines.values() for point in points]
    verified = any(point["verified"] not in (None, point["success"]) for point in every)
    values = sorted({float(point["x"]) for point in every})
    logarithmic = values[0] > 0 and values[-1] / values[0] >= _LOGARITHMIC
    apart = 0.0 if logarithmic else between_lines(values, len(lines))
    for number, (label, points) in enumerate(lines.items()):
        colour, mark = f"C{number}", _MARKS[number % len(_MARKS)]
        x = np.array([point["x"] for point in points]) + apart * (number - (len(lines) - 1) / 2)
        y, low, high = (100 * _of(points, name) for name in ("success", "success_low", "success_high"))
        axes.errorbar(x, y, [y - low, high - y], color=colour, marker=mark, capsize=1.5, elinewidth=0.7, label=label)
        if verified:
            axes.plot(x, 100 * _of(points, "verified"), color=colour, linestyle="--")
    axes.set(xlabel=option.replace("_", " "), ylabel="attack success, %", ylim=(-3, 103))
    _name_values(axes, values, logarithmic)
    handles = list(axes.get_legend_handles_labels()[0]) if len(lines) > 1 else []
    if verified:
        handles += [Line2D([], [], color="#444444", linestyle="-", label="success")]
        handles += [Line2D([], [], color="#444444", linestyle="--", label="verified")]
    if handles:
        _legend(figure, handles, columns)
    return figure


def _name_values(axes: Axes, values: Sequence[float], logarithmic: bool) -> None:
    if not logarithmic:
        name_values(axes, values)
        return
    axes.set_xscale("log")
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xticks(values, [f"{value:.12g}" for value in values])


def budget_figure(runs: Mapping[str, Robustness], size: str, *, columns: int = 1) -> Figure:
    """Draws robust accuracy over the size of the change, a line for each run; with 95 % intervals where lines are few.

    Args:
        runs: By label; at most :data:`spikeflip.report.curves.MOST_LINES`.
        size: What the size is, with its unit.
        columns: Of the paper, 1 or 2.
    """
    if len(runs) > MOST_LINES:
        raise SpikeflipError(f"{len(runs)} runs are more than can be told apart: give at most {MOST_LINES}")
    figure, axes = _axes(columns)
    colours = len(matplotlib.rcParams["axes.prop_cycle"])
    end = 1.03 * max(float(run.sizes[-1]) for run in runs.values()) or 1.0
    for number, (label, run) in enumerate(runs.items()):
        x = [*run.sizes, end]
        colour, dashes = f"C{number}", _DASHES[number // colours % len(_DASHES)]
        if len(runs) <= _MOST_BANDS:
            low, high = _longer(run.low), _longer(run.high)
            axes.fill_between(x, low, high, step="post", color=colour, alpha=0.18, linewidth=0)
        axes.step(x, _longer(run.rate), where="post", color=colour, linestyle=dashes, label=label)
    axes.set(xlabel=size, ylabel="robust accuracy, %", xlim=(0, end), ylim=(-3, 103))
    axes.xaxis.set_major_locator(MaxNLocator(5 * columns))
    if len(runs) > 1:
        _legend(figure, axes.get_legend_handles_labels()[0], columns)
    return figure


def _longer(rates: NDArray[np.float64]) -> NDArray[np.float64]:
    """In percent, as far as the axis goes."""
    return 100 * np.append(rates, rates[-1])


def _axes(columns: int) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(WIDTHS[columns], _HEIGHT), layout="constrained")
    return figure, figure.add_subplot()


def _of(points: Sequence[Mapping[str, Any]], name: str) -> NDArray[np.float64]:
    return np.array([np.nan if point[name] is None else point[name] for point in points], dtype=float)


def _legend(figure: Figure, handles: Sequence[Any], columns: int) -> None:
    """Puts a legend below the plot, which keeps its height, in as many columns as its labels leave room for."""
    longest = max(len(str(handle.get_label())) for handle in handles)
    beside = max(1, min(len(handles), int(16.5 * WIDTHS[columns] / (longest + 6))))
    figure.set_figheight(_HEIGHT + _LINE * math.ceil(len(handles) / beside))
    figure.legend(handles=handles, loc="outside lower center", ncols=beside, columnspacing=1.4, handlelength=2.2)


def to_bytes(figure: Figure, ending: str) -> bytes:
    """Writes a figure in the format of a file's ending, one of :data:`FORMATS`: equal figures give equal bytes.

    Raises:
        SpikeflipError: It cannot be drawn, as where a style asks for LaTeX and there is none.
    """
    buffer = io.BytesIO()
    try:
        figure.savefig(buffer, format=ending[1:], metadata=_NO_DATE[ending])
    except (RuntimeError, FileNotFoundError) as error:
        reason = " ".join(str(error).split())[:200]
        raise SpikeflipError(f"the figure cannot be drawn ({reason}): leave --style out, or mend it") from error
    return buffer.getvalue()

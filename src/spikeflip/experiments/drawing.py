"""Figures drawn from measured rows."""

import math
from collections.abc import Callable, Iterable, Sequence
from functools import singledispatch
from statistics import fmean
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from spikeflip.experiments.drawing_examples import grid_of_examples
from spikeflip.experiments.findings import named
from spikeflip.experiments.pictures import Bars, BeforeAndAfter, Curves, Examples, GradientSizes, Picture, Traces
from spikeflip.experiments.rows import RATES, Row, Rows, figure, heading
from spikeflip.report.curves import COLOURS, between_lines, name_values
from spikeflip.report.pictures import styled

_MARKS = ("o", "s", "^", "D", "v", "P", "X", "*")
_PANEL, _AROUND = (2.5, 2.1), 0.3
"""Inches: a panel with its labels, and what is left around all."""
_MOST_PANELS = 3
"""Beside each other."""
_MOST_TICKS = 7
_LETTERS_AN_INCH = 17
_BAR, _GROUP = 0.2, 0.85
"""Inches: the least width of a bar, and of a group with its name below."""


@styled
def draw(picture: Picture, rows: Rows) -> Figure | None:
    """Draw a picture of an experiment's rows; None where they hold nothing to draw."""
    return _draw(picture, rows)


@singledispatch
def _draw(picture: Picture, rows: Rows) -> Figure | None:
    raise TypeError(f"there is no way to draw {picture!r}")


@_draw.register
def _curves(picture: Curves, rows: Rows) -> Figure | None:
    known = rows.where(**picture.where).known(picture.y)
    parts = [("", known)] if picture.panels is None else _apart(known, picture.panels)
    parts = [(title, part) for title, part in parts if len(part.values(picture.x)) > 1]
    # A line keeps its colour and mark where a panel lacks others.
    keys = list(dict.fromkeys(key for key, _ in known.groups(*picture.lines)))

    def lines(axes: Axes, part: Rows) -> None:
        values = sorted({float(row[picture.x]) for row in part})
        apart = between_lines(values, len(keys))
        for number, key in enumerate(keys):
            points = sorted(_with(part, picture.lines, key), key=lambda row: float(row[picture.x]))
            at = [row[picture.x] + apart * (number - (len(keys) - 1) / 2) for row in points]
            heights = [_scaled(row, picture.y) for row in points]
            bounds = _bounds(points, picture.y)
            if points:
                axes.errorbar(at, heights, bounds, **_style(number), linewidth=1.3, capsize=2, label=named(key))
        name_values(axes, values)
        _limit(axes, picture.y)

    return _panels(parts, lines, x=heading(picture.x), y=heading(picture.y))


@_draw.register
def _bars(picture: Bars, rows: Rows) -> Figure | None:
    known = rows.known(picture.measure)
    groups, kinds = list(known.groups(*picture.across)), known.values(picture.beside)
    width = 0.8 / max(1, len(kinds))

    def columns(axes: Axes, _: Rows) -> None:
        for number, kind in enumerate(kinds):
            found = [(at, group.where(**{picture.beside: kind})) for at, (_, group) in enumerate(groups)]
            found = [(at, part) for at, part in found if len(part)]
            axes.bar(
                [at + width * number for at, _ in found],
                [fmean(_scaled(row, picture.measure) for row in part) for _, part in found],
                0.92 * width,
                yerr=_spread([part for _, part in found], picture.measure),
                error_kw={"elinewidth": 0.8},
                color=COLOURS[number % len(COLOURS)],
                label=figure(picture.beside, kind),
            )
        middle = 0.4 - width / 2
        axes.set_xticks([at + middle for at in range(len(groups))], ["\n".join(map(str, key)) for key, _ in groups])
        axes.tick_params(axis="x", length=0, labelsize=8)
        axes.set_xlim(-0.75 * width, len(groups) - 0.2)
        _limit(axes, picture.measure)

    size = 0.6 + len(groups) * max(_GROUP, 1.25 * _BAR * len(kinds))
    return _panels(
        [("", known)] if groups else [],
        columns,
        y=heading(picture.measure),
        legend=heading(picture.beside),
        width=max(_PANEL[0], size),
    )


@_draw.register
def _traces(picture: Traces, rows: Rows) -> Figure | None:
    known = rows.known("penultimate_spikes")
    kinds = known.values(picture.label)
    if all(isinstance(kind, float) for kind in kinds):
        kinds = sorted(kinds)

    def lines(axes: Axes, part: Rows) -> None:
        for number, kind in enumerate(kinds):
            for row in part.where(**{picture.label: kind}):
                counts = row["penultimate_spikes"]
                axes.plot(range(1, len(counts) + 1), counts, **_style(number), label=figure(picture.label, kind))
        axes.set_ylim(bottom=0)
        axes.xaxis.set_major_locator(MaxNLocator(_MOST_TICKS, integer=True))

    order = [figure(picture.label, kind) for kind in kinds]
    return _panels(_apart(known, "data"), lines, x="iteration", y="spikes", legend=heading(picture.label), order=order)


@_draw.register
def _gradient_sizes(_picture: GradientSizes, rows: Rows) -> Figure | None:
    def columns(axes: Axes, part: Rows) -> None:
        row = part[0]
        sizes = range(row["lowest"], row["lowest"] + len(row["histogram"]))
        axes.bar(sizes, row["histogram"], width=0.9, color=COLOURS[0])
        axes.set_yscale("symlog")
        axes.set_title(f"{row['data']}: {100 * row['zero']:.1f} % are zero", fontsize=9)

    parts = _apart(rows.known("histogram"), "data")
    return _panels(parts, columns, x="size relative to the largest, log2", y="elements")


@_draw.register
def _before_and_after(_picture: BeforeAndAfter, rows: Rows) -> Figure | None:
    def columns(axes: Axes, part: Rows) -> None:
        row = part[0]
        for number, what in enumerate(("before", "after")):
            at = [k + 0.4 * (number - 0.5) for k in row["classes"]]
            axes.bar(at, row[what], width=0.38, color=COLOURS[number], label=what)
        axes.set_yscale("symlog")
        axes.set_xticks(row["classes"])
        axes.tick_params(axis="x", length=0)

    parts = _apart(rows.known("before"), "data")
    return _panels(parts, columns, x="class", y="non-zero elements", legend="sampling")


@_draw.register
def _examples(_picture: Examples, rows: Rows) -> Figure | None:
    known = {row["data"]: row["examples"] for row in rows.known("examples")}
    return grid_of_examples(known) if known else None


def _apart(rows: Rows, label: str) -> list[tuple[str, Rows]]:
    return [(str(value), rows.where(**{label: value})) for value in rows.values(label)]


def _with(rows: Rows, labels: Sequence[str], key: Iterable[Any]) -> Rows:
    return rows.where(**dict(zip(labels, key, strict=True)))


def _panels(
    parts: Sequence[tuple[str, Rows]],
    fill: Callable[[Axes, Rows], None],
    *,
    x: str = "",
    y: str,
    legend: str | None = None,
    order: Sequence[str] = (),
    width: float = _PANEL[0],
) -> Figure | None:
    """A panel of a width in inches for each part, and one legend below all, in an order where one is given."""
    if not parts:
        return None
    columns = min(len(parts), _MOST_PANELS)
    lines = math.ceil(len(parts) / columns)
    drawn = Figure(figsize=(columns * width + _AROUND, lines * _PANEL[1] + _AROUND))
    for number, (title, part) in enumerate(parts):
        axes = drawn.add_subplot(lines, columns, number + 1)
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(labelsize=8)
        axes.set_title(title, fontsize=9)
        fill(axes, part)
    below = _explain(drawn, legend, order)
    # A layout that measures all texts takes longer than drawing the figure.
    wide, high = drawn.get_size_inches()
    drawn.set_size_inches(wide, high + below)
    high += below
    drawn.subplots_adjust(
        left=0.7 / wide,
        right=1 - 0.1 / wide,
        bottom=(below + 0.55) / high,
        top=1 - 0.3 / high,
        wspace=0.55 / (width - 0.4),
        hspace=0.6 / (_PANEL[1] - 0.5),
    )
    left, right, bottom, top = (getattr(drawn.subplotpars, side) for side in ("left", "right", "bottom", "top"))
    drawn.supxlabel(x, fontsize=9, x=(left + right) / 2, y=(below + 0.08) / high)
    drawn.supylabel(y, fontsize=9, x=0.08 / wide, y=(bottom + top) / 2)
    return drawn


def _explain(drawn: Figure, title: str | None, order: Sequence[str]) -> float:
    """Put a legend at the bottom, where there are several lines; gives the height in inches that it takes."""
    found = (pair for axes in drawn.axes for pair in zip(*axes.get_legend_handles_labels(), strict=True))
    handles = {label: handle for handle, label in found}
    handles = {label: handles[label] for label in order or handles}
    if len(handles) < 2:
        return 0.0
    room = _LETTERS_AN_INCH * float(drawn.get_size_inches()[0])
    columns = max(1, min(len(handles), int(room / (max(map(len, handles)) + 7))))
    drawn.legend(
        handles.values(),
        handles,
        loc="lower center",
        ncols=columns,
        frameon=False,
        fontsize=8,
        title=title,
        title_fontsize=8,
    )
    return 0.17 * (math.ceil(len(handles) / columns) + (title is not None)) + 0.1


def _style(number: int) -> dict[str, Any]:
    mark = {"marker": _MARKS[number % len(_MARKS)], "markersize": 3.5, "clip_on": False}  # whole at the edge, too
    return {"color": COLOURS[number % len(COLOURS)], **mark}


def _limit(axes: Axes, measure: str) -> None:
    if measure in RATES:
        axes.set_ylim(-3, 105)
    else:
        axes.set_ylim(bottom=0)


def _scaled(row: Row, measure: str) -> float:
    return float(100 * row[measure] if measure in RATES else row[measure])


def _spread(parts: Sequence[Rows], measure: str) -> list[list[float]] | None:
    """Lengths of the error bars of means: the interval of a single row, from the least to the greatest of several."""
    if all(len(part) == 1 for part in parts):
        return _bounds([part[0] for part in parts], measure)
    values = [[_scaled(row, measure) for row in part] for part in parts]
    return [[fmean(of) - min(of) for of in values], [max(of) - fmean(of) for of in values]]


def _bounds(rows: Iterable[Row], measure: str) -> list[list[float]] | None:
    """Lengths of the error bars, below and above; None where the measure has no interval."""
    rows = list(rows)
    if not rows or any(row.get(f"{measure}_interval") is None for row in rows):
        return None
    values = [(100 * row[measure], *(100 * bound for bound in row[f"{measure}_interval"])) for row in rows]
    return [[max(0.0, at - low) for at, low, _ in values], [max(0.0, high - at) for at, _, high in values]]

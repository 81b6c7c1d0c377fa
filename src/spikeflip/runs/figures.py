"""Figures and animations of finished runs, and their data beside them."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from spikeflip.attacks.metrics import METRICS
from spikeflip.errors import SpikeflipError, choose_from
from spikeflip.intervals import trials, wilson
from spikeflip.reading import may_replace
from spikeflip.report.folders import check_no_evaluation
from spikeflip.report.loading import check_values, choose_examples, open_inputs, read_facts, read_rows
from spikeflip.report.sweep import curve_lines
from spikeflip.report.tables import describe_settings, folder_names, harmless, in_short, one_line
from spikeflip.runs.compare import find_runs, list_runs
from spikeflip.writing import write_bytes

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from spikeflip.report.figures import Robustness

Kind = Literal["sweep", "budget", "frames"]
_Drawn = tuple["Figure", bytes]
"""A figure, and its data as CSV."""
_RATES = [f"{rate}{end}" for rate in ("success", "verified") for end in ("", "_low", "_high")]
_GIF = b"GIF89a"
_LONGEST_HEADER = 1 << 12
"""Bytes of the first line of a table."""


@dataclass(frozen=True)
class Shown:
    """One row of a run: its input before and after, and what is known of it."""

    row: int
    kind: str
    original: NDArray[Any]
    adversarial: NDArray[Any]
    label: str
    prediction: str
    """A class by name, or ``"no class"`` for a tie."""


@dataclass(frozen=True)
class Options:
    """What a figure shows of its runs; what is None is chosen."""

    over: str | None = None
    metric: str | None = None
    row: int | None = None
    columns: int = 1


def plot(
    place: Path,
    kind: Kind,
    out: Path,
    *,
    over: str | None = None,
    metric: str | None = None,
    row: int | None = None,
    columns: int = 1,
    style: str | None = None,
) -> tuple[Path, Path]:
    """Draw a figure for a paper, and write its data beside it.

    Args:
        place: a run folder, or a sweep's or any other folder with runs in it.
        kind: ``"sweep"``: success over a numeric option; ``"budget"``: robust accuracy over the size of the change, a
            line for each run; ``"frames"``: one input of a run before and after.
        out: the file, ``.pdf``, ``.svg`` or ``.png``; the data are a ``.csv`` file of the same name.
        over: the option of ``"sweep"``; the one with the most numbers when not given.
        metric: the size of ``"budget"``; ``l0`` of spikes and ``mse`` of images when not given.
        row: of ``"frames"``; a typical success when not given.
        columns: of the paper, 1 or 2.
        style: name of a style of Matplotlib, or a ``.mplstyle`` file.

    Returns:
        The two files.

    Raises:
        SpikeflipError: there is nothing to draw, an option is wrong, or a file cannot be written or is not a figure.
    """
    from spikeflip.report.figures import FORMATS, WIDTHS, styled_for_paper, to_bytes

    if kind not in _DRAWN:
        raise SpikeflipError(f"--kind is {kind!r}: {choose_from(kind, get_args(Kind))}")
    if columns not in WIDTHS:
        raise SpikeflipError(f"--columns is {columns}: give 1 or 2, as papers have")
    for name, value, of in (("over", over, "sweep"), ("metric", metric, "budget"), ("sample", row, "frames")):
        if value is not None and kind != of:
            raise SpikeflipError(f"--{name} is for --kind {of}, and --kind is {kind}: leave it out")
    ending = out.suffix.lower()
    if ending not in FORMATS:
        raise SpikeflipError(f"--out {out} is neither a .pdf, .svg nor .png file: give one of these endings")
    data = out.with_suffix(".csv")
    with styled_for_paper(style):
        figure, table = _DRAWN[kind](place, Options(over, metric, row, columns))
        drawn = to_bytes(figure, ending)
    _check_free(out, FORMATS[ending], "a figure")
    _check_data(data, table)
    _write(out, drawn)
    _write(data, table)
    return out, data


def animate(run: Path, out: Path, *, row: int | None = None, fps: float = 5.0) -> Path:
    """Write an animation of one input before and after, and of what changed.

    Args:
        run: a run folder.
        out: the file, ``.gif``.
        row: of the run; a typical success when not given.
        fps: frames a second, one a time step; of an image, the original and the adversarial in turn.

    Raises:
        SpikeflipError: there is no such row, or the file cannot be written or is not an animation.
    """
    from spikeflip.report.strips import animation

    if out.suffix.lower() != ".gif":
        raise SpikeflipError(f"--out {out} is no .gif file: give this ending")
    if not 0.1 <= fps <= 50:
        raise SpikeflipError(f"--fps is {fps:g}: give a number from 0.1 to 50, as players show no more")
    shown = _shown(run, row)
    captions = (f"original: {shown.label}", f"adversarial: {shown.prediction}")
    content = animation(shown.original, shown.adversarial, kind=shown.kind, captions=captions, fps=fps)
    _check_free(out, _GIF, "an animation")
    _write(out, content)
    return out


def _sweep(place: Path, options: Options) -> _Drawn:
    from spikeflip.report.figures import sweep_figure

    rows = list_runs([place])
    if len(rows) > 1 and any("seed" in (row["settings"] or {}) for row in rows):
        rows = list_runs([place], merge=["seed"])
    numeric = _numeric(rows)
    if not numeric:
        raise SpikeflipError(f"{place} holds no two finished runs that differ in a number: give a sweep over one")
    over = options.over or max(numeric, key=lambda name: numeric[name])
    if over not in numeric:
        raise SpikeflipError(f"--over {over} is no numeric option of these runs: {choose_from(over, numeric)}")
    lines, left_out = curve_lines(over, rows)
    if left_out:
        count = len(lines) + left_out
        raise SpikeflipError(f"{place} has {count} lines over {over}, too many to be told apart: give fewer runs")
    data = [{"line": label, over: point["x"], **point} for label, points in lines.items() for point in points]
    return sweep_figure(over, lines, columns=options.columns), _table(data, ["line", over, *_RATES])


def _numeric(rows: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """The options that runs can be drawn over, and how many values each has."""
    names = dict.fromkeys(name for row in rows for name in row["settings"] or {})
    values = {name: {p["x"] for line in curve_lines(name, rows)[0].values() for p in line} for name in names}
    return {name: len(found) for name, found in values.items() if found}


def _budget(place: Path, options: Options) -> _Drawn:
    from spikeflip.report.figures import budget_figure

    folders = find_runs([place])
    kinds = {_kind(folder) for folder in folders}
    metric = options.metric or ("l0" if kinds == {"spikes"} else "mse")
    if metric not in METRICS:
        raise SpikeflipError(f"--metric is {metric!r}: {choose_from(metric, METRICS)}")
    labels = _labels(folders)
    found = {label: _robustness(folder, metric) for label, folder in zip(labels, folders, strict=True)}
    data = [
        {"run": label, metric: size, "robust_accuracy": rate, "low": low, "high": high, "n": run.n}
        for label, run in found.items()
        for size, rate, low, high in zip(run.sizes, run.rate, run.low, run.high, strict=True)
    ]
    table = _table(data, ["run", metric, "robust_accuracy", "low", "high", "n"])
    unit = METRICS[metric].unit
    if unit == "cells or pixels" and len(kinds) == 1:
        unit = "cells" if kinds == {"spikes"} else "pixels"
    return budget_figure(found, f"{metric}, {unit}", columns=options.columns), table


def _labels(folders: Sequence[Path]) -> list[str]:
    """What tells runs apart: their settings that differ, or their folders where these do not."""
    rows = {row["name"]: row["settings"] for row in in_short(list_runs(folders))}
    said = [describe_settings(rows.get(str(folder))) for folder in folders]
    if len(set(said)) == len(said) and all(said):
        return said
    return folder_names(folders)


def _robustness(folder: Path, metric: str) -> Robustness:
    """Robust accuracy at every size that an adversarial input of a run has.

    An input counts as it is classified after the attack where its change is within the size, else as before; at the
    largest size that is the robust accuracy of the run's summary.
    """
    from spikeflip.report.figures import Robustness

    rows = read_rows(folder, open_inputs(folder).samples, [metric, "still_right"])
    for name in (metric, "still_right"):
        if name not in rows:
            raise SpikeflipError(f"{folder} does not know {name} of its inputs: give another --metric, or attack again")
    n = len(rows["sample"])
    if not n:
        raise SpikeflipError(f"{folder} has no inputs: give a run that attacked some")
    clean, after = ~rows["already_wrong"].astype(bool), rows["still_right"]
    reached = np.where(np.isfinite(rows[metric]), rows[metric], np.inf)
    sizes = np.unique(np.concatenate([[0.0], reached[clean & np.isfinite(reached)]]))
    order = np.argsort(reached, kind="stable")
    lost = np.concatenate([[0.0], np.cumsum((clean - after)[order])])
    rate = np.clip((clean.sum() - lost[np.searchsorted(reached[order], sizes, side="right")]) / n, 0, 1)
    worth = trials(after, rows["input"])
    low, high = np.array([wilson(float(at), worth) for at in rate]).T
    return Robustness(sizes, rate, low, high, n)


def _frames(place: Path, options: Options) -> _Drawn:
    from spikeflip.report.strips import image_strip, spike_strip

    shown = _shown(place, options.row)
    draw = image_strip if shown.kind == "images" else spike_strip
    figure = draw(shown.original, shown.adversarial, columns=options.columns)
    before, after = (np.asarray(values, dtype=float) for values in (shown.original, shown.adversarial))
    axes = _axes_of(before.ndim, shown.kind)
    said = {"row": shown.row, "label": shown.label, "prediction": shown.prediction}
    header = [*said, *axes, "original", "adversarial"]
    data = [
        dict(zip(header, [*said.values(), *map(int, at), before[tuple(at)], after[tuple(at)]], strict=True))
        for at in np.argwhere(before != after)
    ]
    return figure, _table(data, header)


def _axes_of(dimensions: int, kind: str) -> list[str]:
    """What the places of a cell are called."""
    if kind == "images":
        return ["channel", "y", "x"][3 - dimensions :]
    if dimensions == 4:
        return ["step", "channel", "y", "x"]
    return ["step", *(f"place_{number}" for number in range(1, dimensions))]


def _shown(run: Path, row: int | None) -> Shown:
    """A row of a run, a typical success when none is given."""
    if not (run / "config.json").is_file():
        raise SpikeflipError(f"{run} is no run folder: give one, as a single input is shown")
    check_no_evaluation(run)
    config, saved = read_facts(run, "config"), open_inputs(run)
    rows = read_rows(run, saved.samples)
    n = len(saved.samples)
    if not n:
        raise SpikeflipError(f"{run} has no inputs: give a run that attacked some")
    chosen = [*choose_examples(rows), 0][0] if row is None else row
    if not 0 <= chosen < n:
        raise SpikeflipError(f"--sample is {chosen}, and {run} has {n:,} rows: give one from 0 to {n - 1}")
    kind = _kind(run)
    original, adversarial = saved.read(chosen)
    check_values(original, adversarial, chosen, kind, saved.paths[0])
    label, prediction = (_class(config.get("classes"), int(rows[name][chosen])) for name in ("label", "prediction"))
    return Shown(chosen, kind, original, adversarial, label, prediction)


def _kind(run: Path) -> str:
    return "images" if read_facts(run, "config").get("kind") == "images" else "spikes"


def _class(names: object, number: int) -> str:
    if number < 0:
        return "no class"
    known = isinstance(names, list) and number < len(names)
    return one_line(str(names[number])) if known else str(number)  # type: ignore[index]


_DRAWN: Mapping[str, Callable[[Path, Options], _Drawn]] = {
    "sweep": _sweep,
    "budget": _budget,
    "frames": _frames,
}


def _table(rows: Sequence[Mapping[str, Any]], header: Sequence[str]) -> bytes:
    """Rows as CSV, with these columns."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(map(harmless, header))
    writer.writerows([harmless(row.get(name)) for name in header] for row in rows)
    return text.getvalue().encode()


def _check_free(path: Path, mark: bytes, what: str) -> None:
    try:
        if not may_replace(path, mark):
            raise SpikeflipError(f"{path} exists and is not {what}: give another name, or delete it")
    except OSError as error:
        raise SpikeflipError(f"{path} cannot be read ({error.strerror or error}): give another name") from error


def _check_data(path: Path, table: bytes) -> None:
    """Raise a SpikeflipError unless ``path`` is free, or a table whose first and last columns are the same."""
    first, *_, last = table.partition(b"\n")[0].split(b",")
    try:
        if not path.exists():
            return
        columns = [b""]
        if path.is_file():
            with path.open("rb") as file:
                columns = file.readline(_LONGEST_HEADER).rstrip(b"\r\n").split(b",")
    except OSError as error:
        raise SpikeflipError(f"{path} cannot be read ({error.strerror or error}): give another name") from error
    if (columns[0], columns[-1]) != (first, last):
        raise SpikeflipError(f"{path} exists and is not the data of such a figure: give another name, or delete it")


def _write(path: Path, content: bytes) -> None:
    try:
        write_bytes(path, content)
    except OSError as error:
        reason = error.strerror or error
        raise SpikeflipError(f"{path} cannot be written ({reason}): name a file in a folder that is there") from error

"""Many runs from one file: a grid or a list over any option of an attack, one run folder a point."""

import hashlib
import json
import math
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from spikeflip.errors import SpikeflipError
from spikeflip.limits import LARGEST_OPTIONS
from spikeflip.reading import may_replace, small_text
from spikeflip.report.page import GENERATOR
from spikeflip.report.sweep import render_sweep
from spikeflip.report.tables import to_csv
from spikeflip.runs.attack import is_done, run_attack
from spikeflip.runs.compare import WITHOUT_EFFECT, list_runs
from spikeflip.runs.config import AttackConfig, DataConfig, Execution, VictimConfig, explain, names_code
from spikeflip.runs.folder import check_no_links, check_plain
from spikeflip.runs.inputs import data_checksum
from spikeflip.runs.lock import locked
from spikeflip.runs.sharded import Progress
from spikeflip.writing import write_bytes

PAGE, TABLE, POOLED = "report.html", "table.csv", "pooled.csv"
_HEADER = b"name,state,runs,victim,goal,"
"""What a table of runs begins with, and tells it from a file that is not to be written over."""
_PARTS = ("base", "grid", "points")
_MOST_POINTS = 10_000
_LONGEST_NAME = 120


@dataclass(frozen=True)
class Point:
    """One run of a sweep."""

    name: str
    """Of its folder: the swept options alone, so that a sweep can grow."""
    config: AttackConfig


@dataclass(frozen=True)
class Sweep:
    """The points of a sweep file, and the options that it sweeps."""

    points: tuple[Point, ...]
    swept: tuple[str, ...]


def read_sweep(file: Path) -> Sweep:
    """Read a sweep file: ``[base]`` options of all points, ``[grid]`` lists of values, ``[[points]]`` single points.

    Every point of the grid is combined with every one of ``[[points]]``; later parts of this list win.

    Raises:
        SpikeflipError: the file is missing or no sweep file, an option is wrong, or two points have one name or are
            the same run.
    """
    base, grid, listed = _parts(file, _load(file))
    count = math.prod(len(values) for values in grid.values()) * max(1, len(listed))
    if count > _MOST_POINTS:
        raise SpikeflipError(f"{file} has {count:,} points: give at most {_MOST_POINTS:,}, in several files")
    swept = tuple(dict.fromkeys([*(name for point in listed for name in point), *grid]))
    points: dict[str, Point] = {}
    for single, values in product(listed or [{}], product(*grid.values())):
        own = single | dict(zip(grid, values, strict=True))
        name = _name(own)
        if name in points:
            raise SpikeflipError(f"{file} has the point {name} twice: leave one of them out")
        points[name] = Point(name, _config(base | own, f"{file}, point {name}"))
    _check_apart(file, tuple(points.values()), WITHOUT_EFFECT if "seed" in swept else frozenset())
    return Sweep(tuple(points.values()), swept)


def _check_apart(file: Path, points: Sequence[Point], without: frozenset[str]) -> None:
    """Raise a SpikeflipError if two points have the same options, however these are written and but for some."""
    known: dict[str, str] = {}
    for point in points:
        options = json.dumps(point.config.stored(without=without), sort_keys=True)
        if (other := known.setdefault(options, point.name)) != point.name:
            raise SpikeflipError(
                f"{file} has the points {other} and {point.name}, which are the same run: leave one out"
            )


def run_sweep(
    file: Path,
    out: Path,
    *,
    execution: Execution | None = None,
    run_code: bool = False,
    progress: Progress | None = None,
) -> list[dict[str, Any]]:
    """Attack at every point of a sweep file, each into a folder of its own under ``out``, and compare them.

    Finished points are skipped and unfinished ones gone on with; points that were added to the file are added.

    Args:
        file: see :func:`read_sweep`.
        out: gets a run folder a point, ``report.html`` with a table and curves, ``table.csv`` with a column an option
            and, where seeds are swept, ``pooled.csv`` with a row for all seeds of a point.
        execution: as for :func:`run_attack`.
        run_code: the file may name victims and defences that are code of the user's own, which is run then.
        progress: called with the stage and, after a ``|``, the point; and rows or points done of all.

    Returns:
        The rows of :func:`list_runs` of all points.

    Raises:
        SpikeflipError: the file or a point cannot be used, or ``out`` is in use; what is finished stays.
    """
    execution = execution or Execution()
    sweep = read_sweep(file)
    if not run_code:
        _check_no_code(file, sweep)
    if out.is_file() or (out / "config.json").exists():
        raise SpikeflipError(f"--out {out} is a {'file' if out.is_file() else 'run'}: give a folder of its own")
    _check_folder(out, sweep)
    checksums = _Checksums()
    with locked(out), _cluster(execution):
        for number, point in enumerate(sweep.points):
            if progress is not None:
                progress("points", number, len(sweep.points))
            _attack(point, out, checksums, execution, progress)
        if progress is not None:
            progress("points", len(sweep.points), len(sweep.points))
        return _compare(sweep, out)


def _check_no_code(file: Path, sweep: Sweep) -> None:
    """Raise a SpikeflipError if a file, which may be a stranger's, names code to be run."""
    for point in sweep.points:
        code = [name for name in point.config.defence or () if names_code(name)]
        if point.config.is_code:
            code.insert(0, str(point.config.victim))
        if code:
            raise SpikeflipError(f"{file} names the code {code[0]:.200}: add --run-code where it may be run")


def _check_folder(out: Path, sweep: Sweep) -> None:
    """Raise a SpikeflipError if ``out`` holds a link in the place of a point, or files that no sweep wrote."""
    check_plain(out, [TABLE, POOLED, PAGE])
    check_no_links(out / point.name for point in sweep.points)  # what is in one is looked at when it is attacked
    others = sorted(path.parent.name for path in out.glob("*/config.json"))
    if others and not {point.name for point in sweep.points}.intersection(others):
        raise SpikeflipError(
            f"--out {out} holds runs, such as {others[0]}, and none is a point of this file: give a folder of its own"
        )
    for name, mark in ((TABLE, _HEADER), (POOLED, _HEADER), (PAGE, GENERATOR)):
        if not may_replace(out / name, mark):
            raise SpikeflipError(f"--out {out} holds a {name} that no sweep wrote: give a folder of its own")


@dataclass
class _Checksums:
    """The checksums of the points' data, each made once."""

    known: dict[str, str] = field(default_factory=dict)

    def of(self, config: AttackConfig) -> str:
        """The checksum of what a point attacks."""
        # The victim's classes are the labels of recordings that are given as --input.
        victim = VictimConfig.model_fields if config.input else {}
        options = {*DataConfig.model_fields, "split", "input", "label", *victim}
        key = config.model_dump_json(include=options)
        if key not in self.known:
            self.known[key] = data_checksum(config)
        return self.known[key]


def _attack(point: Point, out: Path, checksums: _Checksums, execution: Execution, progress: Progress | None) -> None:
    folder = out / point.name

    def staged(stage: str, done: int, every: int) -> None:
        if progress is not None:
            progress(f"{stage}|{point.name}", done, every)

    try:
        if not is_done(point.config, folder, checksums.of):
            run_attack(point.config, folder, execution=execution, progress=staged)
    except SpikeflipError as error:
        raise SpikeflipError(f"point {point.name}: {error}") from error


def _compare(sweep: Sweep, out: Path) -> list[dict[str, Any]]:
    folders = [out / point.name for point in sweep.points]
    rows = [row | {"name": point.name} for row, point in zip(list_runs(folders), sweep.points, strict=True)]
    pooled = list_runs(folders, merge=["seed"]) if "seed" in sweep.swept and len(folders) > 1 else rows
    page = render_sweep(out.resolve().name, rows, pooled, sweep.swept)
    try:
        write_bytes(out / TABLE, to_csv(_said(rows, sweep.points, sweep.swept), sweep.swept).encode())
        if pooled is not rows:
            write_bytes(out / POOLED, to_csv(_said(pooled, _first_of_seeds(sweep), sweep.swept), sweep.swept).encode())
        write_bytes(out / PAGE, page.encode())
    except OSError as error:
        raise SpikeflipError(f"{out} cannot be written to ({error.strerror or error}): mend that and go on") from error
    return rows


def _said(rows: Sequence[Mapping[str, Any]], points: Sequence[Point], swept: Sequence[str]) -> list[dict[str, Any]]:
    """Rows whose settings are all that is swept, also what runs do not list, such as what is the same in all."""
    said = []
    for row, point in zip(rows, points, strict=True):
        given = {name: _value(point, name) for name in swept}
        said.append({**row, "settings": given | dict(row["settings"] or {})})
    return said


def _first_of_seeds(sweep: Sweep) -> list[Point]:
    """The first of the points that differ in their seed alone, as runs are pooled."""
    firsts: dict[str, Point] = {}
    for point in sweep.points:
        firsts.setdefault(repr([_value(point, name) for name in sweep.swept if name != "seed"]), point)
    return list(firsts.values())


def _value(point: Point, option: str) -> object:
    return getattr(point.config, option, point.config.settings.get(option))


@contextmanager
def _cluster(execution: Execution) -> Iterator[None]:
    """One connection to a Ray cluster for all points."""
    if execution.executor == "ray":
        from spikeflip.runs.ray_executor import connected

        with connected(execution.address):
            yield
    else:
        with nullcontext():
            yield


def _config(options: Mapping[str, Any], where: str) -> AttackConfig:
    try:
        return AttackConfig(**options)
    except ValidationError as error:
        reason = explain(error)
    raise SpikeflipError(f"{where}: {reason}")


def _load(file: Path) -> dict[str, Any]:
    if not file.is_file():
        raise SpikeflipError(f"{file} does not exist: give a TOML file with [base] and [grid]")
    try:
        return tomllib.loads(small_text(file, LARGEST_OPTIONS))
    except (ValueError, RecursionError) as error:
        raise SpikeflipError(f"{file} is no TOML file ({error}): mend it") from error


def _parts(
    file: Path, values: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, list[Any]], Sequence[dict[str, Any]]]:
    """The three parts of a sweep file, each of the right kind, options named as in :class:`AttackConfig`."""
    unknown = [name for name in values if name not in _PARTS]
    if unknown:
        raise SpikeflipError(f"{file} has a part {unknown[0]!r}: give [base], [grid] and [[points]] alone")
    base, grid, points = values.get("base", {}), values.get("grid", {}), values.get("points", [])
    if not isinstance(base, dict) or not isinstance(grid, dict):
        raise SpikeflipError(f"{file}: [base] and [grid] are tables of options, write them so")
    if not isinstance(points, list) or not all(isinstance(point, dict) and point for point in points):
        raise SpikeflipError(f"{file}: [[points]] are tables of options, none empty, write them so")
    for name, several in grid.items():
        if not isinstance(several, list) or not several:
            raise SpikeflipError(f"{file}: {name} in [grid] is {several!r}: give a list of values, such as [0.5, 1.0]")
    if not grid and not points:
        raise SpikeflipError(f"{file} sweeps nothing: add [grid] with lists of values, or [[points]]")
    return _named(base), _named(grid), [_named(point) for point in points]


def _named(options: Mapping[str, Any]) -> dict[str, Any]:
    return {name.replace("-", "_"): value for name, value in options.items()}


def _name(options: Mapping[str, Any]) -> str:
    """``threshold=0.5,seed=0``, with a checksum where a value does not make a file name."""
    plain = ",".join(f"{name}={_text(value)}" for name, value in options.items())
    safe = re.sub(r"[^A-Za-z0-9._=,+-]+", "-", plain)[:_LONGEST_NAME].lstrip(".-")
    if safe == plain:
        return plain
    digest = hashlib.sha256(json.dumps(options, sort_keys=True, default=str).encode()).hexdigest()
    return f"{safe},{digest[:8]}"


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)

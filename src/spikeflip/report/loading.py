"""Reading a run folder: every file is checked before it is believed, and inputs are read one at a time.

A run folder may come from a stranger. Files are opened only where they are regular ones of a size that makes sense,
columns are read as numbers without going through Python objects, and nothing is allocated for a size that a header
merely claims.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pyarrow.parquet
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from spikeflip.errors import SpikeflipError
from spikeflip.limits import LARGEST_FACTS, LONGEST_WORD, ROWS_AT_A_TIME
from spikeflip.reading import small_text
from spikeflip.report.facts import check_figures
from spikeflip.report.folders import check_kept, missing

_WHOLE = ("sample", "input", "label", "target", "prediction", "already_wrong", "success", "steps")
_REAL = ("verified", "mse")
_OF_RECORDINGS = ("events", "events_added", "events_removed", "events_moved", "events_outside")
_RANGES = dict.fromkeys(("sample", "input", "label"), (0, 1 << 62)) | {
    "target": (-1, 1 << 62),
    "prediction": (-1, 1 << 62),
    "already_wrong": (0, 1),
    "success": (0, 1),
    "steps": (0, 1 << 31),
    "verified": (0, 1),
    "mse": (0, 1e30),
}
_EXAMPLES = 6
_DEEPEST_JSON = 20
_WHOLE_DIGITS = 20
_MOST_NOTICES, _LONGEST_CODE, _LONGEST_NOTICE = 100, 60, 2_000
_PACKED = frozenset({"SNAPPY", "UNCOMPRESSED"})
"""Snappy unpacks to 21 times its size at most."""
_CODE = re.compile("[a-z0-9]+(-[a-z0-9]+)*")


@dataclass(frozen=True)
class Example:
    """One input to show: its row, and the input before and after."""

    row: int
    original: NDArray[Any]
    adversarial: NDArray[Any]


@dataclass(frozen=True)
class Run:
    """What the page uses of a run folder."""

    config: Mapping[str, Any]
    manifest: Mapping[str, Any]
    summary: Mapping[str, Any]
    rows: Mapping[str, NDArray[Any]]
    examples: tuple[Example, ...]
    kind: str
    name: str
    folder: Path
    saved: SavedInputs


def load_run(folder: Path) -> Run:
    """Reads and checks a run folder; of the adversarial inputs only the few to be shown.

    Args:
        folder: A finished run: `config.json`, `manifest.json`, `summary.json`, `rows.parquet` and
            `adversarials.safetensors`.

    Returns:
        The run.

    Raises:
        SpikeflipError: The folder is no run, or a file is missing, damaged, or does not fit the others.
    """
    if not (folder / "config.json").is_file():
        raise SpikeflipError(f"{folder} is no run folder, it has no config.json; give the folder that the attack wrote")
    config, manifest, summary = (read_facts(folder, name) for name in ("config", "manifest", "summary"))
    check_kept(folder, manifest)
    check_figures(summary, folder / "summary.json")
    saved = open_inputs(folder)
    rows = read_rows(folder, saved.samples)
    examples = tuple(Example(row, *saved.read(row)) for row in choose_examples(rows))
    kind = config.get("kind")
    if kind not in ("images", "spikes"):
        kind = "spikes" if saved.whole else "images"
    for example in examples:
        check_values(example.original, example.adversarial, example.row, str(kind), saved.paths[0])
    name = config.get("name") or folder.resolve().name
    return Run(config, manifest, summary, rows, examples, str(kind), str(name), folder, saved)


def read_facts(folder: Path, name: str) -> dict[str, Any]:
    """Reads one of a run's JSON files, `config`, `manifest` or `summary`; see `read_json`.

    The notices of a summary are checked; a summary of an earlier version has none.
    """
    path = folder / f"{name}.json"
    facts = read_json(path)
    if name == "summary":
        _check_notices(facts.get("notices", []), path)
    return facts


def _check_notices(notices: object, path: Path) -> None:
    """Raises a SpikeflipError unless these are notices as a run writes them: few, short, of known parts."""
    if not isinstance(notices, list) or len(notices) > _MOST_NOTICES:
        raise damaged(path, f"notices are a list of at most {_MOST_NOTICES}")
    for number, notice in enumerate(notices):
        if not (isinstance(notice, dict) and notice.keys() == {"code", "text", "figure"} and _is_notice(**notice)):
            raise damaged(path, f"notice {number} is not a code, a text and a figure")


def _is_notice(code: object, text: object, figure: object) -> bool:
    named = isinstance(code, str) and len(code) <= _LONGEST_CODE and _CODE.fullmatch(code) is not None
    measured = figure is None or (isinstance(figure, int | float) and math.isfinite(figure))
    return named and isinstance(text, str) and len(text) <= _LONGEST_NOTICE and measured


@dataclass(frozen=True)
class SavedInputs:
    """The inputs of a run before and after the attack, on disk; `read` takes one from there."""

    paths: tuple[Path, ...]
    """The files, in the order of the rows."""
    ends: NDArray[np.int64]
    """After which row each file ends."""
    samples: NDArray[np.int64]
    """`(N,)` sample ids, one a row."""
    shape: tuple[int, ...]
    """Of one input."""
    whole: bool
    """Whether they are stored as whole numbers, as spikes are."""

    def read(self, row: int) -> tuple[NDArray[Any], NDArray[Any]]:
        """Reads one input, before and after."""
        which = int(np.searchsorted(self.ends, row, side="right"))
        at = row - (int(self.ends[which - 1]) if which else 0)
        path = self.paths[which]
        try:
            with safe_open(path, framework="numpy") as file:
                before, after = (file.get_slice(name)[at : at + 1][0] for name in ("originals", "adversarials"))
        except (OSError, SafetensorError, KeyError, TypeError, ValueError, IndexError) as error:
            raise damaged(path, error) from error
        return before, after


def open_inputs(folder: Path) -> SavedInputs:
    """Reads what the files with a run's inputs hold, but for the inputs themselves.

    Raises:
        SpikeflipError: A file is missing or damaged, or the files do not fit each other.
    """
    paths = (folder / "adversarials.safetensors",)
    counts, samples, shapes, whole = [], [], [], True
    for path in paths:
        if not path.is_file():
            raise damaged(path, "it is no file") if path.exists() else missing(path)
        try:
            with safe_open(path, framework="numpy") as file:
                shape = _checked_shape(file, path)
                samples.append(np.asarray(file.get_tensor("samples")))
                whole = whole and not file.get_slice("originals").get_dtype().startswith(("F", "BF"))
        except SpikeflipError:
            raise
        except (OSError, SafetensorError, TypeError, ValueError) as error:
            raise damaged(path, error) from error
        counts.append(shape[0])
        shapes.append(shape[1:])
        if shapes[-1] != shapes[0]:
            raise damaged(path, f"its inputs have shape {shapes[-1]} and those of {paths[0].name} {shapes[0]}")
    return SavedInputs(paths, np.cumsum(counts), np.concatenate(samples), shapes[0], whole)


def read_rows(folder: Path, samples: NDArray[np.int64], extra: Sequence[str] = ()) -> dict[str, NDArray[Any]]:
    """Reads the columns of `rows.parquet` that the page needs, and `extra` ones where they are there.

    Args:
        folder: The run.
        samples: `(N,)` the ids that the rows must have.
        extra: More columns of numbers; they become float64.

    Raises:
        SpikeflipError: The file is missing or damaged, or its rows are others.
    """
    path = folder / "rows.parquet"
    rows = _read_rows(path, len(samples), extra)
    if not np.array_equal(samples, rows["sample"]):
        raise damaged(path.with_name("adversarials.safetensors"), "its samples are not those of rows.parquet")
    return rows


def choose_examples(rows: Mapping[str, NDArray[Any]], count: int = _EXAMPLES) -> list[int]:
    """Chooses typical successes spread over the classes, and one failure where there is any.

    Args:
        rows: The columns of `rows.parquet`.
        count: How many at most.

    Returns:
        Row numbers: successes sorted by label, each near the median `mse` of its class, then the failure.
    """
    attacked = ~rows["already_wrong"].astype(bool)
    won = rows["success"].astype(bool) & attacked
    failed = _by_typicality(rows, np.flatnonzero(attacked & ~won))[:1]
    labels = np.unique(rows["label"][won])
    queues = [_by_typicality(rows, np.flatnonzero(won & (rows["label"] == label))) for label in labels]
    wanted = min(count - len(failed), int(won.sum()))
    if len(queues) > wanted:  # more classes than places: classes evenly far from each other
        queues = [queues[round(at)] for at in np.linspace(0, len(queues) - 1, wanted)]
    in_turn = [queue[turn] for turn in range(wanted) for queue in queues if turn < len(queue)]
    return sorted(in_turn[:wanted], key=lambda row: (rows["label"][row], row)) + failed


def _by_typicality(rows: Mapping[str, NDArray[Any]], candidates: NDArray[np.intp]) -> list[int]:
    mse = rows["mse"][candidates]
    finite = mse[np.isfinite(mse)]
    distance = np.abs(mse - (np.median(finite) if finite.size else 0.0))
    return [int(row) for row in candidates[np.argsort(distance, kind="stable")]]  # NaN sorts last


def read_whole_rows(folder: Path, at: Sequence[int] | NDArray[np.int64]) -> dict[str, list[Any]]:
    """Reads all columns of numbers and words of the rows ``at``, ascending, of a file that `read_rows` took.

    Raises:
        SpikeflipError: The file is missing, damaged, or a column holds something else.
    """
    path = folder / "rows.parquet"
    try:
        with pyarrow.parquet.ParquetFile(path.absolute()) as file:
            number_columns(file)
            found, before, wanted = [], 0, np.asarray(at)
            for part in file.iter_batches(ROWS_AT_A_TIME, use_threads=False):
                here = wanted[(wanted >= before) & (wanted < before + len(part))] - before
                found.append(part.take(pyarrow.array(here)))
                _check_words(found[-1])
                before += len(part)
            return dict(pyarrow.Table.from_batches(found, file.schema_arrow).to_pydict())
    except (OSError, pyarrow.ArrowException, KeyError, TypeError, ValueError) as error:
        raise damaged(path, error) from error


def read_json(path: Path) -> dict[str, Any]:
    """Reads a JSON object from a plain file of a size and depth that make sense.

    Raises:
        SpikeflipError: The file is missing, damaged, too large or too deeply nested.
    """
    if not path.is_file():
        raise damaged(path, "it is no file") if path.exists() else missing(path)
    try:
        value = json.loads(small_text(path, LARGEST_FACTS), parse_int=_whole_or_real)
        if _depth(value) > _DEEPEST_JSON:
            raise ValueError(f"it is nested more than {_DEEPEST_JSON} deep")
    except (OSError, ValueError, RecursionError) as error:
        raise damaged(path, error) from error
    if not isinstance(value, dict):
        raise damaged(path, f"it holds a {type(value).__name__} instead of an object")
    return value


def _whole_or_real(digits: str) -> float:
    """A whole number too long for any figure of a run is as good as infinite, and as quickly written."""
    return int(digits) if len(digits) <= _WHOLE_DIGITS else float(digits)


def _depth(value: object) -> int:
    depth, level = 0, [value]
    while level and depth <= _DEEPEST_JSON:
        inner = [part for part in level if isinstance(part, dict | list)]
        level = [part for holder in inner for part in (holder.values() if isinstance(holder, dict) else holder)]
        depth += 1
    return depth


def _checked_shape(file: Any, path: Path) -> tuple[int, ...]:
    """Compares the shapes in the header, before anything is allocated."""
    lacking = sorted({"originals", "adversarials", "samples"} - set(file.keys()))
    if lacking:
        raise damaged(path, f"it has no {lacking[0]}")
    before, after, samples = (
        tuple(file.get_slice(key).get_shape()) for key in ("originals", "adversarials", "samples")
    )
    if len(before) < 3 or 0 in before[1:] or before != after or samples != before[:1]:
        raise damaged(path, f"originals {before}, adversarials {after} and samples {samples} do not fit each other")
    return before


def _read_rows(path: Path, n: int, extra: Sequence[str]) -> dict[str, NDArray[Any]]:
    if not path.is_file():
        raise damaged(path, "it is no file") if path.exists() else missing(path)
    try:
        with pyarrow.parquet.ParquetFile(path.absolute()) as file:
            schema = file.schema_arrow
            lacking = [name for name in (*_WHOLE, *_REAL) if name not in schema.names]
            if lacking:
                raise damaged(path, f"it has no column {lacking[0]}")
            if file.metadata.num_rows != n:
                raise damaged(path, f"it has {file.metadata.num_rows} rows for {n} adversarial inputs")
            check_claims(file, n)
            number_columns(file)
            whole = [*_WHOLE, *(name for name in _OF_RECORDINGS if name in schema.names)]
            real = [*_REAL, *(name for name in extra if name in schema.names and name not in whole)]
            for name in (*whole, *real):
                _check_column(schema, name, whole=name in whole)
            table = file.read(columns=[*whole, *real])
        wanted = dict.fromkeys(whole, pyarrow.int64()) | dict.fromkeys(real, pyarrow.float64())
        rows = {name: table[name].cast(kind).to_numpy() for name, kind in wanted.items()}
        if gaps := [name for name in rows if len(rows[name]) != n or (name in whole and rows[name].dtype != np.int64)]:
            raise ValueError(f"column {gaps[0]} has gaps")
        for name, (low, high) in _RANGES.items():
            outside = (rows[name] < low) | (rows[name] > high)  # a value that is not a number is none outside
            if outside.any():
                raise ValueError(f"{name} is {rows[name][outside][0]} in row {int(outside.argmax())}")
        return rows
    except SpikeflipError:
        raise
    except (OSError, pyarrow.ArrowException, KeyError, TypeError, ValueError, OverflowError) as error:
        raise damaged(path, error) from error


def check_claims(file: pyarrow.parquet.ParquetFile, most: int) -> None:
    """Compares what the header of a Parquet file claims with what it can hold: memory is allocated by the claim.

    Args:
        file: A file of which only the header was read.
        most: How many rows it can have.

    Raises:
        ValueError: It claims more, as a whole or in its parts.
    """
    about = file.metadata
    parts = [about.row_group(number).num_rows for number in range(about.num_row_groups)]
    if min(parts, default=0) < 0 or not sum(parts) == about.num_rows <= most:
        raise ValueError(f"it claims {about.num_rows:,} rows, its parts {sum(parts):,}, and can have {most:,}")


def number_columns(file: pyarrow.parquet.ParquetFile) -> list[str]:
    """The columns of numbers of a file of which only the header was read; all others must be of words.

    Raises:
        ValueError: A column holds something else, or is packed more tightly than a run packs it.
    """
    about, schema = file.metadata, file.schema_arrow
    for group in range(about.num_row_groups):
        packed = {about.row_group(group).column(number).compression for number in range(about.num_columns)}
        if packed - _PACKED:
            raise ValueError(f"it is packed by {', '.join(sorted(packed - _PACKED))}, which can unpack to any size")
    numbers = [field.name for field in schema if field.type != pyarrow.string()]
    for name in numbers:
        _check_column(schema, name, whole=False)
    return numbers


def _check_words(part: pyarrow.RecordBatch) -> None:
    for name, column in zip(part.schema.names, part.columns, strict=True):
        if column.type == pyarrow.string() and any(len(str(word)) > LONGEST_WORD for word in column.to_pylist()):
            raise ValueError(f"column {name} has a word of more than {LONGEST_WORD:,} characters")


def _check_column(schema: Any, name: str, *, whole: bool) -> None:
    """Before a value is read: words and lists can unpack to any size, numbers cannot."""
    found, kinds = schema.field(name).type, pyarrow.types
    fits = kinds.is_integer(found) or kinds.is_boolean(found) or (not whole and kinds.is_floating(found))
    if not fits:
        raise ValueError(f"column {name} holds {found}, no {'whole ' if whole else ''}numbers")


def check_values(before: NDArray[Any], after: NDArray[Any], row: int, kind: str, path: Path) -> None:
    """Raises a SpikeflipError unless an input, before and after, is made of spikes or is an image."""
    if kind == "images" and before.ndim > 3:
        raise damaged(path, f"images are (N, C, H, W) and these have {before.ndim + 1} dimensions")
    for values in (before, after):
        if kind == "spikes" and not np.isin(values, (0, 1)).all():
            raise damaged(path, f"spikes are 0 or 1 and row {row} has {values.max()}")
        if not (np.isfinite(values).all() and values.min(initial=0) >= -1e-6 and values.max(initial=0) <= 1 + 1e-6):
            raise damaged(path, f"images lie in [0, 1] and row {row} does not")


def damaged(path: Path, reason: object) -> SpikeflipError:
    """The error that says which file of a run is damaged, and what to do."""
    why = " ".join(str(reason).split())[:200]
    return SpikeflipError(f"{path} is damaged ({why}); restore it, or delete the folder and attack again")

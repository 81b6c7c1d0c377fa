"""Reading a run folder for the page: checked, and of the inputs only the few that are shown."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pyarrow.parquet
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from spikeflip.errors import SpikeflipError

_WHOLE = ("sample", "input", "label", "target", "prediction", "already_wrong", "success", "steps")
_REAL = ("verified", "mse")
_OF_RECORDINGS = ("events", "events_added", "events_removed")
_EXAMPLES = 6


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
    config, manifest, summary = (_read_json(folder / f"{name}.json") for name in ("config", "manifest", "summary"))
    path = folder / "adversarials.safetensors"
    try:
        with safe_open(path, framework="numpy") as file:
            shape = _checked_shape(file, path)
            rows = _read_rows(folder / "rows.parquet", shape[0])
            if not np.array_equal(file.get_tensor("samples"), rows["sample"]):
                raise _damaged(path, "its samples are not those of rows.parquet")
            before, after = file.get_slice("originals"), file.get_slice("adversarials")
            examples = tuple(Example(i, before[i : i + 1][0], after[i : i + 1][0]) for i in choose_examples(rows))
            whole = not before.get_dtype().startswith(("F", "BF"))
    except SpikeflipError:
        raise
    except FileNotFoundError:
        raise _missing(path) from None
    except (OSError, SafetensorError, TypeError, ValueError) as error:
        raise _damaged(path, error) from error
    kind = config.get("kind") if config.get("kind") in ("images", "spikes") else ("spikes" if whole else "images")
    for example in examples:
        _check_values(example, str(kind), path)
    name = config.get("name") or folder.resolve().name
    return Run(config, manifest, summary, rows, examples, str(kind), str(name))


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


def _read_json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise _missing(path) from None
    except (OSError, ValueError, RecursionError) as error:
        raise _damaged(path, error) from error
    if not isinstance(value, dict):
        raise _damaged(path, f"it holds a {type(value).__name__} instead of an object")
    return value


def _checked_shape(file: Any, path: Path) -> tuple[int, ...]:
    """Compares the shapes in the header, before anything is allocated."""
    lacking = sorted({"originals", "adversarials", "samples"} - set(file.keys()))
    if lacking:
        raise _damaged(path, f"it has no {lacking[0]}")
    before, after, samples = (
        tuple(file.get_slice(key).get_shape()) for key in ("originals", "adversarials", "samples")
    )
    if len(before) < 3 or 0 in before[1:] or before != after or samples != before[:1]:
        raise _damaged(path, f"originals {before}, adversarials {after} and samples {samples} do not fit each other")
    return before


def _read_rows(path: Path, n: int) -> dict[str, NDArray[Any]]:
    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            lacking = [name for name in (*_WHOLE, *_REAL) if name not in file.schema_arrow.names]
            if lacking:
                raise _damaged(path, f"it has no column {lacking[0]}")
            if file.metadata.num_rows != n:
                raise _damaged(path, f"it has {file.metadata.num_rows} rows for {n} adversarial inputs")
            whole = [*_WHOLE, *(name for name in _OF_RECORDINGS if name in file.schema_arrow.names)]
            table = file.read(columns=[*whole, *_REAL])
        columns = {name: np.array(table[name].to_pylist(), dtype=np.int64) for name in whole}
        return columns | {name: np.array(table[name].to_pylist(), dtype=np.float64) for name in _REAL}
    except SpikeflipError:
        raise
    except FileNotFoundError:
        raise _missing(path) from None
    except (OSError, pyarrow.ArrowException, TypeError, ValueError, OverflowError) as error:
        raise _damaged(path, error) from error


def _check_values(example: Example, kind: str, path: Path) -> None:
    if kind == "images" and example.original.ndim > 3:
        raise _damaged(path, f"images are (N, C, H, W) and these have {example.original.ndim + 1} dimensions")
    for values in (example.original, example.adversarial):
        if kind == "spikes" and not np.isin(values, (0, 1)).all():
            raise _damaged(path, f"spikes are 0 or 1 and row {example.row} has {values.max()}")
        if not (np.isfinite(values).all() and values.min(initial=0) >= -1e-6 and values.max(initial=0) <= 1 + 1e-6):
            raise _damaged(path, f"images lie in [0, 1] and row {example.row} does not")


def _missing(path: Path) -> SpikeflipError:
    return SpikeflipError(f"{path.parent} is not a finished run, {path.name} is missing; resume the run first")


def _damaged(path: Path, reason: object) -> SpikeflipError:
    why = " ".join(str(reason).split())[:200]
    return SpikeflipError(f"{path} is damaged ({why}); run the attack again or restore the file")

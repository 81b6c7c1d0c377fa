"""The course of an attack, of a run that was traced: penultimate spikes, and inputs without a gradient, by step."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pyarrow.parquet
from numpy.typing import NDArray

from spikeflip.report.loading import check_claims, damaged, number_columns

TRACE = "trace.parquet"
_COLUMNS = ("sample", "iteration", "penultimate_spikes", "rule")
_MOST_ROWS, _MOST_STEPS = 1 << 22, 10_000
"""More rows are not drawn, and no steps after these."""


@dataclass(frozen=True)
class Course:
    """One entry a step of the attack, over the inputs that were still attacked in it."""

    steps: NDArray[np.int64]
    """From 1."""
    running: NDArray[np.int64]
    """How many inputs were still attacked."""
    vanished: NDArray[np.float64] | None
    """The share of them that had no gradient to follow; None of attacks that follow none."""
    spikes: NDArray[np.float64] | None
    """`(steps, 3)` quartiles of the penultimate layer's spikes; None where the victim tells none."""


def read_course(folder: Path) -> Course | None:
    """Reads the trace of a run; None where it was not traced, nothing was attacked, or it is too long to be drawn.

    Raises:
        SpikeflipError: The trace is damaged.
    """
    path = folder / TRACE
    if not path.is_file():
        return None
    try:
        with pyarrow.parquet.ParquetFile(path.absolute()) as file:
            lacking = [name for name in _COLUMNS if name not in file.schema_arrow.names]
            if lacking:
                raise ValueError(f"it has no column {lacking[0]}")
            if file.metadata.num_rows > _MOST_ROWS:
                return None
            check_claims(file, _MOST_ROWS)
            number_columns(file)
            table = file.read(columns=list(_COLUMNS))
        columns = {name: table[name].cast(pyarrow.int64()).to_numpy() for name in _COLUMNS}
        if any(column.dtype != np.int64 for column in columns.values()):
            raise ValueError("it has gaps")
        if (columns["iteration"] < 0).any():
            raise ValueError(f"iteration is {columns['iteration'].min()}")
    except (OSError, pyarrow.ArrowException, KeyError, TypeError, ValueError, OverflowError) as error:
        raise damaged(path, error) from error
    drawn = columns["iteration"] < _MOST_STEPS
    return _course({name: column[drawn] for name, column in columns.items()}) if drawn.any() else None


def _course(columns: dict[str, NDArray[Any]]) -> Course:
    from spikeflip.attacks.result import Trace  # imports PyTorch, which pages do without otherwise

    by_gradient, without = (Trace.CONVERTER, Trace.SIGN), (Trace.FLIPPER, Trace.UNMOVED)
    order = np.argsort(columns["iteration"], kind="stable")
    steps, starts = np.unique(columns["iteration"][order], return_index=True)
    rules, spikes = columns["rule"][order], columns["penultimate_spikes"][order]
    ends = [*starts[1:].tolist(), len(order)]
    parts = [slice(start, end) for start, end in zip(starts.tolist(), ends, strict=True)]
    known = np.isin(rules, (*by_gradient, *without)).all()
    counted = [spikes[part][spikes[part] >= 0] for part in parts]
    return Course(
        steps=steps + 1,
        running=np.array([part.stop - part.start for part in parts]),
        vanished=np.array([np.isin(rules[part], without).mean() for part in parts]) if known else None,
        spikes=np.array([np.quantile(part, (0.25, 0.5, 0.75)) for part in counted]) if all(map(len, counted)) else None,
    )

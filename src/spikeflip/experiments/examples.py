"""A few inputs before and after an attack, small enough to be kept in a result file (Fig. 18)."""

import base64
import math
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikeflip.errors import SpikeflipError
from spikeflip.report.loading import choose_examples, open_inputs, read_facts, read_rows

_MOST = 1 << 24
"""Cells of an input."""


def typical_examples(run: Path, count: int = 4) -> list[dict[str, Any]]:
    """Typical successes of a run, spread over the classes.

    Args:
        run: a finished run.
        count: how many at most.

    Returns:
        For each the classes ``label`` and ``prediction``, its ``shape``, and ``before`` and ``after`` as text: 8 bits a
        cell, of spikes 0 and 1, of images 0 to 255.
    """
    saved, classes = open_inputs(run), read_facts(run, "config")["classes"]
    rows = read_rows(run, saved.samples)
    # The last one that is chosen is a failure where there is any.
    chosen = [row for row in choose_examples(rows, count + 1) if rows["success"][row]][:count]
    return [
        {name: str(classes[int(rows[name][row])]) for name in ("label", "prediction")}
        | {"shape": list(saved.shape), "spikes": saved.whole}
        | {
            side: _packed(values, saved.whole)
            for side, values in zip(("before", "after"), saved.read(row), strict=True)
        }
        for row in chosen
    ]


def unpacked(example: Mapping[str, Any]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """An example before and after, of its shape, in [0, 1].

    Raises:
        SpikeflipError: it is damaged.
    """
    try:
        shape = tuple(int(side) for side in example["shape"])
        scale = 1.0 if example["spikes"] else 255.0
        before, after = (_values(example[side], math.prod(shape)).reshape(shape) for side in ("before", "after"))
    except (KeyError, TypeError, ValueError, zlib.error) as error:
        raise SpikeflipError(f"an example of a result is damaged ({error}): run the experiment again") from error
    return before / scale, after / scale


def _packed(values: NDArray[Any], whole: bool) -> str:
    cells = np.asarray(values, dtype=np.float64) * (1 if whole else 255)
    return base64.b64encode(zlib.compress(cells.round().astype(np.uint8).tobytes(), 9)).decode("ascii")


def _values(text: str, cells: int) -> NDArray[np.float64]:
    if not 0 < cells <= _MOST:
        raise ValueError(f"it claims {cells:,} cells")
    content = zlib.decompressobj().decompress(base64.b64decode(text), cells)
    return np.frombuffer(content, np.uint8).astype(np.float64)

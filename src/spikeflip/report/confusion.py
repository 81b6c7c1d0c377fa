"""What the victim said of each class after the attack: a matrix, or the most frequent pairs of many classes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

MOST_CLASSES = 20
_MOST_PAIRS = 10


def confusion(rows: Mapping[str, NDArray[Any]], name: Callable[[int], str]) -> dict[str, Any] | None:
    """Counts attacked inputs by true class and by what the victim says after the attack.

    Args:
        rows: The columns of `rows.parquet`.
        name: What a class is called; -1 is a tie.

    Returns:
        `n`, and of up to `MOST_CLASSES` classes `columns`, their names, and `lines`: the name of the true class, its
        number of inputs, and the cells, each a count, its share of the line, and whether the class is the true one. Of
        more classes `pairs` instead: true class, class said, count. None where nothing was attacked.
    """
    attacked = ~rows["already_wrong"].astype(bool)
    labels, said = rows["label"][attacked], rows["prediction"][attacked]
    if not len(labels):
        return None
    classes = np.union1d(labels, said[said >= 0])
    if len(classes) > MOST_CLASSES:
        return {"n": len(labels), "pairs": _pairs(labels, said, name)}
    columns = [*classes.tolist(), *([-1] if (said < 0).any() else [])]
    lines = [_line(label, said[labels == label], columns, name) for label in np.unique(labels).tolist()]
    return {"n": len(labels), "columns": [name(column) for column in columns], "lines": lines}


def _line(label: int, said: NDArray[Any], columns: list[int], name: Callable[[int], str]) -> dict[str, Any]:
    counts = [int((said == column).sum()) for column in columns]
    cells = [
        {"count": count, "share": count / len(said), "kept": column == label}
        for column, count in zip(columns, counts, strict=True)
    ]
    return {"name": name(label), "n": len(said), "cells": cells}


def _pairs(labels: NDArray[Any], said: NDArray[Any], name: Callable[[int], str]) -> list[tuple[str, str, int]]:
    moved = labels != said
    pairs, counts = np.unique(np.stack([labels[moved], said[moved]], axis=1), axis=0, return_counts=True)
    most = np.argsort(-counts, kind="stable")[:_MOST_PAIRS]
    return [(name(int(pairs[at, 0])), name(int(pairs[at, 1])), int(counts[at])) for at in most]

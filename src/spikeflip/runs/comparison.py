"""Finished runs compared on a page: their rates, their curves on one set of axes, and each two input by input."""

from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

from spikeflip.errors import SpikeflipError
from spikeflip.report.comparison import render_comparison
from spikeflip.report.loading import load_run
from spikeflip.report.page import save_page
from spikeflip.report.tables import folder_names
from spikeflip.runs.compare import compare_runs, find_runs, list_runs

_MOST = 50
_MOST_PAIRED = 6
"""More runs have too many pairs to read."""


def write_comparison(folders: Sequence[Path], out: Path) -> Path:
    """Compare runs on a page.

    Args:
        folders: run folders, or folders with runs in them; at least two runs.
        out: the HTML file; its folder must exist.

    Returns:
        ``out``.

    Raises:
        SpikeflipError: there are fewer than two runs or too many, one is damaged or not finished, or the page cannot be
            written.
    """
    paths = find_runs(folders)
    if not 2 <= len(paths) <= _MOST:
        raise SpikeflipError(f"a comparison is of 2 to {_MOST} runs and here are {len(paths)}: give other run folders")
    rows = list_runs(paths)
    for row in rows:
        if row["state"] != "finished":
            raise SpikeflipError(row["note"] or f"{row['name']} is not finished: resume the run first")
    runs = [load_run(path) for path in paths]
    pairs, apart = _paired(dict(zip(folder_names(paths), paths, strict=True)))
    return save_page(render_comparison(runs, rows, pairs, apart), out)


def _paired(paths: Mapping[str, Path]) -> tuple[list[dict[str, Any]], str]:
    """Each two runs input by input, as far as they can be compared, and a sentence on those that cannot."""
    if len(paths) > _MOST_PAIRED:
        return [], f"More than {_MOST_PAIRED} runs are not compared input by input."
    pairs, apart = [], 0
    for first, second in combinations(paths, 2):
        try:
            pairs.append(compare_runs(paths[first], paths[second]) | {"first": first, "second": second})
        except SpikeflipError:  # other data, or no input and target in common
            apart += 1
    if not apart:
        return pairs, ""
    which = "One pair of runs is" if apart == 1 else f"{apart} pairs of runs are"
    return pairs, f"{which} not compared input by input: they have other data, or share no input with the same target."

"""Finished runs compared on a page: their rates, their curves on one set of axes, and each two input by input."""

from collections.abc import Sequence
from itertools import combinations
from pathlib import Path

from spikeflip.errors import SpikeflipError
from spikeflip.report.comparison import folder_names, render_comparison
from spikeflip.report.loading import load_run
from spikeflip.report.page import save_page
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
    pairs, notes = [], []
    if len(paths) > _MOST_PAIRED:
        notes.append(f"Runs are compared input by input where they are {_MOST_PAIRED} at most.")
    else:
        for first, second in combinations(zip(folder_names(runs), paths, strict=True), 2):
            try:
                found = compare_runs(first[1], second[1])
            except SpikeflipError:
                notes.append(f"{first[0]} and {second[0]} have no input and target in common.")
            else:
                pairs.append(found | {"first": first[0], "second": second[0]})
    return save_page(render_comparison(runs, rows, pairs, notes), out)

"""The command ``spikeflip compare``: several runs on one page."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from spikeflip.cli.command_line import Quiet
from spikeflip.cli.terminal import say


def compare(
    runs: Annotated[list[Path], Parameter(help="Run folders, or folders with runs in them.", consume_multiple=True)],
    /,
    *,
    out: Annotated[Path, Parameter(help="File to write.")] = Path("comparison.html"),
    quiet: Quiet = False,
) -> None:
    """Compare several runs on one page: rates, curves on one set of axes, and each two input by input."""
    from spikeflip.runs import write_comparison

    write_comparison(runs, out)
    if not quiet:
        say(f"page: {out}")

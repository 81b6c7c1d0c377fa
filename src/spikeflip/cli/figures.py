"""The commands ``spikeflip plot`` and ``animate``: figures of finished runs for papers and talks."""

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from spikeflip.cli.command_line import Quiet
from spikeflip.cli.terminal import say


def plot(
    place: Annotated[Path, Parameter(help="Run folder, or a sweep's or any other folder with runs in it.")],
    /,
    *,
    kind: Annotated[
        Literal["sweep", "budget", "frames"],
        Parameter(
            help="sweep: success over a numeric option; budget: robust accuracy over the size of the change, a line a "
            "run; frames: one input before and after."
        ),
    ],
    out: Annotated[Path, Parameter(help="File to write, .pdf, .svg or .png; its data are a .csv file beside it.")],
    over: Annotated[
        str | None, Parameter(help="Option of sweep; the one with the most numbers when not given.")
    ] = None,
    metric: Annotated[
        str | None, Parameter(help="Size of budget, such as l0, mse or linf; l0 of spikes, mse of images.")
    ] = None,
    sample: Annotated[int | None, Parameter(help="Row of frames, from 0; a typical success when not given.")] = None,
    columns: Annotated[Literal[1, 2], Parameter(help="Width: 1 column of a paper (3.5 in) or 2 (7.16 in).")] = 1,
    style: Annotated[
        str | None, Parameter(help="Style of Matplotlib by name, such as grayscale, or a .mplstyle file.")
    ] = None,
    quiet: Quiet = False,
) -> None:
    """Draw a figure for a paper of finished runs, and write its data beside it."""
    from spikeflip.runs.figures import plot as draw

    figure, data = draw(place, kind, out, over=over, metric=metric, row=sample, columns=columns, style=style)
    if not quiet:
        say(f"figure: {figure}")
        say(f"data: {data}")


def animate(
    run: Annotated[Path, Parameter(help="Run folder.")],
    /,
    *,
    out: Annotated[Path, Parameter(help="File to write, .gif.")],
    sample: Annotated[int | None, Parameter(help="Row of the run, from 0; a typical success when not given.")] = None,
    fps: Annotated[float, Parameter(help="Frames a second, a frame a time step.")] = 5.0,
    quiet: Quiet = False,
) -> None:
    """Write an animation of one input of a run before and after, and of what changed."""
    from spikeflip.runs.figures import animate as draw

    draw(run, out, row=sample, fps=fps)
    if not quiet:
        say(f"animation: {out}")

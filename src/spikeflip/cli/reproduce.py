"""The command ``spikeflip reproduce``: the paper's tables and figures."""

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from spikeflip.cli.command_line import AsJson, Quiet
from spikeflip.cli.terminal import Bars, print_findings, print_json, print_names, say
from spikeflip.experiments.presets import PresetName
from spikeflip.runs.config import Execution


def reproduce(
    names: Annotated[
        list[str] | None, Parameter(help="Experiments (--list names them), or all.", consume_multiple=True)
    ] = None,
    /,
    *,
    preset: Annotated[
        PresetName,
        Parameter(help="paper: for a GPU; cpu: quarter width, hours; smoke: the bundled digits, minutes."),
    ] = "cpu",
    root: Annotated[Path | None, Parameter(help="Folder with the data sets' files; not needed for smoke.")] = None,
    out: Annotated[Path, Parameter(help="Folder for victims, runs and results; what is there is found again.")] = Path(
        "reproduction"
    ),
    data: Annotated[
        list[str] | None,
        Parameter(help="Data sets, as the page names them; all when not given.", consume_multiple=True, negative=""),
    ] = None,
    width: Annotated[float | None, Parameter(help="Factor on hidden layers, instead of the preset's.")] = None,
    download: Annotated[bool, Parameter(help="Download what is not in --root.", negative="")] = False,
    device: Annotated[str, Parameter(help="Where victims are attacked: cpu, cuda or cuda:N.")] = "cpu",
    precision: Annotated[
        Literal["float32", "bf16-gradient"],
        Parameter(help="bf16-gradient: gradients through the weights in bfloat16; scores stay float32."),
    ] = "float32",
    workers: Annotated[int | None, Parameter(help="Processes that attack at a time; 1 when not given.")] = None,
    show: Annotated[bool, Parameter(name="--list", help="Name the experiments, and run none.", negative="")] = False,
    quiet: Quiet = False,
    json: AsJson = False,
) -> None:
    """Run tables and figures of the paper, and write them beside the paper's on a page; goes on when run again."""
    from spikeflip.experiments import EXPERIMENTS

    if show:
        titles = {name: experiment.title for name, experiment in EXPERIMENTS.items()}
        (print_json if json else print_names)(titles)
        return
    from spikeflip.experiments import reproduce as run_experiments

    with Bars(quiet or json) as bars:
        results = run_experiments(
            names or [],
            out,
            preset=preset,
            root=root,
            data=data,
            width=width,
            download=download,
            device=device,
            precision=precision,
            execution=Execution(workers=workers),
            progress=bars.stage,
        )
    if json:
        print_json(results)
    elif not quiet:
        print_findings(results)
        say(f"page: {out / 'reproduction.md'}")

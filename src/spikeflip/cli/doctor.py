"""The command ``spikeflip doctor``: can this model be attacked, and if not, why?"""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter
from rich.console import Console
from rich.table import Table
from rich.text import Text

from spikeflip.cli.command_line import AsJson, foreign_prints
from spikeflip.cli.terminal import print_json, say
from spikeflip.errors import SpikeflipError
from spikeflip.report.tables import one_line
from spikeflip.runs.config import CallingConfig

if TYPE_CHECKING:
    from torch import Tensor

_WIDE = 120
_NARROW = 16  # names of checks, where lines are shorter
_MARKS = {"passed": ("✓", "green"), "remark": ("!", "yellow"), "failed": ("✗", "red")}


def doctor(
    factory: Annotated[
        str | None,
        Parameter(
            help="PACKAGE.MODULE:FUNCTION, which returns the model. This runs that code; it is looked for in this "
            "folder first, then among what is installed."
        ),
    ] = None,
    /,
    *,
    victim: Annotated[Path | None, Parameter(help="Folder that 'train' wrote, instead of a factory.")] = None,
    options: Annotated[CallingConfig, Parameter(name="*")] = CallingConfig(),  # noqa: B008 - frozen
    example: Annotated[
        Path | None, Parameter(help=".npy file with inputs (N, T, ...), or images (N, ...), instead of random spikes.")
    ] = None,
    rate: Annotated[float, Parameter(help="Share of ones in random spikes.")] = 0.2,
    seed: Annotated[int, Parameter(help="Of the random inputs.")] = 0,
    json: AsJson = False,
) -> None:
    """Check whether a model can be attacked, and say what to do where not; exit status 1 if it cannot."""
    from spikeflip.runs.calling import calling_of, random_inputs
    from spikeflip.snn.checkpoint import load_checkpoint
    from spikeflip.victims import doctor as examine
    from spikeflip.victims.factory import load_factory

    if (factory is None) == (victim is None):
        raise SpikeflipError("the model is missing, or named twice: give PACKAGE.MODULE:FUNCTION or --victim FOLDER")
    if not 0 < rate < 1:
        raise SpikeflipError(f"--rate is {rate}: give a number between 0 and 1, such as 0.2")
    if not 0 <= seed < 2**63:
        raise SpikeflipError(f"--seed is {seed}: give an integer from 0 to 2^63 - 1")
    with foreign_prints():
        model = load_factory(factory) if factory is not None else load_checkpoint(victim or Path()).network
        if example is None:
            inputs = random_inputs(model, options, rate=rate, seed=seed)
        elif options.input_shape is None:
            inputs = _read(example)
        else:
            raise SpikeflipError("--example says the shape of the inputs: leave --input-shape out")
        diagnosis = examine(model, inputs, **calling_of(options, model))
    summary = diagnosis.summary()
    if json:
        print_json(summary)
    else:
        print_diagnosis(summary)
    if not diagnosis.attackable:
        raise SystemExit(1)


def _read(file: Path) -> "Tensor":
    import numpy as np
    import torch

    from spikeflip.runs.calling import EXAMPLES

    if not file.is_file():
        raise SpikeflipError(f"--example {file} does not exist: give a .npy file with inputs (N, T, ...)")
    try:
        values = np.load(file, allow_pickle=False, mmap_mode="r")
        if not isinstance(values, np.ndarray) or values.ndim < 2 or values.dtype.kind not in "biuf":
            raise ValueError("it holds no array of numbers (N, T, ...)")
        return torch.from_numpy(values[:EXAMPLES].astype(np.float32))
    except (ValueError, EOFError, OSError) as error:
        raise SpikeflipError(
            f"--example {file} cannot be used ({error}): give a .npy file, as numpy.save writes"
        ) from error


def print_diagnosis(summary: Mapping[str, Any]) -> None:
    """Write the verdicts as a table, each with its fix, and the conclusion."""
    from spikeflip.runs.calling import as_options

    console = Console()
    table = Table(box=None, pad_edge=False, show_header=False)
    for column in range(3):
        table.add_column(overflow="fold", no_wrap=column == 0)
    table.columns[1].max_width = _NARROW if console.width < _WIDE else None
    for verdict in summary["verdicts"]:
        mark, colour = _MARKS[verdict["state"]]
        text = Text(one_line(as_options(verdict["finding"])))
        if verdict["fix"]:
            text.append(f"\n→ {one_line(as_options(verdict['fix']))}", "bold")
        table.add_row(Text(mark, colour), Text(verdict["check"]), text)
    console.print(table)
    if summary["not_run"]:
        say(f"not run until that is mended: {', '.join(summary['not_run'])}")
    states = [verdict["state"] for verdict in summary["verdicts"]]
    remarks = states.count("remark")
    if summary["attackable"]:
        heed = f"; heed {remarks} remark{'s' if remarks > 1 else ''} (!)" if remarks else ""
        say(f"the model can be attacked{heed}")
    else:
        failures = states.count("failed")
        say(f"the model cannot be attacked: {failures} check{'s' if failures > 1 else ''} failed (✗)")

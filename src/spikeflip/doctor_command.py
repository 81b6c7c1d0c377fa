"""The command ``spikeflip doctor``: can this model be attacked, and if not, why?"""

import importlib
import math
import os
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter
from rich.console import Console
from rich.table import Table
from rich.text import Text

from spikeflip.command_line import AsJson
from spikeflip.errors import SpikeflipError
from spikeflip.limits import MOST_EXAMPLE_VALUES, most_cells, together
from spikeflip.report.tables import one_line
from spikeflip.terminal import print_json, say

if TYPE_CHECKING:
    from torch import Tensor

SAMPLES = 8
_FEWEST = 3  # samples that the checks compare
_LINE = 120  # of a file or a pipe
_NARROW = 16  # names of checks, on a terminal with shorter lines
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
    input_shape: Annotated[
        str | None, Parameter(help="Of one sample, without the batch: T,C,H,W or T,F; C,H,W with the layout static.")
    ] = None,
    layout: Annotated[
        str | None,
        Parameter(
            help="What the model takes: TB (time first; when not given), BT, steps, steps+state, flat-BT, static or "
            "T-last."
        ),
    ] = None,
    output: Annotated[
        str | None, Parameter(help="Part of what the model returns that holds the output: its place or its key.")
    ] = None,
    readout: Annotated[
        str | None, Parameter(help="From steps to scores: mean (when not given), last, max, sum or none.")
    ] = None,
    time_steps: Annotated[
        int | None,
        Parameter(help="Calls of the model with an image, where time is outside of it; with the layout static."),
    ] = None,
    neurons: Annotated[
        list[str] | None,
        Parameter(
            help="Spiking layers of your own: CLASS=THRESHOLD,SPIKE_FUNCTION with names of attributes; or none, for a "
            "model in which no spiking layers can be found.",
            consume_multiple=True,
            negative="",
        ),
    ] = None,
    penultimate: Annotated[str | None, Parameter(help="Name of the penultimate spiking layer.")] = None,
    example: Annotated[
        Path | None, Parameter(help=".npy file with inputs (N, T, ...), or images (N, ...), instead of random spikes.")
    ] = None,
    rate: Annotated[float, Parameter(help="Share of ones in random spikes.")] = 0.2,
    seed: Annotated[int, Parameter(help="Of the random inputs.")] = 0,
    json: AsJson = False,
) -> None:
    """Check whether a model can be attacked, and say what to do where not; exit status 1 if it cannot."""
    from spikeflip.snn.checkpoint import load_checkpoint
    from spikeflip.victims import doctor as examine

    if (factory is None) == (victim is None):
        raise SpikeflipError("the model is missing, or named twice: give PACKAGE.MODULE:FUNCTION or --victim FOLDER")
    with _prints_to_stderr():
        model = load_factory(factory) if factory is not None else load_checkpoint(victim or Path()).network
        options: dict[str, Any] = {
            "layout": layout,
            "output": _part(output),
            "readout": readout,
            "time_steps": time_steps,
            "penultimate": penultimate,
            "neurons": _neurons(neurons, model),
        }
        options = {name: value for name, value in options.items() if value is not None}
        inputs = _inputs(model, layout, input_shape, example, rate, seed)
        diagnosis = examine(model, inputs, **options)
    summary = diagnosis.summary()
    if json:
        print_json(summary)
    else:
        print_diagnosis(summary)
    if not diagnosis.attackable:
        raise SystemExit(1)


def load_factory(place: str) -> Any:
    """The model that ``package.module:function`` returns; modules of the current folder come before installed ones.

    Raises:
        SpikeflipError: there is no such thing, or it raises.
    """
    from spikeflip.victims.checks import raised

    module_name, _, path = place.partition(":")
    if not all(part.isidentifier() for part in (*module_name.split("."), *path.split("."))):
        raise SpikeflipError(f"{place!r} names no factory: write PACKAGE.MODULE:FUNCTION, such as models.digits:build")
    made: Any = _imported(module_name)
    for name in path.split("."):
        if not hasattr(made, name):
            raise SpikeflipError(f"there is no {path!r} in {module_name}: name a function in it that returns the model")
        made = getattr(made, name)
    if hasattr(made, "named_modules") and not isinstance(made, type):
        return made  # the model itself
    if not callable(made):
        raise SpikeflipError(
            f"{place} is a value of type {type(made).__name__}: name a function without arguments that returns the "
            "model"
        )
    try:
        return made()
    except (Exception, SystemExit) as error:
        raise SpikeflipError(
            f"{place} raised an error ({raised(error)}): mend it; it is called without arguments and returns the model"
        ) from error


def _imported(name: str) -> object:
    from spikeflip.victims.checks import raised

    folder = os.getcwd()
    if folder not in sys.path:
        sys.path.insert(0, folder)
    importlib.invalidate_caches()
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and f"{name}.".startswith(f"{error.name}."):
            raise SpikeflipError(
                f"there is no module {name!r}, neither installed nor in this folder ({folder}): check its name, or go "
                "to the folder that holds it"
            ) from error
        raise SpikeflipError(f"importing {name} needs the module {error.name!r}: install it") from error
    except (Exception, SystemExit) as error:
        raise SpikeflipError(f"importing {name} raised an error ({raised(error)}): mend it") from error


@contextmanager
def _prints_to_stderr() -> Iterator[None]:
    """What a model's own code prints is no part of the answer."""
    with redirect_stdout(sys.stderr):
        yield


def _part(output: str | None) -> int | str | None:
    return int(output) if output is not None and re.fullmatch(r"-?\d+", output) else output


def _neurons(rows: Sequence[str] | None, model: Any) -> dict[Any, tuple[str, str]] | None:
    """The classes of a model's layers by name, with the attributes that a user gives for them."""
    from torch import nn

    from spikeflip.victims.modules import modules

    if rows is None:
        return None
    if list(rows) == ["none"]:
        return {}
    found_in = modules(model) if isinstance(model, nn.Module) else ()
    classes = {cls.__name__: cls for module in found_in for cls in type(module).__mro__}
    found = {}
    for row in rows:
        name, _, attributes = row.partition("=")
        threshold, _, function = attributes.partition(",")
        if not (name and threshold.isidentifier() and function.isidentifier()):
            raise SpikeflipError(
                f"--neurons {row!r} is not CLASS=THRESHOLD,SPIKE_FUNCTION: write such as MyLIF=threshold,fire, or none"
            )
        if name not in classes:
            raise SpikeflipError(f"--neurons names {name!r}: choose the class of one of the model's layers")
        found[classes[name]] = (threshold, function)
    return found


def _inputs(
    model: Any, layout: str | None, input_shape: str | None, example: Path | None, rate: float, seed: int
) -> "Tensor":
    """The inputs of a file, or random ones of the shape that the model takes."""
    import torch

    from spikeflip.snn.coding import bernoulli
    from spikeflip.streams import uniform
    from spikeflip.victims.victim import is_victim

    if not 0 < rate < 1:
        raise SpikeflipError(f"--rate is {rate}: give a number between 0 and 1, such as 0.2")
    if not 0 <= seed < 2**63:
        raise SpikeflipError(f"--seed is {seed}: give an integer from 0 to 2^63 - 1")
    if example is not None:
        if input_shape is not None:
            raise SpikeflipError("--example says the shape of the inputs: leave --input-shape out")
        return _read(example)
    coding = model.coding if is_victim(model) else None
    shape = _shape(input_shape, model)
    samples = _how_many(
        model, shape, "the victim's own shape" if input_shape is None else f"--input-shape {input_shape}"
    )
    ids = torch.arange(samples)
    if layout == "static" or coding == "direct":
        return uniform(seed, ids, "encode", 0, shape)
    if len(shape) < 2:
        raise SpikeflipError(f"--input-shape is {input_shape!r}: give time steps and at least one more size, T,C,H,W")
    return bernoulli(torch.full((samples, *shape[1:]), rate), shape[0], seed=seed, samples=ids)


def _shape(text: str | None, model: Any) -> tuple[int, ...]:
    from spikeflip.victims.victim import is_victim

    if text is None:
        if not is_victim(model):
            raise SpikeflipError("--input-shape is missing: give the shape of one sample, T,C,H,W, such as 10,2,34,34")
        known = tuple(model.input_shape)
        return known if model.coding == "direct" else (model.time_steps, *known)
    try:
        shape = tuple(int(part) for part in text.split(","))
    except ValueError:
        shape = ()
    if not shape or min(shape) < 1:
        raise SpikeflipError(f"--input-shape is {text!r}: give whole numbers with commas, T,C,H,W, such as 10,2,34,34")
    return shape


def _how_many(model: Any, shape: tuple[int, ...], said: str) -> int:
    """How many samples of random inputs fit into memory, and through the model, if enough do."""
    from spikeflip.snn.network import ReluNetwork, SpikingNetwork

    values = math.prod(shape)
    cells, most = values, MOST_EXAMPLE_VALUES
    if isinstance(model, SpikingNetwork | ReluNetwork):
        cells = model.time_steps * sum(map(math.prod, model.shapes))
        most = max(most, most_cells(sum(weight.numel() for weight in model.weights)))
    if _FEWEST * values > MOST_EXAMPLE_VALUES or _FEWEST * cells > most:
        raise SpikeflipError(
            f"{said} is {shape}, of which {_FEWEST} samples take more than {MOST_EXAMPLE_VALUES:,} values or the model "
            f"more than {most:,}: give a smaller one"
        )
    return min(together(SAMPLES, cells), MOST_EXAMPLE_VALUES // values)


def _read(file: Path) -> "Tensor":
    import numpy as np
    import torch

    if not file.is_file():
        raise SpikeflipError(f"--example {file} does not exist: give a .npy file with inputs (N, T, ...)")
    try:
        values = np.load(file, allow_pickle=False, mmap_mode="r")
        if not isinstance(values, np.ndarray) or values.ndim < 2 or values.dtype.kind not in "biuf":
            raise ValueError("it holds no array of numbers (N, T, ...)")
        return torch.from_numpy(values[:SAMPLES].astype(np.float32))
    except (ValueError, EOFError, OSError) as error:
        raise SpikeflipError(
            f"--example {file} cannot be used ({error}): give a .npy file, as numpy.save writes"
        ) from error


def print_diagnosis(summary: Mapping[str, Any]) -> None:
    """Write the verdicts as a table, each with its fix, and the conclusion."""
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = max(console.width, _LINE)
    table = Table(box=None, pad_edge=False, show_header=False)
    for column in range(3):
        table.add_column(overflow="fold", no_wrap=column == 0)
    table.columns[1].max_width = _NARROW if console.width < _LINE else None
    for verdict in summary["verdicts"]:
        mark, colour = _MARKS[verdict["state"]]
        text = Text(one_line(verdict["finding"]))
        if verdict["fix"]:
            text.append(f"\n→ {one_line(verdict['fix'])}", "bold")
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

"""How a model of the user's own is called, and what it is first looked at with."""

import math
import re
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from spikeflip.errors import SpikeflipError
from spikeflip.limits import MOST_EXAMPLE_VALUES, most_cells, together
from spikeflip.runs.config import CallingConfig
from spikeflip.snn.coding import bernoulli
from spikeflip.snn.network import ReluNetwork, SpikingNetwork
from spikeflip.streams import uniform
from spikeflip.victims.modules import modules
from spikeflip.victims.victim import is_victim

EXAMPLES, EXAMPLE_RATE = 8, 0.2
"""Samples of random inputs, and their share of ones."""
_FEWEST = 3  # samples that the checks of a model compare
_ARGUMENT = "layout|output|readout|time_steps|penultimate|neurons"
_AS_OPTIONS = (
    (r"neurons=\{(\w+): \('(\w+)', '(\w+)'\)\}", r"--neurons \1=\2,\3"),
    (r"neurons=\{\}", "--neurons none"),
    (rf"\b({_ARGUMENT})=(?:'([\w+-]+)'|(\d+|T)\b)", r"--\1 \2\3"),
    (rf"\b({_ARGUMENT})=(?=[,:]|$| (?!a function))", r"--\1"),
    ("--time_steps", "--time-steps"),
)
"""What of Python's advice a command can be given, and as what; functions it cannot."""


def calling_of(config: CallingConfig, model: Any) -> dict[str, Any]:
    """What :func:`spikeflip.wrap` is told of a model, of what is said.

    Raises:
        SpikeflipError: ``neurons`` is not written as it should be, or names no layer of the model.
    """
    output = config.output
    options: dict[str, Any] = {
        "layout": config.layout,
        "output": int(output) if output is not None and re.fullmatch(r"-?\d+", output) else output,
        "readout": config.readout,
        "time_steps": config.time_steps,
        "penultimate": config.penultimate,
        "neurons": _neurons(config.neurons, model),
    }
    return {name: value for name, value in options.items() if value is not None}


def as_options(advice: str) -> str:
    """What :func:`spikeflip.wrap` and the doctor advise, with options of the command in the place of arguments.

    >>> as_options("leave it out, or give images and layout='static'")
    'leave it out, or give images and --layout static'
    """
    for argument, written in _AS_OPTIONS:
        advice = re.sub(argument, written, advice)
    return advice


def _neurons(rows: Sequence[str] | None, model: Any) -> dict[Any, tuple[str, str]] | None:
    """The classes of a model's layers by name, with the attributes that a user gives for them."""
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


def random_inputs(model: Any, config: CallingConfig, *, rate: float = EXAMPLE_RATE, seed: int = 0) -> Tensor:
    """A few random spikes, or images, of the shape that is said or that a victim has.

    Raises:
        SpikeflipError: no shape is said, or it is too large.
    """
    coding = model.coding if is_victim(model) else None
    said = config.input_shape
    shape = shape_of(config, model)
    what = "the victim's own shape" if said is None else f"--input-shape {said}"
    samples = _how_many(model, (config.time_steps or 1, *shape), what)
    ids = torch.arange(samples)
    if config.layout == "static" or coding == "direct":
        return uniform(seed, ids, "encode", 0, shape)
    if len(shape) < 2:
        raise SpikeflipError(f"--input-shape is {said!r}: give time steps and at least one more size, T,C,H,W")
    return bernoulli(torch.full((samples, *shape[1:]), rate), shape[0], seed=seed, samples=ids)


def shape_of(config: CallingConfig, model: Any = None) -> tuple[int, ...]:
    """The shape of one sample with its time steps; images have none."""
    if config.input_shape is not None:
        return tuple(int(part) for part in config.input_shape.split(","))
    if not is_victim(model):
        raise SpikeflipError("--input-shape is missing: give the shape of one sample, T,C,H,W, such as 10,2,34,34")
    known = tuple(model.input_shape)
    return known if model.coding == "direct" else (model.time_steps, *known)


def _how_many(model: Any, shape: tuple[int, ...], said: str) -> int:
    """How many samples of random inputs fit into memory, and through the model, if enough do."""
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
    return min(together(EXAMPLES, cells), MOST_EXAMPLE_VALUES // values)

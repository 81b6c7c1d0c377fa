"""What to pass instead: the ways of calling a model with which all checks pass, and models of one batch size."""

import re
from collections.abc import Iterator
from functools import partial
from itertools import islice
from typing import Any, get_args

import torch
from torch import Tensor

from spikeflip.errors import SpikeflipError
from spikeflip.victims.discovery import runs_of
from spikeflip.victims.examining import checks
from spikeflip.victims.layouts import Layout, LayoutFunction, Output, layout_name
from spikeflip.victims.state import State, learn, tensors
from spikeflip.victims.wrapped import Calling, WrappedModel

_MOST = 3
_LARGEST_BATCH = 1024
_SWAPPED = "output=lambda y: y{part}.transpose(0, 1)"
_IMAGES = " and images (N, *input) as the example"


def why_it_failed(victim: WrappedModel, example: Tensor, inputs: Tensor, error: Exception) -> str:
    """One sentence on a model that raises on some inputs of an example, with what would pass where something does."""
    layout = layout_name(victim.calling.layout)
    what = f"the model fails on the example with layout {layout} ({checks.raised(error)})"
    if size := _only_batch_size(victim, example, inputs, error):
        return (
            f"{what}, and takes batches of {size} samples only: read the batch size from its input, as x.shape gives it"
        )
    fix = suggestion(passing(victim, inputs)) or (
        "reset the model if it was used, or choose another layout= or an example of the shape that it takes"
    )
    return f"{what}: {fix}"


def with_suggestion(victim: WrappedModel, inputs: Tensor, error: SpikeflipError) -> str:
    """What is wrong with an output, and what would pass where something does."""
    found = suggestion(passing(victim, inputs))
    return f"{error}; {found}" if found else str(error)


def suggestion(ways: list[str]) -> str:
    """A fix that names the ways that pass; empty where none does."""
    return f"the checks pass with {' and with '.join(ways)}" if ways else ""


def passing(victim: WrappedModel, inputs: Tensor, *, images: bool = True) -> list[str]:
    """Other layouts and parts of the output with which all checks pass, in words.

    One of the two is changed where that helps, both where it takes both, and ``images`` are tried last: they have no
    steps whose order could matter.
    """
    tried, output = victim.calling.layout, victim.calling.output
    outputs = dict(_outputs(output))
    fixed = callable(tried) or tried == "static"
    layouts = [] if fixed else [name for name in get_args(Layout) if name not in (tried, "static")]
    ways: list[list[tuple[Layout | LayoutFunction, str, Output]]] = [
        [(layout, "", output) for layout in layouts] + [(tried, words, other) for words, other in outputs.items()],
        [(layout, words, other) for layout in layouts for words, other in outputs.items()],
    ]
    for level in ways:
        found = (
            _words(layout, tried, words) for layout, words, other in level if _passes(victim, layout, other, inputs)
        )
        if several := list(islice(found, _MOST)):
            return several
    if fixed or not images:
        return []
    image = inputs[:, :1]
    static = (("", output), *outputs.items())
    found = (f"layout 'static'{_with(words)}{_IMAGES}" for words, o in static if _passes(victim, "static", o, image))
    return list(islice(found, 1))


def _words(layout: Layout | LayoutFunction, tried: Layout | LayoutFunction, words: str) -> str:
    return words if layout == tried else f"layout {layout!r}{_with(words)}"


def _with(words: str) -> str:
    if not words:
        return ""
    return f" {words}" if words.startswith("without") else f" and {words}"


def _outputs(output: Output) -> Iterator[tuple[str, Output]]:
    """Other parts of what a model returns than the one that was tried, in words."""
    if callable(output):
        return
    part = "" if output is None else f"[{output!r}]"
    yield _SWAPPED.format(part=part), partial(_part, output, True)
    if output is not None:
        yield "without output=", None
    if output != 0:
        yield "output=0", partial(_part, 0, False)
        yield _SWAPPED.format(part="[0]"), partial(_part, 0, True)


def _part(part: int | str | None, swapped: bool, answer: Any) -> Tensor:
    if part is not None and isinstance(answer, Tensor):
        raise TypeError("an entry of a tensor is no part of an answer")
    chosen: Tensor = answer if part is None else answer[part]
    return chosen.transpose(0, 1) if swapped else chosen


def _passes(victim: WrappedModel, layout: Layout | LayoutFunction, output: Output, inputs: Tensor) -> bool:
    other = _called(victim, layout, output, inputs.shape[1])
    try:
        other.state = learn(other.model, State.everything(other.model), runs_of(other, inputs))
    except Exception:  # whatever a model raises that is fed wrongly
        return False
    return checks.passes(other, inputs)


def _called(victim: WrappedModel, layout: Layout | LayoutFunction, output: Output, time_steps: int) -> WrappedModel:
    calling = Calling(layout, output, victim.calling.readout)
    return WrappedModel(victim.model, calling, victim.layers, input_shape=victim.input_shape, time_steps=time_steps)


def _only_batch_size(victim: WrappedModel, example: Tensor, inputs: Tensor, error: Exception) -> int | None:
    """The batch size that a model is built for, if it raises for others: a number in its message, or the example's.

    None where the model may hold a state of an earlier run with such a batch.
    """
    left = {
        n for slot in State.everything(victim.model).stale() for tensor in tensors(slot.get()) for n in tensor.shape
    }
    named = {int(number) for number in re.findall(r"\b\d{1,4}\b", str(error))}
    for size in sorted({size for size in (named | {len(example)}) - left if 1 < size <= _LARGEST_BATCH}):
        if _runs(victim, inputs, size) and not any(_runs(victim, inputs, n) for n in (size + 1, 1)):
            return size
    return None


def _runs(victim: WrappedModel, inputs: Tensor, size: int) -> bool:
    batch = inputs[torch.arange(size) % len(inputs)]
    other = _called(victim, victim.calling.layout, victim.calling.output, inputs.shape[1])
    try:
        with State.everything(other.model).tried(other.model):
            return len(other.scores(batch)) == size
    except Exception:  # whatever a model raises for another size
        return False

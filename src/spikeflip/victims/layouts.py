"""How a foreign model is called, and what of its answer are the scores.

A layout says which axes a model's input has; it is never guessed, since a wrong one often runs and gives nonsense. The
model, or the function that calls it, always gets a fresh tensor, in a gradient pass one that is no leaf, so that code
that works in place neither fails nor reaches the caller's input. Time is taken apart by ``unbind``: the backward pass
of ``x[t]`` in a loop writes the whole sequence at each step.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from spikeflip.errors import SpikeflipError

Layout = Literal["TB", "BT", "steps", "steps+state", "flat-BT", "static", "T-last"]
LayoutFunction = Callable[[nn.Module, Tensor], object]
"""From the model and spikes ``(N, T, *input)`` to its output, ``(T, N, K)`` or ``(N, K)``."""
Output = int | str | Callable[[object], Tensor] | None
"""Which part of a tuple or dictionary that the model returns: its place, its key, or a function."""
Readout = Literal["mean", "last", "max", "sum", "none"]
ReadoutFunction = Callable[[Tensor], Tensor]
"""From the output ``(T, N, K)`` to scores ``(N, K)``."""
Select = Callable[[object], Tensor]
Between = Callable[[int, object], object]
"""Called before each time step but the first, with its number and the state that the model returned, None if it keeps
its state itself; what it answers takes that state's place."""
BY_STEPS: tuple[Layout, ...] = ("steps", "steps+state", "static")
"""Layouts in which the model is called once a time step, ``"static"`` if an image is given several times."""

MEANINGS: dict[Layout, str] = {
    "TB": "(T, N, *input) at once",
    "BT": "(N, T, *input) at once",
    "steps": "(N, *input), called once a step",
    "steps+state": "(N, *input) and the state of the step before, called once a step",
    "flat-BT": "(N * T, *input), the steps of a sample one after the other",
    "static": "an image (N, *input), T inside or time_steps=",
    "T-last": "(N, *input, T) at once",
}


class UnreadableError(SpikeflipError):
    """A model's answer is not what its layout, output and readout say."""


def _fresh(x: Tensor) -> Tensor:
    return x.clone(memory_format=torch.contiguous_format)


def on(_step: int, state: object) -> object:
    """Nothing happens between two calls of the model."""
    return state


def _time_first(model: nn.Module, spikes: Tensor, select: Select, _between: Between) -> Tensor:
    return select(model(_fresh(spikes.transpose(0, 1))))


def _batch_first(model: nn.Module, spikes: Tensor, select: Select, _between: Between) -> Tensor:
    out = select(model(_fresh(spikes)))
    return out.transpose(0, 1) if out.ndim > 2 else out


def _steps(model: nn.Module, spikes: Tensor, select: Select, between: Between) -> Tensor:
    outputs = []
    for t, x in enumerate(spikes.unbind(1)):
        if t:
            between(t, None)
        outputs.append(select(model(_fresh(x))))
    return torch.stack(outputs)


def _steps_with_state(model: nn.Module, spikes: Tensor, select: Select, between: Between) -> Tensor:
    state: object = None
    outputs = []
    for t, x in enumerate(spikes.unbind(1)):
        state = between(t, state) if t else None
        answer = model(_fresh(x), state)
        if not isinstance(answer, tuple) or len(answer) < 2:
            raise UnreadableError(
                "with the layout 'steps+state' a model returns its output and its state, but this one returned "
                f"{_described(answer)}: choose 'steps' if it keeps its state itself"
            )
        state = answer[-1]
        outputs.append(select(answer[0] if len(answer) == 2 else answer[:-1]))
    return torch.stack(outputs)


def _flat(model: nn.Module, spikes: Tensor, select: Select, _between: Between) -> Tensor:
    n, t = spikes.shape[:2]
    out = select(model(_fresh(spikes.flatten(0, 1))))
    # One row a frame; a model that averages over time itself returns one a sample.
    return out.unflatten(0, (n, t)).transpose(0, 1) if len(out) == n * t and t > 1 else out


def _static(model: nn.Module, images: Tensor, select: Select, between: Between) -> Tensor:
    if images.shape[1] > 1:  # the loop over time is outside of the model
        return _steps(model, images, select, between)
    return select(model(_fresh(images.squeeze(1))))


def _time_last(model: nn.Module, spikes: Tensor, select: Select, _between: Between) -> Tensor:
    out = select(model(_fresh(spikes.movedim(1, -1))))
    return out.movedim(-1, 0) if out.ndim > 2 else out


_CALLS: dict[Layout, Callable[[nn.Module, Tensor, Select, Between], Tensor]] = {
    "TB": _time_first,
    "BT": _batch_first,
    "steps": _steps,
    "steps+state": _steps_with_state,
    "flat-BT": _flat,
    "static": _static,
    "T-last": _time_last,
}


def run(
    model: nn.Module, spikes: Tensor, layout: Layout | LayoutFunction, output: Output, between: Between = on
) -> Tensor:
    """The chosen part of the model's output, ``(T, N, K)``, or ``(N, K)`` where it has no axis of time.

    Args:
        model: in the state and mode in which it is to run.
        spikes: ``(N, T, *input)``; images for the layout ``"static"``, one a call of the model.
        layout: how the model is called.
        output: which part of what it returns.
        between: what happens between two calls of the model, with one of the layouts ``BY_STEPS``.
    """

    def select(answer: object) -> Tensor:
        return _select(answer, output)

    if callable(layout):
        return select(layout(model, _fresh(spikes)))
    return _CALLS[layout](model, spikes, select, between)


def read(out: Tensor, readout: Readout | ReadoutFunction) -> Tensor:
    """Scores ``(N, K)`` of an output ``(T, N, K)``; one without an axis of time is taken as it is by ``"mean"``."""
    if callable(readout):
        return readout(out)
    if out.ndim == 2 and readout in ("mean", "none"):
        return out
    if out.ndim != 3:
        raise UnreadableError(
            f"the model's output has shape {tuple(out.shape)}, from which readout {readout!r} makes no scores (N, K): "
            "choose another output=, or give readout= a function from it to (N, K)"
        )
    match readout:
        case "mean":
            return out.mean(0)
        case "last":
            return out[-1]
        case "max":
            return out.amax(0)
        case "sum":
            return out.sum(0)
        case "none":
            raise UnreadableError(
                f"the model's output has shape {tuple(out.shape)}, with an axis of time: choose readout 'mean', "
                "'last', 'max' or 'sum'"
            )


def layout_name(layout: Layout | LayoutFunction) -> str:
    """A layout in messages: its name in quotes, or that of its function."""
    return getattr(layout, "__name__", "function") if callable(layout) else repr(layout)


def check_choice(layout: object, readout: object) -> None:
    """Raise a SpikeflipError for a layout or readout that there is not."""
    if not callable(layout) and (not isinstance(layout, str) or layout not in MEANINGS):
        known = "; ".join(f"{name!r}: {meaning}" for name, meaning in MEANINGS.items())
        raise SpikeflipError(f"layout is {layout!r}: choose one of {known}; or give a function of model and spikes")
    if not callable(readout) and (not isinstance(readout, str) or readout not in get_args(Readout)):
        choices = ", ".join(map(repr, get_args(Readout)))
        raise SpikeflipError(f"readout is {readout!r}: choose from {choices}, or give a function")


def _select(answer: object, output: Output) -> Tensor:
    if callable(output):
        answer = output(answer)
    elif output is not None:
        answer = _part(answer, output)
    if isinstance(answer, Tensor):
        return answer
    if isinstance(answer, Sequence | Mapping) and not isinstance(answer, str):
        names = list(answer) if isinstance(answer, Mapping) else range(len(answer))
        values = answer.values() if isinstance(answer, Mapping) else answer
        parts = ", ".join(
            f"{name!r} ({_described(value)})" for name, value in list(zip(names, values, strict=True))[:6]
        )
        raise UnreadableError(f"the model returns {len(answer)} parts: choose one with output=, of {parts}")
    raise UnreadableError(f"the model returns {_described(answer)}: give output= a function from it to a tensor")


def _part(answer: object, output: int | str) -> object:
    try:
        if isinstance(answer, Tensor) and not isinstance(output, int):
            raise TypeError  # a tensor takes letters for indices
        return answer[output]  # type: ignore[index]
    except (TypeError, KeyError, IndexError, ValueError):
        raise UnreadableError(
            f"output is {output!r}, but the model returns {_described(answer)}: choose a part that it has"
        ) from None


def _described(value: object) -> str:
    if isinstance(value, Tensor):
        return f"a tensor {tuple(value.shape)}"
    if isinstance(value, tuple | list):
        return f"a {type(value).__name__} of {len(value)}"
    return f"a value of type {type(value).__name__}"

"""Whether a wrapped model gives a gradient, and which layer is to blame where it does not."""

import copy
import logging
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace

import torch
from torch import Tensor, nn

from spikeflip.errors import SpikeflipError
from spikeflip.victims.modules import named_modules
from spikeflip.victims.order import on_end, on_start
from spikeflip.victims.spike_functions import SpikingLayer, derivative
from spikeflip.victims.wrapped import WrappedModel

LOG = logging.getLogger(__name__)

_INSTEAD = "pass surrogate= a derivative, such as spikeflip.Rectangular()"
_NO_SURROGATE = f"layer {{!r}} fires by a step without a surrogate derivative: {_INSTEAD}"
_NONE = "the model gives no gradients with respect to its input"


def check(victim: WrappedModel, inputs: Tensor) -> None:
    """Raise a SpikeflipError unless the input gradient is there and finite; warn where it is zero."""
    if victim.changes() == {}:
        for name in victim.order.spiking:
            _check_surrogate(victim, victim.layers[name])
    found = victim.forward(inputs, victim.changes(), graph=True)
    scores = victim.scores(inputs)
    if not torch.allclose(found.scores, scores, rtol=1e-2, atol=1e-2):
        raise SpikeflipError(
            "the model's scores change when its spiking layers are in training mode, which gradients need: remove "
            "noise and running averages from them"
        )
    weights = torch.randn(scores.shape, generator=torch.Generator().manual_seed(0)).to(scores)
    gradient = None
    if found.scores.requires_grad:
        with victim.firing(found.changes):
            (gradient,) = torch.autograd.grad(found.scores, found.source, weights, allow_unused=True)
    if gradient is None:
        raise SpikeflipError(_cut(victim, inputs))
    if not bool(torch.isfinite(gradient).all()):
        raise SpikeflipError(
            f"the input gradient is not finite on the example: check the model's weights, or {_INSTEAD}"
        )
    if not bool(gradient.any()):
        LOG.warning("the input gradient is zero on the example: give examples on which the model fires, or surrogate=")


def check_backward(victim: WrappedModel, inputs: Tensor) -> None:
    """Raise a SpikeflipError where layers of a model with state run again in the backward pass."""
    if not victim.state.slots:
        return
    found = victim.forward(inputs, {}, graph=True)
    again: list[str] = []
    modules = dict(named_modules(victim.model))
    # That it finds another state than in the forward pass may also make it fail.
    with suppress(Exception), victim.firing({}), on_start(modules, lambda name, _: again.append(name)):
        torch.autograd.grad(found.scores.sum(), found.source, allow_unused=True)
    if again:
        raise SpikeflipError(
            f"layer {again[0]!r} runs again in the backward pass, where the model's state is another than before: "
            "turn torch.utils.checkpoint off"
        )


def random_layer(victim: WrappedModel, inputs: Tensor) -> str | None:
    """Where two calls first differ: the layer that gets the same twice and gives something else, in words."""
    runs = []
    modules = dict(named_modules(victim.model))
    for _ in range(2):
        events: list[tuple[str, str, object]] = []

        def note(kind: str, events: list[tuple[str, str, object]] = events) -> Callable[[str, object], None]:
            return lambda name, value: events.append((kind, name, value))

        with on_start(modules, note("in")), on_end(modules, note("out")):
            victim.scores(inputs)
        runs.append(events)
    for (kind, name, one), (_, _, two) in zip(*runs, strict=False):
        if isinstance(one, Tensor) and isinstance(two, Tensor) and not torch.equal(one, two):
            if kind == "in":
                return f"the code before layer {name!r}"
            return f"layer {name!r} ({type(modules[name]).__name__})" if name else "the code of its forward"
    return None


def _check_surrogate(victim: WrappedModel, layer: SpikingLayer) -> None:
    try:
        with victim.firing({}):
            slope = derivative(replace(layer, module=_copied(layer.module)))
    except SpikeflipError:
        return  # a function that cannot be reached is no reason to refuse the model's own gradient
    except Exception as error:  # called in another way than the table says: the gradient itself is checked below
        LOG.debug("the spike function of layer %r could not be looked at: %s", layer.name, error)
        return
    if slope is None or not bool(slope.nan_to_num(nan=1.0).any()):
        raise SpikeflipError(_NO_SURROGATE.format(layer.name))
    if not bool(torch.isfinite(slope).all()):
        raise SpikeflipError(f"the surrogate of layer {layer.name!r} is not finite near its threshold: {_INSTEAD}")


def _copied(module: nn.Module) -> nn.Module:
    """A layer to look at, as its spike function may remember what it was called with; itself if it cannot be copied."""
    try:
        return copy.deepcopy(module)
    except Exception as error:  # whatever a module raises that copies itself in its own way
        LOG.debug("a %s could not be copied: %s", type(module).__name__, error)
        return module


def _cut(victim: WrappedModel, inputs: Tensor) -> str:
    """Why the graph does not reach the input."""
    events: list[tuple[str, str, bool, bool]] = []
    modules = {name: module for name, module in named_modules(victim.model) if name}

    def note(kind: str) -> Callable[[str, object], None]:
        def take(name: str, value: object) -> None:
            if isinstance(value, Tensor):
                events.append((kind, name, value.requires_grad, torch.is_grad_enabled()))

        return take

    with on_start(modules, note("in")), on_end(modules, note("out")):
        victim.forward(inputs, victim.changes(), graph=True)
    for kind, name, tracked, enabled in events:
        if not enabled:
            return f"{_NONE}, as its forward runs without them at layer {name!r}: remove torch.no_grad there"
        if not tracked and kind == "out" and name in victim.layers:
            return _NO_SURROGATE.format(name)
        if not tracked:
            where = f"before layer {name!r}" if kind == "in" else f"in layer {name!r} ({type(modules[name]).__name__})"
            return (
                f"{_NONE}, as the graph is cut {where}: remove detach, .data and rounding there, or wrap what follows"
            )
    return f"{_NONE}, as its forward cuts the graph: remove torch.no_grad, detach and .data"

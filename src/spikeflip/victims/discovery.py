"""What is learned of a model by running it on an example: its state, and the order of its layers."""

import logging
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

from spikeflip.errors import SpikeflipError
from spikeflip.victims.examining.checks import livelier, raised
from spikeflip.victims.modules import named_modules
from spikeflip.victims.order import Order, SampleAxis, on_end, on_start, started, weight_layers
from spikeflip.victims.state import Slot, State, learn
from spikeflip.victims.wrapped import WrappedModel

LOG = logging.getLogger(__name__)

_SPOILT = (float("nan"), 1e3)
"""Starts that no model answers as it does from zero, unless it never looks at them."""

# What resets the state of one layer, by the names that frameworks have for it. The last may mean other things as well.
_RESETS = ("reset_states", "reset_mem", "n_reset", "reset")


def runs_of(victim: WrappedModel, inputs: Tensor) -> list[Callable[[], object]]:
    """The two ways in which a victim's model is run."""
    return [partial(victim.scores, inputs), partial(victim.forward, inputs, {}, graph=True)]


def learn_state(victim: WrappedModel, inputs: Tensor, reset: Callable[[nn.Module], object] | None) -> None:
    """Find the state, and values to start from that are not left over from an earlier run."""
    model, runs = victim.model, runs_of(victim, inputs)
    start = State.everything(model)
    if reset is not None:
        try:
            start = start.after(model, lambda: reset(model))
        except Exception as error:
            raise SpikeflipError(f"reset= raised an error ({raised(error)}): give a function of the model") from error
    try:
        victim.state = learn(model, start, runs)
    except Exception:
        # What is left of an earlier run may not fit this batch.
        if reset is not None or not _learn_after_reset(victim, start, runs):
            raise
    else:
        if reset is None and victim.state.stale():
            _learn_after_reset(victim, start, runs)
    left = victim.state.stale()
    if reset is None and left:
        _start_from_zero(victim, inputs, left)


def _start_from_zero(victim: WrappedModel, inputs: Tensor, left: list[Slot]) -> None:
    """Put zeros where an earlier run left something; a notice where the model looks at it, an error where it shows."""
    tries = (inputs, *livelier(inputs))
    as_found = [victim.scores(x) for x in tries]

    def same(state: State) -> bool:
        victim.state = state
        try:
            return all(torch.equal(found, victim.scores(x)) for found, x in zip(as_found, tries, strict=True))
        except Exception:  # a start that makes a model raise is one that it looks at
            return False

    found, zero = victim.state, victim.state.filled(left, 0)
    if not same(zero):
        raise SpikeflipError(
            f"the model holds a state of an earlier run in {', '.join(map(str, left[:3]))}: reset it before wrapping "
            "it, or pass reset= a function that does"
        )
    # What is written anew before it is read may start from anything.
    if not all(same(found.filled(left, number)) for number in _SPOILT):
        left = [slot for slot in left if not all(same(found.filled([slot], n)) for n in _SPOILT)] or left
        victim.note(
            "state-zeroed",
            f"the victim starts from zero in {', '.join(map(str, left[:3]))}, where the model holds other values: pass "
            "reset= a function that puts its own start there, if it has one",
        )
    victim.state = zero


def _learn_after_reset(victim: WrappedModel, start: State, runs: list[Callable[[], object]]) -> bool:
    """Let layers reset themselves, as far as they can, on copies; whether the model runs then."""
    neurons = {id(layer.module) for layer in victim.layers.values()}

    def reset_layers() -> None:
        for _, module in named_modules(victim.model):
            known = id(module) in neurons or hasattr(module, "_memories")
            names = _RESETS if known else _RESETS[:-1]
            function = next((f for f in (getattr(module, name, None) for name in names) if callable(f)), None)
            if function is not None:
                function()

    before, victim.state = victim.state, State({})
    try:
        victim.state = learn(victim.model, start.after(victim.model, reset_layers), runs)
    except Exception as error:
        LOG.debug("resetting the layers did not help: %s", error)
        victim.state = before
        return False
    return True


def learn_order(victim: WrappedModel, inputs: Tensor, penultimate: str | None) -> None:
    """Which layer comes when, and where the samples are in what the spiking layers handle."""
    layers = victim.layers
    modules = {name: layer.module for name, layer in layers.items()}
    seen = []
    for part in (inputs[:1], inputs):
        calls: list[str] = []
        given: dict[str, object] = {}
        made: dict[str, object] = {}

        def note(name: str, value: object, calls: list[str] = calls, given: dict[str, object] = given) -> None:
            calls.append(name)
            given.setdefault(name, value)

        def note_end(name: str, value: object, made: dict[str, object] = made) -> None:
            made.setdefault(name, value)

        with on_start(modules | weight_layers(victim.model, layers), note), on_end(modules, note_end):
            victim.scores(part)
        seen.append((given, made))
    order = started(calls, layers)
    if layers and not order.spiking:
        raise SpikeflipError(
            f"the spiking layers {', '.join(map(repr, list(layers)[:3]))} do not run when the model is called: call "
            "the modules themselves in its forward, not their methods"
        )
    if penultimate is not None:
        if penultimate not in order.spiking:
            names = ", ".join(map(repr, order.spiking)) or "none"
            raise SpikeflipError(f"penultimate is {penultimate!r}: choose a spiking layer that runs, of {names}")
        order = Order(order.spiking, order.last, penultimate)
    victim.order = order
    (given_one, made_one), (given_three, made_three) = seen
    victim.into_last = _axis(given_one, given_three, order.last)
    axes = {name: _axis(made_one, made_three, name) for name in order.spiking}
    victim.axes = {name: axis for name, axis in axes.items() if axis is not None}


def _axis(one: dict[str, object], three: dict[str, object], name: str | None) -> SampleAxis | None:
    if name is None:
        return None
    first, whole = one.get(name), three.get(name)
    if not isinstance(first, Tensor) or not isinstance(whole, Tensor):
        return None
    return SampleAxis.of(first, whole)

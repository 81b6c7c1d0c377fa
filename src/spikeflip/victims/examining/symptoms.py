"""What the doctor asks of a model beyond the checks of ``wrap``: each a small function with a verdict."""

from collections import Counter
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from spikeflip.errors import SpikeflipError
from spikeflip.snn.coding import winner
from spikeflip.snn.gradients import BPTT, GradientRequest
from spikeflip.snn.network import ReluNetwork
from spikeflip.victims.examining import checks
from spikeflip.victims.examining.checks import Probed, Verdict, difference
from spikeflip.victims.examining.one_step import FINDING, FIX, ONE_STEP
from spikeflip.victims.examining.vanishing import Remark, attack_gradient, failed, live
from spikeflip.victims.order import on_end
from spikeflip.victims.spike_functions import Change, NeuronType, StandIn
from spikeflip.victims.state import shadowed
from spikeflip.victims.wrapped import WrappedModel

_NO_THRESHOLD = "attack with threshold=None (--no-tuning)"

Fire = Callable[..., Tensor]


def output(victim: Probed, inputs: Tensor) -> Verdict:
    """Scores are ``(N, K)`` and finite; and in which range they are."""
    verdict = checks.score_shape(victim, inputs)
    if not verdict:
        return Verdict("output", False, verdict.finding, verdict.fix)
    scores = victim.scores(inputs)
    low, high = float(scores.min()), float(scores.max())
    kind = "as rates are" if low >= 0 and high <= 1 else "no rates, but counts, potentials or logits"
    return Verdict("output", True, f"{verdict.finding} and go from {low:.3g} to {high:.3g}, {kind}")


def batch_independence(victim: Probed, inputs: Tensor) -> Verdict:
    """A sample that stays where it is scores alike whatever its companions are, and gets no gradient of theirs."""
    whole = victim.scores(inputs)
    alone = victim.scores(inputs[:1])
    found = difference(whole[:1], alone) if len(alone) == 1 else 1.0
    for i, one in enumerate(inputs):
        among_copies = victim.scores(one.expand_as(inputs).contiguous())
        found = max(found, difference(whole[i], among_copies[i]) if len(among_copies) == len(inputs) else 1.0)
    if found > checks.GROSS:
        return Verdict(
            "batch independence",
            False,
            "a sample's scores depend on the other samples of its batch",
            "check the layout; take out what is computed over the batch, such as BatchNorm by hand or layers built for "
            "one batch size (sinabs: give num_timesteps, not batch_size)",
        )
    return checks.gradient_independence(victim, inputs)


def order_of_samples(victim: Probed, inputs: Tensor) -> Verdict:
    """The same batch in another order gives the same scores in that order."""
    if difference(victim.scores(inputs), victim.scores(inputs.flip(0)).flip(0)) > checks.GROSS:
        return Verdict(
            "order of samples",
            False,
            "a sample's scores depend on its place in the batch",
            "check the layout, and what the model adds or multiplies along the batch axis",
        )
    return Verdict("order of samples", True, "samples in another order give the same scores")


def time_matters(victim: Probed, inputs: Tensor) -> Verdict:
    """Frames in another order give other scores or gradients, and there are several; a remark where not."""
    if ONE_STEP in {notice.code for notice in getattr(victim, "notices", ())}:
        return Remark("time matters", False, FINDING, FIX)
    verdict = checks.time_matters(victim, inputs)
    if verdict:
        return verdict
    scores = victim.scores(inputs)
    if torch.equal(scores, scores[:1].expand_as(scores)) and not live(attack_gradient(victim, inputs, "ce")):
        return Verdict("time matters", True, "the inputs do not tell whether time matters")
    return Remark(
        "time matters",
        False,
        verdict.finding,
        "check the layout (a model with time inside takes images, layout='static'), and that the state of a step "
        "reaches the next; right only for a model without memory",
    )


def tied_outputs(victim: Probed, inputs: Tensor) -> Verdict:
    """On some sample one class wins: a tie counts as no class, before an attack and after."""
    scores = victim.scores(inputs)
    ties = int((winner(scores) == -1).sum())
    if ties < len(inputs):
        return Verdict("tied outputs", True, f"{len(inputs) - ties} of {len(inputs)} samples have one class that wins")
    silent = not bool(scores.any())
    return Verdict(
        "tied outputs",
        False,
        f"all outputs are silent on every sample{_silent_layer(victim, inputs)}"
        if silent
        else "two or more classes tie on every sample",
        "load trained weights if the model has none yet, give examples on which it fires (real data, or more spikes), "
        "or read potentials with output= and readout=",
    )


def _silent_layer(victim: Probed, inputs: Tensor) -> str:
    """The first spiking layer that never fires, in words."""
    if not isinstance(victim, WrappedModel):
        return ""
    fired: Counter[str] = Counter()

    def count(name: str, spikes: object) -> None:
        fired[name] += int(spikes.count_nonzero()) if isinstance(spikes, Tensor) else 1

    with on_end({name: victim.layers[name].module for name in victim.order.spiking}, count):
        victim.scores(inputs)
    silent = next((name for name in victim.order.spiking if not fired[name]), None)
    return "" if silent is None else f", and layer {silent!r} is the first that never fires"


def threshold_and_surrogate(victim: Probed, inputs: Tensor) -> Verdict:
    """An attack can move the threshold and swap the surrogate of the spiking layers."""
    check = "threshold and surrogate"
    if not isinstance(victim, WrappedModel):
        return _of_a_victim(check, victim, inputs)
    if not victim.order.spiking:
        return Remark(
            check,
            False,
            "no spiking layer is known, so that threshold, output window and surrogate cannot be changed",
            f"pass neurons={{YourNeuron: ('threshold', 'spike_function')}}, or {_NO_THRESHOLD}",
        )
    try:
        heard, misled = _heard(victim, inputs)
    except SpikeflipError as error:
        return failed(check, str(error), Remark)
    for name in victim.order.spiking:
        if not heard[name]:
            layer = victim.layers[name]
            attributes = ", ".join(map(repr, layer.replacement(Change())))
            return Remark(
                check,
                False,
                f"layer {name!r} does not fire by its attribute {attributes}, so that neither threshold nor surrogate "
                "can be changed",
                f"let its forward call that, or pass neurons={{{type(layer.module).__name__}: ('threshold', "
                "'spike_function')} with the names of attributes that it uses",
            )
    if misled:
        attribute = victim.layers[misled[0]].kind.spike_function
        return Remark(
            check,
            False,
            f"layer {misled[0]!r} calls its attribute {attribute!r} with something else than potential - threshold, so "
            "that another threshold or surrogate would be centred elsewhere",
            f"let its forward subtract the threshold itself, or {_NO_THRESHOLD}, without output window or surrogate",
        )
    fixed = [name for name in victim.order.spiking if victim.layers[name].threshold is None]
    if victim.order.penultimate in fixed:
        return Remark(
            check,
            False,
            f"layer {victim.order.penultimate!r} has no threshold that could move; the surrogates of "
            f"{len(victim.order.spiking)} layers are reached",
            _NO_THRESHOLD,
        )
    names = victim.order.spiking
    layers = f"{len(names)} layer{'s' if len(names) > 1 else ''}"
    return Verdict(check, True, f"thresholds and surrogates of {layers} are reached: {', '.join(map(repr, names))}")


def _heard(victim: WrappedModel, inputs: Tensor) -> tuple[Counter[str], list[str]]:
    """How often each spiking layer calls what an attack would put in the place of its spike function, in one pass.

    And the layers that do not call it with the distance to their threshold.
    """
    heard: Counter[str] = Counter()
    misled: list[str] = []
    listening = []
    for name in victim.order.spiking:
        layer = victim.layers[name]
        plain = type(layer.kind) is NeuronType  # the functions of the others take more than a distance

        def note(fire: Fire, arguments: Any, named: Any, name: str = name, plain: bool = plain) -> None:
            if plain and not heard[name] and not _switches_at_zero(fire, *arguments, **named):
                misled.append(name)
            heard[name] += 1

        replaced = {a: _listening(value, note) for a, value in layer.replacement(Change()).items()}
        listening.append((layer.module, replaced))
    with shadowed(listening):
        victim.forward(inputs, {}, graph=False)
    return heard, misled


def _switches_at_zero(fire: Fire, distance: Tensor, *rest: Any, **named: Any) -> bool:
    above, below = (fire(torch.full_like(distance, u), *rest, **named) for u in (1e-3, -1e-3))
    return bool((above > below).all())


def _listening(replaced: Any, note: Callable[[Fire, Any, Any], None]) -> Any:
    if isinstance(replaced, StandIn):
        return StandIn.listening(replaced, lambda function: _listening(function, note))

    def fire(*arguments: Any, **named: Any) -> Any:
        note(replaced, arguments, named)
        return replaced(*arguments, **named)

    return fire


def _of_a_victim(check: str, victim: Probed, inputs: Tensor) -> Verdict:
    if isinstance(victim, ReluNetwork):
        return Verdict(check, True, "a ReLU network has neither, and needs none")
    own = getattr(victim, "penultimate_threshold", None)
    changed = "output window" if own is None else "output window and penultimate threshold"
    try:
        attack_gradient(
            victim, inputs, "mse", GradientRequest(None if own is None else 2 * own, BPTT(output_window=2.0))
        )
    except SpikeflipError as error:
        return failed(check, str(error), Remark)
    return Verdict(check, True, f"the victim takes another {changed}")


def penultimate_layer(victim: Probed) -> Verdict:
    """There is a spiking layer before the last weights."""
    check, own = "penultimate layer", getattr(victim, "penultimate_threshold", None)
    if isinstance(victim, ReluNetwork):
        return Verdict(check, True, "a ReLU network has none, and needs none")
    if not isinstance(victim, WrappedModel):
        if own is None:
            return Remark(check, False, "the victim has no spiking layer before its output", _NO_THRESHOLD)
        return Verdict(check, True, f"there is one, with threshold {own:g}")
    name = victim.order.penultimate
    if name is None:
        return Remark(
            check,
            False,
            "the model has no spiking layer before its last weights that is not its output as well",
            f"use one module a layer, name one of {', '.join(map(repr, victim.order.spiking))} as penultimate=, or "
            f"{_NO_THRESHOLD}",
        )
    number = "without a threshold" if own is None else f"with threshold {own:g}"
    return Verdict(check, True, f"it is {name!r} ({type(victim.layers[name].module).__name__}), {number}")

"""Whether an attack's gradient arrives at the input, and where it ends and what helps if it does not."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from spikeflip.errors import SpikeflipError
from spikeflip.snn.gradients import BPTT, GradientRequest, InputGradient
from spikeflip.snn.losses import LossName, score_gradient
from spikeflip.snn.surrogate import Rectangular
from spikeflip.victims.examining import gradients
from spikeflip.victims.examining.checks import Probed, Verdict
from spikeflip.victims.wrapped import WrappedModel


@dataclass(frozen=True)
class Remark(Verdict):
    """A failed check that does not keep attacks away."""


def failed(check: str, sentence: str, kind: type[Verdict] = Verdict) -> Verdict:
    """A verdict of a sentence ``finding: fix``, whose first colon outside brackets parts the two."""
    depth = 0
    for at, letter in enumerate(sentence):
        depth += (letter in "([{") - (letter in ")]}")
        if letter == ":" and depth == 0 and sentence[at + 1 : at + 2] == " ":
            return kind(check, False, sentence[:at], sentence[at + 2 :])
    return kind(check, False, sentence)


def gradient(victim: Probed, few: Tensor, every: Tensor) -> Verdict:
    """The input gradient of an attack's loss is there, finite, and not zero on every sample."""
    if isinstance(victim, WrappedModel):
        try:
            gradients.check(victim, few)
        except SpikeflipError as error:
            return failed("gradient", str(error))
    found = attack_gradient(victim, every, "mse")
    if not bool(torch.isfinite(found.values).all()):
        return Verdict(
            "gradient", False, "the input gradient is not finite", "check the model's weights, or pass surrogate="
        )
    n = len(every)
    if alive := live(found):
        return Verdict("gradient", True, f"the input gradient is finite, and not zero on {alive} of {n} samples")
    losses: tuple[LossName, ...] = ("mse",)
    if bool(found.loss_zero.any()):
        losses = ("mse", "ce")
        found = attack_gradient(victim, every, "ce")
        if live(found):
            return Remark(
                "gradient",
                False,
                f"the input gradient is zero on all {n} samples, as the loss 'mse' is at its minimum there: the "
                "outputs are exactly one-hot",
                "attack with loss='ce'",
            )
    return _zero(victim, every, found, losses)


def _zero(victim: Probed, inputs: Tensor, found: InputGradient, losses: Sequence[LossName]) -> Verdict:
    """Why a gradient that the loss asks for does not arrive, and what of an attack's options helps.

    Another loss than the first is advised only where nothing helps with the first.
    """
    outside = int(found.output_zero.sum())
    if outside == len(inputs):
        why = "the output layer is outside its surrogate window, so that nothing passes it"
    elif bool((found.penultimate_spikes == 0).all()):
        why = "it dies below the output layer, where the penultimate layer does not fire"
    else:
        why = "it dies below the output layer, where neurons are outside their surrogate windows"
    finding = f"the input gradient is zero on all {len(inputs)} samples, as {why}"
    for loss in losses:
        and_loss = "" if loss == losses[0] else f" and loss={loss!r}"
        for words, request in _cures(victim):
            try:
                helped = live(attack_gradient(victim, inputs, loss, request))
            except SpikeflipError:
                continue
            if helped:
                then = f"then it is there on {helped} of {len(inputs)} samples"
                return Remark("gradient", False, finding, f"{words}{and_loss}: {then}")
    return Verdict(
        "gradient",
        False,
        finding,
        "give examples on which the model fires (real data, or more spikes), or lower its thresholds; neither a wide "
        "output_window, another threshold nor a wide surrogate helps here",
    )


def _cures(victim: Probed) -> Iterator[tuple[str, GradientRequest]]:
    """What an attack may ask for instead, in words and as a request."""
    windows = (1.0, 2.0, 4.0, 8.0, 16.0)
    own: float | None = getattr(victim, "penultimate_threshold", None)
    widest = BPTT(output_window=windows[-1])
    for window in windows:
        yield f"attack with output_window={window:g}", GradientRequest(estimator=BPTT(output_window=window))
    for threshold in () if own is None else (0.5 * own, 0.25 * own, 2 * own):
        yield f"attack with threshold={threshold:g}", GradientRequest(threshold)
        yield (
            f"attack with threshold={threshold:g} and output_window={windows[-1]:g}",
            GradientRequest(threshold, widest),
        )
    for window in windows:
        wide = GradientRequest(estimator=BPTT(Rectangular(window)))
        yield f"attack with the surrogate Rectangular({window:g})", wide


def attack_gradient(
    victim: Probed, inputs: Tensor, loss: LossName, request: GradientRequest | None = None
) -> InputGradient:
    """The gradient away from the class that wins, as an untargeted attack asks for it."""
    classes = victim.scores(inputs).argmax(1)

    def away(scores: Tensor, rows: Tensor) -> Tensor:
        return score_gradient(loss, scores, classes[rows])[1]

    return victim.probe(inputs, request).input_gradient(away, request)


def live(found: InputGradient) -> int:
    """On how many samples a gradient is not zero."""
    return int(found.values.flatten(1).any(1).sum())

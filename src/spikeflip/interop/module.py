"""A victim as a module of PyTorch, which attacks of other libraries can call and differentiate."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from spikeflip.errors import SpikeflipError
from spikeflip.snn.coding import encode_for
from spikeflip.snn.gradients import BPTT, GradientRequest, InputGradient
from spikeflip.snn.validation import Kind, check_counts, check_values, kind_of
from spikeflip.victims import Victim
from spikeflip.victims.victim import is_victim, takes_counts

_ROUNDING = 1e-6
"""By how much images of other libraries may leave [0, 1]: projections in float32 are not exact."""

_ASKED: ContextVar[list["Answer"] | None] = ContextVar("_ASKED", default=None)


def as_module(
    victim: Victim,
    *,
    seed: int = 0,
    draws: int = 1,
    fresh: bool = True,
    threshold: float | None = None,
    output_window: float | None = None,
    binarise: bool = False,
    micro_batch: int = 64,
) -> "VictimModule":
    """A victim as a ``torch.nn.Module`` from images or spikes to scores ``(N, K)``, differentiable in its input.

    The gradient is the victim's own (:meth:`spikeflip.victims.Probe.input_gradient`), so that any victim will do: a
    ``SpikingNetwork``, a ReLU twin, a model of another framework that was wrapped. Images are encoded with the victim's
    coding; the gradient passes straight through the encoder, and as every time step sees the same image, it is summed
    over time. No other parameter than an empty one, which tells libraries a device, is part of the module: they can
    neither train nor move the victim, nor change its mode.

    Args:
        victim: the model.
        seed: of the encodings, where the victim's coding is random (``"rate"``).
        draws: encodings of an image whose scores, and gradients, are averaged in one call.
        fresh: whether every call encodes anew: call k, from 0, takes the draws k * ``draws`` and following of the
            streams 0 to N - 1, one for each place in the batch. If not, all images of all calls are encoded with the
            same numbers, and the scores are a function of the image alone, as attacks assume that compare calls or
            split batches. Either way the same calls in the same order give the same results.
        threshold: firing threshold of the penultimate layer in gradients; the victim's own if None.
        output_window: surrogate width of the output layer in gradients; the victim's own if None. A wide one helps
            attacks that have no answer to a gradient that is zero.
        binarise: whether spikes are rounded to 0 and 1, the gradient passing straight through, for attacks that move
            them by less than 1; other spikes than 0 and 1 are refused if not.
        micro_batch: encodings in memory at a time.

    Returns:
        A :class:`VictimModule`.

    Raises:
        SpikeflipError: ``victim`` is none, ``draws`` or ``micro_batch`` is below 1, or ``threshold`` or
            ``output_window`` is not positive.

    >>> from spikeflip import SpikingNetwork
    >>> network = SpikingNetwork("16FC-3FC", (20,), time_steps=6, seed=1)
    >>> images = torch.full((2, 20), 0.5, requires_grad=True)
    >>> as_module(network)(images).sum().backward()
    >>> images.grad.shape
    torch.Size([2, 20])
    """
    if not is_victim(victim):
        raise SpikeflipError(
            f"as_module takes a victim, but this is a {type(victim).__name__}: make one of a model with spikeflip.wrap"
        )
    check_counts(draws=draws, micro_batch=micro_batch)
    return VictimModule(
        victim,
        seed=seed,
        draws=draws,
        fresh=fresh,
        asks=GradientRequest(threshold, BPTT(output_window=output_window)),
        binarise=binarise,
        micro_batch=micro_batch,
    )


class VictimModule(nn.Module):
    """What :func:`as_module` returns. Scores are rates where the victim spikes, and may be read as logits."""

    victim: Victim

    def __init__(
        self,
        victim: Victim,
        *,
        seed: int,
        draws: int,
        fresh: bool,
        asks: GradientRequest,
        binarise: bool,
        micro_batch: int,
    ) -> None:
        super().__init__()
        # Past nn.Module, which would make a victim that is a module part of this one.
        object.__setattr__(self, "victim", victim)
        self.seed, self.draws, self.fresh = seed, draws, fresh
        self.asks = asks
        self.binarise, self.micro_batch = binarise, micro_batch
        self.calls = 0
        self.where = nn.Parameter(torch.empty(0, device=victim.device), requires_grad=False)
        self.eval()  # libraries warn of modules in training mode

    def restart(self) -> None:
        """Encode from here on as if nothing had been called yet."""
        self.calls = 0

    def forward(self, inputs: Tensor) -> Tensor:
        """Scores ``(N, K)``, on the device of the inputs.

        Args:
            inputs: images ``(N, *input)`` in [0, 1], or spikes ``(N, T, *input)`` of exactly 0 and 1.

        Raises:
            SpikeflipError: the inputs are neither.
        """
        answer = Answer(self.victim, inputs.detach())
        if (asked := _ASKED.get()) is not None:
            asked.append(answer)
        kind = kind_of(inputs, self.victim.input_shape, self.victim.coding)
        values = self._valid(inputs.detach(), kind)
        call = self.calls if self.fresh else 0
        self.calls += asked is None
        scores: Tensor = _Scores.apply(inputs, values, self, kind, call)
        answer.scores = scores.detach()
        return scores

    def _valid(self, inputs: Tensor, kind: Kind) -> Tensor:
        if kind == "spikes" and self.binarise:
            # What is not finite stays, to be refused.
            inputs = torch.where(inputs.isfinite(), (inputs >= 0.5).to(inputs.dtype), inputs)
        elif kind == "images" and inputs.is_floating_point():
            inputs = precise(inputs)
            inside = inputs.clamp(0, 1)
            inputs = inside if torch.allclose(inside, inputs, rtol=0, atol=_ROUNDING) else inputs
        check_values(inputs, kind, counts=takes_counts(self.victim))
        return precise(inputs).to(self.victim.device)

    def _encodings(self, inputs: Tensor, kind: Kind, call: int) -> Iterator[tuple[Tensor, Tensor]]:
        """What the victim sees in one call, in parts: row numbers ``(n,)``, and inputs ``(n, T, *input)``."""
        victim = self.victim
        for rows in torch.arange(len(inputs)).split(self.micro_batch) if len(inputs) else ():
            for draw in range(self._draws_of(kind)):
                seen = encode_for(
                    victim,
                    inputs[rows],
                    seed=self.seed,
                    samples=rows if self.fresh else torch.zeros_like(rows),
                    step=call * self.draws + draw,
                )
                yield rows, seen

    def _draws_of(self, kind: Kind) -> int:
        return self.draws if kind == "images" and self.victim.coding == "rate" else 1

    def scores_of(self, inputs: Tensor, kind: Kind, call: int) -> Tensor:
        """Scores ``(N, K)`` of one call."""
        scores = torch.zeros(len(inputs), self.victim.classes, dtype=inputs.dtype, device=inputs.device)
        for rows, seen in self._encodings(inputs, kind, call):
            scores[rows] += self.victim.scores(seen).to(scores) / self._draws_of(kind)
        return scores

    def gradient_of(self, inputs: Tensor, kind: Kind, call: int, scores: Tensor) -> Tensor:
        """The gradient with respect to the inputs of one call, from that with respect to its scores ``(N, K)``."""
        gradient = torch.zeros_like(inputs)
        scores = scores.to(inputs) / self._draws_of(kind)
        for rows, seen in self._encodings(inputs, kind, call):
            # The passes of the call are gone: a victim need not remember any but its last.
            found = self.victim.probe(seen, self.asks).input_gradient(partial(_some_of, scores[rows]), self.asks)
            self.noted(rows, found)
            values = found.values.to(gradient)
            gradient[rows] += values.sum(1) if kind == "images" else values
        if not bool(torch.isfinite(gradient).all()):
            raise SpikeflipError("the victim's input gradient is not finite: check its weights and its surrogate")
        return gradient

    def noted(self, rows: Tensor, found: InputGradient) -> None:
        """Called with the gradient of one encoding of the images ``rows`` ``(n,)`` of a call."""


class _Scores(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, inputs: Tensor, values: Tensor, module: VictimModule, kind: Kind, call: int) -> Tensor:
        ctx.save_for_backward(values)
        ctx.made_by = module, kind, call
        ctx.like = inputs.new_empty(0, dtype=inputs.dtype if inputs.is_floating_point() else torch.float32)
        return module.scores_of(values, kind, call).to(ctx.like)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None, None]:
        (values,) = ctx.saved_tensors
        module, kind, call = ctx.made_by
        return module.gradient_of(values, kind, call, gradients[0]).to(ctx.like), None, None, None, None


def _some_of(gradient: Tensor, scores: Tensor, rows: Tensor) -> Tensor:
    return gradient[rows].to(scores)


def precise(inputs: Tensor) -> Tensor:
    """Inputs in float64 if they are, else in float32."""
    return inputs if inputs.dtype == torch.float64 else inputs.float()


@dataclass
class Answer:
    """One call of a :class:`VictimModule`."""

    victim: Victim
    inputs: Tensor
    scores: Tensor | None = None
    """None where the inputs were refused."""


@contextmanager
def asking() -> Iterator[list[Answer]]:
    """Within it a :class:`VictimModule` that is called lists its answer, and counts no call.

    This is how one is found inside a model of another library, whatever that holds it in. It answers as ever: there are
    libraries that keep a record of answers.
    """
    found: list[Answer] = []
    token = _ASKED.set(found)
    try:
        with torch.no_grad():
            yield found
    finally:
        _ASKED.reset(token)

"""One forward pass of a spiking network, ready for input gradients."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from spikeflip.errors import SpikeflipError
from spikeflip.snn.engines.dense import DenseEngine
from spikeflip.snn.neuron import LIF, integrate, reverse

ScoreGradient = Callable[[Tensor, Tensor], Tensor]
"""From the scores ``(n, K)`` of some samples and their row numbers ``(n,)`` to the gradient ``(n, K)`` to send back."""


@dataclass(frozen=True)
class InputGradient:
    """What a backward pass gave, for n samples.

    ``values`` holds ``(n, T, *input)``; it stays valid until the network runs again. ``loss_zero`` and ``output_zero``,
    ``(n,)`` bool, tell the two causes of a vanished gradient apart: the loss does not ask for a change, or no output
    neuron lies inside its surrogate window (this one includes the first). Such samples did not run the rest of the
    backward pass. ``penultimate_spikes``, ``(n,)``, counts the penultimate layer's spikes in the generating pass.
    """

    values: Tensor
    loss_zero: Tensor
    output_zero: Tensor
    penultimate_spikes: Tensor


class Probe:
    """One forward pass of a batch: its scores, and the gradient of its input on request.

    The trunk, all layers up to the current of the penultimate one, is run once; the head is run again from there when
    the gradient asks for another threshold. Equal neighbours, as the targets of one sample are at the first step of an
    attack, are run once.
    """

    def __init__(self, engine: DenseEngine, spikes: Tensor) -> None:
        self._engine = engine
        self._last = engine.depth - 1
        self._hidden = max(0, self._last - 1)  # the penultimate layer, if there is one
        spikes, self._place = _without_equal_neighbours(spikes)
        below, self._potentials = engine.forward(spikes, last=self._hidden)
        self._has_penultimate = self._last > 0
        self._currents = engine.current(self._hidden, below)
        self._head = self._run_head(engine.chain.neuron)
        self.scores = self._head.scores[self._place]

    def _run_head(self, penultimate: LIF, rows: Tensor | None = None) -> "_Head":
        currents = self._currents if rows is None else self._currents[rows]
        if not self._has_penultimate:
            potential, spikes = integrate(currents, self._engine.chain.neuron)
            return _Head(None, spikes.new_zeros(len(spikes)), potential, spikes.mean(1))
        hidden, between = integrate(currents, penultimate)
        potential, spikes = integrate(self._engine.current(self._last, between), self._engine.chain.neuron)
        return _Head(hidden, between.flatten(1).sum(1), potential, spikes.mean(1))

    @torch.no_grad()
    def input_gradient(
        self,
        score_gradient: ScoreGradient,
        rows: Tensor,
        *,
        penultimate_threshold: float | None = None,
        output_window: float | None = None,
    ) -> InputGradient:
        """The gradient of a function of the scores with respect to the input spikes (Eq. 8, 9).

        Args:
            score_gradient: the gradient of that function with respect to the scores.
            rows: ``(n,)`` int64, the samples wanted.
            penultimate_threshold: at which the penultimate layer fires in this pass (Sec. V-B), the surrogate window
                staying where it was; the network's own when not given.
            output_window: width of the output layer's surrogate in this pass, its kind staying; the network's own when
                not given.

        Raises:
            SpikeflipError: a threshold is given, but the network has an output layer alone.
        """
        neuron = self._engine.chain.neuron
        penultimate = neuron if penultimate_threshold is None else neuron.fire_at(penultimate_threshold)
        if penultimate is not neuron and not self._has_penultimate:
            raise SpikeflipError(
                f"penultimate threshold is {penultimate_threshold}, but the network has no layer before its output: "
                "give threshold=None"
            )
        output = neuron
        if output_window is not None:
            output = replace(neuron, surrogate=neuron.surrogate.with_width(output_window))
        place = self._place[rows]
        head = self._head.select(place) if penultimate is neuron else self._run_head(penultimate, place)

        gradient = score_gradient(head.scores, rows)
        loss_zero = all_zero(gradient)
        t = head.potential.shape[1]
        gradient = (gradient / t).unsqueeze(1).expand_as(head.potential).contiguous()
        gradient = reverse(gradient, head.potential, output)
        output_zero = all_zero(gradient)
        live = (~output_zero).nonzero().squeeze(1)
        values = gradient.new_zeros((len(rows), t, *self._engine.chain.shapes[0]))
        if len(live):
            values[live] = self._below_output(gradient[live], head.select(live), penultimate, place[live])
        return InputGradient(values, loss_zero, output_zero, head.penultimate_spikes)

    def _below_output(self, gradient: Tensor, head: "_Head", penultimate: LIF, rows: Tensor) -> Tensor:
        gradient = self._engine.input_gradient(self._last, gradient)
        if head.hidden is None:
            return gradient
        gradient = reverse(gradient, head.hidden, penultimate)
        gradient = self._engine.input_gradient(self._hidden, gradient)
        return self._engine.backward(gradient, self._potentials, rows, last=self._hidden)


@dataclass(frozen=True)
class _Head:
    """The penultimate neurons and the output layer of one pass."""

    hidden: Tensor | None  # potentials of the penultimate layer
    penultimate_spikes: Tensor
    potential: Tensor  # of the output layer
    scores: Tensor

    def select(self, rows: Tensor) -> "_Head":
        hidden = None if self.hidden is None else self.hidden[rows]
        return _Head(hidden, self.penultimate_spikes[rows], self.potential[rows], self.scores[rows])


def _without_equal_neighbours(spikes: Tensor) -> tuple[Tensor, Tensor]:
    """The samples that differ from the one before, and where each sample of ``(N, ...)`` is among them, ``(N,)``."""
    new = torch.ones(len(spikes), dtype=torch.bool, device=spikes.device)
    if len(spikes) > 1:
        new[1:] = (spikes[1:] != spikes[:-1]).flatten(1).any(1)
    kept = spikes if bool(new.all()) else spikes[new]
    return kept, new.long().cumsum(0) - 1


def all_zero(per_sample: Tensor) -> Tensor:
    """Which samples of ``(N, ...)`` are zero everywhere, ``(N,)`` bool."""
    return ~per_sample.flatten(1).any(1)

"""One forward pass of a spiking network, ready for input gradients."""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from spikeflip.errors import SpikeflipError
from spikeflip.snn.gradients import GradientRequest, InputGradient, LayerPass, ScoreGradient
from spikeflip.snn.memory import Memory
from spikeflip.snn.neuron import LIF, integrate

if TYPE_CHECKING:
    from spikeflip.snn.network import SpikingNetwork


class Probe:
    """One forward pass of a batch: its scores, and the gradient of its input on request.

    The trunk, all layers up to the current of the penultimate one, is run once; the head is run again from there when
    the gradient asks for another threshold. Equal neighbours, as the targets of one sample are at the first step of an
    attack, are run once.
    """

    def __init__(self, network: "SpikingNetwork", spikes: Tensor, request: GradientRequest) -> None:
        self._network, self._spikes = network, spikes
        self._engine = network.engine_for(request.estimator)
        self._last = self._engine.depth - 1
        self._hidden = max(0, self._last - 1)  # the penultimate layer, if there is one
        spikes, self._place = _without_equal_neighbours(spikes)
        below, self._potentials = self._engine.forward(spikes, last=self._hidden)
        self._has_penultimate = self._last > 0
        self._currents = self._engine.current(self._hidden, below)
        self._head = self._run_head(self._engine.chain.neuron)
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
    def input_gradient(self, score_gradient: ScoreGradient, request: GradientRequest | None = None) -> InputGradient:
        """The gradient of a function of the scores with respect to the input spikes (Eq. 8, 9).

        Args:
            score_gradient: the gradient of that function with respect to the scores.
            request: of which samples, and with what; of all, and as the network is, when not given. An estimator that
                the engine of this pass cannot serve costs a second forward pass.

        Raises:
            SpikeflipError: a threshold is given, but the network has an output layer alone.
        """
        request = request or GradientRequest()
        if not self._engine.serves(request.estimator):
            return Probe(self._network, self._spikes, request).input_gradient(score_gradient, request)
        rows = request.rows_of(len(self._place), self._place.device)
        neuron, threshold = self._engine.chain.neuron, request.penultimate_threshold
        penultimate = neuron if threshold is None else neuron.fire_at(threshold)
        if penultimate is not neuron and not self._has_penultimate:
            raise SpikeflipError(
                f"penultimate threshold is {threshold}, but the network has no layer before its output: give "
                "threshold=None"
            )
        place = self._place[rows]
        head = self._head.select(place) if penultimate is neuron else self._run_head(penultimate, place)

        gradient = score_gradient(head.scores, rows)
        loss_zero = all_zero(gradient)
        t = head.potential.shape[1]
        gradient = (gradient / t).unsqueeze(1).expand_as(head.potential).contiguous()
        memory = Memory(len(rows)) if request.memory is None else request.memory
        output = LayerPass(self._last, head.potential, neuron, is_output=True, memory=memory)
        gradient = request.estimator.reverse(gradient, output)
        output_zero = all_zero(gradient)
        live = (~output_zero).nonzero().squeeze(1)
        values = gradient.new_zeros((len(rows), t, *self._engine.chain.shapes[0]))
        if len(live):
            part = replace(request, rows=place[live], memory=memory.of(live))
            values[live] = self._below_output(gradient[live], head.select(live), penultimate, part)
        return InputGradient(values, loss_zero, output_zero, head.penultimate_spikes)

    def _below_output(self, gradient: Tensor, head: "_Head", penultimate: LIF, request: GradientRequest) -> Tensor:
        """From the gradient of the output layer's current to that of the input, of the samples of ``request``."""
        assert request.memory is not None
        gradient = self._engine.input_gradient(self._last, gradient)
        if head.hidden is None:
            return gradient
        hidden = LayerPass(self._hidden, head.hidden, penultimate, is_output=False, memory=request.memory)
        gradient = request.estimator.reverse(gradient, hidden)
        gradient = self._engine.input_gradient(self._hidden, gradient)
        return self._engine.backward(gradient, self._potentials, request, last=self._hidden)


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

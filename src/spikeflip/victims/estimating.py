"""Estimators of gradients in foreign layers, which fire one time step after the other.

In the forward pass a layer's spike function is heard at every step. Before the way back the steps are one
:class:`spikeflip.snn.gradients.LayerPass`, of which the estimator makes a slope for each of them. What a layer says of
its neurons is their threshold alone, and that is all an estimator can ask for.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

import torch
from torch import Tensor

from spikeflip.errors import SpikeflipError
from spikeflip.snn.gradients import Estimator, GradientRequest, LayerPass
from spikeflip.snn.memory import Memory
from spikeflip.snn.neuron import LIF
from spikeflip.snn.surrogate import Surrogate
from spikeflip.victims.order import Order, SampleAxis

EVERYWHERE = "bptt, straight-through, pdsg or assg"
"""Estimators that need nothing of a layer but its potentials and its threshold."""


class ForeignNeuron(LIF):
    """The neurons of a foreign layer: their threshold, and the surrogate if the victim was given one.

    Args:
        layer: its name, for messages.
        threshold: in units of the potential; a tensor where neurons differ, that fits ``(n, T, *layer)``.
        given: the surrogate of the victim.
    """

    def __init__(self, layer: str, threshold: Tensor | float, given: Surrogate | None) -> None:
        vars(self).update(layer=layer, threshold=threshold, centre=None, given=given)

    @property
    def decay(self) -> float:
        """Not known: raises a SpikeflipError."""
        self._unknown("how fast its potential decays")

    @property
    def reset(self) -> Any:
        """Not known: raises a SpikeflipError."""
        self._unknown("how its neurons are reset")

    @property
    def surrogate(self) -> Surrogate:
        """That of the victim; a SpikeflipError if it was given none."""
        given: Surrogate | None = vars(self)["given"]
        if given is None:
            self._unknown("its surrogate as a derivative")
        return given

    def _unknown(self, what: str) -> NoReturn:
        raise SpikeflipError(
            f"the estimator asks layer {vars(self)['layer']!r} for {what}, which a layer of another framework does not "
            f"say: choose {EVERYWHERE}"
        )


@dataclass(frozen=True)
class ForeignPass(LayerPass):
    """A foreign layer in one pass of n samples."""

    heard: Tensor
    """``(n, T, *layer)``, the distances that its spike function was called with, or would have been."""

    @property
    def distance(self) -> Tensor:
        """See :class:`spikeflip.snn.gradients.LayerPass`."""
        return self.heard


class Estimate:
    """What an estimator makes of one forward pass, layer by layer.

    Args:
        request: what is asked for.
        order: the spiking layers.
        axes: where samples are in what each of them gives.
    """

    def __init__(self, request: GradientRequest, order: Order, axes: Mapping[str, SampleAxis]) -> None:
        self.estimator: Estimator = request.estimator
        self._given, self._order, self._axes = request.memory, order, axes
        self._layers: dict[str, LayerEstimate] = {}
        self.memory = Memory(0)
        self.draft = Memory(0)

    def layer(self, name: str, threshold: Tensor | float | None, given: Surrogate | None) -> "LayerEstimate":
        """The estimate of one layer.

        Raises:
            SpikeflipError: it has no positive threshold, in units of which estimators are written.
        """
        if threshold is None or not bool((torch.as_tensor(threshold) > 0).all()):
            has = "no threshold" if threshold is None else "a threshold that is not positive"
            raise SpikeflipError(
                f"{self.estimator} is in units of the threshold, and layer {name!r} has {has}: choose bptt, with "
                "surrogate= if need be"
            )
        index = self._order.spiking.index(name)
        made = LayerEstimate(self, name, index, name == self._order.last, ForeignNeuron(name, threshold, given))
        self._layers[name] = made
        return made

    def begin(self, n: int) -> None:
        """Make ready for a pass of n samples."""
        self.memory = Memory(n) if self._given is None else self._given
        # Samples whose gradient is gone after the output layer change nothing below it, as in networks of our own.
        self.draft = self.memory.draft()

    def heard_all(self, scores: Tensor, n: int, steps: int | None) -> None:
        """After the forward pass: make the slopes of all layers, for the way back.

        Args:
            scores: of the pass, with its graph.
            n: samples.
            steps: time steps; None where they are inside the model.

        Raises:
            SpikeflipError: samples or time steps of what a layer was heard to fire with are not found.
        """
        reaching: dict[int, set[int]] = {}
        for node in nodes(scores):
            if isinstance(call := getattr(node, "heard", None), _Call):
                reaching.setdefault(call.layer.index, set()).add(call.number)
        layers = [layer for layer in self._layers.values() if not layer.runs_whole]
        if steps is None:
            steps = max((len(reaching.get(layer.index, ())) for layer in layers), default=0)
        for layer in layers:
            layer.make_slopes(reaching.get(layer.index, set()), n, steps, self._axes.get(layer.name))

    def keep(self, rows: Tensor) -> None:
        """After the way back: keep what layers below the output learned of the samples ``rows`` ``(n,)`` bool."""
        self.memory.adopt(self.draft, rows)


class LayerEstimate:
    """What an estimator makes of one layer; made by :meth:`Estimate.layer`."""

    def __init__(self, whole: Estimate, name: str, index: int, is_output: bool, neuron: ForeignNeuron) -> None:
        self.name, self.index, self._is_output, self.neuron = name, index, is_output, neuron
        self.whole = whole
        self._distances: list[Tensor] = []
        self._slopes: dict[int, Tensor] = {}
        self._closed = False
        self.runs_whole = False
        """Whether the layer goes over the whole sequence at once, by :meth:`run`."""

    @property
    def cuts(self) -> bool:
        """Whether the gradient's way between time steps is another one than the layer's own."""
        return self.whole.estimator.reach is not None or self.whole.estimator.averaged

    def fire(self, potential: Tensor, function: Callable[[Tensor], Tensor], centre: Tensor | float) -> Tensor:
        """``function`` of a potential, with the estimator's slope on the way back.

        Args:
            potential: what the layer hands to its spike function.
            function: from it to spikes.
            centre: the threshold, where the function gets the potential itself and not its distance to it.
        """
        spikes: Tensor = _Fire.apply(potential, function, centre, self)
        return spikes

    def note(self, distance: Tensor) -> int:
        """Hear a call, and number it; what torch.utils.checkpoint runs again on the way back is not heard."""
        if not self._closed:
            self._distances.append(distance)
        return len(self._distances) - 1

    def make_slopes(self, reaching: set[int], n: int, steps: int, axis: SampleAxis | None) -> None:
        """Make a slope of every call that is a time step; ``reaching`` are those that the scores depend on."""
        self._closed = True
        heard, self._distances = self._distances, self._distances[:0]
        if not heard:
            raise SpikeflipError(
                f"layer {self.name!r} does not call its spike function, so that {self.whole.estimator} cannot reach "
                "it: pass neurons= with the attribute that it calls, or choose bptt without a surrogate"
            )
        if not reaching:
            return
        if self.whole.estimator.pointwise:
            self._slopes = {call: self.slope(heard[call][None, None])[0, 0] for call in reaching}
            return
        # Some neurons ask their spike function for the reset as well, and cut the graph behind it.
        calls = list(range(len(heard))) if len(heard) == steps else sorted(reaching)
        distances = [heard[call] for call in calls]
        shapes = {distance.shape for distance in distances}
        if len(distances) == 1 and axis is not None and axis.dim == 1 and distances[0].shape[:2] == (steps, n):
            self._slopes = {calls[0]: self.slope(distances[0].transpose(0, 1)).transpose(0, 1)}
        elif len(distances) == steps and len(shapes) == 1 and self._samples_first(distances[0], n, axis):
            slopes = self.slope(torch.stack(distances, 1))
            self._slopes = dict(zip(calls, slopes.unbind(1), strict=True))
        else:
            of = ", ".join(str(tuple(shape)) for shape in shapes)
            raise SpikeflipError(
                f"layer {self.name!r} fires in {len(distances)} calls of {of} for {n} samples and {steps} time steps, "
                f"where {self.whole.estimator} needs one of (n, ...) a step or one of (T, n, ...): let each layer be a "
                "module of its own that loops over time, or choose bptt or straight-through"
            )

    @staticmethod
    def _samples_first(distance: Tensor, n: int, axis: SampleAxis | None) -> bool:
        elsewhere = axis is not None and axis.ndim == distance.ndim and axis.dim > 0
        return distance.ndim > 0 and distance.shape[0] == n and not elsewhere

    def slope(self, distance: Tensor) -> Tensor:
        """The estimator's slope, both ``(n, T, *layer)``."""
        threshold = self.neuron.window_centre
        if isinstance(threshold, Tensor):
            while threshold.ndim > 1 and threshold.shape[0] == 1:
                threshold = threshold.squeeze(0)
            if threshold.ndim > max(1, distance.ndim - 2):
                raise SpikeflipError(
                    f"the threshold of layer {self.name!r} has shape {tuple(threshold.shape)}, which is not one of its "
                    f"neurons {tuple(distance.shape[2:])}: choose bptt"
                )
            threshold = threshold.to(distance)
        neuron = ForeignNeuron(self.name, threshold, vars(self.neuron)["given"])
        layer = ForeignPass(self.index, distance + threshold, neuron, self._is_output, self._memory, distance)
        return self.whole.estimator.slope(layer)

    def slope_of(self, number: int) -> Tensor:
        """The slope of a call."""
        return self._slopes[number]

    def run(self, current: Tensor, function: Callable[[Tensor], tuple[Tensor, Tensor]], neuron: LIF) -> Tensor:
        """Spikes of a layer of known neurons over the whole sequence, with the estimator's way back.

        Args:
            current: ``(T, n, *layer)``, the weighted input.
            function: from it to potentials before reset and spikes, of the same shape.
            neuron: the layer's constants.
        """
        self.runs_whole = True
        spikes: Tensor = _Run.apply(current, function, neuron, self)
        return spikes

    def reverse(self, gradient: Tensor, potential: Tensor, neuron: LIF) -> Tensor:
        """From the gradient of the layer's spikes to that of its weighted input, in place; both ``(n, T, *layer)``."""
        layer = LayerPass(self.index, potential, neuron, self._is_output, self._memory)
        return self.whole.estimator.reverse(gradient, layer)

    @property
    def _memory(self) -> Memory:
        return self.whole.memory if self._is_output else self.whole.draft


@dataclass(frozen=True, eq=False)
class _Call:
    """Which call of a layer's spike function a node of the graph is."""

    layer: LayerEstimate
    number: int


class _Fire(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        potential: Tensor,
        function: Callable[[Tensor], Tensor],
        centre: Tensor | float,
        layer: LayerEstimate,
    ) -> Tensor:
        # The node of the graph is this object: what the scores depend on is found by these.
        ctx.heard = _Call(layer, layer.note(potential - centre))
        return function(potential)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None]:
        return gradients[0] * ctx.heard.layer.slope_of(ctx.heard.number), None, None, None


class _Run(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        current: Tensor,
        function: Callable[[Tensor], tuple[Tensor, Tensor]],
        neuron: LIF,
        layer: LayerEstimate,
    ) -> Tensor:
        potential, spikes = function(current)
        ctx.save_for_backward(potential)
        ctx.neuron, ctx.layer = neuron, layer
        return spikes

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None]:
        (potential,) = ctx.saved_tensors
        gradient = torch.empty_like(potential).copy_(gradients[0]).transpose(0, 1)
        return ctx.layer.reverse(gradient, potential.transpose(0, 1), ctx.neuron).transpose(0, 1), None, None, None


def nodes(tensor: Tensor) -> Iterable[object]:
    """Every node of the graph behind a tensor."""
    waiting = [tensor.grad_fn] if tensor.grad_fn is not None else []
    seen = set(waiting)
    while waiting:
        node = waiting.pop()
        yield node
        for below, _ in node.next_functions:
            if below is not None and below not in seen:
                seen.add(below)
                waiting.append(below)

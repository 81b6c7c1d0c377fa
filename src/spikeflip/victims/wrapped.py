"""A foreign model as a victim: borrowed for every call, run as it is, and given back as it was found."""

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn

from spikeflip.errors import SpikeflipError
from spikeflip.snn.architecture import Shape
from spikeflip.snn.coding import Coding
from spikeflip.snn.probe import InputGradient, ScoreGradient, all_zero
from spikeflip.snn.surrogate import Rectangular, Surrogate
from spikeflip.victims import layouts
from spikeflip.victims.order import Order, SampleAxis, on_end, on_start
from spikeflip.victims.spike_functions import Change, SpikingLayer
from spikeflip.victims.state import State, mode, shadowed


@dataclass(frozen=True)
class Calling:
    """How a model is called and read."""

    layout: layouts.Layout | layouts.LayoutFunction
    output: layouts.Output
    readout: layouts.Readout | layouts.ReadoutFunction


@dataclass
class Pass:
    """One forward pass with its graph, if it was asked for one."""

    source: Tensor
    scores: Tensor
    into_last: list[Tensor] = field(default_factory=list)
    """What the last spiking layer was given, one entry a call of it."""
    penultimate: list[Tensor] = field(default_factory=list)
    """The spikes of the penultimate layer, one entry a call of it."""


class WrappedModel:
    """A model of any framework as a :class:`spikeflip.victims.Victim`; made by :func:`spikeflip.wrap`.

    The model is used where it is, not copied: changed weights and thresholds are seen. Wrap it again after replacing
    layers.
    """

    def __init__(
        self,
        model: nn.Module,
        calling: Calling,
        layers: Mapping[str, SpikingLayer],
        *,
        input_shape: Shape,
        time_steps: int,
        surrogate: Surrogate | None = None,
    ) -> None:
        self.model = model
        self.calling = calling
        self.layers = layers
        self.input_shape = input_shape
        self.time_steps = time_steps
        self.coding: Coding = "direct" if calling.layout == "static" else "rate"
        self.order = Order((), None, None)
        self.into_last: SampleAxis | None = None
        self.penultimate_axis: SampleAxis | None = None
        self.state = State({})
        self._classes = 0
        self._surrogate = surrogate
        self._plain = True  # whether the last gradient was of the model as it is, so that the next may be too
        self._modules = tuple(model.modules())
        self._parameters = tuple(model.parameters())
        self._home = self.device

    @property
    def classes(self) -> int:
        """K, the number of classes."""
        return self._classes

    @property
    def device(self) -> torch.device:
        """Where the model's parameters are, or its buffers; the CPU for a model without any."""
        return self._like.device

    @property
    def dtype(self) -> torch.dtype:
        """What inputs are cast to: the type of the model's first parameter."""
        return self._like.dtype if self._like.is_floating_point() else torch.float32

    @property
    def _like(self) -> Tensor:
        first = next((p for p in self._parameters if p.is_floating_point()), None)
        return next(self.model.buffers(), torch.empty(0)) if first is None else first

    @property
    def spiking_layers(self) -> tuple[str, ...]:
        """Names of the spiking layers, in the order in which they run."""
        return self.order.spiking

    @property
    def penultimate_layer(self) -> str | None:
        """Name of the last spiking layer before the last weights."""
        return self.order.penultimate

    @property
    def penultimate_threshold(self) -> float | None:
        """Firing threshold of that layer, the mean where each neuron has its own; None where there is none."""
        if self.order.penultimate is None:
            return None
        threshold = self.layers[self.order.penultimate].threshold
        return float(threshold.float().mean()) if isinstance(threshold, Tensor) else threshold

    def with_surrogate(self, surrogate: Surrogate | None) -> "WrappedModel":
        """The same victim with that surrogate derivative in all spiking layers, or with the model's own if None.

        Scores stay as they are, bit for bit; gradients change.

        Raises:
            SpikeflipError: no spiking layer is known, or one cannot be reached.
        """
        if surrogate is not None and not self.order.spiking:
            raise SpikeflipError(f"a surrogate {surrogate} is asked for, but {_NO_LAYER}, or leave it out")
        other = copy.copy(self)
        other._surrogate = surrogate
        other._shadows(other.changes())  # raises where a layer cannot be reached
        return other

    def scores(self, spikes: Tensor) -> Tensor:
        """Scores ``(N, K)`` of spikes ``(N, T, *input)``, in evaluation mode; no gradient."""
        with torch.no_grad(), self._borrowed():
            return self._run(self._cast(spikes))

    def probe(self, spikes: Tensor) -> "WrappedProbe":
        """Run spikes ``(N, T, *input)`` forward once, ready for input gradients."""
        return WrappedProbe(self, spikes)

    def changes(
        self, penultimate_threshold: float | None = None, output_window: float | None = None
    ) -> dict[str, Change]:
        """How spiking layers fire in a gradient pass, where otherwise than by themselves; by layer."""
        changes = {} if self._surrogate is None else dict.fromkeys(self.order.spiking, Change(0.0, self._surrogate))
        if penultimate_threshold is not None:
            name = self.order.penultimate
            own = None if name is None else self.layers[name].threshold
            if name is None or own is None:
                raise SpikeflipError(f"penultimate threshold is {penultimate_threshold}, but {self._no_threshold()}")
            delta = penultimate_threshold - own
            if bool(torch.as_tensor(delta != 0).any()):
                changes[name] = replace(changes.get(name, Change()), delta=delta)
        if output_window is not None:
            name = self.order.last
            if name is None:
                raise SpikeflipError(f"output window is {output_window}, but {_NO_LAYER}, or leave the window out")
            window: Surrogate = Rectangular() if self._surrogate is None else self._surrogate
            changes[name] = replace(changes.get(name, Change()), surrogate=window.with_width(output_window))
        return changes

    def forward(self, spikes: Tensor, changes: Mapping[str, Change], *, graph: bool) -> Pass:
        """One pass as the gradient sees it: neurons in training mode, firing as ``changes`` say."""
        source = self._cast(spikes).requires_grad_(graph)
        found = Pass(source, source)

        def keep(to: list[Tensor]) -> Callable[[str, object], None]:
            return lambda _name, value: to.append(value) if isinstance(value, Tensor) else None

        last = {} if self.order.last is None else {"": self.layers[self.order.last].module}
        before = {} if self.order.penultimate is None else {"": self.layers[self.order.penultimate].module}
        with ExitStack() as stack:
            stack.enter_context(torch.set_grad_enabled(graph))
            stack.enter_context(self._borrowed(training=True))
            stack.enter_context(shadowed(self._shadows(changes)))
            stack.enter_context(on_start(last, keep(found.into_last)))
            stack.enter_context(on_end(before, keep(found.penultimate)))
            found.scores = self._run(source)
        return found

    @contextmanager
    def _borrowed(self, *, training: bool = False) -> Iterator[None]:
        if self.device != self._home:
            self.state, self._home = self.state.on(self.device), self.device
        neurons = [layer.module for layer in self.layers.values()] if training else []
        with mode(self._modules, self._parameters, neurons), self.state.fresh():
            yield

    def _run(self, spikes: Tensor) -> Tensor:
        calling = self.calling
        out = layouts.run(self.model, spikes, calling.layout, calling.output)
        return layouts.read(out if out.dtype in (torch.float32, torch.float64) else out.float(), calling.readout)

    def _cast(self, spikes: Tensor) -> Tensor:
        x = spikes.detach().to(self.device, self.dtype)
        return x.clone() if x.is_inference() else x

    def _shadows(self, changes: Mapping[str, Change]) -> Sequence[tuple[nn.Module, Mapping[str, object]]]:
        layers = self.layers
        return [(layers[name].module, layers[name].replacement(change)) for name, change in changes.items()]

    def _no_threshold(self) -> str:
        if not self.order.spiking:
            return f"{_NO_LAYER}, or leave the threshold out"
        if self.order.penultimate is None:
            return (
                "the model has no spiking layer before its last weights: name one of "
                f"{', '.join(map(repr, self.order.spiking))} as penultimate=, or leave the threshold out"
            )
        return f"layer {self.order.penultimate!r} has none that could move: leave it out"


_NO_LAYER = (
    "no spiking layer of the model is known: pass neurons={YourNeuron: ('threshold', 'spike_function')} "
    "to spikeflip.wrap"
)


class WrappedProbe:
    """One forward pass of a batch, whose graph is kept for the gradient."""

    @torch.inference_mode(False)
    def __init__(self, victim: WrappedModel, spikes: Tensor) -> None:
        self._victim, self._spikes = victim, spikes
        # An attack asks for the same kind of gradient at every step: where it moves the threshold, a graph of the
        # model as it is would be made in vain.
        self._pass = victim.forward(spikes, victim.changes(), graph=victim._plain)
        self.scores = self._pass.scores.detach()

    @torch.inference_mode(False)
    def input_gradient(
        self,
        score_gradient: ScoreGradient,
        rows: Tensor,
        *,
        penultimate_threshold: float | None = None,
        output_window: float | None = None,
    ) -> InputGradient:
        """The gradient of a function of the scores with respect to the input, by autograd through the model.

        Args:
            score_gradient: the gradient of that function with respect to the scores.
            rows: ``(n,)`` int64, the samples wanted.
            penultimate_threshold: at which the penultimate spiking layer fires in this pass, the surrogate window
                staying where it was. Costs a second forward pass.
            output_window: in this pass the last spiking layer has a rectangular surrogate of that width, or the
                victim's own kind if it was given one. Costs a second forward pass.

        Raises:
            SpikeflipError: the model has no such layer, or its spike function cannot be reached.
        """
        victim = self._victim
        victim._plain = penultimate_threshold is None and output_window is None
        if victim._plain and len(rows.unique()) == len(rows):
            if not self._pass.scores.requires_grad:
                self._pass = victim.forward(self._spikes, victim.changes(), graph=True)
            return self._backward(self._pass, score_gradient, rows, rows)
        changes = victim.changes(penultimate_threshold, output_window)
        found = victim.forward(self._spikes[rows], changes, graph=True)
        return self._backward(found, score_gradient, rows, torch.arange(len(rows), device=rows.device))

    def _backward(self, found: Pass, score_gradient: ScoreGradient, rows: Tensor, place: Tensor) -> InputGradient:
        """Of the samples ``rows``, which are at ``place`` in the pass."""
        victim = self._victim
        wanted = score_gradient(found.scores.detach()[place], rows)
        gradient = torch.zeros_like(found.scores)
        gradient[place] = wanted.to(gradient)
        loss_zero = all_zero(wanted)
        n, dtype = len(found.source), self._spikes.dtype
        whole, into_last = torch.zeros_like(found.source), [torch.zeros_like(x) for x in found.into_last]
        if not bool(loss_zero.all()):
            whole, *into_last = _gradients(found.scores, [found.source, *found.into_last], gradient)
        values = whole[place].to(dtype if dtype.is_floating_point else torch.float32)
        output_zero = loss_zero.clone()
        if victim.into_last is not None and into_last:
            output_zero |= ~_per_sample(victim.into_last, [x.abs() for x in into_last], n)[place].bool()
        spikes = torch.full((n,), -1.0, device=values.device)
        if victim.penultimate_axis is not None and found.penultimate:
            spikes = _per_sample(victim.penultimate_axis, [x.detach() for x in found.penultimate], n)
        return InputGradient(values, loss_zero, output_zero, spikes[place])


def _per_sample(axis: SampleAxis, tensors: Sequence[Tensor], n: int) -> Tensor:
    totals = torch.stack([axis.totals(tensor.float()) for tensor in tensors]).sum(0)
    return totals if len(totals) == n else totals.new_zeros(n)


def _gradients(scores: Tensor, sources: Sequence[Tensor], gradient: Tensor) -> list[Tensor]:
    """Zero where the scores do not depend on a source; the graph stays."""
    if not scores.requires_grad:
        return [torch.zeros_like(source) for source in sources]
    asking = [source for source in sources if source.requires_grad]
    found = iter(torch.autograd.grad(scores, asking, gradient, retain_graph=True, allow_unused=True))
    each = [next(found) if source.requires_grad else None for source in sources]
    return [torch.zeros_like(s) if g is None else g for s, g in zip(sources, each, strict=True)]

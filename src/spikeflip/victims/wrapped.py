"""A foreign model as a victim: borrowed for every call, run as it is, and given back as it was found."""

import copy
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from spikeflip.errors import SpikeflipError
from spikeflip.notices import Notice
from spikeflip.showing import Shown
from spikeflip.snn.architecture import Shape
from spikeflip.snn.coding import Coding
from spikeflip.snn.estimators import Widened
from spikeflip.snn.gradients import BPTT, Estimator, GradientRequest
from spikeflip.snn.surrogate import Rectangular, Surrogate
from spikeflip.snn.validation import check_tensor
from spikeflip.victims import layouts
from spikeflip.victims.estimating import EVERYWHERE, Estimate
from spikeflip.victims.modules import modules, named_buffers, named_parameters
from spikeflip.victims.order import Order, SampleAxis, on_end, on_start
from spikeflip.victims.spike_functions import Change, SpikingLayer, check_surrogate
from spikeflip.victims.state import State, mode, shadowed
from spikeflip.victims.windows import Borders
from spikeflip.victims.wrapped_probe import Pass, WrappedProbe

LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Calling:
    """How a model is called and read."""

    layout: layouts.Layout | layouts.LayoutFunction
    output: layouts.Output
    readout: layouts.Readout | layouts.ReadoutFunction


class WrappedModel(Shown):
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
    ) -> None:
        self.model = model
        self.calling = calling
        self.layers = layers
        self.input_shape = input_shape
        self.time_steps = time_steps
        self.coding: Coding = "direct" if calling.layout == "static" else "rate"
        self.order = Order((), None, None)
        self.into_last: SampleAxis | None = None
        self.axes: Mapping[str, SampleAxis] = {}
        """Where samples are in what the spiking layers give."""
        self.state = State({})
        self.counts = False
        """Whether its inputs are counts of events, and not spikes of 0 and 1."""
        self.notices: tuple[Notice, ...] = ()
        self._classes = 0
        self._surrogate: Surrogate | None = None
        self._modules = tuple(modules(model))
        self._parameters = tuple(parameter for _, parameter in named_parameters(model))
        self._home = self.device

    def _shown(self) -> tuple[str, Mapping[str, str], Sequence[str]]:
        layer, threshold = self.penultimate_layer, self.penultimate_threshold
        layout, sizes = self.calling.layout, ", ".join(map(str, self.input_shape))
        rows = {
            "takes": f"images (N, {sizes})" if self.coding == "direct" else f"spikes (N, {self.time_steps}, {sizes})",
            "classes": str(self.classes),
            "layout": layout if isinstance(layout, str) else "a function",
            "spiking layers": ", ".join(map(repr, self.spiking_layers)) or "none known",
            "penultimate layer": "none" if layer is None else repr(layer),
            "its threshold": "none to move" if threshold is None else f"{threshold:g}",
        }
        return f"WrappedModel of {type(self.model).__name__}", rows, [notice.text for notice in self.notices]

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
        """What inputs are cast to: the type of the model's first floating-point parameter."""
        return self._like.dtype if self._like.is_floating_point() else torch.float32

    @property
    def _like(self) -> Tensor:
        first = next((p for p in self._parameters if p.is_floating_point()), None)
        return next((buffer for _, buffer in named_buffers(self.model)), torch.empty(0)) if first is None else first

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
        """Firing threshold of that layer, the mean where each neuron has its own; None where none can be moved."""
        if self.order.penultimate is None:
            return None
        layer = self.layers[self.order.penultimate]
        try:
            layer.replacement(Change())
        except SpikeflipError:
            return None
        threshold = layer.threshold
        return float(threshold.float().mean()) if isinstance(threshold, Tensor) else threshold

    def note(self, code: str, text: str) -> None:
        """Log a fact that a reader of its rates must know, and keep it for whoever judges the victim."""
        LOG.warning("%s", text)
        self.notices = (*self.notices, Notice(code, text))

    def with_surrogate(self, surrogate: Surrogate | None) -> "WrappedModel":
        """The same victim with that surrogate derivative in all spiking layers, or with the model's own if None.

        Scores stay as they are, bit for bit; gradients change.

        Raises:
            SpikeflipError: it is no surrogate, no spiking layer is known, or one cannot be reached.
        """
        check_surrogate(surrogate)
        if surrogate is not None:
            self._check_has_layers(f"a surrogate {surrogate}")
        other = copy.copy(self)
        other._surrogate = surrogate
        other._shadows(other.changes())  # raises where a layer cannot be reached
        return other

    def scores(self, spikes: Tensor) -> Tensor:
        """Scores ``(N, K)`` of spikes ``(N, T, *input)``, in evaluation mode; no gradient."""
        with torch.no_grad(), self._borrowed():
            return self._run(self._cast(spikes))

    def probe(self, spikes: Tensor, request: GradientRequest | None = None) -> WrappedProbe:
        """Run spikes ``(N, T, *input)`` forward once, ready for input gradients such as ``request`` asks for."""
        return WrappedProbe(self, spikes, request or GradientRequest())

    def changes(self, request: GradientRequest | None = None) -> dict[str, Change]:
        """How spiking layers fire in a gradient pass, where otherwise than by themselves; by layer."""
        request = request or GradientRequest()
        estimator, threshold = request.estimator, request.penultimate_threshold
        changes = self._derivatives(request)
        if threshold is not None:
            name = self.order.penultimate
            own = None if name is None else self.layers[name].threshold
            if name is None or own is None:
                raise SpikeflipError(f"penultimate threshold is {threshold}, but {self._no_threshold()}")
            delta = threshold - own
            if bool(torch.as_tensor(delta != 0).any()):
                changes[name] = replace(changes.get(name, Change()), delta=delta)
        if estimator.reach is not None or estimator.averaged:
            self._check_cut(estimator, changes)
        return changes

    def _derivatives(self, request: GradientRequest) -> dict[str, Change]:
        """Spiking layers with other derivatives than their own, as an estimator says."""
        estimator = request.estimator
        wide: Surrogate | None = None
        if isinstance(estimator, Widened) and isinstance(estimator.estimator, BPTT):
            wide, estimator = Rectangular(estimator.width), estimator.estimator
        by_steps = self._called_by_steps
        if not isinstance(estimator, BPTT) or (estimator.window is not None and not by_steps):
            self._check_has_layers(str(estimator))
            estimate = Estimate(request, self.order, self.axes)
            given, layers = self._surrogate, self.layers
            return {
                name: Change(0.0, given, estimate.layer(name, layers[name].threshold, given))
                for name in self.order.spiking
            }
        surrogate = self._surrogate if estimator.surrogate is None else estimator.surrogate
        if surrogate is not None:
            self._check_has_layers(f"a surrogate {surrogate}")
        changes = {} if surrogate is None else dict.fromkeys(self.order.spiking, Change(0.0, surrogate))
        if (width := estimator.output_window) is not None:
            wide = (Rectangular() if surrogate is None else surrogate).with_width(width)
        if wide is not None:
            name = self.order.last
            if name is None:
                raise SpikeflipError(f"output window is {wide.width}, but {_NO_LAYER}, or leave the window out")
            changes[name] = replace(changes.get(name, Change()), surrogate=wide)
        return changes

    @property
    def _called_by_steps(self) -> bool:
        layout = self.calling.layout
        return layout in layouts.BY_STEPS and (layout != "static" or self.time_steps > 1)

    def _check_cut(self, estimator: Estimator, changes: Mapping[str, Change]) -> None:
        """Raise a SpikeflipError unless the gradient's way between time steps can be cut, or averaged."""
        if self._called_by_steps and not estimator.averaged:
            if (readout := self.calling.readout) not in ("mean", "sum", "max"):
                raise SpikeflipError(
                    f"{estimator} cuts the gradient between time steps, and the readout {readout!r} may look at one "
                    f"alone: choose {EVERYWHERE}"
                )
            return
        for name in self.order.spiking:
            layer = self.layers[name]
            why = layer.kind.why_not_whole(layer.module, changes[name])
            if why is not None:
                raise SpikeflipError(
                    f"{estimator} cuts or averages the gradient over time in layer {name!r}, but {why}: choose "
                    f"{EVERYWHERE}, or windowed for a model that is called once a time step"
                )

    def forward(self, spikes: Tensor, changes: Mapping[str, Change], *, graph: bool, window: int | None = None) -> Pass:
        """One pass as the gradient sees it: neurons in training mode, firing as ``changes`` say.

        With a ``window`` of time steps, beyond whose first nothing goes back, if the model is called once a step.
        """
        source = self._cast(spikes).requires_grad_(graph)
        estimate = next((change.estimate.whole for change in changes.values() if change.estimate is not None), None)
        found = Pass(source, source, changes, estimate)
        between = layouts.on if window is None else Borders(window, self.state)
        if estimate is not None:
            estimate.begin(len(source))

        def keep(to: list[Tensor]) -> Callable[[str, object], None]:
            return lambda _name, value: to.append(value) if isinstance(value, Tensor) else None

        last = {} if self.order.last is None else {"": self.layers[self.order.last].module}
        before = {} if self.order.penultimate is None else {"": self.layers[self.order.penultimate].module}
        with ExitStack() as stack:
            stack.enter_context(torch.set_grad_enabled(graph))
            stack.enter_context(self.firing(changes))
            stack.enter_context(on_start(last, keep(found.into_last)))
            stack.enter_context(on_end(before, keep(found.penultimate)))
            found.scores = self._run(source, between)
        if estimate is not None:
            inside = self.calling.layout == "static" and source.shape[1] == 1
            estimate.heard_all(found.scores, len(source), None if inside else source.shape[1])
        return found

    @contextmanager
    def firing(self, changes: Mapping[str, Change]) -> Iterator[None]:
        """The model as a gradient sees it; for the way back too, where torch.utils.checkpoint runs layers again."""
        with self._borrowed(training=True), shadowed(self._shadows(changes)):
            yield

    @contextmanager
    def _borrowed(self, *, training: bool = False) -> Iterator[None]:
        if self.device != self._home:
            self.state, self._home = self.state.on(self.device), self.device
        neurons = [layer.module for layer in self.layers.values()] if training else []
        with mode(self._modules, self._parameters, neurons), self.state.fresh():
            yield

    def _run(self, spikes: Tensor, between: layouts.Between = layouts.on) -> Tensor:
        calling = self.calling
        out = layouts.run(self.model, spikes, calling.layout, calling.output, between)
        return layouts.read(out if out.dtype in (torch.float32, torch.float64) else out.float(), calling.readout)

    def _cast(self, spikes: Tensor) -> Tensor:
        check_tensor(spikes)
        if spikes.shape[2:] != self.input_shape:
            sizes = ", ".join(map(str, self.input_shape))
            raise SpikeflipError(f"spikes have shape {tuple(spikes.shape)}, but the victim takes (N, T, {sizes})")
        if self.coding == "direct" and spikes.ndim > 1 and spikes.shape[1] != self.time_steps:
            raise SpikeflipError(
                f"inputs of shape {tuple(spikes.shape)} are of {spikes.shape[1]} time steps, and this victim's model "
                f"is called {self.time_steps} times an image: repeat each image so often, as attacks and the judge do"
            )
        x = spikes.detach().to(self.device, self.dtype)
        return x.clone() if x.is_inference() else x

    def _shadows(self, changes: Mapping[str, Change]) -> Sequence[tuple[nn.Module, Mapping[str, object]]]:
        layers = self.layers
        return [(layers[name].module, layers[name].replacement(change)) for name, change in changes.items()]

    def _check_has_layers(self, asked: str) -> None:
        if not self.order.spiking:
            raise SpikeflipError(f"{asked} is asked for, but {_NO_LAYER}, or leave it out")

    def _no_threshold(self) -> str:
        if not self.order.spiking:
            return f"{_NO_LAYER}, or leave the threshold out"
        if self.order.penultimate is None:
            return (
                "the model has no spiking layer before its last weights that is not its output as well: name one of "
                f"{', '.join(map(repr, self.order.spiking))} as penultimate=, or leave the threshold out"
            )
        return f"layer {self.order.penultimate!r} has none that could move: leave it out"


_NO_LAYER = (
    "no spiking layer of the model is known: pass neurons={YourNeuron: ('threshold', 'spike_function')} "
    "to spikeflip.wrap"
)

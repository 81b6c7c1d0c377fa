"""The spike functions of foreign neurons: which there are, where they sit, and how one is replaced.

A neuron fires by some function of its potential. Replacing that function moves the firing decision or swaps the
surrogate derivative of any framework, and leaves everything else as it is: the amount of a soft reset, the window on
which the surrogate is centred, and the objects that the model holds.
"""

import reprlib
import types
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, SupportsFloat

import torch
from torch import Tensor, nn

from spikeflip.errors import SpikeflipError
from spikeflip.snn.surrogate import Surrogate
from spikeflip.victims.modules import named_modules, named_parameters

if TYPE_CHECKING:
    from spikeflip.victims.estimating import LayerEstimate


@dataclass(frozen=True)
class Change:
    """How a layer fires in one pass: ``delta`` higher than by itself, and with another derivative if one is given."""

    delta: Tensor | float = 0.0
    surrogate: Surrogate | None = None
    estimate: "LayerEstimate | None" = None
    """What an estimator of gradients makes of the layer, in place of a surrogate."""

    def fire(self, potential: Tensor, function: Callable[[Tensor], Tensor], centre: Tensor | float = 0.0) -> Tensor:
        """``function`` of a potential, changed: ``step(u - delta)`` forward, the derivative at ``u`` backward.

        Args:
            potential: what the layer hands to its spike function.
            function: the layer's own spike function.
            centre: the threshold, where the function gets the potential itself and not its distance to it.
        """
        if self.estimate is not None:
            return self.estimate.fire(potential, lambda u: function(u - self.delta), centre)
        if self.surrogate is not None:
            spikes: Tensor = _Fire.apply(potential, function, self, centre)
            return spikes
        own = function(potential)
        if isinstance(self.delta, float) and self.delta == 0:
            return own
        with torch.no_grad():
            # Counts of spikes are small integers, so that the sum below is exact.
            difference = function(potential - self.delta) - own
        return own + difference


class _Fire(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, potential: Tensor, function: Callable[[Tensor], Tensor], change: Change, centre: Tensor | float
    ) -> Tensor:
        ctx.save_for_backward(potential)
        ctx.change, ctx.centre = change, centre
        return function(potential - change.delta)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None]:
        (potential,) = ctx.saved_tensors
        return gradients[0] * ctx.change.surrogate.derivative(potential - ctx.centre), None, None, None


class StandIn:
    """Is called in the place of a spike function, and is that function in all else: attributes are read and set there.

    Args:
        own: what it stands for.
        function: what is called instead.
        place: the method of ``own`` that is called; itself if empty.
    """

    def __init__(self, own: Any, function: Callable[..., Any], place: str = "") -> None:
        vars(self)["_parts"] = own, function, place
        if place:
            vars(self)[place] = function

    def __call__(self, *arguments: Any, **named: Any) -> Any:  # noqa: D102
        own, function, place = vars(self)["_parts"]
        return (own if place else function)(*arguments, **named)

    def __getattr__(self, name: str) -> Any:
        return getattr(vars(self)["_parts"][0], name)

    def __setattr__(self, name: str, value: object) -> None:
        setattr(vars(self)["_parts"][0], name, value)

    @classmethod
    def listening(cls, other: "StandIn", listen: Callable[[Callable[..., Any]], Callable[..., Any]]) -> "StandIn":
        """Another one of the same, whose function is what ``listen`` makes of it."""
        own, function, place = vars(other)["_parts"]
        return cls(own, listen(function), place)


@dataclass(frozen=True)
class NeuronType:
    """A row of the table of neurons: where a kind of spiking layer keeps its threshold and its spike function.

    Args:
        name: for messages.
        threshold: name of the attribute with the firing threshold, a number or a tensor; None where it has none.
        spike_function: name of the attribute that is called with ``potential - threshold`` (and anything after it) and
            returns spikes.
        module: the class whose modules these are; those with both attributes when not given.
    """

    name: str
    threshold: str | None
    spike_function: str
    module: type[nn.Module] | None = None

    def matches(self, module: nn.Module) -> bool:
        """Whether a module is of this kind."""
        if self.module is not None:
            return isinstance(module, self.module)
        return (self.threshold is None or hasattr(module, self.threshold)) and callable(
            getattr(module, self.spike_function, None)
        )

    def own_threshold(self, module: nn.Module) -> Tensor | float | None:
        """The firing threshold that a layer has."""
        if self.threshold is None:
            return None
        value = getattr(module, self.threshold)
        return value.detach() if isinstance(value, Tensor) else float(value)

    def function(self, module: nn.Module) -> Callable[[Tensor], Tensor]:
        """The layer's own spike function of the distance to its threshold, for a look at its derivative."""
        function: Callable[[Tensor], Tensor] = getattr(module, self.spike_function)
        return function

    def why_not_whole(self, module: nn.Module, change: Change) -> str | None:
        """Why the gradient of a layer cannot be made over the whole sequence at once; None where it can."""
        return f"of a {type(module).__name__} it is not known how its potential goes from step to step"

    def replacement(self, module: nn.Module, change: Change) -> dict[str, object]:
        """The attributes to put before those of a layer so that it fires as ``change`` says."""
        own = getattr(module, self.spike_function)

        def fire(distance: Tensor, *rest: Any, **named: Any) -> Tensor:
            return change.fire(distance, lambda u: own(u, *rest, **named))

        return {self.spike_function: StandIn(own, fire)}


class _Sinabs(NeuronType):
    """``spike_fn.apply(v_mem, ..., threshold, surrogate_grad_fn)``: potential and threshold come apart."""

    def matches(self, module: nn.Module) -> bool:
        return super().matches(module) and callable(getattr(getattr(module, "spike_fn", None), "apply", None))

    def own_threshold(self, module: nn.Module) -> Tensor | float | None:
        base = getattr(module, "b0", None)  # of adaptive neurons, whose threshold is a state
        value = module.spike_threshold if base is None else base
        return value.detach() if isinstance(value, Tensor) else float(value)  # type: ignore[arg-type]

    def function(self, module: nn.Module) -> Callable[[Tensor], Tensor]:
        own: Any = module.spike_fn
        threshold: Any = self.own_threshold(module)

        def fire(distance: Tensor) -> Tensor:
            spikes: Tensor = own.apply(distance + threshold, threshold, module.surrogate_grad_fn)
            return spikes

        return fire

    def replacement(self, module: nn.Module, change: Change) -> dict[str, object]:
        own: Any = module.spike_fn

        def apply(potential: Tensor, *rest: Any) -> Tensor:
            return change.fire(potential, lambda v: own.apply(v, *rest), centre=rest[-2])

        return {"spike_fn": StandIn(own, apply, "apply")}


class _Norse(NeuronType):
    """``activation``, a plain function that calls the global name ``threshold(u, method, alpha)``."""

    def matches(self, module: nn.Module) -> bool:
        p = getattr(module, "p", None)
        return hasattr(p, "v_th") and hasattr(p, "method") and callable(getattr(module, "activation", None))

    def own_threshold(self, module: nn.Module) -> Tensor | float | None:
        value: Any = module.p.v_th  # type: ignore[union-attr]
        return value.detach() if isinstance(value, Tensor) else float(value)

    def function(self, module: nn.Module) -> Callable[[Tensor], Tensor]:
        p: Any = module.p
        own = self._activation(module).__globals__["threshold"]
        return lambda u: own(u, p.method, p.alpha)

    def replacement(self, module: nn.Module, change: Change) -> dict[str, object]:
        activation = self._activation(module)
        own = activation.__globals__["threshold"]

        def threshold(u: Tensor, *rest: Any) -> Tensor:
            return change.fire(u, lambda x: own(x, *rest))

        names = {**activation.__globals__, "threshold": threshold}
        copy = types.FunctionType(
            activation.__code__, names, activation.__name__, activation.__defaults__, activation.__closure__
        )
        copy.__kwdefaults__ = activation.__kwdefaults__
        return {"activation": copy}

    def _activation(self, module: nn.Module) -> types.FunctionType:
        activation = module.activation
        if not isinstance(activation, types.FunctionType) or "threshold" not in activation.__code__.co_names:
            name = getattr(activation, "__name__", type(activation).__name__)
            raise SpikeflipError(
                f"the spike function of a {type(module).__name__} with the activation {name} cannot be replaced: build "
                "the layer with method='super', or choose bptt and leave threshold, output window and surrogate out"
            )
        return activation


TABLE: tuple[NeuronType, ...] = (
    NeuronType("SpikingJelly", "v_threshold", "surrogate_function"),
    NeuronType("snnTorch", "threshold", "spike_grad"),
    _Sinabs("sinabs", "spike_threshold", "surrogate_grad_fn"),
    _Norse("Norse", "v_th", "activation"),
    NeuronType("paper code", "thresh", "act"),
    NeuronType("BrainCog", "threshold", "act_fun"),
    # Neurons whose threshold is a bias: SpikingJelly's parallel ones.
    NeuronType("SpikingJelly without a threshold", None, "surrogate_function"),
)

Neurons = Mapping[type[nn.Module], tuple[str | None, str]] | Iterable[NeuronType]
"""Rows that a user adds: ``{class: (threshold attribute, spike function attribute)}``, or rows in full."""


def table(neurons: Neurons | None) -> tuple[NeuronType, ...]:
    """The known kinds of neurons, the user's first.

    Raises:
        SpikeflipError: the user's are no rows.
    """
    if neurons is None:
        return TABLE
    if isinstance(neurons, Mapping):
        return (*(_row(cls, attributes) for cls, attributes in neurons.items()), *TABLE)
    rows = tuple(neurons) if isinstance(neurons, Iterable) else (neurons,)
    for row in rows:
        if not isinstance(row, NeuronType):
            raise SpikeflipError(f"neurons= holds a value of type {type(row).__name__}, {_ROWS}")
    return (*rows, *TABLE)


_ROWS = "which is no row: give {YourNeuron: ('threshold', 'spike_function')}, a class and the names of attributes"


def _row(cls: object, attributes: object) -> NeuronType:
    match attributes:
        case (str() | None as threshold, str() as spike_function) if isinstance(cls, type):
            return NeuronType(cls.__name__, threshold, spike_function, cls)
    raise SpikeflipError(f"neurons= maps {reprlib.repr(cls)} to {reprlib.repr(attributes)}, {_ROWS}")


@dataclass(frozen=True)
class SpikingLayer:
    """A module that spikes, and how."""

    name: str
    module: nn.Module
    kind: NeuronType

    @property
    def threshold(self) -> Tensor | float | None:
        """Its firing threshold; one number a neuron where it is a tensor of several."""
        return self.kind.own_threshold(self.module)

    def replacement(self, change: Change) -> dict[str, object]:
        """Attributes that make it fire as ``change`` says."""
        return self.kind.replacement(self.module, change)


def find(model: nn.Module, rows: Iterable[NeuronType]) -> dict[str, SpikingLayer]:
    """The spiking layers of a model by name, in order of registration.

    A module that is only known by its attributes and holds spiking layers is none: it keeps settings of theirs.

    Raises:
        SpikeflipError: a module of a class that is named lacks an attribute that is named.
    """
    rows, found = tuple(rows), {}
    for name, module in named_modules(model):
        kind = next((row for row in rows if row.matches(module)), None)
        if kind is not None:
            found[name] = SpikingLayer(name, module, kind)
            if kind.module is not None:
                _check_attributes(found[name])
    return {name: layer for name, layer in found.items() if layer.kind.module or not _holds_any(name, found)}


def with_a_threshold(model: nn.Module) -> list[str]:
    """Modules of frameworks that have a threshold as spiking layers do, as ``'name' (class)``."""
    names = [row.threshold for row in TABLE if row.threshold is not None]
    return [
        f"{repr(name) if name else 'the model'} ({type(module).__name__})"
        for name, module in named_modules(model)
        if any(hasattr(module, known) for known in names)
        and not type(module).__module__.startswith("torch.nn.")  # Softplus has one
    ]


def _holds_any(name: str, others: Iterable[str]) -> bool:
    inside = f"{name}." if name else ""
    return any(other != name and other.startswith(inside) for other in others)


def _check_attributes(layer: SpikingLayer) -> None:
    module, kind = layer.module, layer.kind
    at = f"layer {layer.name!r} ({type(module).__name__})" if layer.name else f"the model ({type(module).__name__})"
    if kind.threshold is not None and not isinstance(getattr(module, kind.threshold, None), SupportsFloat):
        raise SpikeflipError(
            f"{at} has no threshold {kind.threshold!r}: name in neurons= the attribute with that number or tensor, or "
            "None if there is none"
        )
    if not callable(getattr(module, kind.spike_function, None)):
        raise SpikeflipError(
            f"{at} has no spike function {kind.spike_function!r}: name in neurons= the attribute that is called with "
            "potential - threshold"
        )


def check_surrogate(surrogate: object) -> None:
    """Raise a SpikeflipError unless it is a surrogate, or None."""
    made = not isinstance(surrogate, type) and callable(getattr(surrogate, "derivative", None))
    if surrogate is not None and not made:
        raise SpikeflipError(f"surrogate is {surrogate!r}: give a derivative, such as spikeflip.Rectangular()")


def derivative(layer: SpikingLayer, reach: float = 2.0) -> Tensor | None:
    """The surrogate derivative of a layer around its threshold; None where its spike function has none.

    Thresholds that differ from neuron to neuron do not matter here: the function is given distances to them.
    """
    like = next((p for _, p in named_parameters(layer.module) if p.is_floating_point()), torch.empty(0))
    distance = torch.linspace(-reach, reach, 41, device=like.device, dtype=like.dtype)
    threshold = layer.threshold
    if isinstance(threshold, Tensor) and threshold.numel() > 1:
        distance = distance.reshape(-1, *[1] * threshold.ndim).expand(-1, *threshold.shape)
    distance = distance.clone().requires_grad_()
    with torch.enable_grad():
        spikes = layer.kind.function(layer.module)(distance)
        if not spikes.requires_grad:
            return None
        (found,) = torch.autograd.grad(spikes.sum(), distance, allow_unused=True)
    return found

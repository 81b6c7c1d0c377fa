"""The neurons of NIR, which are equations in continuous time, as steps of length dt.

A leaky membrane, ``tau dv/dt = (v_leak - v) + r I``, becomes::

    v[t] = decay * v[t-1] + share * (v_leak + r * I[t])    share = dt / tau          ("euler", forward Euler)
                                                           share = 1 - exp(-dt / tau) ("exponential")
    decay = 1 - share,  v[-1] = v_leak

and one without a leak, ``dv/dt = r I``, ``v[t] = v[t-1] + dt * r * I[t]``, or ``+ I[t]`` where r is 1 throughout: that
is how Norse, snnTorch and sinabs mean it. The input of a step counts in that step, a synapse's current too. A neuron
fires where ``v[t] > v_threshold``, and then starts the next step from ``v_reset``.
"""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from spikeflip.errors import SpikeflipError
from spikeflip.snn.architecture import Shape
from spikeflip.snn.neuron import LIF
from spikeflip.snn.surrogate import Surrogate
from spikeflip.victims.nir.graph import FIRING, Node
from spikeflip.victims.nir.shapes import parameter
from spikeflip.victims.spike_functions import Change, NeuronType

Method = Literal["euler", "exponential"]
Reset = Literal["hard", "soft"]
Carry = tuple[Tensor | None, Tensor | None]


@dataclass(frozen=True)
class Discretisation:
    """How continuous time becomes steps, and what a graph does not say of its neurons.

    ``own`` are the exact constants of a network that :func:`spikeflip.save_nir` wrote; they fire at the threshold.
    """

    dt: float
    method: Method
    reset: Reset
    surrogate: Surrogate
    own: LIF | None = None


class _Step(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, potential: Tensor, at: Tensor | float, centre: Tensor | float, surrogate: Surrogate, inclusive: bool
    ) -> Tensor:
        ctx.save_for_backward(potential)
        ctx.centre, ctx.surrogate = centre, surrogate
        return (potential >= at if inclusive else potential > at).to(potential.dtype)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None, None]:
        (potential,) = ctx.saved_tensors
        return gradients[0] * ctx.surrogate.derivative(potential - ctx.centre), None, None, None, None


class Spiking(nn.Module):
    """What fires: ``spike`` of a potential, with a surrogate derivative centred on the threshold."""

    threshold: Tensor | float
    beside: str | None = None
    """A node of the graph that carries something from step to step beside its neurons."""

    def __init__(self, threshold: NDArray[np.float64] | float, surrogate: Surrogate, inclusive: bool) -> None:
        super().__init__()
        _hold(self, "threshold", threshold)
        self.surrogate = surrogate
        self.inclusive = inclusive

    def spike(self, potential: Tensor) -> Tensor:
        """Spikes, exactly 0 or 1."""
        return self.fire(potential, self.threshold, self.surrogate)

    def fire(self, potential: Tensor, at: Tensor | float, surrogate: Surrogate) -> Tensor:
        """Spikes where the potential reaches ``at``; the surrogate stays centred on the threshold."""
        spikes: Tensor = _Step.apply(potential, at, self.threshold, surrogate, self.inclusive)
        return spikes


class Threshold(Spiking):
    """A threshold without a memory."""

    def forward(self, x: Tensor, state: Carry | None = None) -> tuple[Tensor, Carry | None]:
        """Spikes of ``(T, N, ...)``."""
        return self.spike(x), state


class Membrane(nn.Module):
    """``v[t] = decay * v[t-1] + gain * x[t] + offset``, from ``start``; numbers, or one a neuron."""

    decay: Tensor | float
    gain: Tensor | float
    offset: Tensor | float
    start: Tensor | float

    def __init__(self, *, decay: Any, gain: Any, offset: Any = 0.0, start: Any = 0.0) -> None:
        super().__init__()
        for name, value in {"decay": decay, "gain": gain, "offset": offset, "start": start}.items():
            _hold(self, name, value)

    def forward(self, x: Tensor, carry: Tensor | None) -> Tensor:
        """One step; ``carry`` is None at first."""
        return self.step(self.drive(x), carry)

    def drive(self, x: Tensor) -> Tensor:
        """What an input adds to the potential; of one step, or of all."""
        if not _is(self.gain, 1.0):
            x = x * self.gain
        return x if _is(self.offset, 0.0) else x + self.offset

    def step(self, x: Tensor, carry: Tensor | None) -> Tensor:
        """The potential after one step in which ``x`` is added; ``carry`` is None at first."""
        if carry is None:
            if _is(self.start, 0.0):
                return x
            carry = torch.zeros_like(x) + self.start
        if isinstance(self.decay, Tensor):
            return torch.addcmul(x, carry, self.decay)
        return torch.add(x, carry, alpha=self.decay)


class Integrating(nn.Module):
    """A membrane, behind a synapse if there is one; its potential is what it gives."""

    def __init__(self, membrane: Membrane, synapse: Membrane | None) -> None:
        super().__init__()
        self.membrane = membrane
        self.synapse = synapse

    def forward(self, x: Tensor, state: Carry | None = None) -> tuple[Tensor, Carry]:
        """Potentials ``(T, N, ...)``, and the state after the last step."""
        current, carry = (None, None) if state is None else state
        potentials = []
        for given in x.unbind(0):
            if self.synapse is not None:
                given = current = self.synapse(given, current)
            carry = self.membrane(given, carry)
            potentials.append(carry)
        return torch.stack(potentials), (current, carry)


class _Firing(Spiking):
    """A membrane that fires and is reset, behind a synapse if there is one."""

    reset_to: Tensor | float

    def __init__(
        self,
        membrane: Membrane,
        synapse: Membrane | None,
        *,
        threshold: NDArray[np.float64] | float,
        reset_to: NDArray[np.float64] | float | None,
        surrogate: Surrogate,
        inclusive: bool,
    ) -> None:
        super().__init__(threshold, surrogate, inclusive)
        self.membrane = membrane
        self.synapse = synapse
        self.soft = reset_to is None
        _hold(self, "reset_to", 0.0 if reset_to is None else reset_to)

    def forward(self, x: Tensor, state: Carry | None = None) -> tuple[Tensor, Carry]:
        """Spikes ``(T, N, ...)``, and the state after the last step; the gradient runs through the reset as well."""
        current, carry = (None, None) if state is None else state
        spikes = []
        for given in x.unbind(0):
            if self.synapse is not None:
                given = current = self.synapse(given, current)
            potential = self.membrane(given, carry)
            fired = self.spike(potential)
            carry = self._reset(potential, fired)
            spikes.append(fired)
        return torch.stack(spikes), (current, carry)

    def _reset(self, potential: Tensor, fired: Tensor) -> Tensor:
        if self.soft:
            return potential - fired * self.threshold
        carry = torch.addcmul(potential, potential, fired, value=-1)
        return carry if _is(self.reset_to, 0.0) else carry + fired * self.reset_to

    def why_not_whole(self, *, moved: bool) -> str | None:
        """Why these are no neurons of :mod:`spikeflip.snn.neuron`; None where they are.

        Args:
            moved: whether they fire elsewhere than at their threshold.
        """
        if self.beside is not None:
            return f"node {self.beside!r} of the graph carries something from step to step as well"
        if self.synapse is not None:
            return "it has synapses that remember"
        constants = (self.threshold, self.membrane.decay, self.reset_to, self.membrane.start)
        if any(isinstance(constant, Tensor) for constant in constants):
            return "its neurons differ in their constants"
        if not (_is(self.reset_to, 0.0) and _is(self.membrane.start, 0.0)):
            return "its neurons rest or are reset elsewhere than at 0"
        if self.soft and moved:
            return "a soft reset subtracts another amount than the threshold that is asked for"
        return None

    def whole(self, x: Tensor, change: Change) -> Tensor:
        """Spikes ``(T, N, ...)`` with the way back of an estimator, from the resting state."""
        assert change.estimate is not None
        at, surrogate = self.threshold + change.delta, change.surrogate or self.surrogate
        # Neurons that fire above their threshold fire at the next number.
        first = at if self.inclusive else _next(at, x.dtype)

        def run(current: Tensor) -> tuple[Tensor, Tensor]:
            carry, potentials, spikes = None, [], []
            for given in current.unbind(0):
                potential = self.membrane.step(given, carry)
                fired = self.fire(potential, at, surrogate)
                carry = self._reset(potential, fired)
                potentials.append(potential)
                spikes.append(fired)
            return torch.stack(potentials), torch.stack(spikes)

        neuron = LIF(
            threshold=float(first),
            decay=float(self.membrane.decay),
            reset="soft" if self.soft else "hard",
            surrogate=surrogate,
            centre=float(self.threshold),
        )
        return change.estimate.run(self.membrane.drive(x), run, neuron)


@dataclass(frozen=True)
class _NirNeurons(NeuronType):
    """The row of these neurons: they are handed potentials, and so move their threshold without rounding."""

    def replacement(self, module: nn.Module, change: Change) -> dict[str, object]:
        if not isinstance(module, Spiking):
            raise TypeError(f"{type(module).__name__} is no neuron of NIR")
        surrogate = module.surrogate if change.surrogate is None else change.surrogate
        estimate, at = change.estimate, module.threshold + change.delta
        if estimate is None:
            return {"spike": lambda v: module.fire(v, at, surrogate)}
        if estimate.cuts and isinstance(module, _Firing):
            return {"forward": lambda x, state=None: (module.whole(x, change), state)}
        return {"spike": lambda v: estimate.fire(v, lambda u: module.fire(u, at, surrogate), module.threshold)}

    def why_not_whole(self, module: nn.Module, change: Change) -> str | None:
        if not isinstance(module, _Firing):
            return "it has no potential that decays"
        return module.why_not_whole(moved=not _is(change.delta, 0.0))

    def function(self, module: nn.Module) -> Any:
        return lambda distance: _Step.apply(distance, 0.0, 0.0, module.surrogate, module.inclusive)


NIR_NEURONS = _NirNeurons("NIR", "threshold", "spike", Spiking)


def build(node: Node, shape: Shape, how: Discretisation) -> nn.Module:
    """The module of a node that has a potential or a threshold, for values of that shape.

    Raises:
        SpikeflipError: a parameter does not fit the shape, is not positive, or a time constant is shorter than dt.
    """
    if node.kind == "Threshold":
        return Threshold(parameter(node, "threshold", shape), how.surrogate, how.own is not None)
    synapse = None
    if node.kind in ("CubaLIF", "CubaLI"):
        share = _share(node, "tau_syn", shape, how)
        weight = parameter(node, "w_in", shape) if "w_in" in node.values else 1.0
        synapse = Membrane(decay=1 - share, gain=share * weight)
    threshold = parameter(node, "v_threshold", shape) if node.kind in FIRING else None
    own = how.own if _is_own(node, shape, how) else None
    membrane = _membrane(node, shape, how) if own is None else Membrane(decay=own.decay, gain=1.0)
    if threshold is None:
        return Integrating(membrane, synapse)
    reset_to: Any = None
    if how.reset == "hard":
        reset_to = parameter(node, "v_reset", shape) if "v_reset" in node.values else 0.0
    return _Firing(
        membrane,
        synapse,
        threshold=threshold if own is None else own.threshold,
        reset_to=reset_to,
        surrogate=how.surrogate,
        inclusive=how.own is not None,
    )


def _membrane(node: Node, shape: Shape, how: Discretisation) -> Membrane:
    r = parameter(node, "r", shape)
    if node.kind in ("IF", "I"):
        return Membrane(decay=1.0, gain=1.0 if bool((r == 1).all()) else r * how.dt)
    share = _share(node, "tau" if "tau" in node.values else "tau_mem", shape, how)
    leak = parameter(node, "v_leak", shape)
    return Membrane(decay=1 - share, gain=share * r, offset=share * leak, start=leak)


def _share(node: Node, field: str, shape: Shape, how: Discretisation) -> NDArray[np.float64]:
    """How much of the way to its resting value a membrane goes in one step."""
    tau = parameter(node, field, shape)
    if bool((tau <= 0).any()):
        raise SpikeflipError(f"{node.said} has a {field} of {tau.min():g}: time constants are positive")
    if how.method == "exponential":
        return -np.expm1(-how.dt / tau)
    # A time constant of one step may be a little shorter after it was rounded.
    share = how.dt / tau
    if bool((share > 1 + 1e-6).any()):
        raise SpikeflipError(
            f"{node.said} has a {field} of {tau.min():g} s, shorter than a step of dt = {how.dt:g} s: pass the dt= "
            "that the file was exported with, or method='exponential'"
        )
    return np.minimum(share, 1.0)


def own_parameters(neuron: LIF, dt: float) -> dict[str, NDArray[np.float32]]:
    """The fields of a NIR neuron that equals a LIF with hard reset at steps of dt, as numbers."""
    if neuron.decay == 1:
        values = {"r": 1 / dt, "v_threshold": neuron.threshold, "v_reset": 0.0}
    else:
        share = 1 - neuron.decay
        values = {"tau": dt / share, "r": 1 / share, "v_leak": 0.0, "v_threshold": neuron.threshold, "v_reset": 0.0}
    return {field: np.asarray(value, np.float32) for field, value in values.items()}


def _is_own(node: Node, shape: Shape, how: Discretisation) -> bool:
    """Whether a node still has the parameters that were written for the exact constants."""
    if how.own is None or (how.method, how.reset) != ("euler", "hard"):
        return False
    wanted = own_parameters(how.own, how.dt)
    if node.kind != ("LIF" if "tau" in wanted else "IF"):
        return False
    return all(bool((parameter(node, f, shape) == value).all()) for f, value in wanted.items() if f in node.values)


def _hold(module: nn.Module, name: str, value: NDArray[np.float64] | float) -> None:
    """A number as an attribute, several as a buffer that moves with the module."""
    value = np.asarray(value)
    if value.size == 1 or bool((value == value.flat[0]).all()):
        setattr(module, name, float(value.flat[0]))
    else:
        module.register_buffer(name, torch.from_numpy(value.astype(np.float32)))


def _next(value: Tensor | float, dtype: torch.dtype) -> float:
    number = torch.as_tensor(value, dtype=dtype)
    return float(torch.nextafter(number, torch.tensor(torch.inf, dtype=dtype)))


def _is(value: Tensor | float, number: float) -> bool:
    return not isinstance(value, Tensor) and value == number

"""The iterative leaky integrate-and-fire neuron over a whole sequence, and its exact gradient.

Forward (Eq. 6), for each time step t::

    u[t] = decay * u[t-1] * (1 - o[t-1]) + current[t]        hard reset, the paper's
    u[t] = decay * (u[t-1] - threshold * o[t-1]) + current[t]  soft reset
    u[t] = decay * u[t-1] + current[t]                       no reset
    o[t] = 1 if u[t] >= threshold else 0

Backward (Eq. 8), with ``G = dL/du[t+1]`` and the surrogate derivative ``s[t]`` in place of ``do/du``::

    dL/do[t] = dL/do[t] from above - decay * u[t] * G        (soft: - decay * threshold * G)
    dL/du[t] = s[t] * dL/do[t] + decay * (1 - o[t]) * G      (soft, none: + decay * G)

Nothing is detached: the gradient runs through the reset as well. Only the potentials are kept, since the spikes are
``u >= threshold``. On a GPU both directions are one kernel each (:mod:`spikeflip.snn.fused`); the loops here are what
it must equal, and run everywhere else, with other surrogate derivatives than the rectangular one too.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from numbers import Real
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from spikeflip.errors import SpikeflipError, choose_from
from spikeflip.snn import fused
from spikeflip.snn.surrogate import Rectangular, Surrogate

Reset = Literal["hard", "soft", "none"]


@dataclass(frozen=True)
class LIF:
    """The constants of a layer of neurons.

    Args:
        threshold: potential at which a neuron fires (it fires at equality), in units of the potential.
        decay: what is left of the potential after one time step, ``exp(-dt / tau)``, in [0, 1].
        reset: what a spike does to the potential: ``"hard"`` sets it to zero, ``"soft"`` subtracts the threshold.
        surrogate: the derivative used for the firing function; :mod:`spikeflip.snn.surrogate` has several.
        centre: potential on which the surrogate is centred; the threshold when not given. It differs only while an
            attack raises the threshold (Sec. V-B): the firing decision moves, the window stays.

    Raises:
        SpikeflipError: a constant is out of range.
    """

    threshold: float = 0.3
    decay: float = 0.3
    reset: Reset = "hard"
    surrogate: Surrogate = field(default_factory=Rectangular)
    centre: float | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.threshold, Real) or not 0 < self.threshold < float("inf"):
            raise SpikeflipError(f"firing threshold is {self.threshold!r}: give a positive number, such as 0.3")
        if not isinstance(self.decay, Real) or not 0 <= self.decay <= 1:
            raise SpikeflipError(f"decay is {self.decay!r}: give exp(-dt/tau), a number in [0, 1]")
        if self.reset not in get_args(Reset):
            raise SpikeflipError(f"reset is {self.reset!r}: {choose_from(self.reset, get_args(Reset))}")
        if not hasattr(self.surrogate, "derivative"):
            raise SpikeflipError(f"surrogate is {self.surrogate!r:.80}: give a derivative, such as Rectangular(1.0)")

    def fire_at(self, threshold: float) -> "LIF":
        """The same neurons with another firing threshold and the surrogate window where it was."""
        return replace(self, threshold=threshold, centre=self.window_centre)

    @property
    def window_centre(self) -> float:
        """The potential on which the surrogate is centred."""
        return self.threshold if self.centre is None else self.centre


def integrate(
    current: Tensor, neuron: LIF, *, potential: Tensor | None = None, spikes: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Run a layer of neurons over a sequence (Eq. 6), without autograd.

    Args:
        current: ``(N, T, ...)``, the weighted input of every time step.
        neuron: the layer's constants.
        potential: where to write the potentials; may be ``current`` itself. New memory when not given.
        spikes: where to write the spikes. New memory when not given.

    Returns:
        The potentials before reset and the spikes (exactly 0 or 1), each of the shape and dtype of ``current``.
    """
    potential = torch.empty_like(current) if potential is None else potential
    spikes = torch.empty_like(current) if spikes is None else spikes
    if fused.integrate(current, potential, spikes, neuron):
        return potential, spikes
    carry: Tensor | None = None
    for t in range(current.shape[1]):
        u, o = potential[:, t], spikes[:, t]
        if carry is None:
            if potential is not current:
                u.copy_(current[:, t])
            carry = torch.empty_like(u)
        else:
            torch.add(current[:, t], carry, alpha=neuron.decay, out=u)
        torch.ge(u, neuron.threshold, out=o)
        match neuron.reset:
            case "hard":
                torch.addcmul(u, u, o, value=-1, out=carry)
            case "soft":
                torch.add(u, o, alpha=-neuron.threshold, out=carry)
            case "none":
                carry.copy_(u)
    return potential, spikes


def current_of(potential: Tensor, neuron: LIF) -> Tensor:
    """The current that gave these potentials, both ``(N, T, ...)``; the inverse of :func:`integrate`."""
    current = potential.clone()
    current[:, 1:].sub_(_carried(potential[:, :-1], neuron), alpha=neuron.decay)
    return current


def mean_current(potential: Tensor, neuron: LIF) -> Tensor:
    """The mean over time of the current that gave these potentials ``(N, T, ...)``: ``(N, 1, ...)``."""
    total = potential.sum(1, keepdim=True)
    if potential.shape[1] > 1:
        total = total.sub_(_carried(potential[:, :-1], neuron).sum(1, keepdim=True), alpha=neuron.decay)
    return total / potential.shape[1]


def _carried(potential: Tensor, neuron: LIF) -> Tensor:
    """What is left of potentials after the reset."""
    match neuron.reset:
        case "hard":
            return potential.masked_fill(potential >= neuron.threshold, 0)
        case "soft":
            return potential - neuron.threshold * (potential >= neuron.threshold).to(potential.dtype)
        case "none":
            return potential


def reverse(gradient: Tensor, potential: Tensor, neuron: LIF) -> Tensor:
    """Turn the gradient of a layer's spikes into that of its current (Eq. 8, 9), in place.

    Args:
        gradient: ``(N, T, ...)``, dL/do; overwritten with dL/d(current).
        potential: ``(N, T, ...)``, from :func:`integrate` with the same neuron.
        neuron: the layer's constants.

    Returns:
        ``gradient``.
    """
    if fused.reverse(gradient, potential, neuron):
        return gradient
    later: Tensor | None = None  # dL/du[t+1] * decay
    slope, distance = torch.empty_like(potential[:, 0]), torch.empty_like(potential[:, 0])
    for t in reversed(range(potential.shape[1])):
        u, g = potential[:, t], gradient[:, t]
        torch.sub(u, neuron.window_centre, out=distance)
        neuron.surrogate.derivative(distance, out=slope)
        g.mul_(slope)
        if later is None:
            later = torch.empty_like(slope)
        else:
            g.addcmul_(later, _through_reset(u, slope, neuron, out=distance))
        torch.mul(g, neuron.decay, out=later)
    return gradient


def reverse_by_slope(
    gradient: Tensor,
    potential: Tensor,
    neuron: LIF,
    slope_at: Callable[[int], Tensor],
    *,
    reach: int | None = None,
) -> Tensor:
    """As :func:`reverse`, with any stand-in for do/du.

    Args:
        gradient, potential, neuron: as for :func:`reverse`.
        slope_at: gives the slope ``(N, ...)`` of a time step, in place of the surrogate derivative; asked for once a
            step, from the last to the first.
        reach: length of windows of time steps, counted from the first step, between which nothing goes back; one
            window over all steps when not given.
    """
    steps = potential.shape[1]
    reach = steps if reach is None else reach
    room = torch.empty_like(potential[:, 0])
    for t in reversed(range(steps)):
        slope = slope_at(t)
        gradient[:, t].mul_(slope)
        if t + 1 < steps and (t + 1) % reach:
            through = _through_reset(potential[:, t], slope, neuron, out=room)
            gradient[:, t].addcmul_(gradient[:, t + 1], through, value=neuron.decay)
    return gradient


def _through_reset(u: Tensor, slope: Tensor, neuron: LIF, *, out: Tensor) -> Tensor:
    """What is left of a potential, before it decays, for each unit of it: the derivative of the reset."""
    match neuron.reset:
        case "hard":
            return torch.lt(u, neuron.threshold, out=out).addcmul_(u, slope, value=-1)
        case "soft":
            return torch.mul(slope, -neuron.threshold, out=out).add_(1)
        case "none":
            return out.fill_(1)


class _Fire(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, current: Tensor, neuron: LIF) -> Tensor:
        potential, spikes = integrate(current, neuron)
        ctx.save_for_backward(potential)
        ctx.neuron = neuron
        return spikes

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (potential,) = ctx.saved_tensors
        # The caller may still need its gradient: work on a copy, in the memory format of the potentials.
        gradient = torch.empty_like(potential).copy_(gradients[0])
        return reverse(gradient, potential, ctx.neuron), None


def fire(current: Tensor, neuron: LIF) -> Tensor:
    """Run a layer of neurons over a sequence as one differentiable operation (Eq. 6, 8, 9).

    Args:
        current: ``(N, T, ...)``, the weighted input of every time step; any float dtype.
        neuron: the layer's constants.

    Returns:
        Spikes of the same shape and dtype, exactly 0 or 1. Their gradient is the exact BPTT of Eq. 8 with the
        surrogate of Eq. 9.

    Source: Liang et al. (2021), Eq. 6, 8, 9.

    >>> fire(torch.tensor([[0.2, 0.3, 0.1]]), LIF(threshold=0.3, decay=0.5))
    tensor([[0., 1., 0.]])
    """
    spikes: Tensor = _Fire.apply(current, neuron)
    return spikes

"""The gradient estimators of the field, by name.

Each is written from the formula of its paper, for neurons of any threshold: widths and statistics are in units of the
threshold, which the papers set to 1. ``h`` is the distance of a potential from it, ``(u - threshold) / threshold``.
"""

import math
from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from spikeflip.errors import SpikeflipError, choose_from
from spikeflip.snn.gradients import BPTT, Estimator, LayerPass
from spikeflip.snn.neuron import LIF, mean_current
from spikeflip.snn.surrogate import Rectangular


class _InParts(Estimator):
    """An estimator that makes the slopes of some time steps at a time: on a CPU of one, in its cache, else of all."""

    @abstractmethod
    def slopes(self, layer: LayerPass, room: Tensor) -> Callable[[slice], Tensor]:
        """Gives the slopes ``(n, m, *layer)`` of m steps that follow each other.

        Each step is asked for once, the first step last.

        Args:
            layer: the pass.
            room: ``(n, m, *layer)``, where they may be written.
        """

    def slope(self, layer: LayerPass) -> Tensor:
        """See :class:`spikeflip.snn.gradients.Estimator`."""
        return self.slopes(layer, torch.empty_like(layer.potential))(slice(0, layer.potential.shape[1]))

    def slope_at(self, layer: LayerPass) -> Callable[[int], Tensor]:
        """See :class:`spikeflip.snn.gradients.Estimator`."""
        if layer.potential.device.type != "cpu":
            return super().slope_at(layer)
        slopes = self.slopes(layer, torch.empty_like(layer.potential[:, :1]))
        return lambda t: slopes(slice(t, t + 1))[:, 0]


@dataclass(frozen=True)
class StraightThrough(Estimator):
    """Every spike passes its gradient on, wherever the potential is."""

    pointwise = True

    def slope(self, layer: LayerPass) -> Tensor:
        """See :class:`spikeflip.snn.gradients.Estimator`."""
        return torch.zeros_like(layer.potential) + 1 / layer.neuron.window_centre


@dataclass(frozen=True)
class RGA(Estimator):
    """Rate gradient approximation: the rate of a neuron as a function of its mean input, which each step passes on.

    With ``I`` the mean weighted input over time and the neuron's decay d the derivative is ``(1 - g + g d) / (1 + d)``
    for ``1 - d <= I <= 2``, g for ``0 <= I < 1 - d``, and 0 elsewhere.

    Args:
        gamma: g.

    Source: T. Bu et al., Rate Gradient Approximation Attack Threats Deep Spiking Neural Networks, CVPR 2023. At
    ``I = 1 - d`` the authors' code adds both branches up; here the first holds.
    """

    gamma: float = 0.2
    reach = 1

    def slope(self, layer: LayerPass) -> Tensor:
        """See :class:`spikeflip.snn.gradients.Estimator`."""
        decay, scale = layer.neuron.decay, layer.neuron.window_centre
        mean = mean_current(layer.potential, layer.neuron) / scale
        steep = (1 - self.gamma + self.gamma * decay) / (1 + decay)
        rate = torch.where(mean >= 1 - decay, steep, self.gamma) * ((mean >= 0) & (mean <= 2))
        return (rate / scale).to(layer.potential).expand_as(layer.potential)


@dataclass(frozen=True)
class HART(Estimator):
    """Hybrid adversarial attack by rate and time: gradients averaged over time, no recurrence, a triangular surrogate.

    The surrogate is ``max(0, w - |h|) / w^2``.

    Args:
        width: w. The authors take the best of 48 on the whole test set; choose it on other inputs than those reported,
            with :func:`spikeflip.attacks.choose_gradient`.

    Source: Z. Hao et al., Threaten Spiking Neural Networks through Combining Rate and Temporal Information, ICLR 2024.
    """

    width: float = 1.0
    reach = 1
    averaged = True

    def slope(self, layer: LayerPass) -> Tensor:
        """See :class:`spikeflip.snn.gradients.Estimator`."""
        scale = layer.neuron.window_centre
        away = layer.distance.abs().mul_(-1 / scale).add_(self.width).clamp_(min=0)
        return away.mul_(1 / (self.width**2 * scale))


@dataclass(frozen=True)
class PDSG(_InParts):
    """Potential-dependent surrogate gradient: a normal density as wide as the potentials vary.

    The derivative at h is that of mean ``s / 2`` and standard deviation s, where s is the standard deviation of the
    potentials before reset of a sample and channel, over its places and the time steps so far.

    Source: L. Lun et al., Towards Effective and Sparse Adversarial Attack on Spiking Neural Networks via Breaking
    Invisible Surrogate Gradients, CVPR 2025. The authors pool over the batch too, so that batch-mates change a sample's
    gradient; and in layers without places their first step is NaN. Here, and where nothing varies, s is 1, as they have
    it where it is zero.
    """

    def slopes(self, layer: LayerPass, room: Tensor) -> Callable[[slice], Tensor]:
        """See :class:`_InParts`."""
        u, centre, unit = layer.potential, layer.neuron.window_centre, _unit(layer.neuron)
        if unit is None:  # neurons of different thresholds are alike in units of these alone
            u, centre, unit = layer.distance / centre, 0.0, 1.0
        spread = _spread(u)
        spread = torch.where(spread > 0, spread, unit)
        # With y = z / sqrt(2) of the density's z: exp(-y^2).
        narrowness = _in_rows((spread * math.sqrt(2)).reciprocal(), u)
        height = _in_rows((spread * math.sqrt(2 * math.pi)).reciprocal(), u)
        offset, zero = u.new_tensor(-0.5 / math.sqrt(2)), u.new_zeros(())

        def of(steps: slice) -> Tensor:
            y = torch.addcmul(offset, torch.sub(u[:, steps], centre, out=room), narrowness[:, steps], out=room)
            return torch.addcmul(zero, y, y, value=-1, out=room).exp_().mul_(height[:, steps])

        return of if u is layer.potential else lambda steps: of(steps).div_(layer.neuron.window_centre)


def _unit(neuron: LIF) -> float | None:
    """In what the potentials of a layer are measured, None where that differs from neuron to neuron."""
    return None if isinstance(neuron.window_centre, Tensor) else neuron.window_centre


def _spread(u: Tensor) -> Tensor:
    """The standard deviation of ``(n, T, channel, ...)`` over places and steps so far, ``(n, T, channel)`` in float64.

    It is 0 of a single number. Sums are taken around the mean of the first step, so that large potentials that vary
    little keep their digits.
    """
    n, steps, channels = u.shape[:3]
    places, first = tuple(range(3, u.ndim)), u[:, :1]
    pivot = _in_rows((first.mean(places) if places else first).view(n, 1, channels), u)
    total, squares = (u.new_empty((n, steps, channels), dtype=torch.float64) for _ in range(2))
    each = 1 if u.device.type == "cpu" else steps
    room = torch.empty_like(u[:, :each])
    for start in range(0, steps, each):
        part = slice(start, start + each)
        away = torch.sub(u[:, part], pivot, out=room)
        total[:, part] = away.sum(places) if places else away
        squares[:, part] = away.square_().sum(places) if places else away.square_()
    total, squares = total.cumsum(1), squares.cumsum(1)
    number = first[0, 0, 0].numel() * torch.arange(1, steps + 1, device=u.device).unsqueeze(-1)
    return ((squares - total.square() / number).clamp(min=0) / (number - 1).clamp(min=1)).sqrt()


def _in_rows(values: Tensor, like: Tensor) -> Tensor:
    """Values ``(n, T, channel)`` for use with ``(n, T, channel, ...)``, a whole row of places each.

    Where channels lie next to each other in memory, PyTorch would go through a few of them at a time.
    """
    for axis in range(3, like.ndim - 1):
        like = like.narrow(axis, 0, 1)
    values = values.reshape(*values.shape, *[1] * (like.ndim - 3))
    return torch.empty_like(like[:, : values.shape[1]]).copy_(values)


@dataclass(frozen=True)
class ASSG(_InParts):
    """Adaptive sharpness: an arctangent surrogate as sharp as the potentials seen so far allow without vanishing.

    Of every sample, neuron and time step, from one iteration of the attack to the next: ``M <- b M + (1 - b) |h|``,
    ``D <- b D + (1 - b) ||h| - M|``, from M = 1 and D = 0; sharpness ``a = w / (M + g D + 1e-4)`` and derivative
    ``a / (2 (1 + (pi / 2 a h)^2))``, where ``w = 2 tan(pi v) / pi``.

    Args:
        vanishing: v, half the expected vanishing that is allowed. The authors take 0.41 to 0.45 for direct coding and
            0.455 to 0.485 for Poisson coding, by a search on the test set.

    Source: J. Wang et al., Towards Reliable Evaluation of Adversarial Robustness for Spiking Neural Networks, CVPR 2026
    (arXiv:2512.22522), with their b = 0.9 and g = 1.5.
    """

    vanishing: float = 0.42

    def __post_init__(self) -> None:
        if not 0 < self.vanishing < 0.5:
            raise SpikeflipError(f"the vanishing that assg allows is {self.vanishing}: give a number in (0, 0.5)")

    def slopes(self, layer: LayerPass, room: Tensor) -> Callable[[slice], Tensor]:
        """See :class:`_InParts`."""
        u, scale, unit, memory = layer.potential, layer.neuron.window_centre, _unit(layer.neuron), layer.memory
        mean = memory.recall(("assg mean", layer.index), u, initial=1.0)
        spread = memory.recall(("assg spread", layer.index), u)
        width = 2 * math.tan(math.pi * self.vanishing) / math.pi
        size, zero = torch.empty_like(room), u.new_zeros(())

        def of(steps: slice) -> Tensor:
            m, d = mean[:, steps], spread[:, steps]
            h = torch.sub(u[:, steps], scale, out=size).div_(scale).abs_()
            if not memory.is_frozen:
                m.lerp_(h, 0.1)
                d.lerp_(torch.sub(h, m, out=room).abs_(), 0.1)
            # With q = w / a the derivative is q / (2 / w (q^2 + (pi / 2 w h)^2)).
            q = torch.add(m, d, alpha=1.5, out=room).add_(1e-4)
            bell = torch.addcmul(zero, h, h, value=(unit or 1) * width * math.pi**2 / 2, out=size)
            bell.addcmul_(q, q, value=2 * (unit or 1) / width)
            if steps.start == 0:
                memory.keep(("assg mean", layer.index), mean)
                memory.keep(("assg spread", layer.index), spread)
            slope = q.div_(bell)
            return slope if unit else slope.div_(scale)

        return of


@dataclass(frozen=True)
class Widened(Estimator):
    """Another estimator with a rectangular window of its own width in the output layer.

    Args:
        estimator: of all other layers.
        width: of the window, in units of the membrane potential.
    """

    estimator: Estimator
    width: float

    @property
    def reach(self) -> int | None:
        """See :class:`spikeflip.snn.gradients.Estimator`."""
        return self.estimator.reach

    @property
    def averaged(self) -> bool:
        """See :class:`spikeflip.snn.gradients.Estimator`."""
        return self.estimator.averaged

    @property
    def pointwise(self) -> bool:
        """See :class:`spikeflip.snn.gradients.Estimator`."""
        return self.estimator.pointwise

    def slope(self, layer: LayerPass) -> Tensor:
        """See :class:`spikeflip.snn.gradients.Estimator`."""
        return Rectangular(self.width).derivative(layer.distance) if layer.is_output else self.estimator.slope(layer)

    def slope_at(self, layer: LayerPass) -> Callable[[int], Tensor]:
        """See :class:`spikeflip.snn.gradients.Estimator`."""
        return super().slope_at(layer) if layer.is_output else self.estimator.slope_at(layer)


ESTIMATORS: dict[str, Callable[[], Estimator]] = {
    "bptt": BPTT,
    "rga": RGA,
    "hart": HART,
    "pdsg": PDSG,
    "assg": ASSG,
    "windowed": lambda: BPTT(window=2),
    "straight-through": StraightThrough,
}
"""By name, each with its defaults."""

_TAKING: dict[str, Callable[[float], Estimator]] = {
    "rga": RGA,
    "hart": HART,
    "assg": ASSG,
    "windowed": lambda steps: BPTT(window=int(steps)),
}


def estimator(name: str, output_window: float | None = None) -> Estimator:
    """The estimator of that name, with its number behind a colon where it takes one: ``hart:0.5``, ``windowed:3``.

    Args:
        name: of :data:`ESTIMATORS`.
        output_window: width of a window of its own in the output layer.

    Raises:
        SpikeflipError: there is no such estimator, or it takes no such number.

    >>> estimator("hart:0.5"), estimator("bptt", output_window=2.0)
    (HART(width=0.5), BPTT(surrogate=None, output_window=2.0, window=None))
    """
    plain, colon, number = name.partition(":")
    if plain not in ESTIMATORS:
        raise SpikeflipError(f"gradient is {name!r}: {choose_from(name, ESTIMATORS)}")
    if not colon:
        found = ESTIMATORS[plain]()
    else:
        value = _positive(name, plain, number)
        found = _TAKING[plain](value)
    if output_window is None:
        return found
    return BPTT(output_window=output_window) if found == BPTT() else Widened(found, output_window)


def _positive(name: str, plain: str, number: str) -> float:
    try:
        value = float(number)
    except ValueError:
        value = math.nan
    whole = plain != "windowed" or value == int(value or 0) if math.isfinite(value) else False
    if plain not in _TAKING or not (whole and value > 0):
        some = ", ".join(f"{known}:NUMBER" for known in _TAKING)
        raise SpikeflipError(f"gradient is {name!r}: a positive number may follow {some}, whole for windowed")
    return value

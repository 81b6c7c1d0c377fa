"""The gradient estimators of the field, by name.

Each is written from the formula of its paper, for neurons of any threshold: widths and statistics are in units of the
threshold, which the papers set to 1. ``h`` is the distance of a potential from it, ``(u - threshold) / threshold``.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from spikeflip.errors import SpikeflipError
from spikeflip.snn.gradients import BPTT, Estimator, LayerPass
from spikeflip.snn.neuron import mean_current
from spikeflip.snn.surrogate import Rectangular


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
class PDSG(Estimator):
    """Potential-dependent surrogate gradient: a normal density as wide as the potentials vary.

    The derivative at h is that of mean ``s / 2`` and standard deviation s, where s is the standard deviation of the
    potentials before reset of a sample and channel, over its places and the time steps so far.

    Source: L. Lun et al., Towards Effective and Sparse Adversarial Attack on Spiking Neural Networks via Breaking
    Invisible Surrogate Gradients, CVPR 2025. The authors pool over the batch too, so that batch-mates change a sample's
    gradient; and in layers without places their first step is NaN. Here, and where nothing varies, s is 1, as they have
    it where it is zero.
    """

    def slope(self, layer: LayerPass) -> Tensor:
        """See :class:`spikeflip.snn.gradients.Estimator`."""
        scale = layer.neuron.window_centre
        h = layer.distance / scale
        spread = self._spread(h)
        spread = torch.where(spread > 0, spread, 1).to(h).reshape(*h.shape[:3], *[1] * (h.ndim - 3))
        z = h.div_(spread).sub_(0.5)
        return z.square_().mul_(-0.5).exp_().div_(spread * (math.sqrt(2 * math.pi) * scale))

    @staticmethod
    def _spread(h: Tensor) -> Tensor:
        """The standard deviation over places and steps so far, ``(n, T, channel)``; 0 of a single number."""
        places = h.flatten(3) if h.ndim > 3 else h.unsqueeze(-1)
        of, steps = places.shape[3], torch.arange(1, h.shape[1] + 1, device=h.device).unsqueeze(-1)
        variance, mean = torch.var_mean(places, 3, correction=0)
        # Around a value of the channel itself: large potentials that vary little keep their digits.
        variance, mean = variance.double(), (mean - mean[:, :1]).double()
        so_far = mean.cumsum(1) / steps
        within = ((variance + mean.square()).cumsum(1) / steps - so_far.square()).clamp(min=0)
        total = of * steps
        return (within * total / (total - 1).clamp(min=1) * (total > 1)).sqrt()


@dataclass(frozen=True)
class ASSG(Estimator):
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

    def slope(self, layer: LayerPass) -> Tensor:
        """See :class:`spikeflip.snn.gradients.Estimator`."""
        scale, memory = layer.neuron.window_centre, layer.memory
        h = layer.distance / scale
        size = h.abs()
        mean = memory.recall(("assg mean", layer.index), size, initial=1.0)
        spread = memory.recall(("assg spread", layer.index), size)
        if not memory.is_frozen:
            mean = mean.lerp_(size, 0.1)
            spread = spread.lerp_(size.sub_(mean).abs_(), 0.1)
            memory.keep(("assg mean", layer.index), mean)
            memory.keep(("assg spread", layer.index), spread)
        width = 2 * math.tan(math.pi * self.vanishing) / math.pi
        sharpness = torch.add(mean, spread, alpha=1.5, out=size).add_(1e-4).reciprocal_().mul_(width)
        return sharpness.div_(h.mul_(sharpness).square_().mul_((math.pi / 2) ** 2).add_(1).mul_(2 * scale))


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
        raise SpikeflipError(f"gradient is {name!r}: choose from {', '.join(ESTIMATORS)}")
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

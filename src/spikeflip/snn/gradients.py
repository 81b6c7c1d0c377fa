"""What an input gradient is asked with: one request that every victim understands, and the estimators it can name.

The firing function has no derivative, so a gradient is an estimate. An :class:`Estimator` says how the gradient of a
layer's spikes becomes that of its weighted input: with which stand-in for the derivative, how far back in time, and
whether averaged over it.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from spikeflip.errors import SpikeflipError
from spikeflip.snn.memory import Memory
from spikeflip.snn.neuron import LIF, current_of, reverse, reverse_by_slope
from spikeflip.snn.surrogate import Surrogate

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


@dataclass(frozen=True)
class LayerPass:
    """A layer of neurons in one pass of n samples, as an estimator sees it."""

    index: int
    """Which layer of the network, from 0."""
    potential: Tensor
    """``(n, T, *layer)``, before reset."""
    neuron: LIF
    """The layer's constants in this pass."""
    is_output: bool
    memory: Memory
    """What the estimator keeps of these samples between the iterations of an attack; name it by ``index`` too."""

    @property
    def distance(self) -> Tensor:
        """How far each potential is from where the surrogate is centred, ``(n, T, *layer)``."""
        return self.potential - self.neuron.window_centre

    @property
    def current(self) -> Tensor:
        """The weighted input, ``(n, T, *layer)``."""
        return current_of(self.potential, self.neuron)


class Estimator(ABC):
    """How the gradient of a layer's spikes becomes that of its weighted input; frozen, and equal if it does the same.

    A new one gives a :meth:`slope`, and a ``reach`` or ``averaged`` where it needs them. What it keeps of a sample lies
    in the pass's memory, so that no result depends on batch-mates.
    """

    @property
    def reach(self) -> int | None:
        """Time steps of a window, beyond whose first the gradient does not go back; None for all, 1 for none."""
        return None

    @property
    def averaged(self) -> bool:
        """Whether the gradient of the weighted input is replaced by its mean over time."""
        return False

    @property
    def pointwise(self) -> bool:
        """Whether the slope at a potential depends on that potential alone, not on other steps and neurons."""
        return False

    @abstractmethod
    def slope(self, layer: LayerPass) -> Tensor:
        """The stand-in for do/du at every potential, ``(n, T, *layer)``."""

    def slope_at(self, layer: LayerPass) -> Callable[[int], Tensor]:
        """The same a time step at a time: gives the slope ``(n, *layer)`` of a step, which holds until the next call.

        Each step is asked for once, from the last to the first. An estimator that makes slopes so works in the cache.
        """
        whole = self.slope(layer)
        return lambda t: whole[:, t]

    def exact(self, neuron: LIF, *, is_output: bool) -> LIF | None:
        """The neuron whose exact reverse pass this is, which engines run compiled; None if there is no such neuron."""
        return None

    def reverse(self, gradient: Tensor, layer: LayerPass) -> Tensor:
        """From the gradient of a layer's spikes to that of its weighted input, in place; both ``(n, T, *layer)``."""
        neuron = self.exact(layer.neuron, is_output=layer.is_output)
        if neuron is not None:
            return reverse(gradient, layer.potential, neuron)
        if self.reach == 1:
            gradient.mul_(self.slope(layer))
        else:
            reverse_by_slope(gradient, layer.potential, layer.neuron, self.slope_at(layer), reach=self.reach)
        if self.averaged:
            gradient.copy_(gradient.mean(1, keepdim=True).expand_as(gradient))
        return gradient


@dataclass(frozen=True)
class BPTT(Estimator):
    """Backpropagation through time with a surrogate derivative (Eq. 8, 9), the victim's own if nothing is given.

    Args:
        surrogate: of all spiking layers.
        output_window: width of the output layer's surrogate, its kind staying, in units of the membrane potential.
        window: time steps of a window, beyond whose first the gradient does not go back; all if None.

    Raises:
        SpikeflipError: a value is not positive.
    """

    surrogate: Surrogate | None = None
    output_window: float | None = None
    window: int | None = None

    def __post_init__(self) -> None:
        if self.output_window is not None and not 0 < self.output_window < float("inf"):
            raise SpikeflipError(f"output_window is {self.output_window}: give a positive number, or leave it out")
        if self.window is not None and self.window < 1:
            raise SpikeflipError(f"window is {self.window}: give at least one time step, or leave it out")

    @property
    def reach(self) -> int | None:
        """See :class:`Estimator`."""
        return self.window

    def slope(self, layer: LayerPass) -> Tensor:
        """See :class:`Estimator`."""
        return self._neuron(layer.neuron, layer.is_output).surrogate.derivative(layer.distance)

    def exact(self, neuron: LIF, *, is_output: bool) -> LIF | None:
        """See :class:`Estimator`."""
        return None if self.window is not None else self._neuron(neuron, is_output)

    def __str__(self) -> str:
        given = [f"{name} {value}" for name, value in vars(self).items() if value is not None]
        return " with ".join(["BPTT", *given]).replace("_", " ")

    def _neuron(self, neuron: LIF, is_output: bool) -> LIF:
        surrogate = neuron.surrogate if self.surrogate is None else self.surrogate
        if is_output and self.output_window is not None:
            surrogate = surrogate.with_width(self.output_window)
        return neuron if surrogate is neuron.surrogate else replace(neuron, surrogate=surrogate)


@dataclass(frozen=True)
class GradientRequest:
    """With what a gradient is asked for.

    Args:
        penultimate_threshold: at which the layer before the output layer fires in this pass (Sec. V-B), in units of its
            membrane potential, the surrogate window staying where it was; its own if None.
        estimator: how spikes are differentiated.
        rows: ``(n,)`` int64, the samples that are asked for; all of the pass if None.
        memory: what the estimator keeps of each of these from one request to the next; nothing if None.

    Raises:
        SpikeflipError: the threshold is not positive.
    """

    penultimate_threshold: float | None = None
    estimator: Estimator = BPTT()
    rows: Tensor | None = None
    memory: Memory | None = None

    def __post_init__(self) -> None:
        if self.penultimate_threshold is not None and not 0 < self.penultimate_threshold < float("inf"):
            raise SpikeflipError(f"threshold is {self.penultimate_threshold}: give a positive number, or leave it out")

    @property
    def is_plain(self) -> bool:
        """Whether the model is asked as it is, so that the pass that gave the scores serves the gradient too."""
        return self.penultimate_threshold is None and self.estimator == BPTT()

    def __str__(self) -> str:
        threshold = self.penultimate_threshold
        return str(self.estimator) if threshold is None else f"a penultimate threshold of {threshold}"

    def rows_of(self, n: int, device: torch.device) -> Tensor:
        """Which samples of n are asked for, ``(m,)``."""
        return torch.arange(n, device=device) if self.rows is None else self.rows

"""Spiking networks built from the paper's notation."""

import copy
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from spikeflip.errors import SpikeflipError
from spikeflip.snn import synapses
from spikeflip.snn.architecture import AvgPool
from spikeflip.snn.coding import Coding
from spikeflip.snn.engines.choose import EngineName, Precision, best_engine, check_choice, make_engine
from spikeflip.snn.engines.dense import Chain, DenseEngine
from spikeflip.snn.gradients import Estimator, GradientRequest, InputGradient, ScoreGradient
from spikeflip.snn.layers import Layers
from spikeflip.snn.neuron import LIF, fire
from spikeflip.snn.probe import Probe
from spikeflip.snn.surrogate import Surrogate
from spikeflip.snn.twin import ReluNetwork
from spikeflip.snn.validation import check_counts, check_tensor

if TYPE_CHECKING:
    from spikeflip.snn.rescoring import Rescoring

__all__ = ["InputGradient", "Network", "Probe", "ReluNetwork", "ScoreGradient", "SpikingNetwork"]


class SpikingNetwork(Layers):
    """A feed-forward spiking network: a LIF layer after every weight and pooling layer, rates of the output as scores.

    It is a victim by itself: scores and gradients are stateless functions of the input, no parameter ever receives a
    gradient from them, and nothing depends on training or evaluation mode.

    Args:
        architecture: for example ``"128C3-128C3-AP2-10FC"``; see :mod:`spikeflip.snn.architecture`.
        input_shape: ``(C, H, W)`` of one time step; ``(F,)`` for fully-connected networks.
        time_steps: T, the window over which images are coded. Spike inputs may have any T.
        neuron: the constants of all neurons.
        coding: how images become spikes, ``"rate"`` or ``"latency"``; see :func:`spikeflip.snn.coding.encode`.
        width: factor on the hidden layers' channels and features.
        seed: of the initial weights.

    Raises:
        SpikeflipError: the network cannot be built; the message names the layer and the sizes.

    >>> network = SpikingNetwork("4C3-AP2-10FC", (1, 8, 8), time_steps=5)
    >>> network.scores(torch.ones(2, 5, 1, 8, 8)).shape
    torch.Size([2, 10])
    """

    def __init__(
        self,
        architecture: str,
        input_shape: Sequence[int],
        *,
        time_steps: int = 15,
        neuron: LIF | None = None,
        coding: Coding = "rate",
        width: float = 1.0,
        seed: int = 0,
    ) -> None:
        super().__init__(architecture, input_shape, width=width, seed=seed)
        check_counts(time_steps=time_steps)
        if coding not in ("rate", "latency"):
            raise SpikeflipError(
                f"coding is {coding!r}: choose rate or latency; images as they are (direct) are for ReLU networks"
            )
        if neuron is not None and not isinstance(neuron, LIF):
            raise SpikeflipError(f"neuron is {neuron!r:.80}: give the constants of all neurons, such as LIF(0.3)")
        self.time_steps = time_steps
        self.coding: Coding = coding
        self.neuron = LIF() if neuron is None else neuron
        self._engine_name: EngineName = "torch"
        self._precision: Precision = "float32"
        self._engines: dict[EngineName, tuple[tuple[object, ...], DenseEngine]] = {}

    def on(
        self, engine: EngineName, *, precision: Precision = "float32", surrogate: Surrogate | None = None
    ) -> "SpikingNetwork":
        """The same network, with the same parameters, executed by another engine.

        Args:
            engine: ``"torch"``, on any device, the reference; or ``"event"``, on CPUs, which skips what is zero and is
                the faster the sparser spikes and gradients are. Where it does not cover a network or was not compiled,
                the torch engine takes over.
            precision: ``"bf16-gradient"``, with the torch engine, sends gradients back through the weights in bfloat16.
                Scores, potentials, the loss and the neurons' part of the gradient stay float32: an attack sees the
                same scores and slightly other directions. Meant for hardware that multiplies matrices of bfloat16
                (recent GPUs, CPUs with AMX); slower on other CPUs.
            surrogate: another derivative of the firing function for gradients; scores do not depend on it. The event
                engine has the rectangular one alone.

        Raises:
            SpikeflipError: there is no such engine or precision, or the engine does not have that precision.

        >>> network = SpikingNetwork("4C3-AP2-10FC", (1, 8, 8))
        >>> spikes = torch.ones(2, 5, 1, 8, 8)
        >>> torch.allclose(network.scores(spikes), network.on("event").scores(spikes))
        True
        """
        check_choice(engine, precision)
        other = copy.copy(self)
        other._engine_name, other._precision, other._engines = engine, precision, {}
        if surrogate is not None:
            other.neuron = replace(self.neuron, surrogate=surrogate)
        return other

    def best_engine(self, precision: Precision = "float32", surrogate: Surrogate | None = None) -> EngineName:
        """The engine that runs it fastest: the event engine where it can, else the torch engine."""
        return best_engine(self.on("torch", surrogate=surrogate)._chain(), precision)

    def forward(self, spikes: Tensor) -> Tensor:
        """Output spike rates ``(N, K)``, differentiable in input and weights (Eq. 6-9); ``(N, T, *input)`` in."""
        spikes = self._checked(spikes)
        remaining = iter(self.weights)
        for layer in self.layers:
            weight = None if isinstance(layer, AvgPool) else next(remaining)
            spikes = fire(synapses.apply(layer, spikes, weight), self.neuron)
        return spikes.mean(1)

    def extra_repr(self) -> str:
        """What makes it up beside its weights, and the engine that executes it, where a module is printed."""
        about = f"time_steps={self.time_steps}, coding={self.coding!r}, engine={self._engine_name!r}"
        return f"{super().extra_repr()}, {about},\nneuron={self.neuron}"

    @property
    def engine(self) -> DenseEngine:
        """What executes the network; made anew when the weights have changed or moved.

        A change through ``weight.data`` is not seen: change weights under ``torch.no_grad()``.
        """
        return self._engine_of(self._engine_name)

    def engine_for(self, estimator: Estimator) -> DenseEngine:
        """The engine, or the torch engine where that one does not serve an estimator."""
        return self.engine if self.engine.serves(estimator) else self._engine_of("torch")

    def _engine_of(self, name: EngineName) -> DenseEngine:
        state = (self.neuron, *((weight.data_ptr(), weight._version, weight.device) for weight in self.weights))
        kept, engine = self._engines.get(name, (None, None))
        if engine is None or kept != state:
            workspace = None if engine is None else engine.workspace
            engine = make_engine(name, self._chain(), workspace, self._precision)
            self._engines[name] = state, engine
        return engine

    def _chain(self) -> Chain:
        return Chain(self.layers, self.weights_by_layer(), self.shapes, self.neuron)

    @property
    def penultimate_threshold(self) -> float | None:
        """The firing threshold of the layer before the output layer; None if there is no such layer."""
        return self.neuron.threshold if len(self.layers) > 1 else None

    @torch.no_grad()
    def scores(self, spikes: Tensor) -> Tensor:
        """Output spike rates in [0, 1], ``(N, K)``, for spikes ``(N, T, *input)``; no gradient."""
        return self.output_spikes(spikes).mean(1)

    @torch.no_grad()
    def output_spikes(self, spikes: Tensor) -> Tensor:
        """What the output layer fires at each step, ``(N, T, K)`` of 0 and 1; the scores are its mean over time."""
        return self.engine.forward(self._checked(spikes))[0]

    @torch.no_grad()
    def rescoring(self, spikes: Tensor) -> "Rescoring | None":
        """What scores flips of spikes ``(N, T, *input)`` faster than whole passes, with the weights as they are now.

        None where the engine has none; :func:`spikeflip.snn.rescoring.rescoring` serves every victim.
        """
        return self.engine.rescoring(self._checked(spikes))

    @torch.no_grad()
    def probe(self, spikes: Tensor, request: GradientRequest | None = None) -> Probe:
        """Run spikes ``(N, T, *input)`` forward once, ready for input gradients; one probe is alive at a time.

        Args:
            spikes: ``(N, T, *input)``.
            request: what gradients will be asked for, where it is known.
        """
        return Probe(self, self._checked(spikes), request or GradientRequest())

    def _checked(self, spikes: Tensor) -> Tensor:
        """Spikes in the type of the weights; a SpikeflipError for what is none of this network's."""
        check_tensor(spikes)
        if spikes.shape[2:] != self.input_shape or spikes.ndim < 2 or spikes.shape[1] == 0:
            sizes = ", ".join(map(str, self.input_shape))
            raise SpikeflipError(
                f"spikes have shape {tuple(spikes.shape)}, but the network takes (N, T, {sizes}): code images first"
            )
        return spikes.to(self.weights[0].dtype)

    def __getstate__(self) -> dict[str, object]:
        return self.__dict__ | {"_engines": {}}  # which holds memory and a compiled module, neither to be copied


Network = SpikingNetwork | ReluNetwork
"""What can be trained and saved."""

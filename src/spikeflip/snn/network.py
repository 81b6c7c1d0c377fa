"""Spiking networks built from the paper's notation, and their ReLU twins."""

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from spikeflip.errors import SpikeflipError
from spikeflip.snn import synapses
from spikeflip.snn.architecture import AvgPool, Layer, Shape, count_weights, parse, scale, shapes, to_string
from spikeflip.snn.engines.choose import EngineName, Precision, check_choice, make_engine
from spikeflip.snn.engines.dense import Chain, DenseEngine
from spikeflip.snn.neuron import LIF, fire, integrate, reverse
from spikeflip.snn.surrogate import Rectangular
from spikeflip.streams import torch_generator

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


class _Layers(nn.Module):
    """The weights of a network string, which both kinds of network share by name and shape."""

    def __init__(self, architecture: str, input_shape: Sequence[int], *, width: float, seed: int) -> None:
        super().__init__()
        self.layers: tuple[Layer, ...] = scale(parse(architecture), width)
        self.input_shape: Shape = tuple(input_shape)
        self.shapes = (self.input_shape, *shapes(self.layers, self.input_shape))
        count_weights(self.layers, self.input_shape)  # before any is allocated
        self.weights = nn.ParameterList()
        generator = torch_generator(seed, "weights")
        for layer, shape in zip(self.layers, self.shapes, strict=False):
            if (size := synapses.weight_shape(layer, shape)) is not None:
                # PyTorch's default for both kinds of layer, uniform within 1 / sqrt(fan-in), from an explicit stream.
                bound = 1 / math.sqrt(math.prod(size[1:]))
                values = torch.empty(size).uniform_(-bound, bound, generator=generator)
                self.weights.append(nn.Parameter(synapses.channels_last(values) if len(size) == 4 else values))

    @property
    def architecture(self) -> str:
        """The network string, with the width applied."""
        return to_string(self.layers)

    @property
    def classes(self) -> int:
        """K, the number of classes."""
        return self.shapes[-1][0]

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        first: Tensor = self.weights[0]
        return first.device

    def weights_by_layer(self) -> tuple[Tensor | None, ...]:
        """One entry a layer, detached, None for pooling layers."""
        remaining = iter(self.weights)
        return tuple(None if isinstance(layer, AvgPool) else next(remaining).detach() for layer in self.layers)


class SpikingNetwork(_Layers):
    """A feed-forward spiking network: a LIF layer after every weight and pooling layer, rates of the output as scores.

    It is a victim by itself: scores and gradients are stateless functions of the input, no parameter ever receives a
    gradient from them, and nothing depends on training or evaluation mode.

    Args:
        architecture: for example ``"128C3-128C3-AP2-10FC"``; see :mod:`spikeflip.snn.architecture`.
        input_shape: ``(C, H, W)`` of one time step; ``(F,)`` for fully-connected networks.
        time_steps: T, the window over which images are rate-coded. Spike inputs may have any T.
        neuron: the constants of all neurons.
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
        width: float = 1.0,
        seed: int = 0,
    ) -> None:
        super().__init__(architecture, input_shape, width=width, seed=seed)
        if time_steps < 1:
            raise SpikeflipError(f"time_steps is {time_steps}: give at least 1")
        self.time_steps = time_steps
        self.neuron = LIF() if neuron is None else neuron
        self._engine_name: EngineName = "torch"
        self._precision: Precision = "float32"
        self._engine: tuple[tuple[object, ...], DenseEngine] | None = None

    def on(self, engine: EngineName, *, precision: Precision = "float32") -> "SpikingNetwork":
        """The same network, with the same parameters, executed by another engine.

        Args:
            engine: ``"torch"``, on any device, the reference; or ``"event"``, on CPUs, which skips what is zero and is
                the faster the sparser spikes and gradients are. Where it does not cover a network or was not compiled,
                the torch engine takes over.
            precision: ``"bf16-gradient"``, with the torch engine, sends gradients back through the weights in bfloat16.
                Scores, potentials, the loss and the neurons' part of the gradient stay float32: an attack sees the
                same scores and slightly other directions. Meant for hardware that multiplies matrices of bfloat16
                (recent GPUs, CPUs with AMX); slower on other CPUs.

        Raises:
            SpikeflipError: there is no such engine or precision, or the engine does not have that precision.

        >>> network = SpikingNetwork("4C3-AP2-10FC", (1, 8, 8))
        >>> spikes = torch.ones(2, 5, 1, 8, 8)
        >>> torch.allclose(network.scores(spikes), network.on("event").scores(spikes))
        True
        """
        check_choice(engine, precision)
        other = copy.copy(self)
        other._engine_name, other._precision, other._engine = engine, precision, None
        return other

    def forward(self, spikes: Tensor) -> Tensor:
        """Output spike rates ``(N, K)``, differentiable in input and weights (Eq. 6-9); ``(N, T, *input)`` in."""
        remaining = iter(self.weights)
        for layer in self.layers:
            weight = None if isinstance(layer, AvgPool) else next(remaining)
            spikes = fire(synapses.apply(layer, spikes, weight), self.neuron)
        return spikes.mean(1)

    @property
    def engine(self) -> DenseEngine:
        """What executes the network; made anew when the weights have changed or moved."""
        state = (self.neuron, *((weight.data_ptr(), weight._version, weight.device) for weight in self.weights))
        if self._engine is None or self._engine[0] != state:
            chain = Chain(self.layers, self.weights_by_layer(), self.shapes, self.neuron)
            workspace = None if self._engine is None else self._engine[1].workspace
            self._engine = (state, make_engine(self._engine_name, chain, workspace, self._precision))
        return self._engine[1]

    @property
    def penultimate_threshold(self) -> float | None:
        """The firing threshold of the layer before the output layer; None if there is no such layer."""
        return self.neuron.threshold if len(self.layers) > 1 else None

    @torch.no_grad()
    def scores(self, spikes: Tensor) -> Tensor:
        """Output spike rates in [0, 1], ``(N, K)``, for spikes ``(N, T, *input)``; no gradient."""
        return self.engine.forward(spikes)[0].mean(1)

    @torch.no_grad()
    def probe(self, spikes: Tensor) -> "Probe":
        """Run spikes ``(N, T, *input)`` forward once, ready for input gradients; one probe is alive at a time."""
        return Probe(self.engine, spikes)


class Probe:
    """One forward pass of a batch: its scores, and the gradient of its input on request.

    The trunk, all layers up to the current of the penultimate one, is run once; the head is run again from there when
    the gradient asks for another threshold. Equal neighbours, as the targets of one sample are at the first step of an
    attack, are run once.
    """

    def __init__(self, engine: DenseEngine, spikes: Tensor) -> None:
        self._engine = engine
        self._last = engine.depth - 1
        self._hidden = max(0, self._last - 1)  # the penultimate layer, if there is one
        spikes, self._place = _without_equal_neighbours(spikes)
        below, self._potentials = engine.forward(spikes, last=self._hidden)
        self._has_penultimate = self._last > 0
        self._currents = engine.current(self._hidden, below)
        self._head = self._run_head(engine.chain.neuron)
        self.scores = self._head.scores[self._place]

    def _run_head(self, penultimate: LIF, rows: Tensor | None = None) -> "_Head":
        currents = self._currents if rows is None else self._currents[rows]
        if not self._has_penultimate:
            potential, spikes = integrate(currents, self._engine.chain.neuron)
            return _Head(None, spikes.new_zeros(len(spikes)), potential, spikes.mean(1))
        hidden, between = integrate(currents, penultimate)
        potential, spikes = integrate(self._engine.current(self._last, between), self._engine.chain.neuron)
        return _Head(hidden, between.flatten(1).sum(1), potential, spikes.mean(1))

    @torch.no_grad()
    def input_gradient(
        self,
        score_gradient: ScoreGradient,
        rows: Tensor,
        *,
        penultimate_threshold: float | None = None,
        output_window: float | None = None,
    ) -> InputGradient:
        """The gradient of a function of the scores with respect to the input spikes (Eq. 8, 9).

        Args:
            score_gradient: the gradient of that function with respect to the scores.
            rows: ``(n,)`` int64, the samples wanted.
            penultimate_threshold: at which the penultimate layer fires in this pass (Sec. V-B), the surrogate window
                staying where it was; the network's own when not given.
            output_window: surrogate width of the output layer in this pass; the network's own when not given.

        Raises:
            SpikeflipError: a threshold is given, but the network has an output layer alone.
        """
        neuron = self._engine.chain.neuron
        penultimate = neuron if penultimate_threshold is None else neuron.fire_at(penultimate_threshold)
        if penultimate is not neuron and not self._has_penultimate:
            raise SpikeflipError(
                f"penultimate threshold is {penultimate_threshold}, but the network has no layer before its output: "
                "leave the threshold out"
            )
        output = neuron
        if output_window is not None:
            output = LIF(neuron.threshold, neuron.decay, neuron.reset, Rectangular(output_window))
        place = self._place[rows]
        head = self._head.select(place) if penultimate is neuron else self._run_head(penultimate, place)

        gradient = score_gradient(head.scores, rows)
        loss_zero = _all_zero(gradient)
        t = head.potential.shape[1]
        gradient = (gradient / t).unsqueeze(1).expand_as(head.potential).contiguous()
        gradient = reverse(gradient, head.potential, output)
        output_zero = _all_zero(gradient)
        live = (~output_zero).nonzero().squeeze(1)
        values = gradient.new_zeros((len(rows), t, *self._engine.chain.shapes[0]))
        if len(live):
            values[live] = self._below_output(gradient[live], head.select(live), penultimate, place[live])
        return InputGradient(values, loss_zero, output_zero, head.penultimate_spikes)

    def _below_output(self, gradient: Tensor, head: "_Head", penultimate: LIF, rows: Tensor) -> Tensor:
        gradient = self._engine.input_gradient(self._last, gradient)
        if head.hidden is None:
            return gradient
        gradient = reverse(gradient, head.hidden, penultimate)
        gradient = self._engine.input_gradient(self._hidden, gradient)
        return self._engine.backward(gradient, self._potentials, rows, last=self._hidden)


@dataclass(frozen=True)
class _Head:
    """The penultimate neurons and the output layer of one pass."""

    hidden: Tensor | None  # potentials of the penultimate layer
    penultimate_spikes: Tensor
    potential: Tensor  # of the output layer
    scores: Tensor

    def select(self, rows: Tensor) -> "_Head":
        hidden = None if self.hidden is None else self.hidden[rows]
        return _Head(hidden, self.penultimate_spikes[rows], self.potential[rows], self.scores[rows])


def _without_equal_neighbours(spikes: Tensor) -> tuple[Tensor, Tensor]:
    """The samples that differ from the one before, and where each sample of ``(N, ...)`` is among them, ``(N,)``."""
    new = torch.ones(len(spikes), dtype=torch.bool, device=spikes.device)
    if len(spikes) > 1:
        new[1:] = (spikes[1:] != spikes[:-1]).flatten(1).any(1)
    kept = spikes if bool(new.all()) else spikes[new]
    return kept, new.long().cumsum(0) - 1


def _all_zero(per_sample: Tensor) -> Tensor:
    return ~per_sample.flatten(1).any(1)


class ReluNetwork(_Layers):
    """The ReLU twin of a spiking network: the same weights by name and shape, ReLU for every LIF after a weight.

    Takes images ``(N, C, H, W)`` and returns logits ``(N, K)``.

    >>> ReluNetwork("4C3-AP2-10FC", (1, 8, 8))(torch.rand(2, 1, 8, 8)).shape
    torch.Size([2, 10])
    """

    def __init__(self, architecture: str, input_shape: Sequence[int], *, width: float = 1.0, seed: int = 0) -> None:
        super().__init__(architecture, input_shape, width=width, seed=seed)

    @classmethod
    def twin_of(cls, network: SpikingNetwork) -> "ReluNetwork":
        """A ReLU network with a copy of a spiking network's weights."""
        twin = cls(network.architecture, network.input_shape)
        twin.load_state_dict(network.state_dict())
        return twin.to(network.device)

    def forward(self, images: Tensor) -> Tensor:
        """Logits ``(N, K)`` of images ``(N, C, H, W)``, differentiable."""
        remaining = iter(self.weights)
        x = images.unsqueeze(1)  # one time step: the layers are the spiking network's
        for position, layer in enumerate(self.layers, 1):
            if isinstance(layer, AvgPool):
                x = synapses.apply(layer, x, None)
            else:
                x = synapses.apply(layer, x, next(remaining))
                x = x if position == len(self.layers) else F.relu(x)
        return x.squeeze(1)

"""The same victim as others would run it: a user's own loop, SpikingJelly and snnTorch, for the same attack.

Weights and inputs are those of a :class:`SpikingNetwork`, and the attack is :class:`spikeflip.SCG` itself, so a peer
differs in one thing alone: how scores and input gradients are computed. All of them go through autograd with the
gradients of the weights left on, as their users run them.

A peer is told whether the attack is ``tuned``, i.e. asks for its gradients at another penultimate threshold. If not,
the pass that judges keeps its graph and its gradient is taken; if so, the pass that judges keeps no graph, and a second
one at that threshold does. Neither pays for a graph that nobody uses.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from spikeflip import LIF, SpikingNetwork
from spikeflip.snn.architecture import AvgPool, Conv, Layer
from spikeflip.snn.gradients import GradientRequest, InputGradient, ScoreGradient


@dataclass(frozen=True)
class Pass:
    """A forward pass of n samples, ready for a backward pass where gradients are enabled."""

    inputs: Tensor  # a leaf, (n, T, *input)
    scores: Tensor  # (n, K)
    output_currents: Sequence[Tensor]  # of the output layer, (n, K) a step or one (T, n, K); they retain their gradient
    penultimate_spikes: Tensor  # (n,)

    def output_zero(self) -> Tensor:
        """After a backward pass: which samples have no gradient in any output neuron's current, ``(n,)`` bool."""
        gradients = torch.stack([current.grad for current in self.output_currents])
        return ~gradients.flatten(0, -3).any(0).any(1)


class Peer(ABC):
    """A victim that runs with autograd, with a copy of a network's weights."""

    together: bool
    """Whether samples are run as one batch, or one after another."""

    def __init__(self, network: SpikingNetwork, *, tuned: bool = False) -> None:
        if network.neuron.reset != "hard":
            raise ValueError(f"peers have the paper's hard reset alone, not {network.neuron.reset!r}")
        self.input_shape, self.time_steps, self.classes = network.input_shape, network.time_steps, network.classes
        self.coding = network.coding
        self.device, self.penultimate_threshold = network.device, network.penultimate_threshold
        self.layers, self.shapes, self.neuron, self.tuned = network.layers, network.shapes, network.neuron, tuned
        self.weights = [
            None if weight is None else nn.Parameter(weight.clone(memory_format=torch.contiguous_format))
            for weight in network.weights_by_layer()
        ]

    @abstractmethod
    def forward(self, spikes: Tensor, neurons: tuple[LIF, ...]) -> Pass:
        """Run ``(n, T, *input)`` with one kind of neuron a layer."""

    def passes(self, spikes: Tensor, neurons: tuple[LIF, ...]) -> list[Pass]:
        parts = [spikes] if self.together else spikes.split(1)
        return [self.forward(part.detach().requires_grad_(torch.is_grad_enabled()), neurons) for part in parts]

    def neurons(self, request: GradientRequest) -> tuple[LIF, ...]:
        found = [self.neuron] * len(self.layers)
        if request.penultimate_threshold is not None:
            found[-2] = self.neuron.fire_at(request.penultimate_threshold)
        found[-1] = request.estimator.exact(found[-1], is_output=True) or found[-1]
        return tuple(found)

    @torch.no_grad()
    def scores(self, spikes: Tensor) -> Tensor:
        return torch.cat([part.scores for part in self.passes(spikes, self.neurons(GradientRequest()))])

    def probe(self, spikes: Tensor, request: GradientRequest | None = None) -> "PeerProbe":
        return PeerProbe(self, spikes)


class PeerProbe:
    """One judging pass, and gradients from it or from a second one."""

    def __init__(self, peer: Peer, spikes: Tensor) -> None:
        self._peer, self._spikes = peer, spikes
        with torch.set_grad_enabled(not peer.tuned):
            self._passes = peer.passes(spikes, peer.neurons(GradientRequest()))
        self.scores = torch.cat([part.scores for part in self._passes]).detach()

    def input_gradient(self, score_gradient: ScoreGradient, request: GradientRequest | None = None) -> InputGradient:
        """As of any probe; ``output_zero`` is read from the gradient of the output neurons' currents."""
        request = request or GradientRequest()
        rows = request.rows_of(len(self.scores), self.scores.device)
        if self._peer.tuned or not request.is_plain:
            neurons = self._peer.neurons(request)
            passes, wanted = self._peer.passes(self._spikes[rows], neurons), torch.arange(len(rows))
        else:
            passes, wanted = self._passes, rows
        if not self._peer.together:  # what is not asked for is not run
            passes, wanted = [passes[row] for row in wanted.tolist()], torch.arange(len(rows))
        scores = torch.cat([part.scores for part in passes]).detach()
        asked = score_gradient(scores[wanted], rows)
        # Autograd cannot leave samples out of a graph: those that are finished get a gradient of zero.
        gradient = torch.zeros_like(scores).index_copy(0, wanted, asked)
        for part, share in zip(passes, gradient.split([len(part.scores) for part in passes]), strict=True):
            part.scores.backward(share)
        for weight in self._peer.weights:
            if weight is not None:
                weight.grad = None
        return InputGradient(
            values=torch.cat([part.inputs.grad for part in passes])[wanted],
            loss_zero=~asked.any(1),
            output_zero=torch.cat([part.output_zero() for part in passes])[wanted],
            penultimate_spikes=torch.cat([part.penultimate_spikes for part in passes])[wanted],
        )


class _Fire(torch.autograd.Function):
    """A spike where the potential reaches the threshold, with the rectangular window as its derivative (Eq. 9)."""

    @staticmethod
    def forward(ctx: Any, potential: Tensor, threshold: float, centre: float, width: float) -> Tensor:
        ctx.save_for_backward(potential)
        ctx.window = centre, width
        return (potential >= threshold).to(potential)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None]:
        (potential,), (centre, width) = ctx.saved_tensors, ctx.window
        return gradients[0] * ((potential - centre).abs() <= width / 2) / width, None, None, None


def _centre(neuron: LIF) -> float:
    return neuron.threshold if neuron.centre is None else neuron.centre


Neurons = Callable[[Tensor, Tensor | float, Tensor | float], tuple[Tensor, Tensor]]
"""From a layer's current, potential and spikes of the step before to its spikes and potential."""


class _SteppedPeer(Peer):
    """All layers at every time step, one step after another."""

    @abstractmethod
    def make_neurons(self, neuron: LIF) -> Neurons: ...

    def forward(self, spikes: Tensor, neurons: tuple[LIF, ...]) -> Pass:
        layers = [self.make_neurons(neuron) for neuron in neurons]
        potentials: list[Tensor | float] = [0.0] * len(layers)
        fired: list[Tensor | float] = [0.0] * len(layers)
        rates, currents = [], []
        penultimate = torch.zeros(len(spikes), device=spikes.device)
        for now in spikes.unbind(1):
            for i, (layer, weight, run) in enumerate(zip(self.layers, self.weights, layers, strict=True)):
                current = _current(layer, now, weight)
                fired[i], potentials[i] = run(current, potentials[i], fired[i])
                now = fired[i]
                if i == len(layers) - 2:
                    penultimate += now.detach().flatten(1).sum(1)
            if current.requires_grad:
                current.retain_grad()
            currents.append(current)
            rates.append(now)
        return Pass(spikes, torch.stack(rates).mean(0), currents, penultimate)


def _current(layer: Layer, spikes: Tensor, weight: Tensor | None) -> Tensor:
    if isinstance(layer, Conv):
        return F.conv2d(spikes, weight, padding=layer.kernel // 2)
    if isinstance(layer, AvgPool):
        return F.avg_pool2d(spikes, layer.size)
    return F.linear(spikes.flatten(1), weight)


class PlainVictim(_SteppedPeer):
    """The loop that a user would write after the paper: one sample at a time, one time step after another."""

    together = False

    def make_neurons(self, neuron: LIF) -> Neurons:
        def run(current: Tensor, potential: Tensor | float, spikes: Tensor | float) -> tuple[Tensor, Tensor]:
            potential = potential * neuron.decay * (1 - spikes) + current
            return _Fire.apply(potential, neuron.threshold, _centre(neuron), neuron.surrogate.width), potential

        return run


class SnnTorchVictim(_SteppedPeer):
    """snnTorch's ``Leaky`` in a loop over time.

    Its own reset leaves the reset out of the gradient, which is another gradient than the paper's; so the reset is
    one multiplication outside it.
    """

    together = True

    def __init__(self, network: SpikingNetwork, *, tuned: bool = False) -> None:
        import snntorch

        super().__init__(network, tuned=tuned)
        self._leaky, self._made = snntorch.Leaky, {}

    def make_neurons(self, neuron: LIF) -> Neurons:
        if neuron not in self._made:
            centre, width = _centre(neuron) - neuron.threshold, neuron.surrogate.width
            self._made[neuron] = self._leaky(
                beta=neuron.decay,
                threshold=neuron.threshold,
                spike_grad=lambda distance: _Fire.apply(distance, 0.0, centre, width),
                reset_mechanism="none",
            ).to(self.device)
        leaky = self._made[neuron]

        def run(current: Tensor, potential: Tensor | float, spikes: Tensor | float) -> tuple[Tensor, Tensor]:
            kept = potential * (1 - spikes)
            return leaky(current, kept if isinstance(kept, Tensor) else torch.zeros_like(current))

        return run


class SpikingJellyVictim(Peer):
    """SpikingJelly in multi-step mode: each layer over all time steps, ``(T, n, ...)``."""

    together = True

    def __init__(self, network: SpikingNetwork, *, tuned: bool = False) -> None:
        from spikingjelly.activation_based import functional, layer, neuron, surrogate

        super().__init__(network, tuned=tuned)
        self._reset, self._layer, self._node, self._rect = functional.reset_net, layer, neuron.LIFNode, surrogate.Rect
        self._made: dict[tuple[LIF, ...], nn.ModuleList] = {}

    def forward(self, spikes: Tensor, neurons: tuple[LIF, ...]) -> Pass:
        if neurons not in self._made:
            self._made[neurons] = self._make(neurons)
        stages = self._made[neurons]
        self._reset(stages)
        after = spikes.transpose(0, 1)
        for synapses, node in stages:
            before = after
            current = synapses(before)
            after = node(current)
        if current.requires_grad:
            current.retain_grad()
        count = before.detach().transpose(0, 1).flatten(1).sum(1)
        return Pass(spikes, after.mean(0), [current], count if len(stages) > 1 else torch.zeros_like(count))

    def _make(self, neurons: tuple[LIF, ...]) -> nn.ModuleList:
        stages = nn.ModuleList()
        for i, (layer, neuron) in enumerate(zip(self.layers, neurons, strict=True)):
            node = self._node(
                tau=1 / (1 - neuron.decay),
                decay_input=False,
                v_threshold=neuron.threshold,
                v_reset=0.0,
                surrogate_function=self._surrogate(neuron),
                step_mode="m",
            )
            stages.append(nn.ModuleList([self._synapses(i, layer), node]))
        return stages

    def _synapses(self, i: int, layer: Layer) -> nn.Module:
        if isinstance(layer, AvgPool):
            return self._layer.AvgPool2d(layer.size, step_mode="m")
        if isinstance(layer, Conv):
            made = self._layer.Conv2d(
                self.shapes[i][0], layer.channels, layer.kernel, padding=layer.kernel // 2, bias=False, step_mode="m"
            )
        else:
            inputs = torch.Size(self.shapes[i]).numel()
            made = self._layer.Linear(inputs, layer.features, bias=False, step_mode="m")
        made.weight = self.weights[i]
        flat = self._layer.Flatten(step_mode="m")
        return made if isinstance(layer, Conv) else nn.Sequential(flat, made)

    def _surrogate(self, neuron: LIF) -> nn.Module:
        if neuron.centre in (None, neuron.threshold):
            return self._rect(alpha=1 / neuron.surrogate.width)
        return _Shifted(_centre(neuron) - neuron.threshold, neuron.surrogate.width)


class _Shifted(nn.Module):
    """A rectangular window that is not centred on the threshold, which SpikingJelly does not have."""

    def __init__(self, centre: float, width: float) -> None:
        super().__init__()
        self.centre, self.width = centre, width

    def forward(self, distance: Tensor) -> Tensor:
        return _Fire.apply(distance, 0.0, self.centre, self.width)


PEERS: dict[str, Callable[..., Peer]] = {
    "plain": PlainVictim,
    "spikingjelly": SpikingJellyVictim,
    "snntorch": SnnTorchVictim,
}
"""By name; making one raises an ImportError where its framework is not installed."""

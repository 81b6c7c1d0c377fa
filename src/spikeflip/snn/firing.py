"""Which layers fire: the share of silent neurons and of silent samples, layer by layer.

A silent layer passes nothing on and, below and above it, almost no gradient: a network with one does not learn, and an
attack on it finds nothing, which looks like robustness.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from spikeflip.errors import SpikeflipError
from spikeflip.snn.network import SpikingNetwork
from spikeflip.snn.neuron import integrate
from spikeflip.snn.validation import at_a_time, check_tensor, kind_of


@dataclass(frozen=True)
class LayerFiring:
    """How one layer fires on some inputs.

    Args:
        layer: its place from 1 and its notation, such as ``"7 (256FC)"``.
        rate: share of its neurons that fire in a time step, in [0, 1].
        silent_neurons: share of its neurons that never fire, on no sample, in [0, 1].
        silent_samples: share of the samples on which no neuron of it fires, in [0, 1].
    """

    layer: str
    rate: float
    silent_neurons: float
    silent_samples: float


@dataclass(frozen=True)
class Firing:
    """How every layer fires, from the first to the output layer."""

    layers: tuple[LayerFiring, ...]

    @property
    def output(self) -> LayerFiring:
        """The output layer."""
        return self.layers[-1]

    @property
    def silent(self) -> LayerFiring | None:
        """The first layer that never fires; None if all fire."""
        return next((layer for layer in self.layers if layer.rate == 0), None)

    @property
    def quietest(self) -> LayerFiring:
        """The layer with the largest share of silent neurons."""
        return max(self.layers, key=lambda layer: layer.silent_neurons)

    def as_json(self) -> list[dict[str, Any]]:
        """One dict a layer: shares rounded to four digits, rates to six."""
        return [
            {
                "layer": found.layer,
                "rate": round(found.rate, 6),
                "silent_neurons": round(found.silent_neurons, 4),
                "silent_samples": round(found.silent_samples, 4),
            }
            for found in self.layers
        ]


@torch.no_grad()
def measure_firing(network: SpikingNetwork, spikes: Tensor, *, micro_batch: int = 16) -> Firing:
    """Run a network and count who fires.

    Args:
        network: on any engine and device.
        spikes: ``(N, T, *input)`` of 0 and 1, of any type, at least one sample.
        micro_batch: samples in memory at a time.

    Returns:
        One entry a layer.

    Raises:
        SpikeflipError: there is no sample, or what is given are no spikes of this network's shape.

    >>> network = SpikingNetwork("2FC-3FC", (1,))
    >>> with torch.no_grad():
    ...     for weight, values in zip(network.weights, ([[1.0], [-1.0]], [[0.0, 0.0]] * 3)):
    ...         _ = weight.copy_(torch.tensor(values))
    >>> [layer.silent_neurons for layer in measure_firing(network, torch.ones(4, 5, 1)).layers]
    [0.5, 1.0]
    """
    check_tensor(spikes)
    if kind_of(spikes, network.input_shape) == "images" or not len(spikes):
        raise SpikeflipError(
            f"spikes have shape {tuple(spikes.shape)}: give at least one sample, (N, T, *input), and code images first"
        )
    engine, neuron = network.engine, network.neuron
    counts: list[_Count] = [_Count() for _ in network.layers]
    for part in spikes.split(at_a_time(network, spikes, micro_batch)):
        below = part.to(network.device, torch.float32)
        for i, count in enumerate(counts):
            _, below = integrate(engine.current(i, below), neuron)
            count.add(below)
    return Firing(tuple(count.of(layer_name(network, i)) for i, count in enumerate(counts)))


def layer_name(network: SpikingNetwork, i: int) -> str:
    """The place of layer i, from 1, and its notation."""
    return f"{i + 1} ({network.layers[i]})"


class _Count:
    """Spikes of one layer, added up over micro-batches."""

    def __init__(self) -> None:
        self._fired: Tensor | None = None
        self._spikes, self._cells, self._silent, self._samples = 0.0, 0, 0, 0

    def add(self, spikes: Tensor) -> None:
        """Count the spikes ``(n, T, *layer)`` of some samples."""
        by_sample = spikes.flatten(2).sum(1)
        fired = (by_sample > 0).any(0)
        self._fired = fired if self._fired is None else self._fired | fired
        self._spikes += float(by_sample.sum(dtype=torch.float64))
        self._cells += spikes.numel()
        self._silent += int((by_sample.sum(1) == 0).sum())
        self._samples += len(spikes)

    def of(self, name: str) -> LayerFiring:
        """What was counted."""
        silent = 1.0 if self._fired is None else 1 - float(self._fired.double().mean())
        return LayerFiring(name, self._spikes / max(1, self._cells), silent, self._silent / max(1, self._samples))

"""What the benchmarks share: sides timed in turn, the dense limit, and what a row says of the machine.

The dense limit is the yardstick: every weight layer alone, in dense PyTorch, on the same shapes.
"""

import os
import statistics
import time
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import TypeVar

import torch
from torch import Tensor

import spikeflip
from spikeflip import SpikingNetwork
from spikeflip.runs.folder import cpu_name
from spikeflip.snn import synapses
from spikeflip.snn.architecture import AvgPool
from spikeflip.snn.engines.event import why_not
from spikeflip.snn.training import Training, train

Side = Callable[[], float]
"""Runs once and says how many seconds that took."""
Name = TypeVar("Name", bound=Hashable)


def in_turn(sides: Mapping[Name, Side], repeats: int) -> dict[Name, list[float]]:
    """The seconds of every side, one side after the other in each of ``repeats`` rounds."""
    rounds = [{name: side() for name, side in sides.items()} for _ in range(repeats)]
    return {name: [one[name] for one in rounds] for name in sides}


def milliseconds(name: str, seconds: Sequence[float]) -> dict[str, object]:
    """Median and range of a side, for a row."""
    return {
        name: round(1e3 * statistics.median(seconds), 3),
        f"{name}_range": [round(1e3 * min(seconds), 3), round(1e3 * max(seconds), 3)],
    }


def ratio(name: str, above: Sequence[float], below: Sequence[float]) -> dict[str, object]:
    """The ratio of two sides' medians, and the range of the ratios within a round."""
    each = [a / b for a, b in zip(above, below, strict=True)]
    return {
        name: round(statistics.median(above) / statistics.median(below), 3),
        f"{name}_range": [round(min(each), 3), round(max(each), 3)],
    }


def now(device: torch.device) -> float:
    """The clock's seconds when the device has done all that it was asked for."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def machine(device: torch.device | None = None) -> dict[str, object]:
    """What a row says of where it was measured; of a GPU the most memory that PyTorch had there so far, too."""
    gpu: dict[str, object] = {}
    if device is not None and device.type == "cuda":
        peak = torch.cuda.max_memory_allocated(device) >> 20
        gpu = {"gpu": torch.cuda.get_device_name(device), "peak_memory_mib": peak}
    return gpu | {
        "cpu": cpu_name(),
        "threads": torch.get_num_threads(),
        "spin_rounds": os.environ.get("GOMP_SPINCOUNT"),
        "torch": torch.__version__,
        "spikeflip": spikeflip.__version__,
    }


def engines(network: SpikingNetwork) -> dict[str, SpikingNetwork]:
    """The network on every engine that can run it here."""
    found = {"torch": network.on("torch")}
    return found if why_not(network.engine.chain) else found | {"event": network.on("event")}


def random_spikes(samples: int, time_steps: int, shape: Sequence[int], density: float) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    spikes = torch.rand((samples, time_steps, *shape), generator=generator)
    return spikes.lt_(density)


def fire_at_rate(network: SpikingNetwork, spikes: Tensor, rate: float) -> None:
    """Scale untrained weights until ``rate`` of every layer's neurons would fire, and leave them at that."""
    labels = torch.zeros(len(spikes), dtype=torch.int64)
    still = Training(updates=1, batch_size=len(spikes), learning_rate=1e-30, initial_rate=rate)
    # The same weights by another name: what training keeps in memory goes with it.
    train(network.on("torch"), (spikes, labels), (spikes[:0], labels[:0]), still)
    network.zero_grad()


@torch.no_grad()
def never_fooled(network: SpikingNetwork) -> None:
    """Change the output layer so that class 0 always wins and class 1 never fires."""
    network.weights[-1].zero_()
    network.weights[-1][0] = 1


class Dense:
    """The weight layers alone, with inputs and gradients made in advance.

    With ``training`` also the gradients of the weights, and without the input gradient of the first layer, which
    training does not need. Each layer takes the faster of PyTorch's backward pass and one spelled out in convolutions.
    """

    def __init__(self, network: SpikingNetwork, samples: int, *, training: bool = False) -> None:
        generator = torch.Generator().manual_seed(1)
        self.samples, self.training, self.device, self.layers = samples, training, network.device, []
        for layer, weight, shape in zip(network.layers, network.weights_by_layer(), network.shapes, strict=False):
            if isinstance(layer, AvgPool):
                continue
            frames = (torch.rand((samples, network.time_steps, *shape), generator=generator) < 0.1).float()
            frames = frames.to(self.device)
            out = synapses.apply(layer, frames, weight)
            if len(shape) == 3:
                frames = synapses.channels_last(frames.flatten(0, 1)).view(frames.shape)
            gradient = torch.randn(out.shape, generator=generator).to(self.device)
            if gradient.ndim == 5:
                gradient = synapses.channels_last(gradient.flatten(0, 1)).view(out.shape)
            self.layers.append((layer, weight, synapses.transposed(layer, weight), frames, gradient, shape))

    def seconds(self) -> float:
        return sum(self._layer_seconds(i, *layer) for i, layer in enumerate(self.layers))

    def seconds_a_sample(self) -> float:
        return self.seconds() / self.samples

    def _layer_seconds(self, i, layer, weight, flipped, frames, gradient, shape) -> float:
        below = i > 0 or not self.training
        leaf = frames.detach().requires_grad_(below)
        parameter = weight.detach().requires_grad_(self.training)
        started = now(self.device)
        out = synapses.apply(layer, leaf, parameter)
        forward = now(self.device) - started
        started = now(self.device)
        torch.autograd.grad(out, [one for one in (leaf, parameter) if one.requires_grad], gradient)
        backward = now(self.device) - started
        with torch.no_grad():
            started = now(self.device)
            if below:
                synapses.apply_transposed(layer, gradient, flipped, shape)
            if self.training:
                synapses.weight_gradient(layer, frames, gradient, weight)
            return forward + min(backward, now(self.device) - started)

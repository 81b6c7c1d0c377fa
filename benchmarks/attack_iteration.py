"""Time one iteration of the SCG attack against the bare convolutions and linear layers of the same network.

    python benchmarks/attack_iteration.py [--networks paper-image paper-spike] [--width 1] [--samples 8] [--json]

An iteration is all the attack does to every sample: encoding, forward pass, the head again at the tuned threshold,
reverse pass to the input, converter, update. The network is made so that no sample succeeds and no gradient vanishes:
nothing is skipped. The dense side is every weight layer's forward pass and input gradient on the same shapes, in the
same process; each layer takes the faster of PyTorch's convolution backward and a convolution with the flipped weight.
Both sides are measured in turn, and the ratio is that of the medians. See benchmarks/README.md.
"""

import argparse
import json
import statistics
import sys
import time

import torch
from torch import Tensor

from spikeflip import SCG, SpikingNetwork
from spikeflip.runs.folder import cpu_name
from spikeflip.snn import synapses
from spikeflip.snn.architecture import AvgPool
from spikeflip.snn.presets import PRESETS


def victim(name: str, width: float) -> SpikingNetwork:
    """An untrained network in which spikes reach every layer, class 0 always wins and class 1 never fires."""
    preset = PRESETS[name]
    network = SpikingNetwork(
        preset.architecture, preset.input_shape, time_steps=preset.time_steps, neuron=preset.neuron, width=width
    )
    with torch.no_grad():
        for weight in network.weights[:-1]:
            weight.mul_(3)
        network.weights[-1].zero_()
        network.weights[-1][0] = 1
    return network


def inputs(network: SpikingNetwork, name: str, samples: int) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    if name == "paper-image":
        return torch.rand((samples, *network.input_shape), generator=generator)
    shape = (samples, network.time_steps, *network.input_shape)
    return (torch.rand(shape, generator=generator) < 0.1).float()


def attack_seconds(network: SpikingNetwork, values: Tensor, steps: int) -> float:
    """Of a whole attack with exactly ``steps`` updates a sample."""
    labels = torch.zeros(len(values), dtype=torch.int64)
    attack = SCG(steps=steps, threshold=1.0, loss="ce", output_window=1e3)
    started = time.perf_counter()
    result = attack(network, values, labels, labels + 1, micro_batch=len(values))
    seconds = time.perf_counter() - started
    if not bool((result.steps == steps).all()) or not bool((result.backwards == steps).all()):
        sys.exit(f"the benchmark's network let {int((result.backwards != steps).sum())} samples skip work")
    return seconds


class Dense:
    """The weight layers alone, with inputs and gradients made in advance."""

    def __init__(self, network: SpikingNetwork, samples: int) -> None:
        generator = torch.Generator().manual_seed(1)
        self.layers = []
        for layer, weight, shape in zip(network.layers, network.weights_by_layer(), network.shapes, strict=False):
            if isinstance(layer, AvgPool):
                continue
            frames = (torch.rand((samples, network.time_steps, *shape), generator=generator) < 0.1).float()
            out = synapses.apply(layer, frames, weight)
            if len(shape) == 3:
                frames = synapses.channels_last(frames.flatten(0, 1)).view(frames.shape)
            gradient = torch.randn(out.shape, generator=generator)
            if gradient.ndim == 5:
                gradient = synapses.channels_last(gradient.flatten(0, 1)).view(out.shape)
            self.layers.append((layer, weight, synapses.transposed(layer, weight), frames, gradient, shape))

    def seconds(self) -> float:
        return sum(self._layer_seconds(*layer) for layer in self.layers)

    @staticmethod
    def _layer_seconds(layer, weight, flipped, frames, gradient, shape) -> float:
        leaf = frames.detach().requires_grad_()
        started = time.perf_counter()
        out = synapses.apply(layer, leaf, weight)
        forward = time.perf_counter() - started
        started = time.perf_counter()
        torch.autograd.grad(out, leaf, gradient)
        backward = time.perf_counter() - started
        with torch.no_grad():
            started = time.perf_counter()
            synapses.apply_transposed(layer, gradient, flipped, shape)
            return forward + min(backward, time.perf_counter() - started)


def measure(name: str, width: float, samples: int, repeats: int) -> dict[str, object]:
    network = victim(name, width)
    values = inputs(network, name, samples)
    dense = Dense(network, samples)
    attack_seconds(network, values, 1)
    dense.seconds()
    ours, bare = [], []
    for _ in range(repeats):
        # The difference of two attacks is two iterations; what a call costs once drops out.
        ours.append((attack_seconds(network, values, 3) - attack_seconds(network, values, 1)) / 2)
        bare.append(dense.seconds())
    iteration, limit = statistics.median(ours), statistics.median(bare)
    return {
        "network": name,
        "width": width,
        "samples": samples,
        "iteration_ms": round(1e3 * iteration, 2),
        "dense_ms": round(1e3 * limit, 2),
        "ratio": round(iteration / limit, 3),
        "iteration_ms_range": [round(1e3 * min(ours), 2), round(1e3 * max(ours), 2)],
        "dense_ms_range": [round(1e3 * min(bare), 2), round(1e3 * max(bare), 2)],
        "repeats": repeats,
        "cpu": cpu_name(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", nargs="+", default=["paper-image", "paper-spike"], choices=sorted(PRESETS))
    parser.add_argument("--width", type=float, default=1.0)
    parser.add_argument("--samples", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    rows = [measure(name, options.width, options.samples, options.repeats) for name in options.networks]
    if options.json:
        print(json.dumps(rows, indent=2))
    else:
        for row in rows:
            print(
                "{network} width {width}: iteration {iteration_ms} ms, dense {dense_ms} ms, ratio {ratio}".format(**row)
            )


if __name__ == "__main__":
    main()

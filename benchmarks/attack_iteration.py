"""Time one iteration of the SCG attack against the bare convolutions and linear layers of the same network.

    python benchmarks/attack_iteration.py [--networks paper-image paper-spike] [--width 1] [--samples 8]
                                          [--device cuda] [--precision bf16-gradient] [--json]

An iteration is all the attack does to every sample: encoding, forward pass, the head again at the tuned threshold,
reverse pass to the input, converter, update. The network is made so that no sample succeeds and no gradient vanishes:
nothing is skipped. The dense side is every weight layer's forward pass and input gradient on the same shapes, in the
same process. Both sides are measured in turn, and the ratio is that of the medians. See benchmarks/README.md.
"""

import sys
from typing import get_args

import torch
from torch import Tensor

from measuring import Dense, in_turn, machine, milliseconds, never_fooled, now, random_spikes, ratio
from rows import parser_of, print_rows, with_device
from spikeflip import SCG, SpikingNetwork
from spikeflip.snn.engines.choose import Precision
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
    never_fooled(network)
    return network


def inputs(network: SpikingNetwork, name: str, samples: int) -> Tensor:
    if name == "paper-image":
        return torch.rand((samples, *network.input_shape), generator=torch.Generator().manual_seed(0))
    return random_spikes(samples, network.time_steps, network.input_shape, 0.1)


def attack_seconds(network: SpikingNetwork, values: Tensor, steps: int) -> float:
    """Of a whole attack with exactly ``steps`` updates a sample."""
    labels = torch.zeros(len(values), dtype=torch.int64)
    attack = SCG(steps=steps, threshold=1.0, loss="ce", output_window=1e3)
    started = now(network.device)
    result = attack(network, values, labels, labels + 1, micro_batch=len(values))
    seconds = now(network.device) - started
    if not bool((result.steps == steps).all()) or not bool((result.backwards == steps).all()):
        sys.exit(f"the benchmark's network let {int((result.backwards != steps).sum())} samples skip work")
    return seconds


def measure(
    name: str, width: float, samples: int, repeats: int, device: str, precision: Precision
) -> dict[str, object]:
    network = victim(name, width).to(device).on("torch", precision=precision)
    values = inputs(network, name, samples)
    dense = Dense(network, samples)

    def iteration() -> float:
        # The difference of two attacks is two iterations; what a call costs once drops out.
        return (attack_seconds(network, values, 3) - attack_seconds(network, values, 1)) / 2

    attack_seconds(network, values, 1)
    dense.seconds()
    times = in_turn({"iteration": iteration, "dense": dense.seconds}, repeats)
    return {
        "network": name,
        "width": width,
        "samples": samples,
        "precision": precision,
        **ratio("ratio", times["iteration"], times["dense"]),
        **milliseconds("iteration_ms", times["iteration"]),
        **milliseconds("dense_ms", times["dense"]),
        "repeats": repeats,
        **machine(network.device),
    }


def main() -> None:
    parser = with_device(parser_of(__doc__))
    parser.add_argument("--networks", nargs="+", default=["paper-image", "paper-spike"], choices=sorted(PRESETS))
    parser.add_argument("--width", type=float, default=1.0)
    parser.add_argument("--samples", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--precision", default="float32", choices=get_args(Precision))
    options = parser.parse_args()
    how = options.width, options.samples, options.repeats, options.device, options.precision
    rows = [measure(name, *how) for name in options.networks]
    sentence = "{network} width {width}: iteration {iteration_ms} ms, dense {dense_ms} ms, ratio {ratio}"
    print_rows(rows, options.json, lambda row: sentence.format(**row))


if __name__ == "__main__":
    main()

"""Measure the peak memory of an attack, and whether it grows with the number of inputs.

    python benchmarks/memory.py [--network paper-gesture] [--width 1] [--time-steps 60] [--micro-batch 8]
                                [--inputs 16 64] [--json]

Each case is a process of its own that attacks random inputs, as sparse as recordings, for a few steps with an
untrained network in which no sample succeeds and no gradient vanishes at the output: nothing is left out. Its peak is
the operating system's figure for the whole process: interpreter, PyTorch, weights and inputs included. ``growth`` is
how much the peak rises from the fewest inputs to the most, over how much larger the inputs are: inputs and their
adversarials make it about 2; work of a micro-batch that is kept for every input would make it many times that.
"""

import argparse
import json
import resource
import subprocess
import sys
from pathlib import Path

from rows import parser_of, print_rows

# PyTorch is imported where a case runs: a child's peak begins at that of the process that started it.

MEGA = 10**6
STEPS, INPUT_DENSITY, FIRING_RATE = 2, 0.03, 0.04


def peak_bytes() -> int:
    highest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return highest if sys.platform == "darwin" else 1024 * highest


def run_case(options: argparse.Namespace, engine: str, inputs: int) -> dict[str, object]:
    """In this process: a peak cannot be measured twice."""
    import torch

    from measuring import engines, fire_at_rate, machine, never_fooled, random_spikes
    from spikeflip import SCG, SpikingNetwork
    from spikeflip.snn.presets import PRESETS

    preset = PRESETS[options.network]
    network = SpikingNetwork(
        preset.architecture,
        preset.input_shape,
        time_steps=options.time_steps,
        neuron=preset.neuron,
        width=options.width,
    )
    # Scaling the weights takes memory too: a few frames are enough for it.
    fire_at_rate(network, random_spikes(1, 5, network.input_shape, INPUT_DENSITY), FIRING_RATE)
    never_fooled(network)
    values = random_spikes(inputs, network.time_steps, network.input_shape, INPUT_DENSITY)
    labels = torch.zeros(inputs, dtype=torch.int64)
    before = peak_bytes()
    attack = SCG(steps=STEPS, threshold=0.7, loss="ce", output_window=1e3)
    result = attack(engines(network)[engine], values, labels, labels + 1, micro_batch=options.micro_batch)
    return {
        "peak_mb": round(peak_bytes() / MEGA, 3),
        "before_attack_mb": round(before / MEGA, 3),
        "inputs_mb": round(values.nbytes / MEGA, 3),
        "backwards": int(result.backwards.sum()),
        **machine(),
    }


def child(engine: str, inputs: int) -> dict[str, object]:
    """Run one case in a process of its own, with this one's options."""
    command = [sys.executable, str(Path(__file__).resolve()), *sys.argv[1:], "--case", engine, str(inputs)]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def measure(options: argparse.Namespace, engine: str) -> list[dict[str, object]]:
    cases = [(n, child(engine, n)) for n in sorted(options.inputs)]
    (_, least), (_, most) = cases[0], cases[-1]
    larger = most["inputs_mb"] - least["inputs_mb"]
    growth = round((most["peak_mb"] - least["peak_mb"]) / larger, 2) if larger else None
    setting = {name: getattr(options, name) for name in ("network", "width", "time_steps", "micro_batch")}
    return [{**setting, "engine": engine, "inputs": n, **case, "growth": growth} for n, case in cases]


def main() -> None:
    parser = parser_of(__doc__)
    parser.add_argument("--network", default="paper-gesture")
    parser.add_argument("--width", type=float, default=1.0)
    parser.add_argument("--time-steps", type=int, default=60)
    parser.add_argument("--micro-batch", type=int, default=8)
    parser.add_argument("--inputs", type=int, nargs="+", default=[16, 64])
    parser.add_argument("--engines", nargs="+", choices=["torch", "event"], default=["torch", "event"])
    parser.add_argument("--case", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.case:
        print(json.dumps(run_case(options, options.case[0], int(options.case[1]))))
        return
    rows = [row for engine in options.engines for row in measure(options, engine)]
    sentence = (
        "{network} width {width}, T = {time_steps}, {engine}, {inputs} inputs of {inputs_mb} MB: "
        "peak {peak_mb} MB, growth {growth} x the inputs"
    )
    print_rows(rows, options.json, lambda row: sentence.format(**row))


if __name__ == "__main__":
    main()

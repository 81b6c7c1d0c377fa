"""Time one iteration of retiming, with and without a window, and of soft retiming, against one of scg.

    python benchmarks/retiming_iteration.py VICTIM nmnist ROOT [--samples 8] [--repeats 5] [--processor-time] [--json]

All run in turn on the same recordings and the victim's weights but the last, which are such that no sample is fooled.
Ratios are those of the medians. With --processor-time only the time on a CPU counts that this process has.
"""

import sys
import time
from pathlib import Path

import torch

from attack_rows import inputs_of
from measuring import in_turn, machine, milliseconds, never_fooled, ratio
from rows import parser_of, print_rows
from spikeflip import SCG, Budget
from spikeflip.attacks import Retiming, SoftRetiming

SIDES = {
    "scg": (SCG, {"output_window": 1e3}),
    "retiming": (Retiming, {}),
    "retiming, moved": (Retiming, {"budget": Budget(100, "moved")}),
    "retiming, window 1": (Retiming, {"window": 1}),
    "soft-retiming, window 1": (SoftRetiming, {"window": 1}),
    "soft-retiming": (SoftRetiming, {}),
}
PLAIN = "scg"


def measure(folder: Path, data: str, root: str, samples: int, repeats: int, own: bool) -> list[dict[str, object]]:
    network, inputs, labels, _ = inputs_of(str(folder), data, root, samples)
    never_fooled(network)
    network = network.on(network.best_engine())
    labels = torch.zeros_like(labels)

    def seconds(name: str, steps: int) -> float:
        settings, known = SIDES[name]
        attack = settings(steps=steps, **{"output_window": 1e3, **known})
        started = time.process_time() if own else time.perf_counter()
        result = attack(network, inputs, labels, labels + 1, micro_batch=len(inputs), reduce=False)
        if not bool((result.steps == steps).all()):
            sys.exit("the benchmark's network let samples skip work")
        return (time.process_time() if own else time.perf_counter()) - started

    def iteration(name: str) -> float:
        # The difference of two attacks is ten iterations; what a call costs once drops out.
        return (seconds(name, 12) - seconds(name, 2)) / 10

    for name in SIDES:
        seconds(name, 1)
    times = in_turn({name: lambda name=name: iteration(name) for name in SIDES}, repeats)
    return [
        {
            "victim": folder.name,
            "architecture": network.architecture,
            "samples": len(inputs),
            "spikes": float(inputs.flatten(1).sum(1).mean()),
            "attack": name,
            **ratio("ratio", times[name], times[PLAIN]),
            **milliseconds("iteration_ms", times[name]),
            "clock": "processor" if own else "wall",
            "repeats": repeats,
            **machine(),
        }
        for name in SIDES
    ]


def main() -> None:
    parser = parser_of(__doc__)
    parser.add_argument("victim", type=Path)
    parser.add_argument("data")
    parser.add_argument("root")
    parser.add_argument("--samples", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--processor-time", action="store_true")
    given = parser.parse_args()
    rows = measure(given.victim, given.data, given.root, given.samples, given.repeats, given.processor_time)
    print_rows(rows, given.json, lambda row: "{attack}: {iteration_ms} ms, {ratio} times scg".format(**row))


if __name__ == "__main__":
    main()

"""Time one iteration of PGD with each gradient estimator, and over several encodings, against that of plain BPTT.

    python benchmarks/gradient_estimators.py [--network paper-image] [--width 0.25] [--samples 8] [--encodings 4]
                                             [--processor-time] [--json]

All run on the torch engine, in turn, on an untrained network that no sample fools. Ratios are those of the medians.
With --processor-time only the time on a CPU counts that this process has, where other work shares the machine.
"""

import sys
import time

import torch

from attack_iteration import inputs, victim
from measuring import in_turn, machine, milliseconds, now, ratio
from rows import parser_of, print_rows, with_device
from spikeflip import Budget, SpikingNetwork
from spikeflip.attacks import PGD
from spikeflip.snn.estimators import ESTIMATORS
from spikeflip.snn.presets import PRESETS

PLAIN = "bptt"


def seconds(network: SpikingNetwork, values: torch.Tensor, steps: int, *, own: bool, **options: object) -> float:
    """Of a whole attack with exactly ``steps`` steps a sample, and its random start; of the processor if ``own``."""
    labels = torch.zeros(len(values), dtype=torch.int64)
    attack = PGD(steps=steps, budget=Budget(0.5, "linf"), output_window=1e3, **options)
    started = time.process_time() if own else now(network.device)
    result = attack(network, values, labels, labels + 1, micro_batch=len(values))
    if not bool((result.steps == steps + 1).all()):
        sys.exit("the benchmark's network let samples skip work")
    return (time.process_time() if own else now(network.device)) - started


def measure(
    name: str, width: float, samples: int, encodings: int, repeats: int, device: str, processor_time: bool
) -> list[dict[str, object]]:
    network = victim(name, width).to(device).on("torch")
    values = inputs(network, name, samples)
    options = {one: {"gradient": one} for one in ESTIMATORS} | {f"{encodings} encodings": {"encodings": encodings}}

    def attack(steps: int, **known: object) -> float:
        return seconds(network, values, steps, own=processor_time, **known)

    def iteration(**known: object) -> float:
        # The difference of two attacks is two iterations; what a call costs once drops out.
        return (attack(3, **known) - attack(1, **known)) / 2

    attack(1)
    times = in_turn({one: lambda known=known: iteration(**known) for one, known in options.items()}, repeats)
    return [
        {
            "network": name,
            "width": width,
            "samples": samples,
            "gradient": one,
            **ratio("ratio", times[one], times[PLAIN]),
            **milliseconds("iteration_ms", times[one]),
            "clock": "processor" if processor_time else "wall",
            "repeats": repeats,
            **machine(network.device),
        }
        for one in options
    ]


def main() -> None:
    parser = with_device(parser_of(__doc__))
    parser.add_argument("--network", default="paper-image", choices=sorted(PRESETS))
    parser.add_argument("--width", type=float, default=0.25)
    parser.add_argument("--samples", type=int, default=8)
    parser.add_argument("--encodings", type=int, default=4)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--processor-time", action="store_true")
    given = parser.parse_args()
    rows = measure(
        given.network,
        given.width,
        given.samples,
        given.encodings,
        given.repeats,
        given.device,
        given.processor_time,
    )
    print_rows(rows, given.json, lambda row: "{gradient}: {iteration_ms} ms, {ratio} times bptt".format(**row))


if __name__ == "__main__":
    main()

"""Time one iteration of PGD with each gradient estimator, and over several encodings, against that of plain BPTT.

    python benchmarks/gradient_estimators.py [--network paper-image] [--width 0.25] [--samples 8] [--encodings 4]
                                             [--json]

All run on the torch engine, in turn, on an untrained network that no sample fools. Ratios are those of the medians.
"""

import sys

import torch

from attack_iteration import inputs, victim
from measuring import in_turn, machine, milliseconds, now, ratio
from rows import parser_of, print_rows, with_device
from spikeflip import Budget, SpikingNetwork
from spikeflip.attacks import PGD
from spikeflip.snn.estimators import ESTIMATORS
from spikeflip.snn.presets import PRESETS

PLAIN = "bptt"


def seconds(network: SpikingNetwork, values: torch.Tensor, steps: int, **options: object) -> float:
    """Of a whole attack with exactly ``steps`` steps a sample, and its random start."""
    labels = torch.zeros(len(values), dtype=torch.int64)
    attack = PGD(steps=steps, budget=Budget(0.5, "linf"), output_window=1e3, **options)
    started = now(network.device)
    result = attack(network, values, labels, labels + 1, micro_batch=len(values))
    if not bool((result.steps == steps + 1).all()):
        sys.exit("the benchmark's network let samples skip work")
    return now(network.device) - started


def measure(
    name: str, width: float, samples: int, encodings: int, repeats: int, device: str
) -> list[dict[str, object]]:
    network = victim(name, width).to(device).on("torch")
    values = inputs(network, name, samples)
    options = {one: {"gradient": one} for one in ESTIMATORS} | {f"{encodings} encodings": {"encodings": encodings}}

    def iteration(**own: object) -> float:
        # The difference of two attacks is two iterations; what a call costs once drops out.
        return (seconds(network, values, 3, **own) - seconds(network, values, 1, **own)) / 2

    seconds(network, values, 1)
    times = in_turn({one: lambda own=own: iteration(**own) for one, own in options.items()}, repeats)
    return [
        {
            "network": name,
            "width": width,
            "samples": samples,
            "gradient": one,
            **ratio("ratio", times[one], times[PLAIN]),
            **milliseconds("iteration_ms", times[one]),
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
    given = parser.parse_args()
    rows = measure(given.network, given.width, given.samples, given.encodings, given.repeats, given.device)
    print_rows(rows, given.json, lambda row: "{gradient}: {iteration_ms} ms, {ratio} times bptt".format(**row))


if __name__ == "__main__":
    main()

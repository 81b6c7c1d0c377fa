"""How good the victims are that `spikeflip train` makes when it is told nothing but the data, over several seeds.

    python benchmarks/recipes.py --out FOLDER [--root DIR] [--data digits simulated ...] [--loss mse ce] [--seeds 0 1]
                                 [--engine event torch] [--json]

Victims are trained into FOLDER/DATA-LOSS-ENGINE-SEED and found there again, so an interrupted benchmark goes on. Data:
digits, simulated (recordings of digits), and with --root mnist, nmnist, cifar10 and dvsgesture, at a quarter of the
paper's width.
"""

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rows import parser_of, print_rows
from spikeflip.intervals import wilson
from spikeflip.runs import TrainConfig, run_training

_DATA: dict[str, dict[str, Any]] = {
    "digits": {"data": "digits"},
    "simulated": {"data": "digits", "simulate_events": True},
    **{name: {"data": name, "width": 0.25} for name in ("mnist", "nmnist", "cifar10", "dvsgesture")},
}


def row(name: str, facts: Mapping[str, Any]) -> dict[str, Any]:
    """What one victim says of itself; of data without test inputs, the accuracy of those it was trained on."""
    which = "training_accuracy" if facts["accuracy"] is None else "accuracy"
    rate, n = facts[which], facts[f"{which}_n"]
    return {
        "data": name,
        "loss": facts["loss"],
        "engine": facts["config"]["engine"],
        "seed": facts["config"]["seed"],
        "of": "training samples" if facts["accuracy"] is None else "test inputs",
        "accuracy": rate,
        "n": n,
        "interval": [round(bound, 4) for bound in wilson(rate, n)],
        "learned": facts["learned"],
        "recipe": facts["recipe"],
        "cures": [notice["text"] for notice in facts["history"]["notices"]],
        "seconds": facts["manifest"]["seconds"],
        "manifest": facts["manifest"],
    }


def arguments() -> argparse.Namespace:
    parser = parser_of(__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--root", type=Path)
    parser.add_argument("--data", nargs="+", choices=list(_DATA), default=["digits", "simulated"])
    parser.add_argument("--loss", nargs="+", choices=["mse", "ce"], default=["mse"])
    parser.add_argument("--engine", nargs="+", choices=["auto", "event", "torch"], default=["auto"])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2, 3, 4])
    return parser.parse_args()


def main() -> None:
    options = arguments()
    rows = []
    for name in options.data:
        for loss in options.loss:
            for engine in options.engine:
                for seed in options.seeds:
                    given = {**_DATA[name], "root": options.root, "loss": loss, "engine": engine, "seed": seed}
                    folder = options.out / f"{name}-{loss}-{engine}-{seed}"
                    rows.append(row(name, run_training(TrainConfig(**given), folder).facts))
    print_rows(
        rows, options.json, "{data}, {loss}, {engine}, seed {seed}: {accuracy:.2%} of {n}, {seconds} s".format_map
    )


if __name__ == "__main__":
    main()

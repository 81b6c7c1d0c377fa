"""Attack victims on spikes with as few flips as each attack can, and say how few sufficed, sample by sample.

    python benchmarks/few_flips.py VICTIM DATA ROOT results/binary-l0.json [--samples 100] [--seeds 0 1 2]
                                   [--attacks sigma-zero sda ...] [--goals untargeted targeted]
    python benchmarks/few_flips.py --join results/binary-l0.json PART ...

DATA is nmnist, or digits, whose simulated recordings need no ROOT (give -). Adds rows to the file, one an attack, goal
and seed, with the number of changed cells and events of every sample; what is there is not measured again. Several
processes write parts of their own, which --join puts together. Targets are the label plus 1. See benchmarks/README.md.
"""

import json
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from measuring import machine
from rows import parser_of
from spikeflip import SCG, SpikingNetwork, load_checkpoint
from spikeflip.attacks import (
    METRICS,
    SDA,
    AttackResult,
    Change,
    FlipSearch,
    GumbelFlips,
    RandomFlips,
    Recorded,
    SigmaZero,
    SparseRS,
    SpikeFool,
)
from spikeflip.runs.config import AttackConfig
from spikeflip.runs.inputs import binning_for, load_inputs
from spikeflip.runs.victim import load_victim
from spikeflip.snn.coding import winner

ATTACKS: dict[str, tuple[Any, bool | None]] = {
    "sigma-zero": (SigmaZero(), None),
    "scg own": (SCG(threshold=None), None),
    "scg 0.7": (SCG(threshold=0.7), None),
    "scg 1": (SCG(threshold=1.0), None),
    "sda": (SDA(steps=30), None),
    "spikefool": (SpikeFool(), None),
    "gumbel-flips": (GumbelFlips(), None),
    "flip-search": (FlipSearch(steps=40), None),
    "sparse-rs": (SparseRS(steps=21), None),
    "scg 1, reduced": (SCG(threshold=1.0), True),
    "random-flips": (RandomFlips(), None),
    "scg 0.7, window 2": (SCG(threshold=0.7, output_window=2.0), None),
}
"""Attacks as they are in the table, and whether their successes are reduced where they do not say so themselves."""
RANDOM_SHARES = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28)


def inputs_of(folder: str, data: str, root: str, n: int) -> tuple[SpikingNetwork, Tensor, Tensor, Recorded | None]:
    """The victim, and those of the first n test inputs that it has right."""
    network = load_checkpoint(folder).network
    network = network.on(network.best_engine())
    given: dict[str, Any] = {"simulate_events": True} if data == "digits" else {"root": root}
    config = AttackConfig(victim=folder, data=data, **given)
    binning = None if data == "digits" else binning_for(load_victim(config))
    found = load_inputs(config, "test", time_steps=network.time_steps, binning=binning)
    first = torch.arange(min(n, len(found.labels)))
    values, labels = found.read(first).float(), found.labels[first]
    rows = (winner(network.scores(values)) == labels).nonzero().squeeze(1)
    recorded = None
    if found.recordings is not None and found.binning is not None:
        recorded = Recorded.of(found.recordings.carried(first).binned(found.binning)).rows(rows)
    return network, values[rows], labels[rows], recorded


def attacked(
    name: str, network: SpikingNetwork, inputs: Tensor, labels: Tensor, targets: Tensor | None, seed: int
) -> AttackResult:
    """What an attack of the table makes of inputs; random flips grow from share to share on what still stands."""
    attack, reduce = ATTACKS[name]
    if name != "random-flips":
        return attack(network, inputs, labels, targets, seed=seed, reduce=reduce)
    whole: AttackResult | None = None
    for share in RANDOM_SHARES:
        rows = torch.arange(len(inputs)) if whole is None else (~whole.success).nonzero().squeeze(1)
        goals = None if targets is None else targets[rows]
        found = replace(attack, share=share)(network, inputs[rows], labels[rows], goals, seed=seed, samples=rows)
        if whole is None:
            whole = found
            continue
        for field in ("adversarials", "success"):
            getattr(whole, field)[rows] = getattr(found, field)
        whole.forwards[rows] += found.forwards
    assert whole is not None
    return whole


def row_of(result: AttackResult, inputs: Tensor, recorded: Recorded | None) -> dict[str, Any]:
    """How many cells and events of every sample were changed, null where the attack failed, and what that cost."""
    change = Change(inputs, result.adversarials, recorded)
    cells = METRICS["l0"](change).long().tolist()
    events = cells if recorded is None else METRICS["l0_events"](change).long().tolist()
    won = result.success.tolist()
    return {
        "cells": [count if success else None for count, success in zip(cells, won, strict=True)],
        "events": [count if success else None for count, success in zip(events, won, strict=True)],
        "forwards": round(float(result.forwards.double().mean()), 1),
        "backwards": round(float(result.backwards.double().mean()), 1),
    }


def measured(given: Any, known: set[tuple[object, ...]]) -> Iterator[dict[str, Any]]:
    """The rows that are not known yet."""
    network, inputs, labels, recorded = inputs_of(str(given.victim), given.data, given.root, given.samples)
    spikes = inputs.flatten(1).sum(1).long()
    more = torch.zeros_like(spikes)
    if recorded is not None:
        more.scatter_add_(0, recorded.sample, recorded.more)
    facts = {
        "victim": given.victim.name,
        "data": given.data,
        "architecture": network.architecture,
        "accuracy": load_checkpoint(given.victim).facts.get("accuracy"),
        "all_spikes": spikes.tolist(),
        "all_events": (spikes + more).tolist(),
    }
    for seed in given.seeds:
        for name in given.attacks:
            for goal in given.goals:
                if (facts["victim"], name, goal, seed) in known:
                    continue
                targets = (labels + 1) % network.classes if goal == "targeted" else None
                before = time.perf_counter()
                result = attacked(name, network, inputs, labels, targets, seed)
                seconds = (time.perf_counter() - before) / len(inputs)
                costs = row_of(result, inputs, recorded)
                yield {**facts, "attack": name, "goal": goal, "seed": seed, **costs, "seconds": round(seconds, 3)}


def main() -> None:
    parser = parser_of(__doc__)
    parser.add_argument("victim", type=Path)
    parser.add_argument("data")
    parser.add_argument("root", nargs="?", default="-")
    parser.add_argument("out", type=Path)
    parser.add_argument("--samples", type=int, default=100)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--attacks", nargs="+", default=list(ATTACKS), choices=list(ATTACKS))
    parser.add_argument("--goals", nargs="+", default=["untargeted", "targeted"])
    if sys.argv[1:2] == ["--join"]:
        join(Path(sys.argv[2]), [Path(part) for part in sys.argv[3:]])
        return
    given = parser.parse_args()
    rows = rows_of(given.out)
    for row in measured(given, {identity(row) for row in rows}):
        rows.append(row)
        won = [count for count in row["cells"] if count is not None]
        print(*identity(row), len(won), sorted(won)[len(won) // 2 :][:1], row["seconds"], file=sys.stderr)
        write(given.out, rows)


def identity(row: dict[str, Any]) -> tuple[object, ...]:
    """What tells a row from all others."""
    return row["victim"], row["attack"], row["goal"], row["seed"]


def rows_of(file: Path) -> list[dict[str, Any]]:
    """The rows of a file, none where there is no such file."""
    return list(json.loads(file.read_text())["rows"]) if file.exists() else []


def write(file: Path, rows: list[dict[str, Any]]) -> None:
    """A line a row."""
    lines = ",\n".join(json.dumps(row) for row in rows)
    file.write_text(f'{{"machine": {json.dumps(machine())}, "rows": [\n{lines}\n]}}\n')


def join(out: Path, parts: list[Path]) -> None:
    """Put the rows of several files into one; of equal ones the last."""
    found = {identity(row): row for part in [out, *parts] for row in rows_of(part)}
    write(out, list(found.values()))


if __name__ == "__main__":
    main()

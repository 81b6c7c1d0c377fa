"""What benchmarks of attacks on spikes share: victims and their inputs, and a file with a row an attack, goal and seed.

Several processes write parts of their own, which ``--join`` puts together; rows that are there are not measured again.
"""

import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from measuring import machine
from rows import parser_of
from spikeflip import SpikingNetwork, load_checkpoint
from spikeflip.attacks import METRICS, AttackResult, Change, Recorded
from spikeflip.runs.config import AttackConfig
from spikeflip.runs.inputs import binning_for, load_inputs
from spikeflip.runs.victim import load_victim
from spikeflip.snn.coding import winner

Attacked = Callable[[str, SpikingNetwork, Tensor, Tensor, Tensor | None, int], AttackResult]
"""What an attack of that name makes of inputs: of a network, inputs, labels, targets and a seed."""
Told = Callable[[AttackResult, Tensor, Recorded | None], dict[str, Any]]
"""What a row says of a result."""


def inputs_of(
    folder: str, data: str, root: str, n: int, split: str = "test"
) -> tuple[SpikingNetwork, Tensor, Tensor, Recorded | None]:
    """The victim, and those of the first n inputs of a split that it has right."""
    network = load_checkpoint(folder).network
    network = network.on(network.best_engine())
    given: dict[str, Any] = {"simulate_events": True} if data == "digits" else {"root": root}
    config = AttackConfig(victim=folder, data=data, **given)
    binning = None if data == "digits" else binning_for(load_victim(config))
    found = load_inputs(config, split, time_steps=network.time_steps, binning=binning)
    first = torch.arange(min(n, len(found.labels)))
    values, labels = found.read(first).float(), found.labels[first]
    rows = (winner(network.scores(values)) == labels).nonzero().squeeze(1)
    recorded = None
    if found.recordings is not None and found.binning is not None:
        recorded = Recorded.of(found.recordings.carried(first).binned(found.binning)).rows(rows)
    return network, values[rows], labels[rows], recorded


def measured(given: Any, known: set[tuple[object, ...]], attacked: Attacked, told: Told) -> Iterator[dict[str, Any]]:
    """The rows that are not known yet."""
    network, inputs, labels, recorded = inputs_of(str(given.victim), given.data, given.root, given.samples, given.split)
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
                costs = told(result, inputs, recorded) | {
                    "forwards": round(float(result.forwards.double().mean()), 1),
                    "backwards": round(float(result.backwards.double().mean()), 1),
                }
                yield {**facts, "attack": name, "goal": goal, "seed": seed, **costs, "seconds": round(seconds, 3)}


def counted(result: AttackResult, change: Change, metric: str) -> list[int | None]:
    """A metric of whole numbers of every sample, null where the attack failed."""
    found = zip(METRICS[metric](change).long().tolist(), result.success.tolist(), strict=True)
    return [count if success else None for count, success in found]


def run(documentation: str | None, attacks: Sequence[str], attacked: Attacked, told: Told) -> None:
    """Measure what the command line asks for, or join parts."""
    if sys.argv[1:2] == ["--join"]:
        join(Path(sys.argv[2]), [Path(part) for part in sys.argv[3:]])
        return
    parser = parser_of(documentation)
    parser.add_argument("victim", type=Path)
    parser.add_argument("data")
    parser.add_argument("root", nargs="?", default="-")
    parser.add_argument("out", type=Path)
    parser.add_argument("--samples", type=int, default=100)
    parser.add_argument("--split", default="test")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--attacks", nargs="+", default=list(attacks), choices=list(attacks))
    parser.add_argument("--goals", nargs="+", default=["untargeted", "targeted"])
    given = parser.parse_args()
    rows = rows_of(given.out)
    for row in measured(given, {identity(row) for row in rows}, attacked, told):
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

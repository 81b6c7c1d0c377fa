"""Attack recordings by moving events in time, and say how many moves, bins and windows sufficed, sample by sample.

    python benchmarks/retiming.py VICTIM DATA ROOT results/event-attacks.json [--samples 100] [--split test]
                                  [--attacks retiming ...] [--goals untargeted targeted] [--seeds 0]
    python benchmarks/retiming.py --join results/event-attacks.json PART ...

DATA is nmnist, dvsgesture, or digits, whose simulated recordings need no ROOT (give -). Adds rows to the file, one an
attack, goal and seed; what is there is not measured again. Only attacks that draw numbers (random-retiming,
gumbel-flips) differ from seed to seed. Targets are the label plus 1. See benchmarks/README.md.
"""

from typing import Any

from torch import Tensor

from attack_rows import counted, run
from spikeflip import Budget, SpikingNetwork
from spikeflip.attacks import AttackResult, Change, GumbelFlips, RandomRetiming, Recorded, Retiming, SoftRetiming

UNBOUNDED = Budget(1e9, "moved_bins")
"""Moves are then compared by what they give a bin."""
WINDOWS = (1, 2, 3, 5)
ATTACKS: dict[str, Any] = {
    "retiming": Retiming(),
    **{f"retiming, window {window}": Retiming(window=window, moves=1000) for window in WINDOWS},
    "retiming, 100 moves, threshold 0.7": Retiming(moves=100, threshold=0.7),
    "retiming, bins": Retiming(budget=UNBOUNDED),
    "soft-retiming": SoftRetiming(),
    **{f"soft-retiming, window {window}": SoftRetiming(window=window) for window in WINDOWS},
    "soft-retiming, sign": SoftRetiming(sign=True),
    **{f"soft-retiming, sign, window {window}": SoftRetiming(sign=True, window=window) for window in WINDOWS},
    "random-retiming": RandomRetiming(share=1),
    **{f"random-retiming, window {window}": RandomRetiming(share=1, window=window) for window in WINDOWS},
    **{f"gumbel-flips, near {reach}": GumbelFlips(near=reach) for reach in (1, 2)},
}
"""Attacks as they are in the table."""


def attacked(
    name: str, network: SpikingNetwork, inputs: Tensor, labels: Tensor, targets: Tensor | None, seed: int
) -> AttackResult:
    """What an attack of the table makes of inputs."""
    return ATTACKS[name](network, inputs, labels, targets, seed=seed)


def row_of(result: AttackResult, inputs: Tensor, recorded: Recorded | None) -> dict[str, Any]:
    """How many cells, spikes and bins every sample's success took, null where the attack failed."""
    change = Change(inputs, result.adversarials, recorded)
    told = {"cells": "l0", "moved": "moved", "bins": "moved_bins", "farthest": "moved_bins_max"}
    return {name: counted(result, change, metric) for name, metric in told.items()}


if __name__ == "__main__":
    run(__doc__, list(ATTACKS), attacked, row_of)

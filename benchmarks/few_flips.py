"""Attack victims on spikes with as few flips as each attack can, and say how few sufficed, sample by sample.

    python benchmarks/few_flips.py VICTIM DATA ROOT results/binary-l0.json [--samples 100] [--seeds 0 1 2]
                                   [--attacks sigma-zero sda ...] [--goals untargeted targeted]
    python benchmarks/few_flips.py --join results/binary-l0.json PART ...

DATA is nmnist, or digits, whose simulated recordings need no ROOT (give -). Adds rows to the file, one an attack, goal
and seed, with the number of changed cells and events of every sample; what is there is not measured again. Several
processes write parts of their own, which --join puts together. Targets are the label plus 1. See benchmarks/README.md.
"""

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from attack_rows import counted, run
from spikeflip import SCG, SpikingNetwork
from spikeflip.attacks import (
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
    """How many cells and events of every sample were changed, null where the attack failed."""
    change = Change(inputs, result.adversarials, recorded)
    events = "l0" if recorded is None else "l0_events"
    return {"cells": counted(result, change, "l0"), "events": counted(result, change, events)}


if __name__ == "__main__":
    run(__doc__, list(ATTACKS), attacked, row_of)

"""Attacks, one a file. ``ATTACKS`` lists them by name for the command line and the tests."""

from dataclasses import dataclass

from spikeflip.attacks.budget import Budget
from spikeflip.attacks.loop import run
from spikeflip.attacks.result import AttackResult, Trace, Vanishing
from spikeflip.attacks.scg import SCG, scg
from spikeflip.attacks.targets import every_target, next_target


@dataclass(frozen=True)
class AttackInfo:
    """What is known of an attack without running it."""

    settings: type[SCG]
    inputs: tuple[str, ...]
    goals: tuple[str, ...]
    summary: str
    source: str


ATTACKS: dict[str, AttackInfo] = {
    "scg": AttackInfo(
        settings=SCG,
        inputs=("spikes", "images"),
        goals=("untargeted", "targeted"),
        summary="spike-compatible gradient: gradient-to-spike converter and restricted spike flipper",
        source="Liang et al., IEEE TNNLS 2021",
    ),
}

__all__ = [
    "ATTACKS",
    "SCG",
    "AttackInfo",
    "AttackResult",
    "Budget",
    "Trace",
    "Vanishing",
    "every_target",
    "next_target",
    "run",
    "scg",
]

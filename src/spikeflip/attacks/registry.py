"""The attacks by name, for the command line, other libraries and the tests."""

from dataclasses import dataclass
from functools import cached_property
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from spikeflip.attacks.settings import Attack


@dataclass(frozen=True)
class AttackInfo:
    """What is known of an attack without running it.

    Args:
        home: ``package.module:Class`` of its settings.
    """

    home: str

    @cached_property
    def settings(self) -> "type[Attack]":
        """The dataclass of its settings, which attacks when it is called."""
        module, _, name = self.home.partition(":")
        found: type[Attack] = getattr(import_module(module), name)
        return found

    @property
    def inputs(self) -> tuple[str, ...]:
        """What it attacks."""
        only = self.settings.only
        return ("spikes", "images") if only is None else (only,)

    @property
    def goals(self) -> tuple[str, ...]:
        """What it can aim at."""
        return self.settings.goals

    @property
    def summary(self) -> str:
        """What it does, in one line."""
        return self.settings.summary

    @property
    def source(self) -> str:
        """Whose it is."""
        return self.settings.source


ATTACKS: dict[str, AttackInfo] = {
    "scg": AttackInfo("spikeflip.attacks.scg:SCG"),
    "fgsm": AttackInfo("spikeflip.attacks.bim:FGSM"),
    "bim": AttackInfo("spikeflip.attacks.bim:BIM"),
    "conversion": AttackInfo("spikeflip.attacks.conversion:Conversion"),
    "greedy-pixels": AttackInfo("spikeflip.attacks.greedy:GreedyPixels"),
    "greedy-flips": AttackInfo("spikeflip.attacks.greedy:GreedyFlips"),
    "random": AttackInfo("spikeflip.attacks.noise:Noise"),
}
"""A line an attack; another package may add its own."""

"""The attacks by name, for the command line, other libraries and the tests."""

from dataclasses import dataclass

from spikeflip.attacks.apgd import APGD, SAPGD
from spikeflip.attacks.bim import BIM, FGSM
from spikeflip.attacks.camera_noise import CameraNoise
from spikeflip.attacks.conversion import Conversion
from spikeflip.attacks.flip_search import FlipSearch
from spikeflip.attacks.greedy import GreedyFlips, GreedyPixels
from spikeflip.attacks.gumbel import GumbelFlips
from spikeflip.attacks.input_agnostic import Patch, Universal
from spikeflip.attacks.iterated import Attack
from spikeflip.attacks.noise import Noise
from spikeflip.attacks.pgd import MIFGSM, PGD
from spikeflip.attacks.random_flips import RandomFlips
from spikeflip.attacks.random_retiming import RandomRetiming
from spikeflip.attacks.retiming import Retiming
from spikeflip.attacks.scg import SCG
from spikeflip.attacks.sda import SDA
from spikeflip.attacks.sigma_zero import SigmaZero
from spikeflip.attacks.soft_retiming import SoftRetiming
from spikeflip.attacks.sparse_rs import SparseRS
from spikeflip.attacks.spikefool import SpikeFool


@dataclass(frozen=True)
class AttackInfo:
    """What is known of an attack without running it.

    Args:
        settings: the dataclass of its settings, which attacks when it is called.
    """

    settings: type[Attack]

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
    "scg": AttackInfo(SCG),
    "fgsm": AttackInfo(FGSM),
    "bim": AttackInfo(BIM),
    "pgd": AttackInfo(PGD),
    "mi-fgsm": AttackInfo(MIFGSM),
    "apgd": AttackInfo(APGD),
    "sa-pgd": AttackInfo(SAPGD),
    "conversion": AttackInfo(Conversion),
    "greedy-pixels": AttackInfo(GreedyPixels),
    "greedy-flips": AttackInfo(GreedyFlips),
    "universal": AttackInfo(Universal),
    "patch": AttackInfo(Patch),
    "random": AttackInfo(Noise),
    "sigma-zero": AttackInfo(SigmaZero),
    "sda": AttackInfo(SDA),
    "spikefool": AttackInfo(SpikeFool),
    "gumbel-flips": AttackInfo(GumbelFlips),
    "sparse-rs": AttackInfo(SparseRS),
    "flip-search": AttackInfo(FlipSearch),
    "random-flips": AttackInfo(RandomFlips),
    "retiming": AttackInfo(Retiming),
    "soft-retiming": AttackInfo(SoftRetiming),
    "random-retiming": AttackInfo(RandomRetiming),
    "camera-noise": AttackInfo(CameraNoise),
}
"""A line an attack; another package may add its own."""

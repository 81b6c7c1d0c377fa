"""Attacks, one a file. ``ATTACKS`` lists them by name for the command line and the tests."""

from dataclasses import dataclass

from spikeflip.attacks.bim import BIM, FGSM, bim, fgsm
from spikeflip.attacks.budget import Budget
from spikeflip.attacks.conversion import Conversion, conversion
from spikeflip.attacks.greedy import GreedyFlips, GreedyPixels, greedy_flips, greedy_pixels
from spikeflip.attacks.loop import run
from spikeflip.attacks.noise import Noise, noise
from spikeflip.attacks.result import AttackResult, Trace, Vanishing
from spikeflip.attacks.scg import SCG, scg
from spikeflip.attacks.settings import Attack
from spikeflip.attacks.targets import every_target, next_target


@dataclass(frozen=True)
class AttackInfo:
    """What is known of an attack without running it."""

    settings: type[Attack]
    inputs: tuple[str, ...]
    goals: tuple[str, ...]
    summary: str
    source: str


_GOALS = ("untargeted", "targeted")

ATTACKS: dict[str, AttackInfo] = {
    "scg": AttackInfo(
        settings=SCG,
        inputs=("spikes", "images"),
        goals=_GOALS,
        summary="spike-compatible gradient: gradient-to-spike converter and restricted spike flipper",
        source="Liang et al., IEEE TNNLS 2021",
    ),
    "fgsm": AttackInfo(
        settings=FGSM,
        inputs=("images",),
        goals=_GOALS,
        summary="fast gradient sign method: one step along the sign of the gradient, averaged over time",
        source="Goodfellow et al., ICLR 2015",
    ),
    "bim": AttackInfo(
        settings=BIM,
        inputs=("images",),
        goals=_GOALS,
        summary="basic iterative method: steps along the sign of the gradient, averaged over time",
        source="Kurakin et al., 2017",
    ),
    "conversion": AttackInfo(
        settings=Conversion,
        inputs=("images",),
        goals=_GOALS,
        summary="model conversion: FGSM or PGD with the gradients of a ReLU network that has the victim's weights",
        source="Sharmin et al., IJCNN 2019 and ECCV 2020",
    ),
    "greedy-pixels": AttackInfo(
        settings=GreedyPixels,
        inputs=("images",),
        goals=_GOALS,
        summary="trial and error: the block of pixels that moves the loss most, two forward passes a candidate",
        source="Marchisio et al., 2019",
    ),
    "greedy-flips": AttackInfo(
        settings=GreedyFlips,
        inputs=("spikes",),
        goals=_GOALS,
        summary="trial and error: the spike whose flip moves the loss most, one forward pass a candidate",
        source="Bagheri et al., SPAWC 2018",
    ),
    "random": AttackInfo(
        settings=Noise,
        inputs=("spikes", "images"),
        goals=_GOALS,
        summary="control: random flips or noise of a given mse, each try from the original",
        source="a control, from no paper",
    ),
}

__all__ = [
    "ATTACKS",
    "BIM",
    "FGSM",
    "SCG",
    "Attack",
    "AttackInfo",
    "AttackResult",
    "Budget",
    "Conversion",
    "GreedyFlips",
    "GreedyPixels",
    "Noise",
    "Trace",
    "Vanishing",
    "bim",
    "conversion",
    "every_target",
    "fgsm",
    "greedy_flips",
    "greedy_pixels",
    "next_target",
    "noise",
    "run",
    "scg",
]

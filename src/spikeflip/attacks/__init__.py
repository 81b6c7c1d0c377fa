"""Attacks, one a file. ``ATTACKS`` lists them by name for the command line and the tests."""

from spikeflip.attacks.adversarial_training import AdversarialTraining
from spikeflip.attacks.apgd import APGD, SAPGD, apgd, sa_pgd
from spikeflip.attacks.bim import BIM, FGSM, bim, fgsm
from spikeflip.attacks.budget import Budget
from spikeflip.attacks.camera_noise import CameraNoise, camera_noise
from spikeflip.attacks.conversion import Conversion, conversion
from spikeflip.attacks.flip_search import FlipSearch, flip_search
from spikeflip.attacks.flip_training import FlipTraining
from spikeflip.attacks.following import choose_gradient
from spikeflip.attacks.greedy import GreedyFlips, GreedyPixels, greedy_flips, greedy_pixels
from spikeflip.attacks.gumbel import GumbelFlips, gumbel_flips
from spikeflip.attacks.input_agnostic import Patch, Universal, patch, universal
from spikeflip.attacks.iterated import Attack
from spikeflip.attacks.loop import run
from spikeflip.attacks.metrics import METRICS, Change, Metric, Recorded
from spikeflip.attacks.noise import Noise, noise
from spikeflip.attacks.pattern import Pattern, load_pattern, save_pattern
from spikeflip.attacks.pattern_learning import learn_patch, learn_universal
from spikeflip.attacks.pgd import MIFGSM, PGD, mi_fgsm, pgd
from spikeflip.attacks.random_flips import RandomFlips, random_flips
from spikeflip.attacks.random_retiming import RandomRetiming, random_retiming
from spikeflip.attacks.reduce import reduce_flips
from spikeflip.attacks.registry import ATTACKS, AttackInfo
from spikeflip.attacks.result import AttackResult, Trace, Vanishing
from spikeflip.attacks.retiming import Retiming, retiming
from spikeflip.attacks.scg import SCG, scg
from spikeflip.attacks.sda import SDA, sda
from spikeflip.attacks.sigma_zero import SigmaZero, sigma_zero
from spikeflip.attacks.soft_retiming import SoftRetiming, soft_retiming
from spikeflip.attacks.sparse_rs import SparseRS, sparse_rs
from spikeflip.attacks.spikefool import SpikeFool, spikefool
from spikeflip.attacks.stop import FirstSuccess, Last, Smallest, Verified
from spikeflip.attacks.targets import every_target, next_target

__all__ = [
    "APGD",
    "ATTACKS",
    "BIM",
    "FGSM",
    "METRICS",
    "MIFGSM",
    "PGD",
    "SAPGD",
    "SCG",
    "SDA",
    "AdversarialTraining",
    "Attack",
    "AttackInfo",
    "AttackResult",
    "Budget",
    "CameraNoise",
    "Change",
    "Conversion",
    "FirstSuccess",
    "FlipSearch",
    "FlipTraining",
    "GreedyFlips",
    "GreedyPixels",
    "GumbelFlips",
    "Last",
    "Metric",
    "Noise",
    "Patch",
    "Pattern",
    "RandomFlips",
    "RandomRetiming",
    "Recorded",
    "Retiming",
    "SigmaZero",
    "Smallest",
    "SoftRetiming",
    "SparseRS",
    "SpikeFool",
    "Trace",
    "Universal",
    "Vanishing",
    "Verified",
    "apgd",
    "bim",
    "camera_noise",
    "choose_gradient",
    "conversion",
    "every_target",
    "fgsm",
    "flip_search",
    "greedy_flips",
    "greedy_pixels",
    "gumbel_flips",
    "learn_patch",
    "learn_universal",
    "load_pattern",
    "mi_fgsm",
    "next_target",
    "noise",
    "patch",
    "pgd",
    "random_flips",
    "random_retiming",
    "reduce_flips",
    "retiming",
    "run",
    "sa_pgd",
    "save_pattern",
    "scg",
    "sda",
    "sigma_zero",
    "soft_retiming",
    "sparse_rs",
    "spikefool",
    "universal",
]

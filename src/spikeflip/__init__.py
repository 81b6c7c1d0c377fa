"""Attack spiking neural networks with spike-compatible perturbations, and judge the result honestly."""

import logging
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from spikeflip.attacks import SCG, AttackResult, Budget, every_target, scg
    from spikeflip.attacks import Pattern as Pattern
    from spikeflip.attacks import learn_patch as learn_patch
    from spikeflip.attacks import learn_universal as learn_universal
    from spikeflip.attacks import load_pattern as load_pattern
    from spikeflip.attacks import patch as patch
    from spikeflip.attacks import save_pattern as save_pattern
    from spikeflip.attacks import universal as universal
    from spikeflip.data import (
        Binning,
        Recording,
        bin_events,
        load_images,
        read_recording,
        simulate_saccades,
        write_recording,
    )
    from spikeflip.errors import SpikeflipError
    from spikeflip.evaluation import Evaluation as Evaluation
    from spikeflip.evaluation import evaluate as evaluate
    from spikeflip.judging import certify as certify
    from spikeflip.judging import judge
    from spikeflip.snn.checkpoint import load_checkpoint
    from spikeflip.snn.network import ReluNetwork, SpikingNetwork
    from spikeflip.snn.neuron import LIF
    from spikeflip.snn.surrogate import Rectangular
    from spikeflip.victims import Defence as Defence
    from spikeflip.victims import load_nir as load_nir
    from spikeflip.victims import save_nir as save_nir
    from spikeflip.victims import wrap

__version__ = "0.1.0"

__all__ = [
    "LIF",
    "SCG",
    "AttackResult",
    "Binning",
    "Budget",
    "Recording",
    "Rectangular",
    "ReluNetwork",
    "SpikeflipError",
    "SpikingNetwork",
    "bin_events",
    "every_target",
    "judge",
    "load_checkpoint",
    "load_images",
    "read_recording",
    "scg",
    "simulate_saccades",
    "wrap",
    "write_recording",
]

_HOMES = {
    "attacks": (
        "SCG",
        "AttackResult",
        "Budget",
        "Pattern",
        "every_target",
        "learn_patch",
        "learn_universal",
        "load_pattern",
        "patch",
        "save_pattern",
        "scg",
        "universal",
    ),
    "data": (
        "Binning",
        "Recording",
        "bin_events",
        "load_images",
        "read_recording",
        "simulate_saccades",
        "write_recording",
    ),
    "errors": ("SpikeflipError",),
    "evaluation": ("Evaluation", "evaluate"),
    "judging": ("certify", "judge"),
    "snn.checkpoint": ("load_checkpoint",),
    "snn.network": ("ReluNetwork", "SpikingNetwork"),
    "snn.neuron": ("LIF",),
    "snn.surrogate": ("Rectangular",),
    "victims": ("Defence", "wrap", "doctor", "load_nir", "save_nir"),
}
_HOME = {name: home for home, names in _HOMES.items() for name in names}
_PACKAGES = ("attacks", "data", "evaluation", "experiments", "interop", "judging", "report", "runs", "snn", "victims")


def __getattr__(name: str) -> object:
    """Import a public name when it is first used: the command answers --help without waiting for PyTorch."""
    if name in _PACKAGES:
        return import_module(f"spikeflip.{name}")
    if name not in _HOME:
        raise AttributeError(f"module 'spikeflip' has no attribute {name!r}")
    value = getattr(import_module(f"spikeflip.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, *_PACKAGES})


logging.getLogger(__name__).addHandler(logging.NullHandler())

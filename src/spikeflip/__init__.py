"""Attack spiking neural networks with spike-compatible perturbations, and judge the result honestly."""

import logging
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from spikeflip.attacks import (
        SCG,
        AttackResult,
        Budget,
        Pattern,
        every_target,
        learn_patch,
        learn_universal,
        load_pattern,
        patch,
        save_pattern,
        scg,
        universal,
    )
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
    from spikeflip.evaluation import Evaluation, evaluate
    from spikeflip.judging import certify, judge
    from spikeflip.snn.checkpoint import load_checkpoint, load_victim
    from spikeflip.snn.network import ReluNetwork, SpikingNetwork
    from spikeflip.snn.neuron import LIF
    from spikeflip.snn.surrogate import Rectangular
    from spikeflip.victims import Defence, doctor, load_nir, save_nir, wrap

__version__ = "0.1.0"

__all__ = [
    "LIF",
    "SCG",
    "AttackResult",
    "Binning",
    "Budget",
    "Defence",
    "Evaluation",
    "Pattern",
    "Recording",
    "Rectangular",
    "ReluNetwork",
    "SpikeflipError",
    "SpikingNetwork",
    "bin_events",
    "certify",
    "doctor",
    "evaluate",
    "every_target",
    "judge",
    "learn_patch",
    "learn_universal",
    "load_checkpoint",
    "load_images",
    "load_nir",
    "load_pattern",
    "load_victim",
    "patch",
    "read_recording",
    "save_nir",
    "save_pattern",
    "scg",
    "simulate_saccades",
    "universal",
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
    "snn.checkpoint": ("load_checkpoint", "load_victim"),
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

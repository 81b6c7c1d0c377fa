"""Attack spiking neural networks with spike-compatible perturbations, and judge the result honestly."""

import logging

from spikeflip.attacks import SCG, AttackResult, Budget, every_target, scg
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
from spikeflip.judging import judge
from spikeflip.snn.checkpoint import load_checkpoint
from spikeflip.snn.network import ReluNetwork, SpikingNetwork
from spikeflip.snn.neuron import LIF
from spikeflip.snn.surrogate import Rectangular
from spikeflip.victims import Victim

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
    "Victim",
    "bin_events",
    "every_target",
    "judge",
    "load_checkpoint",
    "load_images",
    "read_recording",
    "scg",
    "simulate_saccades",
    "write_recording",
]

logging.getLogger(__name__).addHandler(logging.NullHandler())

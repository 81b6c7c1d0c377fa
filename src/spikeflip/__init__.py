"""Attack spiking neural networks with spike-compatible perturbations, and judge the result honestly."""

import logging

from spikeflip.attacks import SCG, AttackResult, Budget, every_target, scg
from spikeflip.data import load_images, simulate_saccades
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
    "Budget",
    "Rectangular",
    "ReluNetwork",
    "SpikeflipError",
    "SpikingNetwork",
    "Victim",
    "every_target",
    "judge",
    "load_checkpoint",
    "load_images",
    "scg",
    "simulate_saccades",
]

logging.getLogger(__name__).addHandler(logging.NullHandler())

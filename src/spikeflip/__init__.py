"""Attack spiking neural networks with spike-compatible perturbations, and judge the result honestly."""

import logging

from spikeflip.attacks import SCG, AttackResult, Budget, every_target, scg
from spikeflip.errors import SpikeflipError
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
    "scg",
]

logging.getLogger(__name__).addHandler(logging.NullHandler())

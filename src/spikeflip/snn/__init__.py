"""The victims of the paper: everything to build, train and run one; nothing about attacking."""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from spikeflip.snn.checkpoint import Checkpoint, load_checkpoint, load_victim, save_checkpoint
    from spikeflip.snn.coding import bernoulli, encode, latency
    from spikeflip.snn.estimators import ASSG, HART, PDSG, RGA, StraightThrough, estimator
    from spikeflip.snn.firing import Firing, LayerFiring, measure_firing
    from spikeflip.snn.gradients import BPTT, Estimator, GradientRequest
    from spikeflip.snn.network import ReluNetwork, SpikingNetwork
    from spikeflip.snn.neuron import LIF
    from spikeflip.snn.perturbing import Batch
    from spikeflip.snn.startup import scale_weights
    from spikeflip.snn.surrogate import ATan, Gaussian, Rectangular, Sigmoid, Triangular
    from spikeflip.snn.training import train
    from spikeflip.snn.training_settings import Training
    from spikeflip.snn.twin_training import train_twin

__all__ = [
    "ASSG",
    "BPTT",
    "HART",
    "LIF",
    "PDSG",
    "RGA",
    "ATan",
    "Batch",
    "Checkpoint",
    "Estimator",
    "Firing",
    "Gaussian",
    "GradientRequest",
    "LayerFiring",
    "Rectangular",
    "ReluNetwork",
    "Sigmoid",
    "SpikingNetwork",
    "StraightThrough",
    "Training",
    "Triangular",
    "bernoulli",
    "encode",
    "estimator",
    "latency",
    "load_checkpoint",
    "load_victim",
    "measure_firing",
    "save_checkpoint",
    "scale_weights",
    "train",
    "train_twin",
]

_HOMES = {
    "checkpoint": (
        "Checkpoint",
        "load_checkpoint",
        "load_victim",
        "save_checkpoint",
    ),
    "coding": (
        "bernoulli",
        "encode",
        "latency",
    ),
    "estimators": (
        "ASSG",
        "HART",
        "PDSG",
        "RGA",
        "StraightThrough",
        "estimator",
    ),
    "firing": (
        "Firing",
        "LayerFiring",
        "measure_firing",
    ),
    "gradients": (
        "BPTT",
        "Estimator",
        "GradientRequest",
    ),
    "network": (
        "ReluNetwork",
        "SpikingNetwork",
    ),
    "neuron": ("LIF",),
    "perturbing": ("Batch",),
    "startup": ("scale_weights",),
    "surrogate": (
        "ATan",
        "Gaussian",
        "Rectangular",
        "Sigmoid",
        "Triangular",
    ),
    "training": (
        "Training",
        "train",
    ),
    "twin_training": ("train_twin",),
}
_HOME = {name: home for home, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> object:
    """Import what needs PyTorch when it is first used."""
    if name not in _HOME:
        raise AttributeError(f"module 'spikeflip.snn' has no attribute {name!r}")
    return getattr(import_module(f"spikeflip.snn.{_HOME[name]}"), name)

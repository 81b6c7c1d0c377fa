"""The paper's networks and sample counts."""

from collections.abc import Mapping
from typing import Any

from spikeflip.experiments.presets.cpu import IMAGES, SHALLOW, SPIKES
from spikeflip.experiments.presets.preset import DataSet, Preset

_FULL = {
    "width": 1.0,
    "batch_size": 64,
    "micro_batch": 64,
    "learning_rate": 0.001,
    "validation": 1000,
    "validate_every": 250,
    "test_samples": None,
    "engine": "torch",
}
_LONG = {"updates": 14_000, "validation": 0, "dropout": 0.15, "widest_dropout": 0.25, "initial_rate": 0.02}
_UNTARGETED = {"per_class": 50, "micro_batch": 64}
_TARGETED = {"per_class": 10, "micro_batch": 64}


def _images(data: str, recipe: Mapping[str, Any], start: Mapping[str, Any], each: int = 50) -> DataSet:
    """Images, ``each`` of a class in untargeted attacks; their victims begin with a ReLU twin, and learn sooner so."""
    return DataSet(
        kind="images",
        source={"data": data},
        training={**IMAGES, **_FULL, "dropout": 0.0, "widest_dropout": 0.0, **recipe},
        start={"loss": "ce", "learning_rate": 0.001, "initial_rate": 0.0, **start},
        untargeted={**_UNTARGETED, "per_class": each},
        targeted=_TARGETED,
        draws=(20, 5),
        thresholds=(None, 1.0, 2.0),
    )


def _events(data: str, training: Mapping[str, Any]) -> DataSet:
    return DataSet(kind="events", source={"data": data}, training=training, untargeted=_UNTARGETED, targeted=_TARGETED)


PAPER = Preset(
    name="paper",
    summary="the paper's networks and sample counts, for a GPU",
    data={
        "MNIST": _images("mnist", {"updates": 500}, {"updates": 1500}),
        "CIFAR10": _images(
            "cifar10",
            {"updates": 1200, "learning_rate": 0.0005, "initial_rate": 0.1},
            {"updates": 3000, "shift": 2},
            each=40,
        ),
        # All else as train chooses it.
        "N-MNIST": _events("nmnist", {"network": "paper-spike", "width": 1.0, "shift": 2, "seed": 1}),
        "CIFAR10-DVS": _events("cifar10dvs", {**SPIKES, **_FULL, **_LONG}),
        "Gesture-DVS": DataSet(
            kind="events",
            source={"data": "dvsgesture"},
            training={**SPIKES, **_FULL, "network": "paper-gesture", "updates": 3000, "validation": 0},
            untargeted={"micro_batch": 64},
            targeted={"samples": 50, "micro_batch": 64},
            losses=("mse",),
            only=frozenset({"figure-17"}),
        ),
    },
    thresholds=(None, 0.5, 0.7, 1.0, 2.0),
    bounded=(None, 0.7, 1.0),
    gammas=(0.01, 0.02, 0.05, 0.1, 0.2),
    constants=(0.0, 0.05, 0.25, 0.5),
    linf=(8, 16, 32, 64),
    seeds=(0, 1, 2),
    windows=(5, 10, 15, 30),
    candidates=256,
    ordered={"untargeted": 1000, "targeted": 100},
    few=100,
    shallow=SHALLOW,
)

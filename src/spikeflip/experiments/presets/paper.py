"""The paper's networks and sample counts."""

from collections.abc import Mapping
from typing import Any

from spikeflip.experiments.presets.cpu import IMAGES, SHALLOW, SPIKES
from spikeflip.experiments.presets.preset import DataSet, Kind, Preset

_FULL = {
    "width": 1.0,
    "batch_size": 64,
    "learning_rate": 0.001,
    "dropout": 0.25,
    "widest_dropout": 0.5,
    "validation": 1000,
    "validate_every": 500,
    "test_samples": None,
    "engine": "torch",
}


def _data_set(kind: Kind, data: str, recipe: Mapping[str, Any], updates: int) -> DataSet:
    return DataSet(
        kind=kind,
        source={"data": data},
        training={**recipe, **_FULL, "updates": updates},
        untargeted={"per_class": 50},
        targeted={"per_class": 10},
        draws=(100, 20),
    )


PAPER = Preset(
    name="paper",
    summary="the paper's networks and sample counts, for a GPU",
    data={
        "MNIST": _data_set("images", "mnist", IMAGES, 14_000),
        "CIFAR10": _data_set("images", "cifar10", IMAGES, 60_000),
        "N-MNIST": _data_set("events", "nmnist", SPIKES, 14_000),
        "CIFAR10-DVS": _data_set("events", "cifar10dvs", SPIKES, 14_000),
        "Gesture-DVS": DataSet(
            kind="events",
            source={"data": "dvsgesture"},
            training={**SPIKES, **_FULL, "network": "paper-gesture", "updates": 3000, "validation": 0},
            untargeted={},
            targeted={"samples": 50},
            losses=("mse",),
            only=frozenset({"figure-17"}),
        ),
    },
    thresholds=(None, 0.5, 0.7, 1.0, 1.5, 2.0, 3.0),
    bounded=(None, 0.5, 0.7, 1.0, 1.5, 2.0, 3.0),
    gammas=(0.01, 0.02, 0.05, 0.1, 0.2),
    constants=(0.0, 0.05, 0.1, 0.25, 0.5),
    linf=(8, 16, 32, 64),
    seeds=(0, 1, 2),
    windows=(5, 10, 15, 30),
    candidates=256,
    ordered={"untargeted": 1000, "targeted": 100},
    few=100,
    shallow=SHALLOW,
)

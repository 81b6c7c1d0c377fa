"""Experiments on the bundled digits: one folder that tests look at, and a preset so small that tests may repeat it."""

from dataclasses import replace

import pytest

from spikeflip.experiments import presets, reproduce
from spikeflip.experiments.laboratory import Laboratory
from spikeflip.experiments.presets import DataSet

NAMES = ["table-3", "table-7", "figure-5", "figure-18"]
TINY = DataSet(
    kind="images",
    source={"data": "digits"},
    training={
        "network": "6C3-AP2-24FC-10FC",
        "updates": 40,
        "batch_size": 32,
        "learning_rate": 0.02,
        "dropout": 0.0,
        "widest_dropout": 0.0,
        "validation": 0,
        "time_steps": 8,
    },
    untargeted={"samples": 8, "steps": 4},
    targeted={"samples": 1, "steps": 4},
    draws=(2, 2),
    losses=("mse",),
)


@pytest.fixture(scope="session")
def smoke(tmp_path_factory):
    """The folder and the results of some experiments in the preset ``smoke``."""
    out = tmp_path_factory.mktemp("reproduced") / "out"
    return out, reproduce(NAMES, out, preset="smoke", data=["MNIST", "N-MNIST"])


@pytest.fixture(scope="session")
def tiny_preset():
    return replace(presets.PRESETS["smoke"], data={"MNIST": TINY})


@pytest.fixture
def tiny(tiny_preset, monkeypatch):
    """The tiny preset in the place of ``smoke``."""
    monkeypatch.setitem(presets.PRESETS, "smoke", tiny_preset)
    return tiny_preset


@pytest.fixture(scope="session")
def tiny_laboratory(tiny_preset, tmp_path_factory):
    """A laboratory that tests share, and in which victims are trained once."""
    return Laboratory(tiny_preset, tmp_path_factory.mktemp("laboratory"))

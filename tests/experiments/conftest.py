"""Experiments on the bundled digits: one folder that tests look at, and a preset so small that tests may repeat it."""

import pytest
from tiny_preset import PRESET

from spikeflip.experiments import presets, reproduce
from spikeflip.experiments.laboratory import Laboratory

NAMES = ["table-3", "table-7", "figure-5", "figure-18"]


@pytest.fixture(scope="session")
def smoke(tmp_path_factory):
    """The folder and the results of some experiments in the preset ``smoke``."""
    out = tmp_path_factory.mktemp("reproduced") / "out"
    return out, reproduce(NAMES, out, preset="smoke", data=["MNIST", "N-MNIST"])


@pytest.fixture(scope="session")
def tiny_preset():
    return PRESET


@pytest.fixture
def tiny(tiny_preset, monkeypatch):
    """The tiny preset in the place of ``smoke``."""
    monkeypatch.setitem(presets.PRESETS, "smoke", tiny_preset)
    return tiny_preset


@pytest.fixture(scope="session")
def tiny_laboratory(tiny_preset, tmp_path_factory):
    """A laboratory that tests share, and in which victims are trained once."""
    return Laboratory(tiny_preset, tmp_path_factory.mktemp("laboratory"))

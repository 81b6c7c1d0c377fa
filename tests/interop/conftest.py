"""Victims that our attacks are called on, each with inputs and labels."""

import pytest
from attack_libraries import INPUTS

from spikeflip import SpikingNetwork, simulate_saccades
from spikeflip.cli.app import main
from spikeflip.snn.coding import winner


@pytest.fixture(scope="module")
def setting(digit_victim, digits):
    spikes = simulate_saccades(digits.images[:INPUTS], steps=6, size=16)
    network = SpikingNetwork("8C3-AP2-32FC-10FC", (2, 16, 16), time_steps=6, seed=4)
    return {
        "images": (digit_victim, digits.images[:INPUTS], digits.labels[:INPUTS]),
        "spikes": (network, spikes, winner(network.scores(spikes)).clamp_min(0)),
    }


@pytest.fixture(scope="session")
def small_library_victim(tmp_path_factory):
    """The folder of a victim, trained in a moment."""
    folder = tmp_path_factory.mktemp("victims") / "small"
    network = ["--network", "8C3-AP2-24FC-10FC", "--updates", "30", "--learning-rate", "0.01"]
    still = ["--dropout", "0", "--widest-dropout", "0", "--initial-rate", "0", "--validation", "200"]
    main(["train", *network, *still, "--out", str(folder), "--quiet"])
    return folder

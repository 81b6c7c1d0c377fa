"""Victims that our attacks are called on, each with inputs and labels."""

import pytest
from attack_libraries import INPUTS

from spikeflip import SpikingNetwork, simulate_saccades
from spikeflip.snn.coding import winner


@pytest.fixture(scope="module")
def setting(digit_victim, digits):
    spikes = simulate_saccades(digits.images[:INPUTS], steps=6, size=16)
    network = SpikingNetwork("8C3-AP2-32FC-10FC", (2, 16, 16), time_steps=6, seed=4)
    return {
        "images": (digit_victim, digits.images[:INPUTS], digits.labels[:INPUTS]),
        "spikes": (network, spikes, winner(network.scores(spikes)).clamp_min(0)),
    }

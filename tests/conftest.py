"""Victims that several tests share: small, trained once, or made by hand."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from spikeflip import LIF, Rectangular, SpikingNetwork, load_images
from spikeflip.cli.app import main
from spikeflip.snn.training import Training, train

if "PYTEST_XDIST_WORKER" in os.environ:  # of which there is one a core
    torch.set_num_threads(1)

_SHARED = Path(__file__).parents[1].parent / "shared"
_FOLDERS = {"mnist": "MNIST", "cifar10": "cifar-10-batches-bin", "nmnist": "NMNIST", "dvsgesture": "DvsGesture"}
"""Of the data sets, as users have them on disk."""


@pytest.fixture(scope="session")
def real_data(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Gives the folder with a real data set, or skips the test.

    Its files are in the folder that ``SPIKEFLIP_DATA`` names, or are unpacked from ``../shared`` beside the checkout.
    """
    given = os.environ.get("SPIKEFLIP_DATA")
    home = Path(given).resolve() if given else tmp_path_factory.mktemp("real")
    script = _SHARED / "tools" / "unpack_data.py"

    def find(name: str) -> Path:
        if not (home / _FOLDERS[name]).is_dir():
            if given:
                pytest.skip(f"needs the real {name}: {home} (SPIKEFLIP_DATA) has no {_FOLDERS[name]}")
            if not script.is_file() or not (_SHARED / "data").is_dir():
                pytest.skip(f"needs the real {name}, unpacked (SPIKEFLIP_DATA) or beside the checkout (../shared)")
            subprocess.run([sys.executable, script, home, name], check=True, capture_output=True)
        return home

    return find


@pytest.fixture(scope="session")
def real_recordings(real_data: Callable[[str], Path]) -> Path:
    """Real N-MNIST and DVS128 Gesture recordings."""
    real_data("nmnist")
    return real_data("dvsgesture")


@pytest.fixture(scope="session")
def digits():
    return load_images("digits", "test")


@pytest.fixture(scope="session")
def digit_victim():
    """A small victim trained on the bundled digits in a few seconds."""
    data = load_images("digits", "train")
    network = SpikingNetwork("16C3-AP2-64FC-10FC", (1, 8, 8), time_steps=10, neuron=LIF(0.3, 0.25))
    settings = Training(updates=60, learning_rate=5e-3, dropout=0, widest_dropout=0, initial_share=0, validate_every=60)
    cut = len(data) - 100
    train(network, (data.images[:cut], data.labels[:cut]), (data.images[cut:], data.labels[cut:]), settings)
    return network


@pytest.fixture
def deep_network():
    """Every kind of layer, an odd size that pooling does not divide, and a kernel of 5."""
    neuron = LIF(0.3, 0.3, "hard", Rectangular(1.0))
    return SpikingNetwork("8C3-AP2-12C5-AP2-16FC-10FC", (2, 9, 9), time_steps=6, neuron=neuron, seed=3)


@pytest.fixture
def some_spikes():
    """Reproducible random spikes of a given shape and density."""

    def make(*shape: int, density: float = 0.4, seed: int = 0) -> torch.Tensor:
        generator = torch.Generator().manual_seed(seed)
        return (torch.rand(shape, generator=generator) < density).float()

    return make


@pytest.fixture
def undrawn():
    """Pages have blank drawings, which take most of the time that a page takes: for tests of anything else."""
    from blank_pictures import blank_pictures  # matplotlib takes its time

    with blank_pictures():
        yield


@pytest.fixture
def run(capsys):
    """The command: takes its arguments; gives exit status, stdout and stderr."""

    def command(*arguments):
        status = 0
        try:
            main([str(argument) for argument in arguments])
        except SystemExit as stop:
            status = stop.code or 0
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return command


@pytest.fixture
def terminal_of(monkeypatch):
    """A terminal of some columns."""

    def of(columns):
        monkeypatch.setenv("FORCE_COLOR", "1")
        monkeypatch.setenv("TERM", "xterm-256color")
        monkeypatch.setenv("COLUMNS", str(columns))

    return of


@pytest.fixture
def long_lines(monkeypatch):
    """A terminal of 120 columns."""
    monkeypatch.setenv("COLUMNS", "120")

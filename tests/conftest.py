"""Victims that several tests share: small, trained once, or made by hand."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from spikeflip import LIF, Rectangular, SpikingNetwork, load_images
from spikeflip.cli import main
from spikeflip.snn.training import Training, train


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder with real data beside the checkout; the test is skipped where there is none."""
    folder = Path(__file__).parents[1].parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("needs the real data sets beside the checkout (../shared/data)")
    return folder


@pytest.fixture(scope="session")
def real_recordings(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Real N-MNIST and DVS128 Gesture recordings, unpacked as users have them."""
    script = shared_data.parent / "tools" / "unpack_data.py"
    if not script.is_file():
        pytest.skip("needs the script that unpacks the real data sets (../shared/tools)")
    folder = tmp_path_factory.mktemp("recordings")
    subprocess.run([sys.executable, script, folder, "nmnist", "dvsgesture"], check=True, capture_output=True)
    return folder


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

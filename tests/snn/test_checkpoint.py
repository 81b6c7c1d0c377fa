import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from spikeflip import SpikeflipError, SpikingNetwork, load_checkpoint
from spikeflip.snn.checkpoint import DESCRIPTION, WEIGHTS, save_checkpoint


@pytest.fixture
def folder(deep_network, tmp_path):
    save_checkpoint(deep_network, tmp_path, {"accuracy": 0.5})
    return tmp_path


def test_round_trip(deep_network, folder, some_spikes):
    loaded = load_checkpoint(folder)
    spikes = some_spikes(2, 6, 2, 9, 9)
    assert loaded.facts == {"accuracy": 0.5}
    assert loaded.network.neuron == deep_network.neuron
    assert loaded.network.time_steps == deep_network.time_steps
    assert torch.equal(loaded.network.scores(spikes), deep_network.scores(spikes))
    assert not list(folder.glob(".*"))


def edit(folder, **changes):
    description = json.loads((folder / DESCRIPTION).read_text())
    (folder / DESCRIPTION).write_text(json.dumps(description | changes))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda f: (f / WEIGHTS).unlink(), "weights.safetensors is missing"),
        (lambda f: (f / DESCRIPTION).unlink(), "there is no victim at"),
        (lambda f: (f / WEIGHTS).write_bytes((f / WEIGHTS).read_bytes()[:-8]), "is no safetensors file|is truncated"),
        (lambda f: (f / WEIGHTS).write_bytes((f / WEIGHTS).read_bytes()[:40]), "is truncated"),
        (lambda f: (f / WEIGHTS).write_bytes(b"\x80\x04pickle" * 9999), "is no safetensors file"),
        (lambda f: (f / DESCRIPTION).write_text("{"), "cannot be used"),
        (lambda f: edit(f, architecture="8C3-10FC"), "of another architecture"),
        (lambda f: edit(f, architecture="8C4-10FC"), "even kernel"),
        (lambda f: edit(f, neuron={}), "cannot be used"),
        (lambda f: edit(f, weights_sha256="0" * 64), "is not the file its victim.json describes"),
        (lambda f: save_file({"weights.0": torch.ones(99999)}, f / WEIGHTS), "of another architecture"),
    ],
)
def test_damaged_checkpoints(folder, damage, message):
    damage(folder)
    with pytest.raises(SpikeflipError, match=message):
        load_checkpoint(folder)


def test_weights_of_the_same_size_from_elsewhere_are_refused(folder):
    state = load_file(folder / WEIGHTS)
    save_file({name: value + 1 for name, value in state.items()}, folder / WEIGHTS)
    with pytest.raises(SpikeflipError, match="restore it, or train the victim again"):
        load_checkpoint(folder)


def test_other_size_of_the_same_layers(folder):
    wider = SpikingNetwork("9C3-AP2-12C5-AP2-16FC-10FC", (2, 9, 9))
    save_file({f"weights.{i}": w.detach().contiguous() for i, w in enumerate(wider.weights)}, folder / WEIGHTS)
    with pytest.raises(
        SpikeflipError, match=r"another architecture \(\(9, 2, 3, 3\) for weights.0, not \(8, 2, 3, 3\)"
    ):
        load_checkpoint(folder)

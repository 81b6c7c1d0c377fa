import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from spikeflip import LIF, ReluNetwork, SpikeflipError, SpikingNetwork, load_checkpoint
from spikeflip.snn.checkpoint import DESCRIPTION, WEIGHTS, save_checkpoint
from spikeflip.snn.surrogate import SURROGATES


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


def neuron_of(folder):
    return json.loads((folder / DESCRIPTION).read_text())["neuron"]


@pytest.mark.parametrize("name", list(SURROGATES))
def test_surrogates_and_codings_are_kept(tmp_path, name):
    network = SpikingNetwork("3FC", (2,), neuron=LIF(surrogate=SURROGATES[name](0.4)), coding="latency")
    save_checkpoint(network, tmp_path, {})
    loaded = load_checkpoint(tmp_path).network
    assert loaded.neuron == network.neuron
    assert loaded.coding == "latency"


def test_descriptions_of_before_are_rate_coded(deep_network, folder):
    description = json.loads((folder / DESCRIPTION).read_text())
    del description["coding"], description["kind"], description["neuron"]["surrogate"]
    (folder / DESCRIPTION).write_text(json.dumps(description))
    loaded = load_checkpoint(folder).network
    assert loaded.coding == "rate"
    assert loaded.neuron == deep_network.neuron


@pytest.fixture
def twin_folder(tmp_path):
    twin = ReluNetwork("4C3-AP2-6FC-3FC", (2, 6, 6), seed=4)
    save_checkpoint(twin, tmp_path, {"loss": "ce"})
    return tmp_path


def test_a_twin_comes_back_as_a_twin(twin_folder):
    loaded = load_checkpoint(twin_folder)
    images = torch.rand(2, 1, 2, 6, 6, generator=torch.Generator().manual_seed(0))
    assert isinstance(loaded.network, ReluNetwork)
    assert torch.equal(loaded.network.scores(images), ReluNetwork("4C3-AP2-6FC-3FC", (2, 6, 6), seed=4).scores(images))
    assert loaded.facts == {"loss": "ce"}
    assert "neuron" not in json.loads((twin_folder / DESCRIPTION).read_text())


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda f: edit(f, neuron={"threshold": 0.3}), "a network of kind 'relu' has no neuron"),
        (lambda f: edit(f, time_steps=5), "a network of kind 'relu' has no time_steps"),
        (lambda f: edit(f, kind="spiking"), "cannot be used"),
        (lambda f: edit(f, kind=None), "kind is None"),
        (lambda f: edit(f, architecture="4C3-AP2-900FC-3FC"), "is truncated or of another architecture"),
        (lambda f: edit(f, architecture="4C3-AP2-5FC-3FC"), "of another architecture"),
        (lambda f: edit(f, input_shape=[2, 0, 6]), "cannot be used"),
        (lambda f: (f / WEIGHTS).unlink(), "weights.safetensors is missing"),
    ],
)
def test_damaged_twins(twin_folder, damage, message):
    damage(twin_folder)
    with pytest.raises(SpikeflipError, match=message) as refused:
        load_checkpoint(twin_folder)
    assert "\n" not in str(refused.value)


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
        (lambda f: edit(f, neuron=[]), "cannot be used"),
        (lambda f: edit(f, coding="direct"), "coding is 'direct'"),
        (lambda f: edit(f, coding=["rate"]), r"coding is \['rate'\]"),
        (
            lambda f: edit(f, neuron=neuron_of(f) | {"surrogate": "cubic"}),
            "surrogate is 'cubic': choose from",
        ),
        (lambda f: edit(f, neuron=neuron_of(f) | {"surrogate": []}), "cannot be used"),
        (lambda f: edit(f, kind="relu"), "a network of kind 'relu' has no coding"),
        (lambda f: edit(f, kind="gelu"), "kind is 'gelu', neither 'spiking' nor 'relu'"),
        (lambda f: edit(f, kind=["relu"]), "neither 'spiking' nor 'relu'"),
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


def test_facts_that_cannot_be_written_leave_the_victim_that_was_there(deep_network, folder, some_spikes, tmp_path):
    spikes = some_spikes(2, 6, 2, 9, 9)
    scores = deep_network.scores(spikes)
    with torch.no_grad():
        deep_network.weights[0].zero_()
    with pytest.raises(TypeError):
        save_checkpoint(deep_network, folder, {"path": tmp_path})
    assert torch.equal(load_checkpoint(folder).network.scores(spikes), scores)


def test_the_centre_of_the_surrogate_is_kept(tmp_path):
    network = SpikingNetwork("3FC", (2,), neuron=LIF().fire_at(1.0))
    save_checkpoint(network, tmp_path, {})
    assert load_checkpoint(tmp_path).network.neuron == network.neuron


def test_weights_of_half_precision_are_stored_as_single(tmp_path):
    network = SpikingNetwork("3FC", (2,), seed=1).half()
    save_checkpoint(network, tmp_path, {})
    assert torch.equal(load_checkpoint(tmp_path).network.weights[0], network.weights[0].float())

"""Attacks that look for the fewest flips as runs: their options, what is written, and what is said of it afterwards."""

import json

import pyarrow.parquet
import pytest
import torch
from few_steps import few_steps
from safetensors.torch import load_file

from spikeflip import LIF, SpikeflipError, SpikingNetwork
from spikeflip.attacks import ATTACKS
from spikeflip.runs import AttackConfig, run_attack, verify_run
from spikeflip.snn.checkpoint import save_checkpoint

NAMES = [name for name, info in ATTACKS.items() if getattr(info.settings, "reduces", False)]
EVENTS = ("--simulate-events", "--samples", 80, "--micro-batch", 8, "--quiet")


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A victim of simulated events, which guesses, and one of images."""
    folder = tmp_path_factory.mktemp("few")
    network = SpikingNetwork("8C3-AP2-10FC", (2, 16, 16), time_steps=4, neuron=LIF(0.1, 0.25), seed=4)
    save_checkpoint(network, folder / "victim", {"loss": "mse"})
    save_checkpoint(SpikingNetwork("10FC", (1, 8, 8), time_steps=4, seed=1), folder / "pictures", {"loss": "mse"})
    return folder


def rows_of(folder):
    return pyarrow.parquet.read_table(folder / "rows.parquet").to_pydict()


def flips_of(folder):
    return torch.tensor(rows_of(folder)["l0"]).long()


def config_of(folder):
    return json.loads((folder / "config.json").read_text())


@pytest.mark.parametrize("name", [*NAMES, "random-flips"])
def test_every_attack_is_a_run_that_verifies(home, tmp_path, name):
    options = few_steps(name, 40 if name == "gumbel-flips" else 5, (4, 2, 16, 16))
    config = AttackConfig(
        victim=home / "victim", simulate_events=True, samples=80, micro_batch=8, attack=name, settings=options
    )
    summary = run_attack(config, tmp_path / "run", page=False)
    rows = rows_of(tmp_path / "run")
    assert any(rows["success"])
    assert summary["attack_success_rate"] == summary["verified_success_rate"]
    assert config_of(tmp_path / "run")["attack"] == name
    assert verify_run(tmp_path / "run", victim=home / "victim")["differences"] == []
    saved = load_file(tmp_path / "run" / "adversarials.safetensors")
    assert set(saved["adversarials"].unique().tolist()) == {0, 1}


def test_without_reduction_there_are_at_least_as_many_flips(home, tmp_path, run):
    given = ("attack", "--victim", home / "victim", *EVENTS, "--attack", "sigma-zero", "--steps", 20, "--out")
    for name, more in (("plain", ("--no-reduce",)), ("said", ("--reduce",)), ("own", ())):
        assert run(*given, tmp_path / name, *more)[0] == 0
    success = torch.tensor(rows_of(tmp_path / "own")["success"])
    assert success.any()
    plain, said, own = (flips_of(tmp_path / name) for name in ("plain", "said", "own"))
    assert torch.equal(said, own)
    assert (own <= plain).all()
    assert own[success].sum() < plain[success].sum()
    assert (
        torch.tensor(rows_of(tmp_path / "own")["forwards"]) > torch.tensor(rows_of(tmp_path / "plain")["forwards"])
    )[success].all()
    assert [config_of(tmp_path / name)["settings"].get("reduce") for name in ("plain", "said", "own")] == [
        False,
        True,
        None,
    ]
    assert verify_run(tmp_path / "plain", victim=home / "victim")["differences"] == []


def test_scg_with_reduction_and_other_options_later(home, tmp_path, run):
    given = ("attack", "--victim", home / "victim", *EVENTS, "--loss", "margin", "--out")
    assert run(*given, tmp_path / "reduced", "--reduce")[0] == 0
    assert run(*given, tmp_path / "plain")[0] == 0
    success = torch.tensor(rows_of(tmp_path / "plain")["success"])
    assert success.any()
    assert rows_of(tmp_path / "reduced")["success"] == success.tolist()
    assert (flips_of(tmp_path / "reduced") <= flips_of(tmp_path / "plain")).all()
    assert flips_of(tmp_path / "reduced").sum() < flips_of(tmp_path / "plain").sum()
    assert config_of(tmp_path / "reduced")["settings"]["reduce"] is True
    assert "reduce" not in config_of(tmp_path / "plain")["settings"]
    assert verify_run(tmp_path / "reduced", victim=home / "victim")["differences"] == []
    for folder, more, words in (
        ("reduced", (), "reduce: true -> not given"),
        ("reduced", ("--no-reduce",), "reduce: true -> false"),
        ("plain", ("--reduce",), "reduce"),
    ):
        status, out, said = run(*given, tmp_path / folder, *more)
        assert (status, out) == (2, "")
        assert "holds a run with other options" in said
        assert words.split(":")[0] in said
        assert said.count("\n") == 1


def test_a_budget_is_of_what_is_left(home, tmp_path, run):
    given = ("attack", "--victim", home / "victim", *EVENTS, "--attack", "sda", "--steps", 10, "--out")
    assert run(*given, tmp_path / "free")[0] == 0
    rows = rows_of(tmp_path / "free")
    flips, success = flips_of(tmp_path / "free"), torch.tensor(rows["success"])
    limit = int(flips[success].max())
    assert run(*given, tmp_path / "bound", "--epsilon", limit, "--metric", "l0")[0] == 0
    within = success & (flips < limit)
    assert rows_of(tmp_path / "bound")["success"] == within.tolist()
    assert not within.equal(success)
    assert rows_of(tmp_path / "bound")["over_budget"] == (success & ~within).tolist()
    assert verify_run(tmp_path / "bound", victim=home / "victim")["differences"] == []


@pytest.mark.parametrize("more", [("--reduce",), ("--reduce", "--attack", "bim")])
def test_images_are_not_reduced(home, tmp_path, run, more):
    status, out, said = run("attack", "--victim", home / "pictures", "--samples", 3, "--out", tmp_path / "run", *more)
    assert (status, out) == (2, "")
    assert said == "spikeflip: reduce undoes flips of spikes, and the inputs are images: leave it out\n"
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("name", NAMES)
def test_images_are_not_attacked(home, tmp_path, name):
    config = AttackConfig(victim=home / "pictures", samples=3, attack=name)
    with pytest.raises(SpikeflipError, match=f"--attack {name} attacks spikes, not images: choose from scg, fgsm"):
        run_attack(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("name", ["sda", "sigma-zero"])
def test_recordings_are_written_back_and_judged_from_their_files(small_recordings, tmp_path, run, name):
    victim, data = small_recordings
    given = ("--attack", name, "--steps", 30, "--micro-batch", 8, "--quiet", "--out", tmp_path / "run")
    assert run("attack", "--victim", victim, "--input", data, *given)[0] == 0
    rows = rows_of(tmp_path / "run")
    assert any(rows["success"])
    files = [tmp_path / "run" / file for file in rows["file"]]
    status, out, _ = run("judge", "--victim", victim, *files, "--json")
    assert status == 0
    said = [answer["prediction"] for answer in json.loads(out)]
    assert said == [None if k < 0 else ("left", "right")[k] for k in rows["prediction"]]
    assert verify_run(tmp_path / "run", victim=victim, input=data)["differences"] == []
    limit = max(l0 for l0, success in zip(rows["l0_events"], rows["success"], strict=True) if success)
    bound = (*given[:-1], tmp_path / "bound", "--epsilon", limit, "--metric", "l0_events")
    assert run("attack", "--victim", victim, "--input", data, *bound)[0] == 0
    within = [success and size < limit for success, size in zip(rows["success"], rows["l0_events"], strict=True)]
    assert rows_of(tmp_path / "bound")["success"] == within

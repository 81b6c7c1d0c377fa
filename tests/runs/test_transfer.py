"""The adversarial inputs of a run on another victim."""

import json
import shutil

import pyarrow.parquet
import pytest
import torch

from spikeflip import SpikingNetwork
from spikeflip.runs import AttackConfig, run_attack, transfer_run
from spikeflip.snn.checkpoint import load_checkpoint, save_checkpoint


def read(run):
    table = pyarrow.parquet.read_table(run / "rows.parquet")
    rows = {name: table[name].to_numpy() for name in ("success", "verified", "label")}
    return rows, json.loads((run / "summary.json").read_text())


@pytest.fixture(scope="module")
def spikes_run(small_recordings, tmp_path_factory):
    victim, data = small_recordings
    out = tmp_path_factory.mktemp("transferred") / "spikes"
    run_attack(AttackConfig(victim=victim, data=str(data), split="train", gamma=0.2, steps=8), out, page=False)
    return victim, out


def test_images_on_their_own_victim_give_the_verified_rate(undisturbed, small_victim):
    rows, summary = read(undisturbed)
    found = transfer_run(undisturbed, small_victim, successes=False, draws=summary["draws"])
    assert found["verified_success_rate"] == summary["verified_success_rate"]
    assert found["clean_accuracy"] == summary["clean_accuracy"]
    assert found["mse_mean"] is not None
    assert (found["n"], found["of"], found["goal"]) == (54, 54, "targeted")
    won = transfer_run(undisturbed, small_victim, draws=summary["draws"])
    assert won["n"] == won["verified_success_rate_n"] == int(rows["success"].sum())
    assert won["verified_success_rate"] == pytest.approx(rows["verified"][rows["success"]].mean())
    assert not [name for name in won if name.startswith(("steps", "forwards", "backwards", "vanished"))]


def test_spikes_on_their_own_victim_give_exactly_the_success(spikes_run):
    victim, run = spikes_run
    _, summary = read(run)
    assert summary["attack_success_rate"] > 0
    found = transfer_run(run, victim, successes=False)
    assert found["attack_success_rate"] == found["verified_success_rate"] == summary["attack_success_rate"]
    assert found["draws"] == 1
    assert transfer_run(run, victim)["attack_success_rate"] == 1.0


def test_nothing_fools_a_victim_that_always_says_the_same(undisturbed, tmp_path):
    network = SpikingNetwork("4FC-10FC", (1, 8, 8), time_steps=5)
    with torch.no_grad():
        network.weights[0].fill_(1.0)
        network.weights[1].zero_()
        network.weights[1][5] = 10.0
    save_checkpoint(network, tmp_path / "constant", {"loss": "mse"})
    rows, _ = read(undisturbed)
    found = transfer_run(undisturbed, tmp_path / "constant", successes=False)
    (at_chance,) = (notice["text"] for notice in found["notices"] if notice["code"] == "victim-at-chance")
    assert "of 6 originals are right" in at_chance  # of 54 rows, nine targets each
    assert found["attack_success_rate_n"] == int((rows["label"] == 5).sum()) > 0
    assert found["attack_success_rate"] == found["verified_success_rate"] == 0.0


def test_a_run_without_successes(undisturbed, small_victim, tmp_path):
    run = shutil.copytree(undisturbed, tmp_path / "run")
    table = pyarrow.parquet.read_table(run / "rows.parquet")
    at = table.column_names.index("success")
    none = pyarrow.array([False] * len(table))
    pyarrow.parquet.write_table(table.set_column(at, "success", none), run / "rows.parquet")
    found = transfer_run(run, small_victim)
    assert (found["n"], found["attack_success_rate"], found["of"]) == (0, None, 54)


def test_parts_do_not_change_what_is_found(undisturbed, small_victim, monkeypatch):
    whole = transfer_run(undisturbed, small_victim, draws=3)
    seen = []
    monkeypatch.setattr("spikeflip.runs.transfer._TOGETHER", 7)
    assert transfer_run(undisturbed, small_victim, draws=3, progress=lambda *now: seen.append(now)) == whole
    assert seen[0] == ("transfer", 7, whole["n"])
    assert seen[-1] == ("transfer", whole["n"], whole["n"])


def test_the_command(undisturbed, small_victim, run):
    status, out, err = run("transfer", undisturbed, "--victim", small_victim, "--draws", 2, "--json")
    assert (status, err) == (0, "")
    assert json.loads(out) == transfer_run(undisturbed, small_victim, draws=2)
    status, out, err = run("transfer", undisturbed, "--victim", small_victim, "--draws", 2, "--all")
    assert (status, err) == (0, "")
    assert "run on small, n = 54" in out
    assert "verified success rate" in out
    assert "successes: mse 0.0" in out
    assert "note:" not in out


def test_the_command_says_that_failures_were_left_out(spikes_run, run):
    victim, attacked = spikes_run
    rows, summary = read(attacked)
    won = int(rows["success"].sum())
    assert 0 < won < summary["n"]
    status, out, err = run("transfer", attacked, "--victim", victim)
    assert (status, err) == (0, "")
    assert f"note: these are the {won} of {summary['n']} inputs that fooled the victim they were made on" in out
    assert "note: these are" not in run("transfer", attacked, "--victim", victim, "--all")[1]


@pytest.fixture
def others(small_victim, tmp_path):
    """Victims that take other inputs, or know other classes."""
    save_checkpoint(SpikingNetwork("10FC", (1, 9, 9), time_steps=3), tmp_path / "larger", {})
    save_checkpoint(SpikingNetwork("3FC", (1, 8, 8), time_steps=3), tmp_path / "fewer", {})
    return {"own": small_victim, "larger": tmp_path / "larger", "fewer": tmp_path / "fewer", "none": tmp_path / "none"}


@pytest.mark.parametrize(
    ("victim", "arguments", "message"),
    [
        ("larger", [], "holds inputs of shape (1, 8, 8), and the victim takes (1, 9, 9): choose a victim of the same"),
        ("fewer", [], "holds inputs of class 9, and the victim has classes 0 to 2: choose a victim of the same data"),
        ("none", [], "there is no victim at"),
        ("own", ["--draws", 0], "draws is 0: give at least 1"),
    ],
)
def test_mistakes_are_one_sentence(victim, arguments, message, undisturbed, others, run):
    status, out, err = run("transfer", undisturbed, "--victim", others[victim], *arguments)
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert message in err


def test_an_unfinished_run_is_one_sentence(undisturbed, small_victim, run, tmp_path):
    unfinished = shutil.copytree(undisturbed, tmp_path / "run")
    (unfinished / "summary.json").unlink()
    status, _, err = run("transfer", unfinished, "--victim", small_victim)
    assert (status, err.count("\n")) == (2, 1)
    assert "summary.json" in err
    assert run("transfer", tmp_path, "--victim", small_victim)[0] == 2


def test_weights_of_the_run_are_not_needed(undisturbed, small_victim, tmp_path):
    """The victim that was attacked may be gone."""
    save_checkpoint(load_checkpoint(small_victim).network, tmp_path / "copy", {"loss": "mse"})
    assert transfer_run(undisturbed, tmp_path / "copy", draws=2) == transfer_run(undisturbed, small_victim, draws=2)

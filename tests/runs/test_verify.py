"""Rows computed again: equal where nothing was touched, named where something was."""

import json
import shutil

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
from safetensors.numpy import load_file, save_file

from spikeflip import LIF, Recording, SpikeflipError, SpikingNetwork, write_recording
from spikeflip.runs import AttackConfig, compare, run_attack, verify, verify_run
from spikeflip.snn.checkpoint import save_checkpoint


@pytest.fixture(scope="module")
def victim(digit_victim, tmp_path_factory):
    folder = tmp_path_factory.mktemp("victims") / "digits"
    save_checkpoint(digit_victim, folder, {"loss": "mse"})
    return folder


@pytest.fixture(scope="module")
def finished(victim, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "targeted"
    run_attack(AttackConfig(victim=victim, samples=4, target="all", steps=4, draws=3, seed=5), out)
    return out


@pytest.fixture
def touched(finished, tmp_path):
    return shutil.copytree(finished, tmp_path / "touched")


def change_row(run, column, row, value):
    table = pyarrow.parquet.read_table(run / "rows.parquet").to_pydict()
    table[column][row] = value
    pyarrow.parquet.write_table(pyarrow.table(table), run / "rows.parquet")


def test_an_untouched_run_is_equal_row_by_row(victim, finished, run):
    found = verify_run(finished, victim=victim, samples=1000)
    assert (found["rows"], len(found["checked"]), found["differences"]) == (36, 36, [])
    status, out, err = run("verify", finished, "--victim", victim, "--samples", 3)
    assert (status, err) == (0, "")
    assert "3 of 36 rows" in out
    assert "all equal" in out.replace("\n", " ")


def test_the_choice_of_rows_is_the_seeds(victim, finished):
    chosen = [verify_run(finished, victim=victim, samples=5, seed=seed)["checked"] for seed in (0, 0, 1)]
    assert chosen[0] == chosen[1] != chosen[2]
    assert len(set(chosen[0])) == 5


def test_what_was_touched_is_named(victim, touched, run):
    stored = pyarrow.parquet.read_table(touched / "rows.parquet").to_pydict()
    change_row(touched, "mse", 7, 0.123)
    change_row(touched, "success", 9, not stored["success"][9])
    tensors = load_file(touched / "adversarials.safetensors")
    tensors["adversarials"][20, 0, 3, 3] = 1 - tensors["adversarials"][20, 0, 3, 3]
    save_file(tensors, touched / "adversarials.safetensors")
    found = verify_run(touched, victim=victim, samples=36)["differences"]
    of_rows = [(entry["row"], entry["column"]) for entry in found if entry["row"] is not None]
    assert of_rows == [(7, "mse"), (9, "success"), (20, "adversarials")]
    assert {"attack_success_rate", "mse_mean"} <= {entry["column"] for entry in found[3:]}  # of the summary
    assert found[0]["stored"] == 0.123
    assert found[0]["recomputed"] == stored["mse"][7]
    assert found[2]["recomputed"].endswith("1 of 64 values differ")
    status, out, _ = run("verify", touched, "--victim", victim, "--samples", 36)
    assert status == 1
    assert "3 differ" in out.replace("\n", " ")
    assert json.loads(run("verify", touched, "--victim", victim, "--samples", 36, "--json")[1])["differences"] == found


def test_a_summary_that_is_not_of_the_rows_is_named(victim, touched, run):
    summary = json.loads((touched / "summary.json").read_text())
    rate = summary["attack_success_rate"]
    (touched / "summary.json").write_text(json.dumps(summary | {"attack_success_rate": 0.123, "of_another_version": 1}))
    found = verify_run(touched, victim=victim, samples=1)
    assert found["differences"] == [{"row": None, "column": "attack_success_rate", "stored": 0.123, "recomputed": rate}]
    status, out, _ = run("verify", touched, "--victim", victim, "--samples", 1)
    assert status == 1
    assert "0 differ, and the summary is not that of the rows" in out.replace("\n", " ")


def test_intervals_of_an_earlier_version_are_not_compared(victim, touched):
    """It took the targets of an input for independent, and says of no rate what they are worth."""
    summary = json.loads((touched / "summary.json").read_text())
    assert summary.pop("clean_accuracy_trials") < summary["clean_accuracy_n"]
    summary["clean_accuracy_interval"] = [0.9, 1.0]
    (touched / "summary.json").write_text(json.dumps(summary))
    assert verify_run(touched, victim=victim, samples=1)["differences"] == []


@pytest.mark.parametrize(
    ("part", "name", "value"),
    [
        ("settings", "threshold", 0.123),
        ("settings", "draws", 99),
        ("given", "steps", 400),
        ("data", "name", "cifar10"),
        ("data", "size", 1),
        ("victim", "architecture", "100FC-10FC"),
        ("victim", "accuracy", 0.123),
        (None, "classes", list("9876543210")),
        (None, "goal", "untargeted"),
        (None, "kind", "spikes"),
        (None, "seed", 6),
        (None, "name", "cifar10, targeted"),
        (None, "attack", "pgd"),
    ],
)
def test_what_a_run_says_of_itself_is_compared_too(victim, touched, run, part, name, value):
    config = json.loads((touched / "config.json").read_text())
    facts = config if part is None else config[part]
    before = facts.get(name)
    facts[name] = value
    (touched / "config.json").write_text(json.dumps(config))
    column = name if part is None else f"{part}.{name}"
    made = {"row": "config", "column": column, "stored": value, "recomputed": before}
    assert verify_run(touched, victim=victim, samples=1)["differences"] == [made]
    status, out, _ = run("verify", touched, "--victim", victim, "--samples", 1)
    assert (status, "0 differ, and config.json is not that of the run" in out.replace("\n", " ")) == (1, True)
    del facts[name]  # as of an earlier version
    facts["of_another_version"] = 1
    (touched / "config.json").write_text(json.dumps(config))
    found = verify_run(touched, victim=victim, samples=1)["differences"]
    assert [one["column"] for one in found] == (["given.of_another_version"] if part == "given" else [])


def test_spikes_of_the_output_layer_are_compared_where_a_run_has_them(victim, touched):
    tensors = load_file(touched / "outputs.safetensors")
    tensors["outputs"][7, 1] = 1 - tensors["outputs"][7, 1]
    save_file(tensors, touched / "outputs.safetensors")
    (found,) = verify_run(touched, victim=victim, samples=36)["differences"]
    assert (found["row"], found["column"]) == (7, "outputs")
    save_file(tensors | {"samples": tensors["samples"] + 1}, touched / "outputs.safetensors")
    with pytest.raises(SpikeflipError, match=r"outputs.safetensors is damaged \(its samples are not those"):
        verify_run(touched, victim=victim, samples=1)
    (touched / "outputs.safetensors").unlink()  # as of an earlier version
    assert verify_run(touched, victim=victim, samples=1)["differences"] == []


def with_option(touched, name, value):
    config = json.loads((touched / "config.json").read_text())
    config["options"][name] = value
    (touched / "config.json").write_text(json.dumps(config))


@pytest.mark.parametrize("device", ["cuda:77", "meta", ["cpu"]])
def test_a_run_does_not_choose_the_device(victim, touched, run, device):
    with_option(touched, "device", device)
    assert run("verify", touched, "--victim", victim, "--samples", 1)[0] == 0
    with pytest.raises(SpikeflipError, match="--device cuda:77 cannot be used"):
        verify_run(touched, victim=victim, samples=1, device="cuda:77")


@pytest.mark.parametrize("name", ["folder", "../folder", "/"])
def test_a_run_names_no_folder_that_is_read(victim, touched, monkeypatch, name):
    (touched / "folder").mkdir()
    monkeypatch.chdir(touched)
    with_option(touched, "data", name)
    monkeypatch.setattr(verify, "open_task", lambda *_: pytest.fail("data were opened"))
    with pytest.raises(
        SpikeflipError, match="attacked a folder of recordings: give that folder with --data or --input"
    ):
        verify_run(touched, victim=victim, samples=1)


def test_a_victim_of_the_same_weights_and_another_neuron_is_refused(victim, touched, tmp_path):
    shutil.copytree(victim, tmp_path / "other")
    description = json.loads((victim / "victim.json").read_text())
    description["neuron"]["reset"] = "soft" if description["neuron"]["reset"] == "hard" else "hard"
    (tmp_path / "other" / "victim.json").write_text(json.dumps(description))
    with pytest.raises(SpikeflipError, match="attacked another victim"):
        verify_run(touched, victim=tmp_path / "other")
    config = json.loads((touched / "config.json").read_text())
    del config["victim"]["description_sha256"]  # as of an earlier version
    (touched / "config.json").write_text(json.dumps(config))
    assert verify_run(touched, victim=victim, samples=1)["differences"] == []


def test_another_victim_or_another_configuration_is_refused(victim, finished, touched, tmp_path):
    other = SpikingNetwork("16C3-AP2-64FC-10FC", (1, 8, 8), time_steps=10, neuron=LIF(0.3, 0.25), seed=9)
    save_checkpoint(other, tmp_path / "other", {})
    with pytest.raises(SpikeflipError, match="attacked another victim"):
        verify_run(finished, victim=tmp_path / "other")
    for harm, message in (
        ({"samples": 3}, "its rows are not the 27 inputs and targets"),
        ({"gamma": 7}, "--gamma is 7"),
        ({"wings": 2}, "--wings is no option of scg"),
    ):
        config = json.loads((finished / "config.json").read_text())
        config["options"] |= harm
        (touched / "config.json").write_text(json.dumps(config))
        with pytest.raises(SpikeflipError, match=message):
            verify_run(touched, victim=victim)
    (touched / "config.json").write_text(json.dumps(config | {"options": [1]}))
    with pytest.raises(SpikeflipError, match="has no options"):
        verify_run(touched, victim=victim)
    with pytest.raises(SpikeflipError, match="--samples is 0"):
        verify_run(finished, victim=victim, samples=0)


def test_recordings_are_written_and_read_again(tmp_path):
    network = SpikingNetwork("4C3-AP2-3FC", (2, 8, 8), time_steps=5, neuron=LIF(0.05, 0.3), seed=2)
    binning = {"steps": 5, "rule": "time", "time_bin": 1.0, "height": 8, "width": 8}
    facts = {"loss": "mse", "binning": binning, "sensor": [8, 8], "classes": ["a", "b", "c"]}
    save_checkpoint(network, tmp_path / "victim", facts)
    random = np.random.default_rng(0)
    (tmp_path / "in").mkdir()
    for name in ("one.npz", "two.npz", "three.aedat"):
        places = [random.integers(0, side, 60) for side in (8, 8, 2)]
        times = np.sort(random.integers(0, 5000, 60))
        write_recording(Recording.from_columns(times, *places, height=8, width=8), tmp_path / "in" / name)
    config = AttackConfig(victim=tmp_path / "victim", input=tmp_path / "in", steps=3, target="all")
    run_attack(config, tmp_path / "run")
    found = verify_run(tmp_path / "run", victim=tmp_path / "victim", input=tmp_path / "in")
    assert found["differences"] == []
    assert len(found["checked"]) == found["rows"] > 0
    file = next((tmp_path / "run" / "adversarial").rglob("*.npz"))
    whole = file.read_bytes()
    for content in (whole[:-1] + bytes([whole[-1] ^ 1]), whole + b"0", None):
        file.unlink() if content is None else file.write_bytes(content)
        (difference,) = verify_run(tmp_path / "run", victim=tmp_path / "victim", input=tmp_path / "in")["differences"]
        assert difference["column"] == "recording"
        assert difference["stored"] != difference["recomputed"]
    file.write_bytes(whole)
    assert verify_run(tmp_path / "run", victim=tmp_path / "victim", input=tmp_path / "in")["differences"] == []
    with pytest.raises(SpikeflipError, match="attacked a folder of recordings: give that folder with --input"):
        verify_run(tmp_path / "run", victim=tmp_path / "victim")
    assert compare._read(tmp_path / "run").settings["data"].startswith("folder")
    (tmp_path / "in" / "two.npz").unlink()
    with pytest.raises(SpikeflipError, match="attacked other data"):
        verify_run(tmp_path / "run", victim=tmp_path / "victim", input=tmp_path / "in")


def test_a_run_on_a_folder_of_recordings_is_verified_with_that_folder(tmp_path, run):
    random = np.random.default_rng(0)
    for label in "ab":
        (tmp_path / "data" / label).mkdir(parents=True)
        for number in range(5):
            columns = [np.sort(random.integers(0, 900, 40)), *random.integers(0, 4, (2, 40)), random.integers(0, 2, 40)]
            recording = Recording.from_columns(*columns, height=4, width=4)
            write_recording(recording, tmp_path / "data" / label / f"{number}.npz")
    network = SpikingNetwork("6FC-2FC", (2, 4, 4), time_steps=3, neuron=LIF(0.1, 0.3), seed=1)
    binning = {"steps": 3, "rule": "time", "time_bin": 0.3, "height": 4, "width": 4}
    save_checkpoint(network, tmp_path / "v", {"binning": binning, "sensor": [4, 4], "classes": ["a", "b"]})
    run_attack(AttackConfig(victim=tmp_path / "v", data=str(tmp_path / "data"), steps=2), tmp_path / "run")
    (tmp_path / "data").rename(tmp_path / "moved")
    found = verify_run(tmp_path / "run", victim=tmp_path / "v", data=tmp_path / "moved")
    assert (found["differences"], found["rows"]) == ([], 2)
    arguments = ("verify", tmp_path / "run", "--victim", tmp_path / "v", "--samples", 1)
    assert run(*arguments, "--data", tmp_path / "moved")[0] == 0
    assert "give that folder with --data or --input" in run(*arguments)[2]
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    config["data"]["name"] = "cifar10"
    (tmp_path / "run" / "config.json").write_text(json.dumps(config))
    (_, found) = verify_run(tmp_path / "run", victim=tmp_path / "v", data=tmp_path / "moved")["differences"]
    assert (found["column"], found["stored"], found["recomputed"]) == ("data.name", "cifar10", "folder moved")

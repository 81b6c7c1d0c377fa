"""What a run goes on from: the same victim in all that it is, and never what another process made of the folder."""

import json
import shutil

import pytest
from disturbances import change, small_config, stop_after

from spikeflip.errors import SpikeflipError
from spikeflip.runs import attack, list_runs, run_attack
from spikeflip.snn.checkpoint import load_checkpoint, save_checkpoint


def with_threshold(victim, threshold, out):
    """The victim with the same weights and another firing threshold."""
    shutil.copytree(victim, out)
    description = json.loads((out / "victim.json").read_text())
    description["neuron"]["threshold"] = threshold
    (out / "victim.json").write_text(json.dumps(description))
    return out


def test_a_victim_of_the_same_weights_and_another_neuron_is_refused(
    command, undisturbed, small_victim, run, tmp_path, monkeypatch
):
    other = change(command, "--victim", with_threshold(small_victim, 0.9, tmp_path / "v"))
    stop_after(monkeypatch, 2)
    assert run(*command, tmp_path / "run")[0] == 130
    monkeypatch.undo()
    for folder in (undisturbed, tmp_path / "run"):
        status, _, err = run(*other, folder)
        assert status == 2
        assert "victim's description:" in err


@pytest.mark.parametrize(
    ("fact", "value"), [("loss", "ce"), ("classes", list("abcdefghij")), ("sensor", [8, 8]), ("binning", {"steps": 3})]
)
def test_facts_that_runs_go_by_are_part_of_the_victim(command, undisturbed, small_victim, run, tmp_path, fact, value):
    checkpoint = load_checkpoint(small_victim)
    save_checkpoint(checkpoint.network, tmp_path / "v", {**checkpoint.facts, fact: value})
    assert "victim's description:" in run(*change(command, "--victim", tmp_path / "v"), undisturbed)[2]
    save_checkpoint(checkpoint.network, tmp_path / "v", {**checkpoint.facts, "accuracy": 0.5})
    assert run(*change(command, "--victim", tmp_path / "v"), undisturbed)[0] == 0


def test_a_run_of_an_earlier_version_goes_on(command, undisturbed, results, run, tmp_path, monkeypatch):
    """It does not say what its victim was beside the weights."""
    stop_after(monkeypatch, 2)
    assert run(*command, tmp_path / "run")[0] == 130
    monkeypatch.undo()
    shutil.copytree(undisturbed, tmp_path / "finished")
    for folder in (tmp_path / "run", tmp_path / "finished"):
        config = json.loads((folder / "config.json").read_text())
        del config["identity"]["victim's description"], config["victim"]["description_sha256"]
        (folder / "config.json").write_text(json.dumps(config))
        assert run(*command, folder) == (0, "", "")
        assert results(folder) == results(undisturbed)


def test_a_run_that_another_process_began_meanwhile_is_not_mixed_with(small_victim, tmp_path, monkeypatch):
    """Between the look at the folder and the lock, while the inputs are chosen."""
    make_plan = attack.make_plan

    def slowly(task):
        monkeypatch.setattr(attack, "make_plan", make_plan)
        stop_after(monkeypatch, 2)
        with pytest.raises(KeyboardInterrupt):
            run_attack(small_config(small_victim, seed=1), tmp_path / "run")
        return make_plan(task)

    monkeypatch.setattr(attack, "make_plan", slowly)
    with pytest.raises(SpikeflipError, match=r"holds a run with other options [(]seed: 1 -> 0[)]: give the same"):
        run_attack(small_config(small_victim), tmp_path / "run")
    assert len(list((tmp_path / "run" / "shards").iterdir())) == 2


def test_seeds_are_not_pooled_over_victims_of_other_neurons(small_victim, tmp_path):
    victims = [small_victim, small_victim, with_threshold(small_victim, 0.9, tmp_path / "v")]
    for seed, victim in enumerate(victims):
        run_attack(small_config(victim, seed=seed, steps=1), tmp_path / "runs" / str(seed), page=False)
    rows = list_runs([tmp_path / "runs"], merge=["seed"])
    assert [row["runs"] for row in rows] == [2, 1]
    assert rows[0]["victim"] != rows[1]["victim"]

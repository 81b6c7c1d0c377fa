"""The victims that come with the package: small, trained as their README says, and found by name alone."""

import json
import shlex
from pathlib import Path

import pytest

from spikeflip import SpikeflipError, load_checkpoint, load_victim
from spikeflip.cli.app import app, take_options
from spikeflip.runs import TrainConfig, VictimConfig, run_training
from spikeflip.runs.folder import known_to
from spikeflip.runs.inputs import load_inputs
from spikeflip.runs.train import _stored
from spikeflip.runs.victim import files_of
from spikeflip.snn.bundled import HOME, VICTIMS, located
from spikeflip.snn.checkpoint import DESCRIPTION, WEIGHTS
from spikeflip.snn.training import accuracy

README = (HOME / "README.md").read_text()
COMMANDS = [shlex.split(line) for line in README.splitlines() if line.startswith("spikeflip ")]
ACCURACY = {"demo-digits": 0.98, "demo-events": 0.96}


def training(name):
    """The options that the README trains a victim with."""
    (words,) = (words for words in COMMANDS if words[-1].endswith(f"/{name}"))
    take_options(words[1:], None)
    return app.parse_args(words[1:], exit_on_error=False, print_error=False)[1].kwargs["options"]


def test_they_are_small_and_no_other_file_comes_along():
    files = sorted(path.relative_to(HOME).as_posix() for path in HOME.rglob("*") if path.is_file())
    assert files == ["README.md", *(f"{name}/{part}" for name in VICTIMS for part in (DESCRIPTION, WEIGHTS))]
    assert sum((HOME / file).stat().st_size for file in files) < 300_000


@pytest.mark.parametrize("name", VICTIMS)
def test_they_were_trained_as_their_readme_says(name):
    facts = load_checkpoint(name).facts
    options = json.loads(json.dumps(_stored(training(name))))
    assert known_to(facts["config"], options, TrainConfig) == facts["config"]
    assert facts["accuracy"] >= ACCURACY[name]
    assert facts["learned"]
    assert facts["notices"] == []
    assert str(Path.home()) not in (HOME / name / "victim.json").read_text()


@pytest.mark.parametrize("name", VICTIMS)
def test_they_do_as_well_as_is_said(name):
    found = load_checkpoint(name)
    test = load_inputs(training(name), "test", time_steps=found.network.time_steps)
    assert len(test.labels) == found.facts["accuracy_n"]
    # Sums of floating-point numbers differ from machine to machine, and with them a spike here and there.
    assert accuracy(found.network, test.values, test.labels) == pytest.approx(found.facts["accuracy"], abs=0.01)


@pytest.mark.slow
@pytest.mark.parametrize("name", VICTIMS)
def test_training_them_again_gives_victims_as_good(name, tmp_path):
    again = run_training(training(name), tmp_path / name)
    assert again.network.architecture == load_victim(name).architecture
    assert again.facts["accuracy"] == pytest.approx(ACCURACY[name], abs=0.015)


def test_a_folder_of_that_name_comes_first(monkeypatch, tmp_path):
    assert located(Path("demo-digits")) == HOME / "demo-digits"
    monkeypatch.chdir(tmp_path)
    (tmp_path / "demo-digits").mkdir()
    assert located(Path("demo-digits")) == Path("demo-digits")
    with pytest.raises(SpikeflipError, match=r"there is no victim at demo-digits \(victim.json is missing\)"):
        load_victim("demo-digits")


def test_names_in_folders_are_places():
    assert located(Path("victims/demo-digits")) == Path("victims/demo-digits")
    assert located(Path.cwd() / "demo-digits") == Path.cwd() / "demo-digits"


def test_a_misspelt_name_is_answered_with_the_right_one(run, tmp_path):
    with pytest.raises(SpikeflipError, match=r"no victim at demo-digit: did you mean demo-digits, which comes with"):
        load_victim("demo-digit")
    status, out, err = run("attack", "--victim", "demo-event", "--out", tmp_path / "r")
    assert (status, out) == (2, "")
    assert (
        err == "spikeflip: there is no victim at demo-event: did you mean demo-events, which comes with the package?\n"
    )


def test_the_command_attacks_and_verifies_them_by_name(run, undrawn, monkeypatch, tmp_path):
    assert run("list", "victims")[1].split()[0] == "demo-digits"
    monkeypatch.chdir(tmp_path)
    options = ["--samples", "4", "--draws", "2", "--quiet", "--out", "r"]
    assert run("attack", "--victim", "demo-events", "--simulate-events", *options)[0] == 0
    assert str(HOME) not in (tmp_path / "r" / "config.json").read_text()
    status, out, _ = run("verify", "r", "--victim", "demo-events", "--samples", "2")
    assert (status, "all equal" in out) == (0, True)
    status, out, _ = run("transfer", "r", "--victim", "demo-events")
    assert (status, out.startswith("r on demo-events, n = ")) == (0, True)


def test_sweeps_and_trainings_take_them_too(run, undrawn, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "s.toml").write_text('[base]\nvictim = "demo-digits"\nsamples = 2\ndraws = 2\n[grid]\nsteps = [1, 2]\n')
    assert run("sweep", "s.toml", "--out", "s", "--quiet")[0] == 0
    few = ["--updates", "1", "--test-samples", "5", "--quiet"]
    assert run("train", "--start", "demo-digits", "--width", "0.5", *few, "--out", "t")[0] == 0


def test_other_processes_are_sent_the_same_files():
    config = VictimConfig(victim="demo-digits")
    assert config.victim == HOME / "demo-digits"
    files = files_of(config)
    assert files["victim.json"].tobytes() == (HOME / "demo-digits" / "victim.json").read_bytes()

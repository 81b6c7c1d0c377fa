"""What CONTRIBUTING.md says of a new attack and a new estimator is all that they need."""

import json

import pytest
import torch
from pydantic import ValidationError
from ten_lines import Momentum

from spikeflip.attacks import ATTACKS, AttackInfo
from spikeflip.cli.app import main
from spikeflip.runs import AttackConfig, run_attack
from spikeflip.runs.config import explain
from spikeflip.snn.checkpoint import save_checkpoint


@pytest.fixture
def momentum(monkeypatch):
    monkeypatch.setitem(ATTACKS, "momentum", AttackInfo(Momentum))


def test_it_is_listed_and_has_its_own_help(momentum, capsys):
    main(["list", "attacks"])
    assert "steps along the sign of an average" in capsys.readouterr().out.replace("\n", " ")
    main(["attack", "--attack", "momentum", "--help"])
    out = " ".join(capsys.readouterr().out.split())
    assert "Options of momentum" in out
    assert "Share of the average that is kept" in out
    assert "--gamma" not in out


def test_its_options_are_checked(momentum):
    assert AttackConfig(victim="v", attack="momentum", decay=0.5).settings == {"decay": 0.5}
    with pytest.raises(ValidationError) as error:
        AttackConfig(victim="v", attack="momentum", decay=1.5)
    assert explain(error.value) == "--decay is 1.5: input should be less than or equal to 1"
    with pytest.raises(ValidationError) as error:
        AttackConfig(victim="v", attack="scg", decay=0.5)
    assert explain(error.value) == "--decay is no option of scg: leave it out"


def test_it_gives_a_run_folder(momentum, digit_victim, tmp_path):
    save_checkpoint(digit_victim, tmp_path / "victim", {"loss": "mse"})
    config = AttackConfig(victim=tmp_path / "victim", attack="momentum", decay=0.5, samples=6, steps=4, draws=2)
    summary = run_attack(config, tmp_path / "run")
    assert summary["attack_success_rate"] > 0
    assert (tmp_path / "run" / "report.html").exists()


def test_neither_batch_nor_order_matters(digit_victim, digits):
    images, labels = digits.images[:7], digits.labels[:7]
    whole = Momentum(steps=3)(digit_victim, images, labels, micro_batch=7)
    for order, size in ((torch.arange(7), 2), (torch.tensor([5, 0, 6, 2, 1, 4, 3]), 3)):
        part = Momentum(steps=3)(digit_victim, images[order], labels[order], samples=order, micro_batch=size)
        torch.testing.assert_close(part.adversarials, whole.adversarials[order])
        assert part.steps.tolist() == whole.steps[order].tolist()


def test_a_file_of_options_may_name_it(momentum, digit_victim, tmp_path):
    """And the command line another; a run keeps the settings of its attack alone."""
    save_checkpoint(digit_victim, tmp_path / "victim", {"loss": "mse"})
    file, known = tmp_path / "run.toml", {"target", "draws", "engine", "precision", "surrogate", "surrogate_width"}
    file.write_text(f'victim = "{tmp_path / "victim"}"\nattack = "momentum"\nsamples = 3\ndraws = 2\nsteps = 2\n')
    for name, more, own in (
        ("own", ["--decay", "0.5"], {"steps": 2, "decay": 0.5}),
        ("other", ["--attack", "random"], {"steps": 2, "strength": 0.03}),
    ):
        main(["attack", "-c", str(file), "--out", str(tmp_path / name), "--quiet", *more])
        described = json.loads((tmp_path / name / "config.json").read_text())
        assert described["attack"] == {"own": "momentum", "other": "random"}[name]
        assert {key: value for key, value in described["settings"].items() if key not in known} == own
    file.write_text(file.read_text() + "gamma = 0.1\n")
    with pytest.raises(SystemExit):
        main(["attack", "-c", str(file), "--out", str(tmp_path / "none"), "--quiet"])
    assert not (tmp_path / "none").exists()

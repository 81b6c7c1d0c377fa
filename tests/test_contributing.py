"""What CONTRIBUTING.md says of a new attack, estimator, victim, defence, metric, format and page element is enough."""

import json

import jinja2
import pytest
import torch
from pydantic import ValidationError
from ten_lines import Constant, FirstHalf, Momentum, flips_a_step, words

import spikeflip
from spikeflip import Recording
from spikeflip.attacks import ATTACKS, METRICS, AttackInfo, Metric
from spikeflip.cli.app import main
from spikeflip.data import FORMATS, read_recording, write_recording
from spikeflip.data.formats.format import Format
from spikeflip.report import page
from spikeflip.runs import AttackConfig, run_attack
from spikeflip.runs.attack_options import options_model
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


def test_a_victim_of_one_s_own_class_is_attacked_and_judged(digits):
    victim, images, labels = Constant(), digits.images[:3], torch.tensor([1, 1, 0])
    result = spikeflip.scg(victim, images, labels, steps=2)
    assert result.already_wrong.tolist() == [False, False, True]
    assert spikeflip.judge(victim, images, result.adversarials, labels, None, result, draws=2).summary()["n"] == 3


def test_a_defence_is_named_on_the_command_line(digit_victim, tmp_path, monkeypatch):
    save_checkpoint(digit_victim, tmp_path / "victim", {"loss": "mse"})
    run = ["--samples", "3", "--steps", "2", "--draws", "2", "--quiet", "--out", str(tmp_path / "run")]
    main(["attack", "--victim", str(tmp_path / "victim"), "--defence", "ten_lines:FirstHalf", *run])
    assert json.loads((tmp_path / "run" / "config.json").read_text())["victim"]["defences"] == ["ten_lines:FirstHalf"]
    spikes = (torch.rand(2, 10, 1, 8, 8) < 0.5).float()
    assert torch.equal(FirstHalf(digit_victim).scores(spikes), digit_victim.scores(spikes[:, :5]))


def test_a_metric_bounds_attacks_and_is_reported(digit_victim, tmp_path, monkeypatch):
    monkeypatch.setitem(
        METRICS, "flips_a_step", Metric("flips_a_step", "cells a step", "the most in one", flips_a_step)
    )
    options_model.cache_clear()
    save_checkpoint(digit_victim, tmp_path / "victim", {"loss": "mse"})
    run = ["--samples", "4", "--draws", "2", "--quiet", "--out", str(tmp_path / "run")]
    main(["attack", "--victim", str(tmp_path / "victim"), "--metric", "flips_a_step", "--epsilon", "60", *run])
    options_model.cache_clear()
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert 0 < summary["flips_a_step_mean"] < 60
    assert "Flips a step mean" in (tmp_path / "run" / "report.html").read_text()


def test_a_format_is_read_and_written(tmp_path, monkeypatch):
    entry = Format("words", (".words",), "words of numbers", words.read, words.write, magic=words.MAGIC)
    monkeypatch.setitem(FORMATS, "words", entry)
    recording = Recording.from_columns([5, 9], [0, 1], [1, 0], [1, 0], height=2, width=2)
    write_recording(recording, tmp_path / "a.words")
    again = read_recording(tmp_path / "a.words", height=2, width=2)
    assert again.events.tolist() == recording.events.tolist()
    main(["events", "convert", str(tmp_path / "a.words"), str(tmp_path / "a.npz"), "--sensor", "2x2", "--quiet"])
    assert read_recording(tmp_path / "a.npz").events.tolist() == recording.events.tolist()


def test_a_page_element_is_a_value_and_a_piece_of_template(digit_victim, tmp_path, monkeypatch):
    save_checkpoint(digit_victim, tmp_path / "victim", {"loss": "mse"})
    run_attack(AttackConfig(victim=tmp_path / "victim", samples=3, steps=2, draws=2), tmp_path / "run", page=False)
    own, made = page.environment(), page._view
    source = own.loader.get_source(own, "page.html.j2")[0]
    before = "    <h3>What was attacked, and how</h3>\n"
    assert source.count(before) == 1
    loader = jinja2.DictLoader(
        {"page.html.j2": source.replace(before, "    <p>{{ run.longest }} steps</p>\n" + before)}
    )
    monkeypatch.setattr(own, "loader", jinja2.ChoiceLoader([loader, own.loader]))
    monkeypatch.setattr(own, "cache", None)
    monkeypatch.setattr(page, "_view", lambda run, *rest: made(run, *rest) | {"longest": run.rows["steps"].max()})
    assert "<p>2 steps</p>" in page.render_report([tmp_path / "run"])

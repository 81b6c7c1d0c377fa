"""The command evaluate: what it writes, how it goes on, cards and their page, and what it refuses."""

import json
import shutil
from dataclasses import replace

import pyarrow.parquet
import pytest
import torch
from kills import Kills
from safetensors.torch import load_file

import spikeflip
from spikeflip import load_checkpoint, load_images
from spikeflip.evaluation import SUITES, Suite, evaluate
from spikeflip.evaluation import members as members_module
from spikeflip.report.cards import Card
from spikeflip.runs import evaluate as evaluate_module

FILES = ("evaluation.json", "rows.parquet", "adversarials.safetensors", "config.json")
KEPT = ("random", "fgsm", "apgd margin hart", "pyautoattack:square")
GIVEN = ("--threat", "image-linf", "--budget", "0.15", "--samples", "6", "--draws", "5")
SHRINK = f"""
from spikeflip.evaluation import SUITES, Suite
members = tuple(one for one in SUITES["image-linf/1"].members if one.name in {KEPT[:3]!r})
SUITES["image-linf/1"] = Suite("image-linf/1", members)
"""


@pytest.fixture
def few(monkeypatch):
    """A suite that is done soon."""
    kept = tuple(one for one in SUITES["image-linf/1"].members if one.name in KEPT[:3])
    monkeypatch.setitem(SUITES, "image-linf/1", Suite("image-linf/1", kept))


@pytest.fixture
def evaluated(few, small_victim, run, tmp_path):
    out, card = tmp_path / "whole", tmp_path / "card.json"
    assert run("evaluate", "--victim", small_victim, *GIVEN, "--out", out, "--card", card, "--quiet") == (0, "", "")
    return out, card


def bytes_of(out):
    return {name: (out / name).read_bytes() for name in FILES}


def test_the_folder_holds_what_python_finds(evaluated, small_victim):
    out, _ = evaluated
    assert {path.name for path in out.iterdir()} == {*FILES, "manifest.json"}
    digits = load_images("digits", "test")
    victim = load_checkpoint(small_victim).network
    given = digits.images[:6], digits.labels[:6]
    ids = torch.arange(6) * 11
    found = evaluate(victim, *given, threat="image-linf", budget=0.15, draws=5, samples=ids)
    summary = found.summary()
    for member in summary["members"]:
        del member["seconds"]
    assert json.loads((out / "evaluation.json").read_text()) == summary
    assert 0 < summary["broken"] < 6
    rows = pyarrow.parquet.read_table(out / "rows.parquet").to_pydict()
    assert rows["broken"] == found.rows["broken"].tolist()
    assert rows["broken_by"] == [name or "" for name in found.broken_by]
    assert rows["input"] == list(range(6))
    stored = load_file(out / "adversarials.safetensors")
    assert torch.equal(stored["adversarials"], found.adversarials)
    assert torch.equal(stored["samples"], ids)
    assert len(json.loads((out / "manifest.json").read_text())["seconds_of_members"]) == 3


def test_spikes_are_kept_as_bytes(run, small_recordings, tmp_path, monkeypatch):
    suite = SUITES["binary-l0/1"].members
    small = (suite[0], suite[1], replace(suite[4], settings={"steps": 3}))
    monkeypatch.setitem(SUITES, "binary-l0/1", Suite("binary-l0/1", small))
    victim, data = small_recordings
    given = ("--victim", victim, "--data", data, "--sensor", "8x8", "--threat", "binary-l0", "--budget", "0.5")
    status, out, _ = run("evaluate", *given, "--split", "train", "--out", tmp_path / "e", "--json")
    assert status == 0
    found = json.loads(out)
    assert found["n"] == 10
    assert found["broken"] > 0
    assert all(member["seconds"] >= 0 for member in found["members"])
    stored = load_file(tmp_path / "e" / "adversarials.safetensors")["adversarials"]
    assert stored.dtype == torch.uint8
    assert stored.max() == 1


def test_an_interrupted_one_goes_on_with_the_same_bytes(evaluated, few, small_victim, run, tmp_path, monkeypatch):
    """Ended in each member in turn; those that are done are not run again."""
    whole, out = evaluated[0], tmp_path / "again"
    given = ("evaluate", "--victim", small_victim, *GIVEN, "--out", out, "--quiet")
    asked, made = [], members_module._attacked
    for last in range(3):

        def ends(member, *rest, last=last):
            asked.append(member.name)
            if member.name == KEPT[last]:
                raise KeyboardInterrupt
            return made(member, *rest)

        monkeypatch.setattr(members_module, "_attacked", ends)
        with pytest.raises(KeyboardInterrupt):
            spikeflip.runs.run_evaluation(config_of(small_victim), out)
        assert not (out / "evaluation.json").exists()
        assert len(list((out / "members").iterdir())) == last
    assert asked == ["random", "random", "fgsm", "fgsm", "apgd margin hart"]
    (out / "members" / "01.safetensors").write_bytes(b"damaged")
    monkeypatch.setattr(members_module, "_attacked", made)
    assert run(*given) == (0, "", "")
    assert bytes_of(out) == bytes_of(whole)
    assert not (out / "members").exists()


def config_of(victim):
    options = {"threat": "image-linf", "budget": 0.15, "samples": 6, "draws": 5}
    return spikeflip.runs.EvaluateConfig(victim=victim, **options)


@pytest.mark.processes
@pytest.mark.timeout(900)
def test_a_killed_one_ends_with_the_same_bytes(few, small_victim, run, tmp_path):
    kills = Kills(["evaluate", "--victim", small_victim, *GIVEN, "--quiet", "--out"], tmp_path, SHRINK)
    for number, moment in enumerate((0.05, 0.3, 0.5, 0.7, 0.85, 0.97)):
        out = tmp_path / str(number)
        assert kills.kill(out, moment), moment
        assert run(*kills.command, out) == (0, "", ""), moment
        assert bytes_of(out) == bytes_of(kills.whole)
        assert {path.name for path in out.iterdir()} == {path.name for path in kills.whole.iterdir()}


def test_a_finished_one_is_left_as_it_is(evaluated, few, small_victim, run, monkeypatch):
    out, _ = evaluated
    before = bytes_of(out)
    monkeypatch.setattr(evaluate_module, "evaluate", None)
    status, said, _ = run("evaluate", "--victim", small_victim, *GIVEN, "--out", out)
    assert status == 0
    assert said.startswith("image-linf/1, budget 0.15: robust accuracy ")
    assert bytes_of(out) == before


def test_the_terminal_says_what_was_left_out_and_by_what(few, small_victim, run, tmp_path, monkeypatch):
    member = replace(SUITES["image-linf/1"].members[1], name="windows", attack="sigma-zero", fitted=lambda fit: {})
    monkeypatch.setitem(SUITES, "image-linf/1", Suite("image-linf/1", (*SUITES["image-linf/1"].members[:2], member)))
    status, said, _ = run("evaluate", "--victim", small_victim, *GIVEN, "--out", tmp_path / "e")
    assert status == 0
    assert "note: windows was left out: inputs of shape" in said
    assert "note: whether gradients are masked was not looked at: give --verdict" in said
    assert len([line for line in said.splitlines() if line.startswith("random ")]) == 1


class TestCards:
    def test_a_card_comes_back(self, evaluated, small_victim):
        out, path = evaluated
        card = Card(**json.loads(path.read_text()))
        summary = json.loads((out / "evaluation.json").read_text())
        for name, value in summary.items():
            assert json.loads(path.read_text())[name] == value
        assert card.victim.name == small_victim.name
        assert card.victim.weights_sha256 == load_checkpoint(small_victim).sha256
        assert card.spikeflip == spikeflip.__version__
        assert card.suite == "image-linf/1"
        assert card.verdict is None
        assert str(small_victim.parent) not in path.read_text()

    def test_a_card_of_a_finished_one(self, evaluated, few, small_victim, run, tmp_path):
        out, path = evaluated
        given = ("evaluate", "--victim", small_victim, *GIVEN, "--out", out, "--card", tmp_path / "b.json")
        assert run(*given, "--quiet")[0] == 0
        assert (tmp_path / "b.json").read_bytes() == path.read_bytes()

    def test_what_is_no_card_is_not_written_over(self, evaluated, few, small_victim, run, tmp_path):
        out, _ = evaluated
        (tmp_path / "notes.json").write_text("{}")
        given = ("evaluate", "--victim", small_victim, *GIVEN, "--out", out, "--card")
        assert "holds something that is no card" in run(*given, tmp_path / "notes.json")[2]
        assert "lies in a file: give one in a folder" in run(*given, tmp_path / "notes.json" / "card.json")[2]
        assert run(*given, tmp_path / "new" / "card.json", "--quiet")[0] == 0
        assert (tmp_path / "new" / "card.json").is_file()
        assert (tmp_path / "notes.json").read_text() == "{}"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--threat", "binary-l0"), "threat binary-l0 is on spikes, and the inputs are images"),
        (("--threat", "pixels"), "threat is 'pixels': choose from binary-l0, image-linf, image-mse"),
        (("--suite", "image-linf/9"), "suite is 'image-linf/9', and those of threat image-linf are image-linf/1"),
        (("--budget", "2"), "budget is 2.0, and that of image-linf is the most that a pixel in [0, 1] may change"),
        (("--budget", "-1"), "--budget is '-1': input should be greater than or equal to 0"),
        (("--samples", "0"), "--samples"),
        (("--simulate-events",), "the victim takes (1, 8, 8)"),
    ],
)
def test_refusals(small_victim, run, tmp_path, options, said):
    given = dict(zip(GIVEN[::2], GIVEN[1::2], strict=True)) | dict(zip(options[::2], options[1::2], strict=False))
    rest = [part for pair in given.items() for part in pair] + list(options[:1] if len(options) == 1 else ())
    status, _, error = run("evaluate", "--victim", small_victim, *rest, "--out", tmp_path / "e")
    assert status == 2
    assert said in error
    assert error.count("\n") == 1
    assert not (tmp_path / "e").exists()


def test_other_options_and_other_folders(evaluated, few, small_victim, run, tmp_path):
    out, _ = evaluated
    given = ("evaluate", "--victim", small_victim, *GIVEN)
    assert "holds an evaluation with other options (seed: 0 -> 1)" in run(*given, "--seed", "1", "--out", out)[2]
    assert run(*given, "--micro-batch", "3", "--quiet", "--out", out)[0] == 0  # nothing depends on it
    moved = tmp_path / "moved"
    shutil.copytree(small_victim, moved)
    assert run("evaluate", "--victim", moved, *GIVEN, "--quiet", "--out", out)[0] == 0
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "a").write_text("")
    assert "already holds other files" in run(*given, "--out", tmp_path / "full")[2]
    (tmp_path / "attack").mkdir()
    (tmp_path / "attack" / "config.json").write_text('{"identity": {"attack": "scg"}}')
    assert "holds something that is no evaluation" in run(*given, "--out", tmp_path / "attack")[2]

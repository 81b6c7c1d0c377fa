"""The command evaluate: what it writes, how it goes on, cards and their page, and what it refuses."""

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from types import SimpleNamespace

import pyarrow.parquet
import pytest
import torch
from kills import Kills
from safetensors.torch import load_file

import spikeflip
from spikeflip import load_checkpoint, load_images
from spikeflip.cli.app import main
from spikeflip.cli.evaluate import print_evaluation
from spikeflip.evaluation import SUITES, Suite, evaluate
from spikeflip.report.cards import Card
from spikeflip.runs import evaluate as evaluate_module
from spikeflip.runs import evaluate_shard, run_evaluation
from spikeflip.snn.checkpoint import save_checkpoint
from spikeflip.victims import Diagnosis
from spikeflip.victims.examining.checks import Verdict

FILES = ("evaluation.json", "rows.parquet", "adversarials.safetensors", "config.json")
KEPT = ("random", "twin's adversarials", "fgsm")
GIVEN = ("--threat", "image-linf", "--budget", "0.15", "--samples", "6", "--draws", "5", "--shard-size", "2")
SHRINK = f"""
from spikeflip.evaluation import SUITES, Suite
members = tuple(one for one in SUITES["image-linf/1"].members if one.name in {KEPT!r})
SUITES["image-linf/1"] = Suite("image-linf/1", members)
"""


@pytest.fixture(scope="module")
def few():
    """A suite that is done soon."""
    kept = tuple(one for one in SUITES["image-linf/1"].members if one.name in KEPT)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(SUITES, "image-linf/1", Suite("image-linf/1", kept))
        yield


@pytest.fixture(scope="module")
def evaluated(few, small_victim, tmp_path_factory):
    """A finished evaluation, and its card; nothing changes them."""
    home = tmp_path_factory.mktemp("evaluated")
    out, card = home / "whole", home / "card.json"
    given = ["evaluate", "--victim", small_victim, *GIVEN, "--out", out, "--card", card, "--quiet"]
    main([str(part) for part in given])
    return out, card


def bytes_of(out):
    return {name: (out / name).read_bytes() for name in FILES}


def test_the_folder_holds_what_python_finds(evaluated, small_victim):
    out, _ = evaluated
    assert {path.name for path in out.iterdir()} == {*FILES, "manifest.json", "run.log", "report.html"}
    digits = load_images("digits", "test")
    victim = load_checkpoint(small_victim).network
    given = digits.images[:6], digits.labels[:6]
    ids = torch.arange(6) * 11
    found = evaluate(victim, *given, threat="image-linf", budget=0.15, draws=5, samples=ids)
    summary = found.summary()
    for member in summary["members"]:
        del member["seconds"]
    assert json.loads((out / "evaluation.json").read_text()) == summary | {"notices": []}
    assert 0 < summary["broken"] < 6
    rows = pyarrow.parquet.read_table(out / "rows.parquet").to_pydict()
    assert rows["broken"] == found.rows["broken"].tolist()
    assert rows["broken_by"] == [name or "" for name in found.broken_by]
    assert rows["input"] == list(range(6))
    stored = load_file(out / "adversarials.safetensors")
    assert torch.equal(stored["adversarials"], found.adversarials)
    assert torch.equal(stored["originals"], digits.images[:6])
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
    """Ended in each shard in turn; those that are done are not run again, but where they are damaged."""
    whole, out = evaluated[0], tmp_path / "again"
    given = ("evaluate", "--victim", small_victim, *GIVEN, "--out", out, "--quiet")
    begun, made = [], evaluate_shard.EvaluateWorker.attack_once
    for last in range(3):

        def ends(worker, shard, *rest, last=last):
            begun.append(shard.number)
            if shard.number == last:
                raise KeyboardInterrupt
            made(worker, shard, *rest)

        monkeypatch.setattr(evaluate_shard.EvaluateWorker, "attack_once", ends)
        with pytest.raises(KeyboardInterrupt):
            run_evaluation(config_of(small_victim), out)
        assert not (out / "evaluation.json").exists()
        assert sorted(path.name for path in (out / "shards").iterdir()) == [f"{done:05}" for done in range(last)]
    assert begun == [0, 0, 1, 1, 2]
    (out / "shards" / "00001" / "members.json").write_text("{}")
    monkeypatch.setattr(evaluate_shard.EvaluateWorker, "attack_once", made)
    assert run(*given) == (0, "", "spikeflip: shard 1 is damaged or of another run, and is attacked again\n")
    assert bytes_of(out) == bytes_of(whole)
    assert not (out / "shards").exists()
    log = (out / "run.log").read_text()
    assert [f"interrupted; {done} of 3 shards are finished and stay" in log for done in range(3)] == [True] * 3
    assert "finished: 6 rows" in log


def test_the_same_bytes_whatever_the_shards(evaluated, few, small_victim, run, tmp_path):
    out = tmp_path / "other"
    given = ("evaluate", "--victim", small_victim, *GIVEN[:-1], "4", "--micro-batch", "3", "--out", out, "--quiet")
    assert run(*given) == (0, "", "")
    ours, theirs = bytes_of(out), bytes_of(evaluated[0])
    for name in FILES[:3]:
        assert ours[name] == theirs[name]


@pytest.mark.processes
@pytest.mark.timeout(600)
def test_the_same_bytes_with_workers(evaluated, small_victim, tmp_path):
    out = tmp_path / "workers"
    script = f"{SHRINK}\nfrom spikeflip.cli.app import main\nif __name__ == '__main__':\n    main({{!r}})\n"
    command = ["evaluate", "--victim", str(small_victim), *GIVEN, "--workers", "2", "--out", str(out), "--quiet"]
    (tmp_path / "shrunk.py").write_text(script.format(command))  # which each worker runs too, and has the small suite
    done = subprocess.run([sys.executable, tmp_path / "shrunk.py"], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert bytes_of(out) == bytes_of(evaluated[0])
    assert json.loads((out / "manifest.json").read_text())["workers"] == 2


def test_progress_is_in_inputs_and_only_grows(few, small_victim, tmp_path):
    seen = []
    run_evaluation(config_of(small_victim), tmp_path / "e", progress=lambda *told: seen.append(told))
    done = [told[1] for told in seen]
    assert done == sorted(done)
    assert seen[-1] == ("evaluate", 6, 6)
    assert {told[0] for told in seen} == {"evaluate", *(f"evaluate|{name}" for name in KEPT)}
    assert {told[2] for told in seen} == {6}


def test_parts_of_a_suite_count_by_the_time_they_take(few, small_victim, tmp_path):
    """Of a shard of 2 inputs that is at the last of three attacks, which took as long as nine times the first two."""
    plan = SimpleNamespace(work=lambda: None, size=lambda number: 2, rows=range(6))
    suite, seen = SUITES["image-linf/1"], []
    one = object.__new__(evaluate_module._Run)
    vars(one).update(plan=plan, suite=suite, progress=lambda *told: seen.append(told), done={}, seconds={})
    one.report(0, KEPT[2], 0.5)
    assert seen[-1][1] == 1  # equal parts: 2.5 of 3
    one.done, one.seconds = {}, {KEPT[0]: 1.0, KEPT[1]: 1.0, KEPT[2]: 18.0}
    one.report(0, KEPT[2], 0.1)
    assert one.done[0] == pytest.approx(0.19)


def config_of(victim):
    options = {"threat": "image-linf", "budget": 0.15, "samples": 6, "draws": 5, "shard_size": 2}
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
    monkeypatch.setattr(evaluate_module, "_Run", None)
    status, said, _ = run("evaluate", "--victim", small_victim, *GIVEN, "--out", out)
    assert status == 0
    first, second, *_ = said.splitlines()
    assert first == f"{out} was evaluated already; this is its summary"
    assert second.startswith("image-linf/1, budget 0.15: robust accuracy ")
    assert bytes_of(out) == before


@pytest.mark.parametrize("name", ["rows.parquet", "adversarials.safetensors", "manifest.json", "evaluation.json"])
def test_a_finished_one_that_lost_a_file_is_evaluated_again(evaluated, few, small_victim, run, tmp_path, name):
    lost = shutil.copytree(evaluated[0], tmp_path / "lost")
    (lost / name).unlink()
    status, said, err = run("evaluate", "--victim", small_victim, *GIVEN, "--out", lost)
    assert (status, err, "was evaluated already" in said) == (0, "", False)
    assert bytes_of(lost) == bytes_of(evaluated[0])
    assert "seconds_of_members" in json.loads((lost / "manifest.json").read_text())


def test_commands_on_runs_say_that_it_is_an_evaluation(evaluated, undisturbed, small_victim, run, tmp_path):
    out, page = evaluated[0], tmp_path / "page.html"
    said = f"spikeflip: {out} is an evaluation, not a run of attack: see its report.html\n"
    for command in (
        ["report", out, "--out", page],
        ["verify", out, "--victim", small_victim],
        ["transfer", out, "--victim", small_victim],
        ["plot", out, "--kind", "frames", "--out", tmp_path / "f.svg"],
        ["plot", out, "--kind", "budget", "--out", tmp_path / "f.svg"],
        ["animate", out, "--out", tmp_path / "f.gif"],
        ["runs", out],
        ["runs", out, undisturbed, "--compare"],
    ):
        assert run(*command) == (2, "", said)
    rows = json.loads(run("runs", out, undisturbed, "--format", "json")[1])
    assert [(row["name"], row["state"]) for row in rows] == [(str(undisturbed), "finished")]
    unfinished = shutil.copytree(out, tmp_path / "study" / "unfinished")
    shutil.copytree(undisturbed, tmp_path / "study" / "run")
    (unfinished / "evaluation.json").unlink()
    rows = json.loads(run("runs", tmp_path / "study", "--format", "json")[1])
    assert [row["name"] for row in rows] == [str(tmp_path / "study" / "run")]
    assert (
        "unfinished is an evaluation, not a run of attack: give its evaluate command again"
        in run("runs", unfinished)[2]
    )


def test_the_terminal_says_what_was_left_out_and_by_what(few, small_victim, run, tmp_path, monkeypatch):
    member = replace(SUITES["image-linf/1"].members[2], name="windows", attack="sigma-zero", fitted=lambda fit: {})
    monkeypatch.setitem(SUITES, "image-linf/1", Suite("image-linf/1", (*SUITES["image-linf/1"].members[1:], member)))
    status, said, _ = run("evaluate", "--victim", small_victim, *GIVEN, "--out", tmp_path / "e")
    assert status == 0
    assert "note: windows was left out: inputs of shape" in said
    assert "note: whether gradients are masked was not looked at: give --verdict" in said
    _, said, _ = run("evaluate", "--victim", small_victim, *GIVEN, "--verdict", "--out", tmp_path / "v")
    assert "not looked at: that takes 8 inputs that are right, and a budget that changes them" in said
    assert len([line for line in said.splitlines() if line.startswith("fgsm ")]) == 1


def test_the_terminal_has_every_finding_of_a_verdict(evaluated, capsys):
    summary = json.loads((evaluated[0] / "evaluation.json").read_text())
    findings = [{"weight": "note", "sentence": "a"}, {"weight": "masked", "sentence": "b"}]
    print_evaluation(summary | {"verdict": {"word": "masked", "findings": findings}}, judged=True)
    assert "masking: masked\n  note: a\n  masked: b\n" in capsys.readouterr().out


def test_a_victim_that_fails_doctor_is_not_evaluated(few, small_victim, run, tmp_path, monkeypatch):
    """All findings, in a sentence each, and nothing is written."""
    broken = (
        Verdict("gradient", False, "the gradient is not a number", "mend it"),
        Verdict("tied outputs", True, "none"),
        Verdict("output", False, "one class alone", "read out another layer"),
    )
    seen = []
    monkeypatch.setattr(evaluate_module, "doctor", lambda *given: seen.append(given) or Diagnosis(broken))
    status, said, error = run("evaluate", "--victim", small_victim, *GIVEN, "--out", tmp_path / "e")
    assert (status, said) == (2, "")
    assert error.startswith("spikeflip: the victim fails 2 of the checks of doctor and is not evaluated: gradient: ")
    assert "the gradient is not a number" in error
    assert "output: one class alone" in error
    assert error.count("\n") == 1
    assert not (tmp_path / "e").exists()
    assert seen[0][1].shape == (6, 1, 8, 8)


def test_what_must_be_known_is_said_everywhere(few, small_victim, run, tmp_path):
    shutil.copytree(small_victim, tmp_path / "v")
    facts = json.loads((tmp_path / "v" / "victim.json").read_text())
    facts["facts"]["learned"] = False
    (tmp_path / "v" / "victim.json").write_text(json.dumps(facts))
    given = ["--threat", "image-linf", "--budget", "0", "--samples", "400", "--draws", "1"]
    out = ["--out", tmp_path / "e", "--card", tmp_path / "c"]
    status, said, _ = run("evaluate", "--victim", tmp_path / "v", *given, *out)
    assert status == 0
    notices = json.loads((tmp_path / "e" / "evaluation.json").read_text())["notices"]
    assert [notice["code"] for notice in notices] == ["fewer-inputs", "victim-did-not-learn"]
    assert json.loads((tmp_path / "c").read_text())["notices"] == notices
    page, lines = (tmp_path / "e" / "report.html").read_text(), " ".join(said.split())
    for notice in notices:
        assert all(part[1:] in page for part in notice["text"].split(": ", 1))
        assert f"note: {notice['text']}" in lines


def test_a_victim_at_chance_is_named(few, run, tmp_path):
    network = spikeflip.SpikingNetwork("16FC-10FC", (1, 8, 8), time_steps=4, neuron=spikeflip.LIF(0.1, 0.3), seed=1)
    save_checkpoint(network, tmp_path / "v", {"loss": "mse"})
    given = ["--threat", "image-linf", "--budget", "0", "--samples", "60", "--draws", "1", "--out", tmp_path / "e"]
    status, said, _ = run("evaluate", "--victim", tmp_path / "v", *given)
    assert status == 0
    assert "note: the victim cannot be told from guessing" in said


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

    @pytest.mark.parametrize("name", ["", "evaluation.json", "report.html"])
    def test_a_card_does_not_take_the_place_of_the_evaluation(self, few, small_victim, run, tmp_path, name):
        given = ("evaluate", "--victim", small_victim, *GIVEN, "--out", tmp_path / "e")
        assert "is the place of the evaluation itself" in run(*given, "--card", tmp_path / "e" / name)[2]
        assert not (tmp_path / "e").exists()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--threat", "binary-l0"), "threat binary-l0 is on spikes, and the inputs are images"),
        (("--threat", "pixels"), "threat is 'pixels': choose from binary-l0, events, timing, image-linf, image-mse"),
        (("--suite", "image-linf/9"), "suite is 'image-linf/9', and those of threat image-linf are image-linf/1"),
        (("--budget", "2"), "budget is 2.0, and that of image-linf is the most that a pixel in [0, 1] may change"),
        (("--budget", "-1"), "--budget is '-1': input should be greater than or equal to 0"),
        (("--threat", "events"), "threat events is on spikes, and the inputs are images"),
        (("--threat", "timing"), "threat timing is on spikes, and the inputs are images"),
        (("--address", "auto"), "--address auto is that of a Ray cluster: add --executor ray"),
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


def test_the_verdict_has_the_streams_of_the_rows_and_the_engine_of_the_attacks(
    few, small_victim, run, tmp_path, monkeypatch
):
    asked, engines = [], []

    def verdict_on(victim, *_, samples, attacked, **__):
        asked.append(samples.tolist())
        engines.append((victim._engine_name, attacked._engine_name))

    monkeypatch.setattr(evaluate_module, "verdict_on", verdict_on)
    assert run("evaluate", "--victim", small_victim, *GIVEN, "--verdict", "--out", tmp_path / "e")[0] == 0
    rows = pyarrow.parquet.read_table(tmp_path / "e" / "rows.parquet").to_pydict()
    right = [sample for sample, first in zip(rows["sample"], rows["right"], strict=True) if first]
    assert asked == [right]
    assert right != list(range(len(right)))
    assert engines == [("torch", "event")]

"""Patterns in runs: learned by a command on one part of the data, put on another, known by their content."""

import json
import shutil

import pytest
import torch

from spikeflip import LIF, SpikeflipError, SpikingNetwork, load_pattern, save_pattern
from spikeflip.attacks import Pattern
from spikeflip.report.loading import open_inputs
from spikeflip.runs import AttackConfig, PatternConfig, run_attack, run_learning, verify_run
from spikeflip.runs.attack import is_done
from spikeflip.runs.inputs import data_checksum
from spikeflip.snn.checkpoint import load_checkpoint, save_checkpoint

pytestmark = pytest.mark.usefixtures("undrawn")
EVENTS = {"simulate_events": True, "micro_batch": 8}


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A folder with two victims of simulated events, which guess, and flips and a patch learned on the first."""
    folder = tmp_path_factory.mktemp("patterns")
    for name, seed in (("victim", 4), ("other", 5)):
        network = SpikingNetwork("8C3-AP2-10FC", (2, 16, 16), time_steps=4, neuron=LIF(0.1, 0.25), seed=seed)
        save_checkpoint(network, folder / name, {"loss": "mse"})
    save_checkpoint(SpikingNetwork("10FC", (1, 8, 8), time_steps=4), folder / "pictures", {"loss": "mse"})
    config = {"victim": folder / "victim", "samples": 60, "steps": 2, **EVENTS}
    run_learning(PatternConfig(cells=90, **config), folder / "flips")
    run_learning(PatternConfig(kind="patch", side=5, **config), folder / "patch")
    return folder


def attack(home, name="flips", kind="universal", **options):
    options = {"victim": home / "victim", "samples": 30, **EVENTS} | options
    return AttackConfig(attack=kind, settings={"pattern": home / name}, **options)


def test_the_file_says_what_it_was_learned_on(home):
    config = PatternConfig(victim=home / "victim", samples=60, steps=2, cells=90, **EVENTS)
    found = run_learning(config, home / "again")
    assert (home / "again").read_bytes() == (home / "flips").read_bytes()
    pattern = load_pattern(home / "flips")
    facts = {"file": str(home / "again"), "kind": "universal", "cells": 90, "sha256": pattern.sha256, "notices": []}
    assert found == facts | dict(pattern.facts)
    assert pattern.shape == (4, 2, 16, 16)
    assert (pattern.facts["split"], pattern.facts["steps"], pattern.facts["target"]) == ("train", 2, None)
    assert 0 < pattern.facts["inputs"] < 60
    assert load_pattern(home / "patch").bits.shape == (4, 2, 5, 5)


def test_every_input_of_a_run_has_the_pattern(home, tmp_path):
    summary = run_attack(attack(home), tmp_path / "run", page=False)
    saved, bits = open_inputs(tmp_path / "run"), load_pattern(home / "flips").bits.numpy()
    changed = [(before != after) for before, after in map(saved.read, range(30))]
    assert 0 < sum(one.any() for one in changed) < 30  # what the victim has wrong is left alone
    assert all((one == bits).all() for one in changed if one.any())
    assert summary["notices"] == [
        note for note in summary["notices"] if not note["code"].startswith(("pattern", "lea"))
    ]
    described = json.loads((tmp_path / "run" / "config.json").read_text())
    assert described["settings"]["pattern"].startswith("90 flips, sha256 ")
    assert described["pattern"]["split"] == "train"
    assert "pattern" not in described["options"]


def test_a_run_is_of_the_pattern_s_content_wherever_it_lies(home, tmp_path):
    run_attack(attack(home), tmp_path / "run", page=False)
    shutil.copy(home / "flips", tmp_path / "moved")
    moved = attack(home, name=tmp_path / "moved")
    run_attack(moved, tmp_path / "run", page=False)  # is finished, and the same
    run_attack(moved, tmp_path / "run")
    assert is_done(moved, tmp_path / "run", data_checksum)
    other = load_pattern(home / "flips")
    bits = other.bits.clone()
    bits[0, 0, 0, 0] = 1 - bits[0, 0, 0, 0]
    save_pattern(Pattern("universal", bits, other.shape), tmp_path / "moved")
    assert not is_done(moved, tmp_path / "run", data_checksum)
    with pytest.raises(SpikeflipError, match=r"holds a run with other options \(pattern's checksum: "):
        run_attack(moved, tmp_path / "run")
    with pytest.raises(SpikeflipError, match=r"has another pattern .*: give its own with --pattern"):
        verify_run(tmp_path / "run", victim=home / "victim", pattern=tmp_path / "moved")
    with pytest.raises(SpikeflipError, match="put a pattern on the inputs: give its file with --pattern"):
        verify_run(tmp_path / "run", victim=home / "victim")
    assert verify_run(tmp_path / "run", victim=home / "victim", pattern=home / "flips")["differences"] == []


def test_a_pattern_of_no_use_to_an_attack_is_refused(home, tmp_path):
    plain = AttackConfig(victim=home / "victim", samples=4, attack="random", settings={"steps": 1}, **EVENTS)
    run_attack(plain, tmp_path / "plain", page=False)
    with pytest.raises(SpikeflipError, match=r"is given, and the attack of .* takes none: leave it out"):
        verify_run(tmp_path / "plain", victim=home / "victim", pattern=home / "flips")
    for config, words in (
        (attack(home, "none"), "none does not exist: give a file that learn-pattern wrote"),
        (attack(home, "patch"), "the pattern is a patch one: give it to the attack patch, not universal"),
        (AttackConfig(victim=home / "victim", attack="universal", **EVENTS), "the attack universal has no pattern"),
        (
            attack(home, victim=home / "pictures", simulate_events=False),
            "universal attacks spikes, not images: choose from",
        ),
    ):
        with pytest.raises(SpikeflipError, match=words):
            run_attack(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("options", "codes"),
    [
        ({}, set()),
        ({"split": "train"}, {"learned-on-the-same"}),
        ({"target": "3"}, {"pattern-of-another-goal"}),
        ({"victim": "other"}, {"pattern-of-another-victim"}),
    ],
)
def test_what_a_rate_of_a_pattern_does_not_say_is_said(home, tmp_path, options, codes):
    options = options | ({"victim": home / "other"} if "victim" in options else {})
    summary = run_attack(attack(home, "patch", "patch", **options), tmp_path / "run", page=False)
    assert {note["code"] for note in summary["notices"]} & {
        "learned-on-the-same",
        "pattern-of-another-goal",
        "pattern-of-another-victim",
    } == codes


def test_shards_and_processes_put_the_same(home, tmp_path):
    whole = attack(home, "patch", "patch")
    run_attack(whole, tmp_path / "one", page=False)
    run_attack(attack(home, "patch", "patch", shard_size=7), tmp_path / "two", page=False)
    one, two = (open_inputs(tmp_path / name) for name in ("one", "two"))
    assert all((one.read(row)[1] == two.read(row)[1]).all() for row in range(30))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({}, "--cells is missing: a universal pattern needs it, how many cells are flipped"),
        ({"kind": "patch"}, "--side is missing: a patch pattern needs it, the side of the square, in pixels"),
        ({"cells": 3, "side": 2}, "--side 2 is no option of a universal pattern: leave it out"),
        ({"kind": "patch", "side": 2, "cells": 3}, "--cells 3 is no option of a patch pattern: leave it out"),
        ({"cells": 3, "target": "all"}, "--target is all, and a pattern leads to one class: name it"),
        ({"cells": 3, "target": "x"}, "--target x is no class"),
        ({"cells": 2049}, "cells is 2049, and an input has 2,048: give 0 to so many"),
        (
            {"cells": 3, "simulate_events": False, "victim": "pictures"},
            "are images, and patterns are learned on spikes: give recordings",
        ),
    ],
)
def test_learning_that_is_asked_for_wrongly(home, tmp_path, options, words):
    options = options | {"victim": home / options.get("victim", "victim")}
    config = PatternConfig(**{"samples": 20, **EVENTS} | options)
    with pytest.raises(SpikeflipError, match=words):
        run_learning(config, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_only_a_pattern_is_written_over(home, tmp_path):
    config = PatternConfig(victim=home / "victim", samples=20, steps=1, cells=3, **EVENTS)
    (tmp_path / "letter").write_text("dear")
    with pytest.raises(SpikeflipError, match="letter holds something that is no pattern: give another file"):
        run_learning(config, tmp_path / "letter")
    with pytest.raises(SpikeflipError, match="is in no folder that is there: make it, or give another file"):
        run_learning(config, tmp_path / "none" / "file")
    shutil.copy(home / "flips", tmp_path / "mine")
    run_learning(config, tmp_path / "mine")
    assert load_pattern(tmp_path / "mine").cells == 3


def test_the_command(home, tmp_path, run):
    given = ["--victim", home / "victim", "--simulate-events", "--samples", "40", "--steps", "1"]
    patch = ["--kind", "patch", "--side", "4", "--place", "3,12", "--target", "2"]
    status, out, _ = run("learn-pattern", *given, *patch, "--out", tmp_path / "a", "--json")
    found = json.loads(out)
    pattern = load_pattern(tmp_path / "a")
    assert status == 0
    assert (found["kind"], found["target"], found["sha256"]) == ("patch", 2, pattern.sha256)
    assert pattern.place == (3, 12)
    status, out, _ = run("learn-pattern", *given, "--cells", "5", "--out", tmp_path / "b")
    assert status == 0
    assert "5 cells, fools" in out
    assert torch.count_nonzero(load_pattern(tmp_path / "b").bits) == 5
    common = ["--victim", home / "victim", "--simulate-events", "--samples", "5", "--quiet"]
    assert run("attack", *common, "--attack", "patch", "--pattern", tmp_path / "a", "--out", tmp_path / "run")[0] == 0
    status, _, said = run("attack", *common, "--attack", "scg", "--pattern", tmp_path / "a", "--out", tmp_path / "no")
    assert (status, said) == (2, "spikeflip: --pattern is no option of scg: leave it out\n")
    status, _, said = run("learn-pattern", *given, "--kind", "patch", "--side", "4", "--place", "x", "--out", "a")
    assert (status, said) == (2, "spikeflip: --place is 'x': give ROW,COLUMN, such as 4,12\n")


def test_what_must_be_known_of_victim_and_data_is_said(home, tmp_path, run):
    shutil.copytree(home / "victim", tmp_path / "victim")
    network = load_checkpoint(tmp_path / "victim").network
    save_checkpoint(network, tmp_path / "victim", {"loss": "mse", "learned": False})
    given = ["--victim", tmp_path / "victim", "--simulate-events", "--samples", "9000", "--split", "test"]
    status, out, _ = run("learn-pattern", *given, "--cells", "2", "--steps", "1", "--out", tmp_path / "pattern")
    notes = [line for line in out.splitlines() if line.startswith("note: ")]
    assert (status, len(notes)) == (0, 2)
    assert "inputs, fewer than the 9,000 asked for" in notes[0]
    assert "the victim did not learn" in notes[1]

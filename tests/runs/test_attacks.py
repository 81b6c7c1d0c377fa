"""Every registered attack as a run: its options, what it refuses, and folders that were there before it."""

import json
from dataclasses import fields

import pytest
from pydantic import ValidationError

from spikeflip.attacks import ATTACKS
from spikeflip.errors import SpikeflipError
from spikeflip.runs import AttackConfig, run_attack, verify_run
from spikeflip.runs.attack import is_done
from spikeflip.runs.attack_options import options_model
from spikeflip.runs.config import explain
from spikeflip.runs.inputs import data_checksum
from spikeflip.runs.plan import PLACES, make_plan, open_task

LATER = {"top_k", "rescue_window", "step_size", "candidates", "unit", "block", "strength"}
"""Options that run folders of version 0.1 do not know."""


def test_every_attack_is_an_option_and_every_setting_has_one():
    for name, info in ATTACKS.items():
        options = options_model(name).model_fields
        assert {field.name for field in fields(info.settings)} <= options.keys() | {"budget"}
        assert not options.keys() & AttackConfig.model_fields.keys()
        assert all(option.description for option in options.values())
    with pytest.raises(ValidationError, match="--attack is 'frob': choose from scg, fgsm"):
        AttackConfig(victim="v", attack="frob")


def test_what_is_not_given_is_the_attack_s_own_default(small_victim):
    for name, info in ATTACKS.items():
        if "images" in info.inputs:
            plan = make_plan(open_task(AttackConfig(victim=small_victim, attack=name, samples=2)))
            resolved = {"threshold": 1.0} if name == "scg" else {}
            assert info.settings(**plan.settings) == info.settings(**resolved)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"attack": "bim", "gamma": 0.05}, "--gamma is no option of bim: leave it out"),
        ({"attack": "bim", "threshold": 1.0}, "--threshold is no option of bim: leave it out"),
        ({"attack": "bim", "tuning": False}, "--tuning is no option of bim: leave it out"),
        ({"attack": "fgsm", "steps": 3}, "--steps is no option of fgsm: leave it out"),
        ({"attack": "random", "epsilon": 0.1}, "--epsilon is no option of random: leave it out"),
        ({"attack": "random", "metric": "l0"}, "--metric is no option of random: leave it out"),
        ({"attack": "conversion", "loss": "ce"}, "--loss is no option of conversion: leave it out"),
        ({"step_size": 0.1}, "--step-size is no option of scg: leave it out"),
    ],
)
def test_an_option_that_an_attack_lacks_is_no_option(options, message):
    with pytest.raises(ValidationError) as error:
        AttackConfig(victim="v", **options)
    assert explain(error.value) == message


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"attack": "greedy-flips"}, "--attack greedy-flips attacks spikes, not images: choose from scg, fgsm, bim, "),
        ({"attack": "conversion", "epsilon": 0.1}, "step_size is not given, and cannot be taken from a budget in mse"),
    ],
)
def test_what_an_attack_lacks_is_refused_before_anything_is_written(small_victim, tmp_path, options, message):
    with pytest.raises(SpikeflipError) as error:
        run_attack(AttackConfig(victim=small_victim, samples=3, **options), tmp_path / "run")
    assert message in str(error.value)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "run").exists()


def test_images_attacks_refuse_recordings(small_recordings, tmp_path):
    victim, data = small_recordings
    with pytest.raises(
        SpikeflipError, match="--attack bim attacks images, not spikes: choose from scg, greedy-flips, "
    ):
        run_attack(AttackConfig(victim=victim, input=data, attack="bim"), tmp_path / "run")
    assert not (tmp_path / "run").exists()


OPTIONS = {
    "scg": {"top_k": 6, "rescue_window": 3.0, "steps": 3},
    "fgsm": {"step_size": 0.2},
    "bim": {"step_size": 0.05, "epsilon": 0.1, "metric": "linf", "loss": "ce", "steps": 3},
    "conversion": {"steps": 3},
    "greedy-pixels": {"candidates": 3, "unit": 0.5, "block": 3, "steps": 3},
    "random": {"strength": 0.1, "steps": 3},
}


@pytest.mark.parametrize("attack", OPTIONS)
def test_runs_keep_their_own_options_alone_and_can_be_verified(small_victim, tmp_path, attack):
    config = AttackConfig(victim=small_victim, attack=attack, samples=4, draws=2, **OPTIONS[attack])
    summary = run_attack(config, tmp_path / "run")
    assert is_done(config, tmp_path / "run", data_checksum)
    assert run_attack(config, tmp_path / "run") == summary
    stored = json.loads((tmp_path / "run" / "config.json").read_text())
    own = {field.name for field in fields(ATTACKS[attack].settings)}
    assert not (LATER - own) & set(stored["options"])
    assert OPTIONS[attack].items() <= stored["options"].items()
    assert verify_run(tmp_path / "run", victim=small_victim)["differences"] == []


def test_spikes_by_trial_and_error(small_recordings, tmp_path):
    victim, data = small_recordings
    config = AttackConfig(victim=victim, input=data, attack="greedy-flips", candidates=8, steps=3)
    summary = run_attack(config, tmp_path / "run")
    assert summary["n"] == 12
    assert summary["backwards_mean"] in (0, None)


def test_runs_of_before_these_options_are_still_the_same(small_victim, tmp_path):
    config = AttackConfig(victim=small_victim, samples=4, draws=2, steps=2)
    run_attack(config, tmp_path / "run")
    file = tmp_path / "run" / "config.json"
    stored = json.loads(file.read_text())
    for part in ("options", "identity"):
        stored[part] = {name: value for name, value in stored[part].items() if name not in LATER}
    file.write_text(json.dumps(stored))
    assert is_done(config, tmp_path / "run", data_checksum)
    run_attack(config, tmp_path / "run")  # not refused: it is finished
    expected = {"steps": 2, "gamma": 0.05, "threshold": 1.0, "tuning": True, "loss": "victim", "epsilon": None}
    expected |= {"metric": "mse", "sampling": True, "flipper": True, "output_window": None, "c": 0.0}
    assert expected.items() <= config.stored(without=PLACES).items()

"""The help of a command has its options in groups, each option in one, and none that an attack cannot be given."""

import re

import pytest


def groups_of(text):
    """The options by the heading above them."""
    found, heading = {}, None
    for line in text.splitlines():
        if begins := re.match("╭─ (.*?) ─", line):
            heading = begins[1]
        for option in re.findall(r"^│ +\*? *(--[a-z-]+)", line):
            if not option.startswith("--no-"):
                found.setdefault(heading, []).append(option)
    return found


@pytest.fixture(autouse=True)
def wide(monkeypatch):
    monkeypatch.setenv("COLUMNS", "140")


def test_the_options_of_an_attack_are_in_groups_in_the_order_of_use(run):
    groups = groups_of(run("attack", "--attack", "scg", "--help")[1])
    names = ["Victim", "Data", "Attack", "Options of scg", "A model of your own", "Execution", "Output"]
    assert list(groups) == names
    options = [option for group in groups.values() for option in group]
    assert len(options) == len(set(options))
    for group, option in (
        ("Victim", "--victim"),
        ("Data", "--samples"),
        ("Attack", "--target"),
        ("Attack", "--seed"),
        ("Options of scg", "--gamma"),
        ("A model of your own", "--layout"),
        ("A model of your own", "--time-bin"),
        ("Execution", "--workers"),
        ("Execution", "--device"),
        ("Output", "--out"),
    ):
        assert option in groups[group]


def test_the_options_of_a_training(run):
    groups = groups_of(run("train", "--help")[1])
    assert list(groups) == ["Victim", "Data", "Training", "Adversarial training", "Execution", "Output"]
    assert "--time-bin" in groups["Data"]
    assert "--network" in groups["Victim"]
    assert "--updates" in groups["Training"]


@pytest.mark.parametrize("command", ["evaluate", "learn-pattern", "sweep", "judge", "transfer", "verify"])
def test_other_commands_keep_what_is_written_apart(command, run):
    groups = groups_of(run(command, "--help")[1])
    options = [option for group in groups.values() for option in group]
    assert len(options) == len(set(options))
    assert groups["Output"]


def test_encodings_are_in_the_help_of_attacks_on_images_alone(run, tmp_path):
    for attack, shown in (("sda", False), ("sigma-zero", False), ("scg", True), ("pgd", True)):
        assert ("--encodings" in run("attack", "--attack", attack, "--help")[1]) is shown
    out = tmp_path / "r"
    words = ["attack", "--attack", "sda", "--victim", "demo-events", "--simulate-events", "--samples", "1"]
    status, _, err = run(*words, "--encodings", "2", "--out", out)
    assert (status, "encodings" in err, out.exists()) == (2, True, False)


def test_a_surrogate_is_an_option_of_attacks_that_follow_the_gradient(run, tmp_path):
    for attack, shown in (("conversion", False), ("pyautoattack:square", False), ("scg", True), ("adv-lib:fmn", True)):
        assert ("--surrogate" in run("attack", "--attack", attack, "--help")[1]) is shown
    out = tmp_path / "r"
    for option, value in (("--surrogate", "atan"), ("--surrogate-width", "2")):
        words = ["attack", "--attack", "conversion", "--victim", "demo-digits", option, value, "--out", out]
        status, _, err = run(*words)
        said = f"{option} is for attacks that follow the victim's gradient, and conversion does not: leave it out"
        assert (status, err) == (2, f"spikeflip: {said}\n")
        assert not out.exists()

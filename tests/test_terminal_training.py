"""What ``train`` writes, line by line: the bar, the result, JSON and the notes, each figure beside its own name."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from spikeflip.cli.terminal import Bars, note, print_training, training_facts, training_label
from spikeflip.snn.firing import Firing, LayerFiring
from spikeflip.snn.training import TrainingProgress

NOTICES = [{"code": "not-learned", "text": "the victim did not learn", "figure": 0.1}, {"text": "few [b]samples[/b]"}]
RATES = {"accuracy": 0.98765, "accuracy_n": 2000, "training_accuracy": 0.4321, "training_accuracy_n": 1442}
LEARNED = {"learned": True, "loss": "mse", "recipe": {"updates": 3}, "firing": [], "validation_accuracy": 0.9}
EVENTS = {"source": "nmnist", "frames": "15 bins of 5 ms", "events": 42440, "events_outside": 2854}


def victim(**facts):
    return SimpleNamespace(network=SimpleNamespace(architecture="4C3-10FC"), facts={"data": {"source": "x"}} | facts)


def firing(first, last):
    return Firing((LayerFiring("1 (32C3)", 0.1, *first), LayerFiring("2 (10FC)", 0.3, *last)))


@pytest.mark.parametrize(
    ("first", "last", "said"),
    [
        ((0.5, 0.75), (0.25, 0.0), "silent 50% of layer 1"),
        ((0.5, 0.75), (0.25, 0.125), "silent 50% of layer 1 no output 12%"),
        ((0.25, 1.0), (0.75, 1.0), "silent 75% of layer 2 no output 100%"),
        ((0.0, 0.0), (0.0, 0.0), "silent 0% of layer 1"),
    ],
)
def test_the_bar_names_the_quietest_layer_and_samples_without_output(first, last, said):
    now = TrainingProgress(5, 10, 0.5, None, firing(first, last))
    assert training_label(now) == f"train|loss 0.500 {said}"


def test_a_trained_victim_is_one_line_for_each_thing(capsys):
    print_training(victim(**RATES, notices=NOTICES), Path("out/[b]v[/b]"))
    assert capsys.readouterr().out.splitlines() == [
        "4C3-10FC: 98.77% of 2,000 test inputs right, 43.21% of 1,442 training samples right",
        "victim: out/[b]v[/b]",
        "note: the victim did not learn",
        "note: few [b]samples[/b]",
    ]


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        ({"accuracy": None, "accuracy_n": 0}, "no test inputs"),
        (RATES | {"accuracy": None}, "no test inputs, 43.21% of 1,442 training samples right"),
        (RATES | {"training_accuracy": None}, "98.77% of 2,000 test inputs right, no training samples"),
        ({"accuracy": 0.0, "accuracy_n": 5}, "0.00% of 5 test inputs right"),
        ({}, ""),
    ],
)
def test_what_was_not_measured_is_no_figure(facts, said, capsys):
    print_training(victim(**facts), Path("v"))
    assert capsys.readouterr().out == f"4C3-10FC: {said}\nvictim: v\n"


def test_recordings_are_told_with_the_events_that_the_victim_does_not_see(capsys):
    print_training(victim(data=EVENTS, **RATES), Path("v"))
    first, second, _ = capsys.readouterr().out.splitlines()
    assert first == "nmnist; 15 bins of 5 ms; 2,854 of 42,440 events outside"
    assert second.startswith("4C3-10FC: 98.77%")


def test_json_has_each_fact_that_is_known_and_no_other():
    known = RATES | LEARNED | {"notices": NOTICES}
    assert training_facts(victim(**known, history=[1], data=EVENTS)) == {"architecture": "4C3-10FC"} | known
    assert training_facts(victim(learned=False)) == {"architecture": "4C3-10FC", "learned": False}


def test_a_note_is_one_line_and_nothing_in_it_is_markup(monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "20")
    note("[b]a[/b]\nb " + "word " * 10 + "\x1b[0m 1,234")
    assert capsys.readouterr().out == "note: [b]a[/b] b " + "word " * 10 + r"\x1b[0m 1,234" + "\n"


def test_a_note_is_yellow_at_its_beginning_alone(monkeypatch, capsys):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm-256color")
    note("1,234 of 'five' True")
    assert capsys.readouterr().out == "\x1b[1;33mnote: \x1b[0m1,234 of 'five' True\n"


def test_a_line_above_the_bars_is_whole_and_plain_and_hidden_with_them(monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "20")
    with Bars(quiet=False) as bars:
        bars.note("[b]recipe[/b]\n" + "word " * 10 + "\x1b[0m")
    assert capsys.readouterr() == ("", "[b]recipe[/b] " + "word " * 10 + "\\x1b[0m\n")
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm-256color")
    with Bars(quiet=False) as bars:
        bars.note("1,234 'five' True")
        assert "1,234 'five' True" in capsys.readouterr().err
    with Bars(quiet=True) as bars:
        bars.note("recipe")
    assert "recipe" not in "".join(capsys.readouterr())

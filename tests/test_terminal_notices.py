"""Notices in terminals: a line each below the figures, whole and without colours where there are none."""

import json

import pytest

from spikeflip.cli.run_lists import print_comparison, print_differences, print_points, print_runs
from spikeflip.cli.terminal import print_summary, print_verdicts

SILENT = {"code": "silent-victim", "text": "the victim is silent: no rate says anything", "figure": 1.0}
MOVED = {"code": "nothing-moved", "text": "the attack moved nothing: all is as it was", "figure": None}
LONG = SILENT | {"text": "a fact that takes more than one line of a narrow terminal: " + "and another word " * 12}


def summary(**changed):
    rates = ("clean_accuracy", "attack_success_rate")
    found = {"n": 9, "mse_mean": None} | dict.fromkeys(rates, 0.5)
    return found | {f"{rate}_n": 9 for rate in rates} | {f"{rate}_interval": [0.4, 0.6] for rate in rates} | changed


def row(name, *codes, **changed):
    figures = dict.fromkeys(("success", "verified", "mse", "steps", "passes", "seconds"), 0.5)
    figures |= {f"{rate}_{end}": 0.5 for rate in ("success", "verified") for end in ("low", "high")}
    facts = {
        "runs": 1,
        "state": "finished",
        "victim": "v",
        "goal": "untargeted",
        "n": 100,
        "done": None,
        "settings": {},
    }
    pooled = {"success_lowest": None, "success_highest": None, "notices": list(codes)}
    return {"name": name} | figures | facts | pooled | changed


def test_notices_are_lines_below_the_table(capsys):
    print_summary("run", summary(notices=[SILENT, MOVED]))
    *table, first, second = capsys.readouterr().out.splitlines()
    assert "attack success rate" in "".join(table)
    assert first == f"note: {SILENT['text']}"
    assert second == f"note: {MOVED['text']}"


@pytest.mark.parametrize("notices", [{}, {"notices": []}])
def test_a_summary_without_notices_is_as_ever(notices, capsys):
    print_summary("run", summary(**notices))
    assert "note" not in capsys.readouterr().out


@pytest.mark.parametrize("colour", [True, False])
def test_a_notice_is_one_line_in_a_narrow_terminal_and_stands_out_in_colour(colour, monkeypatch, capsys):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "40")
    if not colour:
        monkeypatch.setenv("NO_COLOR", "1")
    print_summary("run", summary(notices=[LONG]))
    last = capsys.readouterr().out.splitlines()[-1]
    assert last.endswith(LONG["text"])
    assert ("\x1b[1;33mnote: \x1b[0m" in last) == colour
    assert "33m" in last or not colour


def test_text_from_a_file_cannot_steer_the_terminal(capsys):
    print_summary("run", summary(notices=[SILENT | {"text": "a\x1b]0;x\x07\nnote: [bold]b[/bold]"}]))
    assert capsys.readouterr().out.splitlines()[-1] == "note: a\\x1b]0;x\\x07 note: [bold]b[/bold]"


EVENTS = {
    "events_mean": 4244.0,
    "events_added_mean": 300.0,
    "events_removed_mean": 382.0,
    "events_outside_mean": 2854.0,
}
SHARES = {"events_seen_mean": 1390.0, "events_changed_of_all": 682 / 4244, "events_changed_of_seen": 682 / 1390}


@pytest.mark.parametrize(
    ("known", "said"),
    [
        ({}, ""),
        (SHARES, ", 16.1%, and 49.1% of the 1,390 that the victim saw"),
        ({"events_seen_mean": 4244.0, "events_changed_of_all": 0.16, "events_changed_of_seen": 0.16}, ""),
        (dict.fromkeys(SHARES), ""),
    ],
    ids=["earlier version", "some unseen", "all seen", "no success"],
)
def test_the_change_of_a_recording_is_also_of_what_the_victim_saw(known, said, capsys):
    print_summary("run", summary(mse_mean=0.1, **EVENTS, **known))
    last = capsys.readouterr().out.splitlines()[-1]
    assert last == f"events: 300 added and 382 removed of 4,244 on average{said}"


WHERE = "what the notes mean is in the report.html and the summary.json of each run"


def test_points_of_a_sweep_end_with_a_hint(capsys):
    print_points([row("a=1", "silent-victim", "own-labels"), row("a=2")])
    first, second, where = capsys.readouterr().out.splitlines()
    assert first.startswith("a=1: n = 100, success 50.0")
    assert first.endswith(" %; note: silent victim, own labels")
    assert second.endswith(" %")
    assert where == WHERE
    print_points([row("a=2")])
    assert WHERE not in capsys.readouterr().out


@pytest.mark.parametrize("columns", ["60", "160"])
def test_lists_of_runs_say_which_have_notices(columns, monkeypatch, capsys):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "dumb")
    monkeypatch.setenv("COLUMNS", columns)
    print_runs([row("runs/one", "silent-victim"), row("runs/two"), row("runs/three", state="unfinished", done=0.5)])
    out = capsys.readouterr().out
    assert out.count("silent victim") == 1
    (line,) = [line for line in out.splitlines() if "silent victim" in line]
    assert "note: " in line
    assert "runs/one" in line
    assert out.count(WHERE) == 1


def test_compared_and_verified_runs_have_their_notices(capsys):
    found = {"victims": ["v", "w"], "settings": {}, "runs": ["a", "b"], "second_better": None}
    found |= {key: [0.5, 0.5] for key in ("success", "verified", "mse", "l0", "steps")}
    found |= dict.fromkeys(("only_first", "only_second", "attacked", "shared", "both", "neither"), 1)
    print_comparison(found | {"notices": [["silent-victim"], []]})
    assert "silent victim" in capsys.readouterr().out
    print_comparison(found | {"notices": [[], []]})
    assert "notes" not in capsys.readouterr().out
    print_differences({"run": "a", "rows": 9, "checked": [1], "differences": [], "notices": [SILENT]})
    first, second = capsys.readouterr().out.splitlines()
    assert first == f"note: {SILENT['text']}"
    assert "all equal" in second


CUT = {"code": "cut", "text": "cut", "figure": None}


def test_a_silent_victim_says_nothing_of_a_recording_and_a_tie_is_a_tie(capsys):
    answer = {"file": "a.bin", "prediction": None, "events": 5, "events_outside": 0, "frames": "15 bins", "notes": []}
    silent = answer | {"rates": {"3": 0.0, "1": 0.0}, "notices": [SILENT]}
    print_verdicts([silent, silent, answer | {"rates": {"3": 0.5, "1": 0.5, "0": 0.0}, "notices": [CUT]}])
    *table, frames, first, second = capsys.readouterr().out.splitlines()
    assert [line.split()[1] for line in table[1:]] == ["nothing", "nothing", "tie"]
    assert (frames, first, second) == ("frames: 15 bins", f"note: {SILENT['text']}", "note: cut")


@pytest.mark.usefixtures("undrawn")
def test_the_command_says_it_in_the_terminal_and_in_json(run, tmp_path):
    from spikeflip import LIF, SpikingNetwork
    from spikeflip.snn.checkpoint import save_checkpoint

    network = SpikingNetwork("4C3-AP4-10FC", (1, 8, 8), time_steps=4, neuron=LIF(1e3, 0.25))
    save_checkpoint(network, tmp_path / "victim", {"loss": "mse", "learned": False})
    command = ("attack", "--victim", tmp_path / "victim", "--samples", 5, "--out", tmp_path / "run")
    status, out, _ = run(*command)
    assert status == 0
    told = [line.partition(":")[2].strip() for line in out.splitlines() if line.startswith("note: ")]
    found = json.loads(run(*command, "--json")[1])
    assert [notice["code"] for notice in found["notices"]] == ["victim-did-not-learn", "silent-victim"]
    assert told == [notice["text"] for notice in found["notices"]]
    (listed,) = json.loads(run("runs", tmp_path / "run", "--format", "json")[1])
    assert listed["notices"] == ["victim-did-not-learn", "silent-victim"]

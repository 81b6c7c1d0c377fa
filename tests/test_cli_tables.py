"""What the command writes, line by line: each figure beside the name that is its own."""

import json
import re

import numpy as np
import pytest
from command_rows import FACTS, FINDINGS, RATES, answer, comparison, lines_of, listed, summary
from rich.text import Text

from spikeflip.cli.run_lists import print_comparison, print_differences, print_points, print_runs
from spikeflip.cli.terminal import (
    print_findings,
    print_json,
    print_names,
    print_recording,
    print_summary,
    print_verdicts,
    say,
)

pytestmark = pytest.mark.usefixtures("long_lines")


# ---------------------------------------------------------------- the summary of a run


def test_every_rate_is_beside_its_own_label(capsys):
    print_summary("a [b]run[/b]", summary())
    lines = lines_of(capsys)
    assert lines[0] == "a [b]run[/b], n = 59"
    assert "rate 95 % interval of" in lines
    for rate, low, high, n, label in RATES.values():
        assert f"{label} {rate:.1%} {low:.1%} – {high:.1%} {n}" in lines
    assert "successes: mse 0.0301, 4.3 steps on average" in lines
    assert not [line for line in lines if line.startswith("events:")]


def test_what_a_summary_does_not_say_is_no_line(capsys):
    known = summary(tie_rate=None, mse_mean=None)
    del known["robust_accuracy"], known["steps_mean"]
    print_summary("run", known)
    text = "\n".join(lines_of(capsys))
    assert "ties" not in text
    assert "robust" not in text
    assert "successes" not in text
    print_summary("run", {"n": 0, "mse_mean": None, "notices": [{"text": "no input is left"}]})
    assert lines_of(capsys) == ["run, n = 0: no rates", "note: no input is left"]
    print_summary("run", summary(mse_mean=0.25) | {"steps_mean": 7.0})
    assert "successes: mse 0.2500, 7.0 steps on average" in lines_of(capsys)
    without = summary()
    del without["steps_mean"]
    print_summary("run", without)
    assert "successes: mse 0.0301 on average" in lines_of(capsys)
    print_summary("run", summary() | {"kind": "spikes", "l0_mean": 1234.56})
    assert "successes: mse 0.0301, 1,234.6 cells, 4.3 steps on average" in lines_of(capsys)


def test_events_that_were_added_and_removed(capsys):
    events = {
        "events_mean": 4244.4,
        "events_added_mean": 1512.6,
        "events_removed_mean": 71.0,
        "events_outside_mean": 0.0,
    }
    print_summary("run", summary(**events))
    assert "events: 1,513 added and 71 removed of 4,244 on average" in lines_of(capsys)


@pytest.mark.parametrize("known", [{}, {"clean_accuracy_trials": 12.5}])
def test_intervals_over_fewer_trials_than_rows_are_explained(known, capsys):
    print_summary("run", summary(**known))
    told = "intervals count the targets of an input as no more trials than they are worth together"
    assert (told in lines_of(capsys)) == bool(known)


# ---------------------------------------------------------------- lists of runs


def test_every_figure_of_a_run_is_in_its_own_column(capsys):
    other = listed("b", victim="w", goal="targeted", settings={"gamma": 0.25}, n=7, mse=None, seconds=None)
    print_runs([listed("a", settings={"gamma": 0.5}), other])
    heading, first, second = lines_of(capsys)
    assert heading == "name victim goal settings n success % verified % mse steps passes s"
    assert first == "a v untargeted gamma=0.5 1,200 91.0 (80.0–95.0) 62.0 (50.0–70.0) 0.0123 3.2 7.8 1,234"
    assert second == "b w targeted gamma=0.25 7 91.0 (80.0–95.0) 62.0 (50.0–70.0) – 3.2 7.8 –"


def test_of_several_attacks_what_was_given_is_said(capsys):
    """Their options are others, and so are the defaults of those that they share."""
    a = {"attack": "pgd", "metric": "linf", "budget": 8 / 255, "seed": 1}
    b = {"attack": "scg", "metric": "mse", "threshold": 1.0, "seed": 0}
    rows = [listed("a", settings=a, given=["attack", "seed"]), listed("b", settings=b, given=["attack", "victim"])]
    print_runs(rows)
    first, second = lines_of(capsys)[1:3]
    assert first.startswith("a attack=pgd, seed=1 1,200 ")
    assert second.startswith("b attack=scg 1,200 ")
    print_runs([listed("a", settings={**a, "attack": ["pgd", "bim"]}, given=["attack"]), listed("b", settings=b)])
    first, second = lines_of(capsys)[1:3]
    assert first.startswith("a attack=pgd/bim 1,200 ")
    assert second.startswith("b attack=scg, metric=mse, threshold=1, ")


def test_what_no_option_says_is_left_out_where_others_say_something(capsys):
    print_runs([listed("a", settings={"sigma": None, "gamma": 0.5}), listed("b", settings={"sigma": 1.0})])
    assert lines_of(capsys)[1].startswith("a gamma=0.5 1,200 ")
    print_runs([listed("a", settings={"threshold": None}), listed("b", settings={"threshold": 1.0})])
    assert lines_of(capsys)[1].startswith("a threshold=– 1,200 ")


def test_what_all_runs_share_is_said_below_and_settings_where_there_are_any(capsys):
    damaged = dict.fromkeys(listed("x")) | {"name": "bad", "state": "damaged", "note": "it is [bold]broken[/bold]"}
    print_runs([listed("a"), listed("b", victim="w"), damaged])
    lines = lines_of(capsys)
    assert lines[0] == "name victim n success % verified % mse steps passes s"
    assert lines[1].startswith("a v 1,200 91.0 ")
    assert lines[2].startswith("b w 1,200 91.0 ")
    assert lines[3:] == ["goal: untargeted", "damaged: it is [bold]broken[/bold]"]
    print_runs([damaged])
    assert lines_of(capsys) == ["damaged: it is [bold]broken[/bold]"]


def test_numbers_are_to_the_right_and_words_to_the_left(capsys):
    print_runs([listed("one", settings={"c": 1}), listed("another", n=1, goal="targeted", victim="w")])
    heading, first, second = capsys.readouterr().out.splitlines()
    for word, below in (("name", "one"), ("victim", "v "), ("goal", "untargeted"), ("settings", "c=1")):
        assert heading.index(word) == first.index(below)
    for word, below in (("n", "1"), ("verified %", "62.0 (50.0–70.0)"), ("mse", "0.0123"), ("s", "1,234")):
        ends = re.search(rf"(?<=\s){re.escape(word)}(?=\s|$)", heading).end()
        assert second[:ends].endswith(f" {below}")
    assert len(heading) == len(first) == len(second)


@pytest.mark.parametrize(("columns", "name"), [(120, 12), (124, 13), (125, 14), (128, 15), (200, 15)])
def test_no_figure_is_cut_and_no_name_folded_more_than_it_must(terminal_of, columns, name, capsys):
    """Figures and the blanks between columns take 79; of what is left, each word but the name has a fair share."""
    terminal_of(columns)
    long = {"settings": {"gamma": 0.125, "threshold": 2.5}, "victim": "32C3-AP2-100FC", "goal": "targeted"}
    print_runs([listed("runs/number/one", **long), listed("another", n=1, victim="v")])
    lines = [Text.from_ansi(line).plain.rstrip() for line in capsys.readouterr().out.splitlines()]
    assert max(map(len, lines)) <= columns
    for figure in ("91.0 (80.0–95.0)", "62.0 (50.0–70.0)", "0.0123", "3.2", "7.8", "1,234"):
        assert sum(figure in line for line in lines) == 2
    assert all(line.endswith(("1,234", " s")) for line in (lines[0], *(line for line in lines if "0.0123" in line)))
    assert "runs/number/one".startswith(lines[1][:name].rstrip())
    assert lines[1][:name].strip() == "runs/number/one"[:name]
    assert "".join(line[:name].strip() for line in lines[1:]) == "runs/number/oneanother"


@pytest.mark.parametrize(
    ("columns", "left_out"),
    [(93, []), (92, ["s"]), (80, ["passes", "s"]), (63, ["mse", "steps", "passes", "s"])],
)
@pytest.mark.parametrize("is_terminal", [True, False])
def test_figures_that_lines_have_no_room_for_are_left_out_and_named(
    is_terminal, columns, left_out, monkeypatch, terminal_of, capsys
):
    """Words folded as far as they can be take 18, figures 59, the blanks between the nine columns 16."""
    terminal_of(columns) if is_terminal else monkeypatch.setenv("COLUMNS", str(columns))
    print_runs([listed("a-run-of-x", settings={"c": 1}), listed("b", settings={"c": 12.25})])
    plain = Text.from_ansi(capsys.readouterr().out).plain.splitlines()
    assert max(map(len, plain[:3])) <= columns
    heading, first, _, *rest = [" ".join(line.split()) for line in plain]
    every = ["name", "settings", "n", "success", "%", "verified", "%", "mse", "steps", "passes", "s"]
    assert heading.split() == [name for name in every if name not in left_out]
    assert first.startswith("a-run-of-x c=1 1,200 91.0 (80.0–95.0) 62.0 (50.0–70.0)")
    said = [f"no room for {', '.join(left_out)}: a wider terminal, or COLUMNS=120, shows them"] if left_out else []
    assert rest == [*said, "victim: v", "goal: untargeted"]


def test_without_a_terminal_and_columns_tables_fit_80(monkeypatch, capsys):
    monkeypatch.delenv("COLUMNS")
    print_runs([listed("a/run/of/a/long/name/in/folders", settings={"gamma": 0.5, "threshold": 0.25}), listed("b")])
    out = capsys.readouterr().out
    assert "success %" in out
    assert max(map(len, out.splitlines())) <= 80


def test_where_not_even_the_rates_have_room_each_run_is_a_line(terminal_of, capsys):
    terminal_of(58)
    print_runs([listed("a-run-of-x", settings={"gamma": 0.5}), listed("b", settings={"gamma": 1})])
    assert lines_of(capsys)[0].startswith("a-run-of-x: gamma=0.5, n = 1,200, success 91.0")


def test_where_words_would_be_folded_into_many_lines_each_run_is_a_line(terminal_of, capsys):
    long = {"goal": "targeted", "victim": "32C3-64C3-AP2-128C3-AP2-256C3-128C3-256FC-128FC-10FC (715faee5)"}
    settings = {"target": "all", "per_class": 2, "epsilon": None, "threshold": 1.0, "tuning": True}
    rows = [listed("mnist,loss=mse,targeted,bfe41752fa", settings=settings, **long), listed("b", victim="w")]
    terminal_of(100)
    print_runs(rows)
    first, second = lines_of(capsys)[:2]
    said = "targeted, target=all, per_class=2, threshold=1, tuning=True, n = 1,200, success 91.0"
    assert first.startswith(f"mnist,loss=mse,targeted,bfe41752fa: {long['victim']}, {said}")
    assert second.startswith("b: w, untargeted, n = 1,200")
    terminal_of(160)
    print_runs(rows)
    assert Text.from_ansi(lines_of(capsys)[0]).plain.split()[:4] == ["name", "victim", "goal", "settings"]


def test_points_are_lines(capsys):
    print_points(
        [
            listed("gamma=0.1", settings={"gamma": 0.1}),
            listed("gamma=0.2", state="unfinished", done=0.5, success=None, n=None),
        ]
    )
    assert lines_of(capsys) == [
        "gamma=0.1: n = 1,200, success 91.0 (80.0–95.0) %, verified 62.0 (50.0–70.0) %",
        "gamma=0.2: unfinished, 50% done",
    ]
    print_points([listed("a", settings={"gamma": 0.1})], leave_out=("victim",))
    assert lines_of(capsys)[0].startswith("a: untargeted, gamma=0.1, n = 1,200, success")
    print_points([listed("x\x1b[0m\ny")])
    assert lines_of(capsys)[0].startswith(r"x\x1b[0m y: n = ")


# ---------------------------------------------------------------- two runs


def test_every_figure_of_a_comparison_is_in_the_column_of_its_run(capsys):
    print_comparison(comparison())
    lines = lines_of(capsys)
    assert lines[0] == "runs/one runs/two"
    for line in (
        "victim v w",
        "gamma 0.05 –",
        "seed 0 1",
        "success 91.0% –",
        "verified 62.0% 31.0%",
        "only this one fooled 11 12",
        "mse 0.0123 –",
        "l0 12.3 –",
        "steps 3.2 4.8",
        "1,300 of 1,400 shared inputs were attacked by both: both fooled 1,013, neither 1,014; mse and l0 over "
        "those that both fooled",
        "of the inputs that one alone fooled, or towards more targets, 52.0% (30.0% – 70.0%) went to the second: no "
        "difference in success is shown",
    ):
        assert line in lines, line


@pytest.mark.parametrize(
    ("low", "high", "shown"), [(0.5, 0.9, False), (0.1, 0.5, False), (0.51, 0.9, True), (0.1, 0.49, True)]
)
def test_a_difference_is_real_where_the_interval_leaves_a_half_out(low, high, shown, capsys):
    print_comparison(comparison(second_better_low=low, second_better_high=high))
    said = lines_of(capsys)[-1].partition(": ")[2]
    assert said == ("the difference in success is real" if shown else "no difference in success is shown")
    print_comparison(comparison(second_better=None))
    assert "went to the second" not in capsys.readouterr().out


def test_what_differs_from_a_recomputation(capsys):
    def difference(row, column, stored, recomputed):
        return {"row": row, "column": column, "stored": stored, "recomputed": recomputed}

    found = {"run": "runs/one", "rows": 5000, "checked": list(range(1200)), "differences": []}
    print_differences(found)
    (said,) = lines_of(capsys)
    assert (
        said == "1,200 of 5,000 rows of runs/one attacked again: all equal, adversarials, values, summary and settings"
    )
    differences = [difference(7, "mse", 0.5, 0.25), difference(7, "success", True, False), difference(9, "x", "[b]", 1)]
    print_differences(found | {"differences": differences})
    lines = lines_of(capsys)
    assert lines[:4] == ["row column stored recomputed", "7 mse 0.5 0.25", "7 success True False", "9 x [b] 1"]
    assert lines[4].startswith("1,200 of 5,000 rows of runs/one attacked again: 2 differ; see docs/reproducibility.md ")
    print_differences(found | {"differences": [difference(None, "n", 3, 4), differences[0]]})
    lines = lines_of(capsys)
    assert lines[1] == "summary n 3 4"
    assert "1 differ, and the summary is not that of the rows; see docs" in lines[3]
    print_differences(found | {"differences": [difference("config", "settings.c", 0.0, 1.0)]})
    lines = lines_of(capsys)
    assert lines[1] == "config settings.c 0.0 1.0"
    assert lines[2].endswith("0 differ, and config.json is not that of the run")


# ---------------------------------------------------------------- recordings


def test_verdicts_name_the_winner_and_the_next(capsys):
    print_verdicts(
        [
            answer("a[b].npz", "left", {"up": 0.1, "left": 0.75, "right": 0.5}),
            answer("b.npz", None, {"up": 0.4, "left": 0.4, "right": 0.25}, events_outside=0),
            answer("c.npz", "one", {"one": 1.0}),
        ]
    )
    lines = lines_of(capsys)
    assert lines[:4] == [
        "recording says rate next seen",
        "a[b].npz left 0.75 right 0.50 1,250 of 1,500 events",
        "b.npz tie 0.40 left 0.40 1,500 of 1,500 events",
        "c.npz one 1.00 one 1.00 1,250 of 1,500 events",
    ]
    assert lines[4] == "frames: 15 bins of 5 ms"
    told = {
        "notes": ["times ran backwards"],
        "notices": [{"code": "reader", "text": "times ran backwards", "figure": None}],
    }
    print_verdicts([answer("a.npz", "left", {"left": 1.0}, **told)])
    (note,) = [line for line in lines_of(capsys) if line.startswith("note: ")]
    assert "times ran backwards" in note


def test_every_fact_of_a_recording_is_beside_its_own_name(capsys):
    print_recording(FACTS, None)
    assert lines_of(capsys) == [
        "file a.bin",
        "format N-MNIST bin",
        "sensor 34 × 33",
        "events 4,244 (3,000 ON, 1,244 OFF)",
        "duration 9,999 µs",
        "first event 1,011 µs",
        "t0 7,012 µs",
        "rate 12,346 events a second",
        "note times [b]ran[/b] backwards",
        "note the sensor is guessed",
    ]
    print_recording(FACTS | {"duration_us": 123_456_789}, None)
    assert lines_of(capsys)[4] == "duration 123,456.8 ms"
    print_recording(FACTS | {"duration_us": 10_000, "first_us": None, "events_per_second": None, "notes": []}, None)
    lines = lines_of(capsys)
    assert lines[4:] == ["duration 10.0 ms", "first event –", "t0 7,012 µs", "rate –"]


def test_a_picture_has_two_pixels_a_character(terminal_of, monkeypatch, capsys):
    terminal_of(60)
    monkeypatch.setenv("COLORTERM", "truecolor")
    pixels = np.arange(3 * 2 * 3, dtype=np.uint8).reshape(3, 2, 3)
    print_recording(FACTS | {"notes": []}, pixels)
    out = capsys.readouterr().out
    assert [Text.from_ansi(line).plain for line in out.splitlines()][8:] == ["▀▀", "▀▀", ""]
    lines = [re.findall("38;2;([0-9;]+);48;2;([0-9;]+)m▀", line) for line in out.splitlines()]
    # Above in front of below; the last of an odd number of rows is both.
    upper, last = [("0;1;2", "6;7;8"), ("3;4;5", "9;10;11")], [("12;13;14", "12;13;14"), ("15;16;17", "15;16;17")]
    assert [line for line in lines if line] == [upper, last]


# ---------------------------------------------------------------- findings, names, JSON, plain lines


def test_findings_are_lines_of_state_experiment_and_text(capsys):
    print_findings(FINDINGS)
    assert capsys.readouterr().out.splitlines() == [
        "✓ held         table-1    It holds. 90 % of 10",
        "✗ did not hold table-1    It [b]does[/b] not. 0 % of 9",
        "– not tested   figure-9   Nobody looked. –",
    ]


@pytest.mark.parametrize(("columns", "figures"), [(119, False), (120, True)])
def test_findings_on_a_terminal_are_a_table_with_figures_where_there_is_room(terminal_of, columns, figures, capsys):
    terminal_of(columns)
    print_findings(FINDINGS)
    lines = lines_of(capsys)
    assert lines == [
        f"✓ held table-1 It holds.{' 90 % of 10' if figures else ''}",
        f"✗ did not hold table-1 It [b]does[/b] not.{' 0 % of 9' if figures else ''}",
        f"– not tested figure-9 Nobody looked.{' –' if figures else ''}",
    ]
    print_findings([])
    assert capsys.readouterr().out == ""


def test_names_with_their_descriptions(capsys):
    print_names({"scg": "the attack [of] the paper", "bim": "another"})
    assert lines_of(capsys) == ["scg the attack [of] the paper", "bim another"]


def test_json_is_json_alone(capsys):
    print_json({"a": [1, None], "b": "ü"})
    out = capsys.readouterr().out
    assert out == '{\n  "a": [\n    1,\n    null\n  ],\n  "b": "\\u00fc"\n}\n'
    assert json.loads(out) == {"a": [1, None], "b": "ü"}


def test_a_line_is_a_line_however_long_and_nothing_in_it_is_markup(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "20")
    say("[bold]" + "word " * 30 + "\x1b]0;title\x07\nend")
    out = capsys.readouterr().out
    assert out == "[bold]" + "word " * 30 + r"\x1b]0;title\x07 end" + "\n"

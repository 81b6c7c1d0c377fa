"""Notices on pages: those of the summary, once each, checked; and sentences that follow the run, not its defaults."""

from __future__ import annotations

import json
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import run_folders
from own_scripts import without_scripts
from run_folders import RATES

from spikeflip.errors import SpikeflipError
from spikeflip.report import loading, page, render_report
from spikeflip.report.sweep import render_sweep

SILENT = {"code": "silent-victim", "text": "the victim is silent: none of 5 originals is answered", "figure": 1.0}
MOVED = {"code": "nothing-moved", "text": "the attack moved nothing: all is as it was", "figure": None}
APART = {"attack_success_rate_interval": [0.9, 0.98], "verified_success_rate_interval": [0.5, 0.6]}


def make_run(folder: Path, kind: str = "images", shape: tuple[int, ...] = (1, 4, 4), **parts: Any) -> Path:
    """A run of four inputs, of which few have to be drawn."""
    return run_folders.make_run(folder, kind, shape, n=4, **parts)


class Cells(HTMLParser):
    """The cells of the first table, row by row, and all text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self.tables, self.inside, self.words = 0, False, ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tables += tag == "table"
        if tag == "tr" and self.tables == 1:
            self.rows.append([])
        if tag in ("th", "td") and self.tables == 1:
            self.rows[-1].append("")
            self.inside = True

    def handle_endtag(self, tag: str) -> None:
        self.inside = self.inside and tag not in ("th", "td", "table")

    def handle_data(self, data: str) -> None:
        self.words += data
        if self.inside:
            self.rows[-1][-1] += data.replace("\u00a0", " ")

    @property
    def text(self) -> str:
        return " ".join(self.words.replace("\u00a0", " ").split())


def text_of(*runs: Path) -> str:
    return Cells(without_scripts(render_report(list(runs)))).text


# ---------------------------------------------------------------- notices of a summary


def test_the_notices_of_a_run_are_sentences_on_its_page(tmp_path: Path) -> None:
    html = render_report([make_run(tmp_path / "run", summary={"notices": [SILENT, MOVED]})])
    assert html.count('class="notice warning"') == 1
    first = "<p><strong>The victim is silent.</strong> None of 5 originals is answered.</p>"
    second = "<p><strong>The attack moved nothing.</strong> All is as it was.</p>"
    assert 0 < html.index(first) < html.index(second) < html.index("<h3>Rates")


def test_what_takes_the_meaning_from_figures_is_apart_from_what_they_are_of(tmp_path: Path) -> None:
    """Fewer inputs than asked for do not make a figure wrong; a silent victim does."""
    fewer = {"code": "fewer-inputs", "text": "fewer inputs than asked for: 5 of 10", "figure": 5.0}
    html = render_report([make_run(tmp_path / "run", summary={"notices": [fewer, SILENT]})])
    warning, note = (html.index(f'<div class="notice {kind}"') for kind in ("warning", "note"))
    assert warning < html.index("The victim is silent.") < note < html.index("Fewer inputs than asked for.")


@pytest.mark.parametrize("summary", [{}, {"clean_accuracy_trials": 3.5}])
def test_intervals_over_fewer_trials_than_rows_are_explained(tmp_path: Path, summary: dict[str, Any]) -> None:
    told = "Intervals count the targets of an input as no more trials than they are worth together."
    assert (told in text_of(make_run(tmp_path / "run", summary=summary))) == bool(summary)


@pytest.mark.parametrize("summary", [{}, {"notices": []}])
def test_a_run_without_notices_has_no_box(tmp_path: Path, summary: dict[str, Any]) -> None:
    assert 'class="notice warning"' not in render_report([make_run(tmp_path / "run", summary=summary)])


def test_one_draw_is_said_once_whether_the_summary_says_it_or_not(tmp_path: Path) -> None:
    stored = {"code": "one-draw-overstates", "text": "one draw overstates this attack: it does", "figure": 0.3}
    old = make_run(tmp_path / "old", summary=APART | {"draws": 20})
    new = make_run(tmp_path / "new", summary=APART | {"notices": [stored]})
    edited = make_run(tmp_path / "edited", summary=APART | {"notices": [SILENT]})
    for run, said in ((old, "over 20 fresh encodings it is 87.2 % (50.0–60.0)"), (new, "It does."), (edited, "silent")):
        html = render_report([run])
        assert html.count("One draw overstates this attack.") == 1
        assert said in Cells(html).text


def test_a_notice_from_a_stranger_is_text(tmp_path: Path) -> None:
    evil = "<script>alert(1)</script>: <img src=x> {{7*7}} --onload<img> \ud800"
    run = make_run(tmp_path / "run", summary={"notices": [SILENT | {"text": evil}]})
    html = without_scripts(render_report([run]))
    assert "<script" not in html
    assert "<img" not in html
    assert "<img src=x> {{7*7}} --onload<img>" in Cells(html).text


def test_options_in_a_notice_are_not_broken_over_lines(tmp_path: Path) -> None:
    notice = SILENT | {"text": "it failed: leave out --no-flipper, or lower --threshold from 6"}
    html = render_report([make_run(tmp_path / "run", summary={"notices": [notice]})])
    first, second = (f'<span class="option">{option}</span>' for option in ("--no-flipper", "--threshold"))
    assert f"<strong>It failed.</strong> Leave out {first}, or lower {second} from 6.</p>" in html


@pytest.mark.parametrize(
    "notices",
    [
        None,
        "silent-victim",
        {"code": "a"},
        [SILENT] * 101,
        ["silent-victim"],
        [{"code": "a", "text": "b"}],
        [SILENT | {"more": 1}],
        [SILENT | {"code": 5}],
        [SILENT | {"code": ""}],
        [SILENT | {"code": "a" * 61}],
        [SILENT | {"code": "Silent victim"}],
        [SILENT | {"code": "a\n"}],
        [SILENT | {"text": ["a"]}],
        [SILENT | {"text": "a" * 2001}],
        [SILENT | {"figure": "1"}],
        [SILENT | {"figure": float("nan")}],
        [SILENT | {"figure": [1]}],
    ],
)
def test_what_is_no_list_of_notices_is_damage(tmp_path: Path, notices: Any) -> None:
    run = make_run(tmp_path / "run", summary={"notices": notices})
    for read in (loading.load_run, lambda run: loading.read_facts(run, "summary")):
        with pytest.raises(SpikeflipError, match=r"summary\.json is damaged \(notice"):
            read(run)


@pytest.mark.parametrize(
    "notice", [SILENT, MOVED, SILENT | {"code": "a" * 60, "text": "b" * 2000}, SILENT | {"figure": 10**15}]
)
def test_notices_as_runs_write_them_are_read(tmp_path: Path, notice: dict[str, Any]) -> None:
    run = make_run(tmp_path / "run", summary={"notices": [notice] * 100})
    assert loading.load_run(run).summary["notices"] == [notice] * 100


# ---------------------------------------------------------------- the overview of several runs


def test_every_rate_of_the_overview_is_under_its_own_heading(tmp_path: Path) -> None:
    runs = [make_run(tmp_path / "a"), make_run(tmp_path / "b", "spikes", (3, 2, 4, 4), summary={"mse_mean": 0.5})]
    heading, *rows = Cells(render_report(runs)).rows
    assert heading == ["Run", "Clean accuracy", "Attack success", "Verified", "Mean mse"]
    keys = ("clean_accuracy", "attack_success_rate", "verified_success_rate")
    for row, mse in zip(rows, ("0.0301", "0.500"), strict=True):
        for cell, key in zip(row[1:4], keys, strict=True):
            value, _, (low, high) = RATES[key]
            interval = "" if key == "clean_accuracy" else f" {100 * low:.1f}–{100 * high:.1f} %"
            assert cell == f"{100 * value:.1f} %{interval}"
        assert row[4] == mse


def test_the_overview_points_to_the_runs_with_notices(tmp_path: Path) -> None:
    runs = [make_run(tmp_path / "a", summary={"notices": [SILENT, MOVED]}), make_run(tmp_path / "b")]
    _, first, second = Cells(render_report(runs)).rows
    assert first[0].endswith("silent victim, nothing moved")
    assert second[0].endswith("SCG, untargeted")


def test_a_run_without_correct_inputs_says_why_it_has_no_success_rate(tmp_path: Path) -> None:
    none = {"attack_success_rate": None, "attack_success_rate_n": 0}
    text = text_of(make_run(tmp_path / "a", summary=none))
    assert "on MNIST has no success rate: no original is classified correctly, so there was nothing to fool." in text
    text = text_of(make_run(tmp_path / "b", summary={"attack_success_rate": None}))
    assert "on MNIST has no success rate in its summary." in text


# ---------------------------------------------------------------- how often inputs were judged


def images(folder: Path, draws: int | None, victim: dict[str, Any] | None = None) -> Path:
    summary = {} if draws is None else {"draws": draws}
    return make_run(folder, summary=summary, config={} if victim is None else {"victim": victim})


def test_the_number_of_encodings_is_that_of_the_run(tmp_path: Path) -> None:
    text = text_of(images(tmp_path / "run", 20))
    assert "in one draw; over 20 fresh encodings, with 87.2 %" in text
    assert "fools 87.5 % of 20 fresh encodings" in text
    assert "100 fresh" not in text
    assert "judged again on the untouched victim: images over 20 fresh encodings of the final image." in text


@pytest.mark.parametrize("victim", [{"coding": "latency"}, {"kind": "relu"}])
def test_where_nothing_is_drawn_nothing_is_said_of_draws(tmp_path: Path, victim: dict[str, str]) -> None:
    text = text_of(images(tmp_path / "run", 1, victim))
    assert "fresh" not in text
    assert text.count("in one draw") == 2  # where success and ties are explained
    assert "; judged again, with 87.2 %" in text
    assert "untouched victim: images whose coding draws nothing over their one encoding." in text


def test_runs_of_several_kinds_are_explained_together(tmp_path: Path) -> None:
    many, few, old = images(tmp_path / "a", 1000), images(tmp_path / "b", 1), images(tmp_path / "c", None)
    fixed = images(tmp_path / "d", 1, {"coding": "latency"})
    spikes = make_run(tmp_path / "f", "spikes", (3, 2, 4, 4), summary={"draws": 1})
    drawn, still = "of the final image", "images whose coding draws nothing over their one encoding"
    read = "recordings read back from the saved file"
    for runs, words in (
        ((many, few, old), f"images over 1 or 1,000 fresh encodings {drawn}"),
        ((few, few), f"images over 1 fresh encoding {drawn}"),
        ((old,), f"images over fresh encodings {drawn}"),
        ((spikes,), read),
        ((spikes, few, fixed), f"images over 1 fresh encoding {drawn}, {still}, {read}"),
    ):
        assert page._judged_again([loading.load_run(run) for run in runs]) == words


@pytest.mark.parametrize("draws", [0, -5, 2.5, "100", None, [100]])
def test_a_number_of_encodings_that_makes_no_sense_is_left_out(tmp_path: Path, draws: Any) -> None:
    assert "over fresh encodings, with" in text_of(make_run(tmp_path / "run", summary={"draws": draws}))


# ---------------------------------------------------------------- the page of a sweep


def test_points_with_notices_are_marked_on_the_page_of_a_sweep(tmp_path: Path) -> None:
    figures = dict.fromkeys(("success", "verified", "mse", "steps", "passes", "seconds", "done", "note"), None)
    ends = {
        f"{rate}{end}": None for rate in ("success", "verified") for end in ("_low", "_high", "_lowest", "_highest")
    }
    row = {"state": "finished", "runs": 1, "victim": "v", "goal": "untargeted", "n": 9, "settings": {}} | figures | ends
    points = [row | {"name": "a=1", "notices": ["silent-victim", "own-labels"]}, row | {"name": "a=2", "notices": []}]
    reader = Cells(render_sweep("title", points, points, ["a"]))
    _, first, second = reader.rows
    assert first[0] == "a=1silent victim, own labels"
    assert second[0] == "a=2"
    assert "the page of that run says what" in reader.text
    assert "the page of that run" not in Cells(render_sweep("title", points[1:], points[1:], ["a"])).text


def test_the_summary_of_make_run_has_no_notices(tmp_path: Path) -> None:
    """What these tests take for a run of an earlier version."""
    assert "notices" not in json.loads((make_run(tmp_path / "run") / "summary.json").read_text())

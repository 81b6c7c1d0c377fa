"""The table of worst cases is what its results file holds, and says what an evaluation found."""

import importlib
import json
from pathlib import Path
from types import SimpleNamespace

import pytest

HOME = Path(__file__).parents[2]
RESULTS, PAGE = HOME / "results" / "worst-case.json", HOME / "docs" / "evaluate.md"


@pytest.fixture
def script(monkeypatch):
    monkeypatch.syspath_prepend(HOME / "benchmarks")
    return importlib.import_module("worst_case_table")


def summary(**other):
    member = {"view": "white box", "forwards": 60, "backwards": 40, "seconds": 1.5, "left_out": None}
    verdict = {"word": "doubtful", "findings": [], "forwards": 30, "backwards": 20}
    return {
        "suite": "timing/1", "budget": 0.05, "n": 10, "clean_accuracy": 1.0, "robust_accuracy": 0.4,
        "robust_accuracy_interval": [0.17, 0.69], "verdict": verdict, "manifest": {"workers": 2},
        "members": [
            {"name": "random-retiming", "broken": 1, **member, "view": "control"},
            {"name": "retiming", "broken": 4, **member},
            {"name": "retiming pdsg", "broken": 2, **member, "left_out": "not here"},
        ],
    } | other  # fmt: skip


def test_a_row_says_what_was_found(script):
    row = script.row_of("digits-events", "timing", summary())
    assert (row["most_by"], row["broken_by_controls"], row["left_out"]) == ("retiming", 1, ["retiming pdsg"])
    assert (row["passes"], row["verdict_passes"], row["seconds"]) == (300, 50, 4.5)
    assert script.line_of(row) == "`timing/1`, 0.05 | 10 | 100% | **40%** (17%–69%) | doubtful | `retiming` | 35"
    nothing = [{**one, "broken": 0} for one in summary()["members"]]
    row = script.row_of("digits-events", "timing", summary(verdict=None, members=nothing))
    assert script.line_of(row).endswith("| – | nothing | 30")


def test_what_is_measured_is_not_measured_again(script, tmp_path, monkeypatch):
    (tmp_path / "digits-events").mkdir()
    (tmp_path / "digits-events" / "victim.json").write_text("{}")
    asked = []
    monkeypatch.setattr(script, "evaluated", lambda given, *what: asked.append(what) or summary())
    given = SimpleNamespace(only=["digits-events", "nmnist-hard"], threats=["timing", "binary-l0"], victims=tmp_path)
    rows = list(script.measured(given, []))
    assert asked == [("digits-events", "binary-l0", 0.02), ("digits-events", "timing", 0.05)]
    assert list(script.measured(given, rows)) == []
    assert len(list(script.measured(given, rows[:1]))) == 1


def test_every_threat_that_fits_a_victim_is_in_the_table(script):
    from spikeflip.evaluation import THREATS

    for subject in script.SUBJECTS.values():
        kinds = {THREATS[threat].kind for threat in subject.budgets}
        assert len(kinds) == 1
        recordings = subject.data["data"] == "nmnist"
        fitting = {
            one.name for one in THREATS.values() if {one.kind} == kinds and (recordings or not one.on_recordings)
        }
        assert set(subject.budgets) == fitting


def test_the_page_holds_the_results(script, tmp_path):
    page = tmp_path / "evaluate.md"
    page.write_text(PAGE.read_text())
    script.write_page(RESULTS, page)
    assert page.read_text() == PAGE.read_text()
    rows = json.loads(RESULTS.read_text())["rows"]
    assert len(script.table(rows)) == len(rows) + 2

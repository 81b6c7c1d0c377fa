"""Each check of a finding, on the rows of finding_rows.py; and rows by themselves."""

import pytest
from finding_rows import CHECKS, row

from spikeflip.experiments import EXPERIMENTS
from spikeflip.experiments.findings import Outcome, named, smaller, verdict
from spikeflip.experiments.rows import Rows, cell, figure


@pytest.mark.parametrize(
    ("experiment", "finding", "rows", "state", "words"),
    [(name, *check) for name, checks in CHECKS.items() for check in checks],
)
def test_what_rows_say_of_a_finding(experiment, finding, rows, state, words):
    outcome = EXPERIMENTS[experiment].findings[finding].check(Rows(rows))
    assert outcome.state == state
    assert words in outcome.words


def test_every_finding_is_checked_for_what_it_can_say():
    for name, experiment in EXPERIMENTS.items():
        for number, finding in enumerate(experiment.findings):
            seen = {state for at, _, state, _ in CHECKS[name] if at == number}
            assert {"held", "did not hold", "not tested"} <= seen, (name, finding.text)
            assert finding.check(Rows([])).state == "not tested"


def test_verdict_marks_what_does_not_hold_where_it_is_mixed():
    assert verdict([(True, "a"), (True, "b")]) == Outcome("held", "a; b")
    assert verdict([(True, "a"), (False, "b")]) == Outcome("held in part", "a; b (no)")
    assert verdict([(False, "a"), (False, "b")]) == Outcome("did not hold", "a; b")
    assert verdict(iter(())).state == "not tested"


def test_smaller_needs_one_row_of_each():
    rows = Rows(
        [row(a="x", mse=1.0), row(a="y", mse=2.0), row("N-MNIST", a="x", mse=1.0), row("N-MNIST", a="x", mse=0.0)]
    )
    assert list(smaller("mse", ("data",), "a", "x", "y")(rows)) == [(True, "MNIST: x 1.0000, y 2.0000")]
    assert list(smaller("mse", ("data",), "a", "x", "y", data="N-MNIST")(rows)) == []


def test_rows_are_chosen_by_their_labels():
    rows = Rows([row(gamma=0.1, success=0.5), row(gamma=0.2, success=None), row("N-MNIST", gamma=0.1, success=0.7)])
    assert [r["success"] for r in rows.where(gamma=0.1)] == [0.5, 0.7]
    assert rows.where(gamma=0.1).one("success") is None  # of two
    assert rows.where(data="MNIST", gamma=0.1).one("success") == 0.5
    assert rows.values("data") == ["MNIST", "N-MNIST"]
    assert [(key, len(group)) for key, group in rows.groups("data")] == [(("MNIST",), 2), (("N-MNIST",), 1)]
    assert len(rows.known("success")) == 2
    assert rows.best("success")["data"] == "N-MNIST"
    assert rows.mean("success") == pytest.approx(0.6)
    assert rows.where(gamma=0.2).best("success") is rows.where(gamma=0.2).mean("success") is None
    assert len(rows[:2]) == 2
    assert named(("MNIST", None, 8)) == "MNIST, 8"


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("success", 0.9738, "97.4 %"),
        ("mse", 0.012345, "0.0123"),
        ("gamma", 0.05, "0.05"),
        ("threshold", 2.0, "2"),
        ("passes", 12345.6, "12,346"),
        ("n", 1000, "1,000"),
        ("method", "SCG", "SCG"),
    ],
)
def test_values_as_text(name, value, text):
    assert figure(name, value) == text


def test_cells():
    assert cell(row(success=0.9), "success") == "90.0 (85.0–95.0)"
    assert cell(row(clean=0.9), "clean") == "90.0"
    assert cell(row(), "mse") == "–"

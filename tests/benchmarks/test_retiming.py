"""The tables of event attacks are what their result file holds, and rows count what was moved."""

import importlib
from pathlib import Path

import pytest
import torch

from spikeflip import Budget
from spikeflip.attacks import AttackResult

HOME = Path(__file__).parents[2]


@pytest.fixture
def script(monkeypatch):
    monkeypatch.syspath_prepend(HOME / "benchmarks")
    return importlib.import_module


def test_a_row_counts_moves_of_successes_alone(script):
    before = torch.tensor([[[1.0], [1], [0], [0]]] * 2)
    result = AttackResult.blank(before, None)
    result.adversarials[:] = torch.tensor([[0.0], [0], [1], [1]])
    result.success[0] = True
    told = script("retiming").row_of(result, before, None)
    assert told == {"cells": [4, None], "moved": [2, None], "bins": [4, None], "farthest": [2, None]}


def test_every_window_is_asked_of_every_attack(script):
    retiming = script("retiming")
    for name in ("retiming", "soft-retiming", "soft-retiming, sign", "random-retiming"):
        assert [retiming.ATTACKS[f"{name}, window {window}"].window for window in (1, 2, 3, 5)] == [1, 2, 3, 5]
    assert retiming.ATTACKS["retiming, bins"].budget == Budget(1e9, "moved_bins")


def test_the_table_counts_failures_and_seeds(script):
    row = {
        "all_spikes": [100, 200], "cells": [4, None], "moved": [2, None], "bins": [6, None], "farthest": [5, None],
        "forwards": 10.0, "backwards": 2.0, "seconds": 0.5,
    }  # fmt: skip
    more = row | {"cells": [2, 4], "moved": [1, 4], "bins": [1, 2], "farthest": [1, 1]}
    assert list(script("retiming_page").table({"a": [row, more], "gumbel-flips": [row]}))[2:] == [
        "| a | 0 | 25 | 75 | 75 | 75 | 75 | **75** (20 to 97) | 4 | 2 | 2 | 1 | 12 | 0.50 |",
        "| gumbel-flips | – | – | – | – | – | – | **50** (9 to 91) | 4 | – | – | – | 12 | 0.50 |",
    ]


def test_the_page_is_that_of_the_results(script):
    page, rows = script("retiming_page"), script("attack_rows").rows_of(HOME / "results" / "event-attacks.json")
    told = (HOME / "docs" / "event-attacks.md").read_text()
    assert rows
    for victim, goal, found in script("few_flips_page").groups(rows, page.VICTIMS):
        if found:
            assert "\n".join([f"**{goal.capitalize()}**", "", *page.table(found)]) in told
            for end in page.AXES:
                assert (HOME / "docs" / "event-attacks" / f"{victim}{end}.svg").exists()

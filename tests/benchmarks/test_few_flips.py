"""The table of few flips is what its result file holds, and the file is put together without losing rows."""

import importlib
import json
from pathlib import Path

import pytest

HOME = Path(__file__).parents[2]


@pytest.fixture
def scripts(monkeypatch):
    monkeypatch.syspath_prepend(HOME / "benchmarks")
    return importlib.import_module("attack_rows"), importlib.import_module("few_flips_page")


def row(attack="sda", seed=0, cells=(4, None), events=(6, None), **other):
    return {
        "victim": "digits", "data": "digits", "architecture": "4FC", "accuracy": 0.9, "all_spikes": [100, 200],
        "all_events": [300, 200], "attack": attack, "goal": "untargeted", "seed": seed, "cells": list(cells),
        "events": list(events), "forwards": 10.0, "backwards": 2.0, "seconds": 0.5,
    } | other  # fmt: skip


def test_parts_are_joined_and_the_later_of_equal_rows_is_kept(scripts, tmp_path):
    attack_rows, _ = scripts
    one, two, out = (tmp_path / name for name in ("one.json", "two.json", "out.json"))
    attack_rows.write(one, [row(), row(seed=1)])
    attack_rows.write(two, [row(cells=(1, 1)), row("gumbel")])
    attack_rows.join(out, [one, two])
    found = {(found["attack"], found["seed"]): found["cells"] for found in json.loads(out.read_text())["rows"]}
    assert found == {("sda", 0): [1, 1], ("sda", 1): [4, None], ("gumbel", 0): [4, None]}


def test_the_table_counts_failures_events_and_seeds(scripts):
    _, page = scripts
    found = {"sda": [row()], "scg 1": [row("scg 1", cells=(8, 9), events=(8, 9)), row(seed=1)]}
    assert list(page.table(found))[2:] == [
        "| sda ¹ | 0 | 0 | 0 | 0 | 50 | 50 | 50 | 50 (9 to 91) | **4** (4 to –) | 1.00 | 0 | 12 | 0.50 |",
        "| scg 1 | 0 | 0 | 0 | 0 | 25 | 50 | 75 | 75 (20 to 97) | **8** (4 to 9) | 0.20 | 1 | 12 | 0.50 |",
    ]


def test_every_attack_of_the_table_is_drawn(scripts):
    _, page = scripts
    names = [f"attack {number}" for number in range(len(page.COLOURS))]
    figure = page.curves([("untargeted", {name: [row(name)] for name in [*names, *page.NOT_DRAWN]})])
    assert [text.get_text() for text in figure.legends[0].get_texts()] == names
    with pytest.raises(ValueError, match="attacks are to be drawn"):
        page.curves([("untargeted", {name: [row(name)] for name in [*names, "one more"]})])


def test_the_page_is_that_of_the_results(scripts):
    attack_rows, page = scripts
    rows = attack_rows.rows_of(HOME / "results" / "binary-l0.json")
    told = (HOME / "docs" / "few-flips.md").read_text()
    for victim, goal, found in page.groups(rows):
        if found:
            assert "\n".join([f"**{goal.capitalize()}**", "", *page.table(found)]) in told
            assert (HOME / "docs" / "few-flips" / f"{victim}.svg").exists()

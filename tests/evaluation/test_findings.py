"""Rates, thresholds, and the word that follows from findings, against numbers worked out by hand."""

import json
import re
from pathlib import Path

import pytest

from spikeflip.evaluation.findings import THRESHOLDS, Finding, Rate, Verdict, sorted_findings
from spikeflip.evaluation.masking import _of_freedom


@pytest.mark.parametrize(
    ("low", "high", "clear"),
    [
        (Rate(0, 24), Rate(24, 24), True),
        (Rate(2, 32), Rate(20, 32), True),
        (Rate(8, 32), Rate(13, 32), False),  # 16 points, but [0.13, 0.42] and [0.26, 0.58] overlap
        (Rate(500, 1000), Rate(560, 1000), False),  # no overlap, but 6 points
        (Rate(500, 1000), Rate(610, 1000), True),
        (Rate(20, 32), Rate(2, 32), False),
        (Rate(0, 0), Rate(0, 0), False),
    ],
)
def test_clearly_is_ten_points_and_intervals_apart(low, high, clear):
    assert low.clearly_below(high, 0.1) is clear


def test_surely_is_the_whole_interval():
    assert Rate(9, 10).surely_above(0.59)  # from 0.596
    assert not Rate(9, 10).surely_above(0.6)
    assert Rate(1, 10).surely_below(0.41)  # to 0.404
    assert not Rate(1, 10).surely_below(0.4)
    assert not Rate(0, 0).surely_above(0)


@pytest.mark.parametrize(
    ("free", "words"),
    [
        (Rate(0, 9), "gradient fools none of 9 inputs: it leads nowhere"),
        (Rate(2, 9), "gradient fools only 2 of 9 inputs: it leads nowhere on the others"),
    ],
)
def test_an_attack_without_bounds_says_how_many_it_fooled(free, words):
    (found,) = _of_freedom(free)
    assert found.sentence.endswith(words)
    assert found.weight == "masked"


def finding(weight):
    return Finding("ties", 0.5, 0.1, f"a {weight}", weight)


@pytest.mark.parametrize(
    ("weights", "word"),
    [
        ([], "trustworthy"),
        (["note"], "trustworthy"),
        (["note", "doubtful", "note"], "doubtful"),
        (["doubtful", "note", "masked"], "masked"),
    ],
)
def test_the_heaviest_finding_gives_the_word(weights, word):
    verdict = Verdict(sorted_findings([finding(weight) for weight in weights]), {"own": Rate(1, 2)}, 3, 4)
    assert verdict.word == word
    if weights:
        assert verdict.findings[0].weight == {"trustworthy": "note"}.get(word, word)
    assert str(verdict) == (word if word == "trustworthy" else f"{word}; a {word}")
    summary = json.loads(json.dumps(verdict.summary()))
    assert summary["word"] == word
    assert summary["rates"] == {"own": [1, 2]}
    assert len(summary["findings"]) == len(weights)


def test_the_page_has_every_code_that_the_rule_has():
    here = Path(__file__).parents[2]
    rule = (here / "src/spikeflip/evaluation/masking.py").read_text()
    page = (here / "docs/masking.md").read_text()
    documented = set(re.findall(r"^\| `([a-z-]+)` \|", page, re.M))
    made = {code for code in THRESHOLDS if f'"{code}"' in rule} - {"vanished"}
    assert documented == made
    assert made | {"unfinished", "vanished"} == set(THRESHOLDS)
    assert all(threshold.source for threshold in THRESHOLDS.values())

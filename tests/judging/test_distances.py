"""Curves and quartiles of distances, a failure counted as infinitely far, and what each attack of several is worth."""

import math

import pytest
import torch

from spikeflip import SpikeflipError
from spikeflip.judging.distances import alone, best, optimality, quartiles, success_within

INF = math.inf


def tensor(*values):
    return torch.tensor(values, dtype=torch.float64)


def test_a_limit_is_within_and_a_failure_is_in_no_share():
    assert success_within(tensor(0, 3, 3, INF), [0, 2.9, 3, 1e9, INF]) == [0.25, 0.25, 0.75, 0.75, 1.0]


@pytest.mark.parametrize(
    ("distances", "found"),
    [
        ((5,), (5, 5, 5)),
        ((4, 1, 3, 2), (1, 2, 3)),
        ((4, 1, 3, 2, 5), (2, 3, 4)),
        ((1, INF, INF, INF), (1, INF, INF)),
        ((1, 2, INF, INF), (1, 2, INF)),
    ],
)
def test_quartiles_are_values_of_samples_and_failures_count(distances, found):
    assert quartiles(tensor(*distances)) == found


def test_optimality_is_the_formula():
    """By hand: D = 8; the best are 2, 4 and 8, so A* = 14 / 3; the areas are 16 / 3 and 22 / 3."""
    found = optimality({"near": tensor(2, 6, 8), "far": tensor(8, 8, INF) - tensor(2, 0, 0), "third": tensor(9, 4, 99)})
    assert found["near"] == pytest.approx(1 - (16 / 3 - 14 / 3) / (8 - 14 / 3))
    assert found["far"] == pytest.approx(1 - (22 / 3 - 14 / 3) / (8 - 14 / 3))


def test_the_best_of_all_is_1_and_what_fools_nothing_is_0():
    found = optimality({"best": tensor(1, 2, 4), "none": tensor(INF, INF, INF)})
    assert found == {"best": 1.0, "none": 0.0}


def test_a_sample_that_none_fools_says_nothing_for_or_against():
    assert optimality({"a": tensor(1, 3, INF), "b": tensor(3, 3, INF)}) == {"a": 1.0, "b": 0.0}


def test_where_all_need_the_same_it_is_the_share_that_needs_no_more():
    distances = {"a": tensor(3, 3, INF), "b": tensor(3, INF, INF), "c": tensor(4, 4, INF)}
    assert optimality(distances) == {"a": 1.0, "b": 0.5, "c": 0.0}


def test_without_any_success_there_is_no_optimality():
    assert all(math.isnan(value) for value in optimality({"a": tensor(INF), "b": tensor(INF)}).values())


def test_alone_counts_what_no_other_fools_within_the_limit():
    distances = {"a": tensor(1, 5, INF, 9), "b": tensor(2, INF, INF, 1), "c": tensor(INF, INF, 7, 9)}
    assert alone(distances) == {"a": 1, "b": 0, "c": 1}
    assert alone(distances, 6) == {"a": 1, "b": 1, "c": 0}


def test_an_infinite_limit_makes_no_success_of_a_failure():
    assert alone({"a": tensor(INF), "b": tensor(INF)}, INF) == {"a": 0, "b": 0}


def test_bad_input():
    with pytest.raises(SpikeflipError, match="no sample was attacked"):
        quartiles(tensor())
    with pytest.raises(SpikeflipError, match="no sample was attacked"):
        success_within(tensor(), [1])
    with pytest.raises(SpikeflipError, match="not all of the same samples"):
        best({"a": tensor(1), "b": tensor(1, 2)})

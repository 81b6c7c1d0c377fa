"""What a budget is in every metric, by hand: reached is failed."""

import re

import numpy as np
import pytest
import torch

from spikeflip import SCG, Budget, SpikeflipError, SpikingNetwork, scg
from spikeflip.attacks.metrics import METRICS, Change

ORIGINALS = torch.zeros(3, 2, 2)
MOVED = torch.tensor([[[0.0, 0.0], [0.0, 0.0]], [[0.6, 0.0], [-0.8, 0.0]], [[1.0, -1.0], [0.0, 1.0]]])
SIZES = {
    "mse": [0.0, 0.25, 0.75],
    "rms": [0.0, 0.5, 0.75**0.5],
    "l0": [0.0, 2.0, 3.0],
    "l1": [0.0, 1.4, 3.0],
    "l2": [0.0, 1.0, 3**0.5],
    "l2_per_point": [0.0, 0.25, 3**0.5 / 4],
}


@pytest.mark.parametrize("metric", SIZES)
def test_of_a_limit_the_inputs_that_reach_it(metric):
    assert SIZES.keys() == {name for name, known in METRICS.items() if known.on == "all"} - {"linf"}
    originals, moved = ORIGINALS.double(), MOVED.double() + 0.0
    for n, size in enumerate(SIZES[metric]):
        if size:
            at = METRICS[metric](Change(originals, moved))[n].item()
            assert at == pytest.approx(size)
            for limit, over in ((at, True), (at * 0.999, True), (at * 1.001, False)):
                assert Budget(limit, metric).exceeded(Change(originals, moved)).tolist()[n] is over
    assert Budget(SIZES[metric][1] * 1.1, metric).exceeded(Change(originals, moved)).tolist() == [False, False, True]
    assert Budget(SIZES[metric][1], metric).project(moved, originals) is moved


def test_from_where_the_original_is():
    """A perturbation is measured from the original, not from zero."""
    originals = MOVED + 5
    assert Budget(0.1).exceeded(Change(originals, originals)).tolist() == [False] * 3
    assert Budget(0.1).exceeded(Change(originals, originals - MOVED)).tolist() == [False, True, True]


def test_linf_binds_by_projection_alone():
    budget, originals = Budget(0.5, "linf"), MOVED + 5
    found = budget.project(originals - MOVED, originals)
    expected = torch.tensor([[[0.0, 0.0], [0.0, 0.0]], [[-0.5, 0.0], [0.5, 0.0]], [[-0.5, 0.5], [0.0, -0.5]]])
    torch.testing.assert_close(found - originals, expected)
    exceeded = budget.exceeded(Change(originals, originals - MOVED))
    assert (exceeded.dtype, exceeded.tolist()) == (torch.bool, [False] * 3)
    elsewhere = torch.zeros(2, 3, device="meta")  # on another device
    assert budget.exceeded(Change(elsewhere, elsewhere)).device == elsewhere.device


def test_a_number_is_mse():
    assert Budget(0.3) == Budget(0.3, "mse")


@pytest.mark.parametrize("limit", [-1.0, float("nan")])
def test_limits_below_zero(limit):
    with pytest.raises(SpikeflipError, match=f"budget is {limit} in l0: give a limit, such as 0.08"):
        Budget(limit, "l0")


@pytest.mark.parametrize("limit", ["0.1", [0.1], None])
def test_a_limit_that_is_no_number(limit):
    with pytest.raises(SpikeflipError, match=f"budget is {re.escape(repr(limit))} in mse: give a limit, such as 0.08"):
        Budget(limit)


def test_a_number_of_another_type_is_a_number():
    network, spikes = SpikingNetwork("4FC-3FC", (5,), time_steps=3), torch.zeros(1, 3, 5)
    assert len(scg(network, spikes, torch.tensor([0]), budget=np.float32(0.1), steps=1).success) == 1
    with pytest.raises(SpikeflipError, match=r"budget is '0\.1' in mse: give a limit"):
        scg(network, spikes, torch.tensor([0]), budget="0.1")


def test_settings_take_a_budget_and_no_number():
    with pytest.raises(SpikeflipError, match=r"budget is 0.1: give a Budget, such as Budget\(0.08, 'mse'\)"):
        SCG(budget=0.1)


@pytest.mark.parametrize("metric", [name for name in METRICS if name.startswith("moved")])
def test_a_budget_of_moves_is_none_of_flips(metric):
    with pytest.raises(SpikeflipError, match=f"a budget in {metric} bounds spikes that move, .*: use l0 or mse"):
        SCG(budget=Budget(5, metric))


def test_the_metrics_to_choose_from_are_named():
    with pytest.raises(SpikeflipError) as refused:
        Budget(1, "ssim")
    assert str(refused.value) == (
        "budget metric is 'ssim': choose from mse, rms, l0, l1, l2, linf, l2_per_point, moved, moved_bins, "
        "moved_bins_max, l0_events, moved_us, moved_us_max"
    )


def test_a_budget_is_frozen():
    assert Budget.__dataclass_params__.frozen


def test_what_a_metric_says_nothing_about():
    for name, metric in METRICS.items():
        budget = Budget(0.1, name)
        if name != "linf":
            budget.check("spikes", recorded=True)
        if metric.on == "all":
            budget.check("images")
        else:
            with pytest.raises(SpikeflipError, match=f"{name} is a number of spikes, and the inputs are images"):
                budget.check("images")
        if metric.on == "recordings":
            with pytest.raises(SpikeflipError, match=f"{name} is measured on recordings, and the inputs are frames"):
                budget.check("spikes")
    with pytest.raises(SpikeflipError, match="a linf budget bounds nothing on spikes"):
        Budget(0.1, "linf").check("spikes")

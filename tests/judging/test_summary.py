"""Every figure of a summary against a table made by hand, in which each column has other values for other rows."""

import pytest
import torch

from spikeflip import LIF, Rectangular, SpikingNetwork, judge, rates
from spikeflip.attacks.metrics import METRICS
from spikeflip.attacks.result import AttackResult, Vanishing
from spikeflip.judging import Judgement, wilson

# Six inputs: the first two fooled, the third held, the fourth tied, the fifth wrong from the start, the sixth held.
SUCCESS = [True, True, False, False, False, False]
WRONG = [False, False, False, False, True, False]
CAUSES = [Vanishing.LOSS, Vanishing.NONE, Vanishing.OUTPUT, Vanishing.DEEPER, Vanishing.NONE, Vanishing.OUTPUT]


def rows():
    made = {
        "sample": torch.arange(6),
        "label": torch.tensor([0, 0, 0, 0, 3, 0]),
        "target": torch.full((6,), -1),
        "over_budget": torch.zeros(6, dtype=torch.bool),
        "success": torch.tensor(SUCCESS),
        "already_wrong": torch.tensor(WRONG),
        "prediction": torch.tensor([1, 1, 0, -1, -1, 0]),
        "verified": torch.tensor([0.9, 0.5, 0.1, 0.0, 0.0, 0.3]).double(),
        "still_right": torch.tensor([0.1, 0.4, 0.8, 0.6, 0.0, 0.7]).double(),
        "steps": torch.tensor([3, 6, 25, 25, 0, 25]),
        "forwards": torch.tensor([4, 7, 26, 26, 1, 26]),
        "backwards": torch.tensor([2, 5, 20, 21, 0, 22]),
        "vanished": torch.tensor([1, 0, 5, 4, 0, 3]),
        "vanished_first_step": torch.tensor([cause > 0 for cause in CAUSES]),
        "first_vanishing": torch.tensor(CAUSES, dtype=torch.int8),
    }
    for at, name in enumerate(METRICS):
        made[name] = torch.tensor([1.0, 2.0, 100.0, 200.0, 300.0, 400.0]).double() * (at + 1)
    return made


RATES = {
    "clean_accuracy": (5 / 6, 6),
    "attack_success_rate": (2 / 5, 5),
    "verified_success_rate": ((0.9 + 0.5 + 0.1 + 0.0 + 0.3) / 5, 5),
    "robust_accuracy": ((0.1 + 0.4 + 0.8 + 0.6 + 0.0 + 0.7) / 6, 6),
    "tie_rate": (1 / 5, 5),
    "vanished_first_step_rate": (4 / 5, 5),
}
MEANS = {f"{name}_mean": 1.5 * (at + 1) for at, name in enumerate(METRICS)} | {
    "steps_mean": 4.5,
    "forwards_mean": 5.5,
    "backwards_mean": 3.5,
    "vanished_mean": 13 / 5,
}
COUNTS = {
    "n": 6,
    "kind": "images",
    "draws": 40,
    "metrics_version": 1,
    "vanished_first_step": 4,
    "vanished_first_step_loss": 1,
    "vanished_first_step_output": 2,
    "vanished_first_step_deeper": 1,
}


def test_rates_are_over_the_inputs_that_they_name_with_their_interval_and_n():
    summary = Judgement("images", 40, rows()).summary()
    for name, (rate, n) in RATES.items():
        assert summary[name] == pytest.approx(rate), name
        assert summary[f"{name}_n"] == n, name
        assert summary[f"{name}_interval"] == pytest.approx(list(wilson(rate, n))), name
        assert isinstance(summary[f"{name}_interval"], list)


def test_means_are_over_successes_but_for_vanished_steps():
    summary = Judgement("images", 40, rows()).summary()
    assert {name: summary[name] for name in MEANS} == {name: pytest.approx(value) for name, value in MEANS.items()}


def test_a_judgement_is_frozen():
    assert Judgement.__dataclass_params__.frozen


def test_counts():
    assert COUNTS.items() <= Judgement("images", 40, rows()).summary().items()


def test_what_nothing_can_be_said_of_is_none():
    """All wrong from the start: no rate of the attack, and no mean."""
    nothing = {name: values[4:5] for name, values in rows().items()}
    summary = Judgement("spikes", 1, nothing).summary()
    for name, (_, n) in RATES.items():
        assert summary[name] == (0 if n == 6 else None)
        assert summary[f"{name}_n"] == (1 if n == 6 else 0)
        assert summary[f"{name}_interval"] == list(wilson(0.0, 1 if n == 6 else 0))
    assert {summary[name] for name in MEANS} == {None}
    assert (summary["vanished_first_step"], summary["kind"]) == (0, "spikes")


def test_columns_are_those_of_the_attack_and_of_the_inputs():
    network = SpikingNetwork("3FC", (3,), time_steps=1, neuron=LIF(0.5, 0.0, "hard", Rectangular(4.0)))
    with torch.no_grad():
        network.weights[0].copy_(torch.eye(3))
    before = torch.eye(3)[[0, 0, 0, 1]].unsqueeze(1)
    after = torch.eye(3)[[1, 2, 1, 1]].unsqueeze(1)
    labels, targets, samples = torch.zeros(4, dtype=torch.int64), torch.tensor([1, 1, 1, 1]), torch.tensor([9, 8, 5, 2])
    result = AttackResult.blank(before, None)
    known = {"forwards": [5, 6, 7, 8], "backwards": [4, 3, 2, 1], "vanished": [1, 2, 0, 3], "steps": [2, 3, 0, 0]}
    known |= {"over_budget": [False, True, False, False], "first_vanishing": [0, 1, 2, 3]}
    for name, values in known.items():
        getattr(result, name).copy_(torch.tensor(values))
    found = judge(network, before, after, labels, targets, result, samples=samples)
    expected = known | {
        "sample": [9, 8, 5, 2],
        "label": [0] * 4,
        "target": [1] * 4,
        "prediction": [1, 2, 1, 1],
        "already_wrong": [False, False, False, True],
        # The third reaches its target without an update: an attack that did nothing has not succeeded.
        "success": [True, False, False, False],
        "verified": [1.0, 0.0, 1.0, 0.0],
        "still_right": [0.0] * 4,
        "vanished_first_step": [False, True, True, True],
        "mse": pytest.approx([2 / 3, 2 / 3, 2 / 3, 0]),
        "l0": [2.0, 2.0, 2.0, 0.0],
        "linf": [1.0, 1.0, 1.0, 0.0],
    }
    for name, values in expected.items():
        assert found.rows[name].tolist() == values, name
    assert {found.rows[name].dtype for name in METRICS if name in found.rows} == {torch.float64}
    assert (found.kind, found.draws) == ("spikes", 1)
    untargeted = judge(network, before, after, labels, None, result)
    assert untargeted.rows["target"].tolist() == [-1] * 4
    assert untargeted.rows["sample"].tolist() == [0, 1, 2, 3]
    assert untargeted.rows["success"].tolist() == [True, True, False, False]


def test_rates_are_those_of_the_list_in_its_order():
    network = SpikingNetwork("3FC", (3,), time_steps=1)
    inputs = torch.eye(3)
    summary = judge(network, inputs, inputs, torch.arange(3), None, AttackResult.blank(inputs, None)).summary()
    assert [name.removesuffix("_interval") for name in summary if name.endswith("_interval")] == list(rates.RATES)
    correct = summary["attack_success_rate_n"]
    for name, rate in rates.RATES.items():
        assert summary[f"{name}_n"] == (summary["n"] if rate.of == "all inputs" else correct)

import pytest
import torch

from spikeflip import LIF, Rectangular, SpikeflipError, SpikingNetwork, judge, scg
from spikeflip.attacks.metrics import METRICS, Change
from spikeflip.attacks.result import AttackResult
from spikeflip.judging import wilson


def test_wilson_against_published_values():
    # Newcombe (1998), Table I: 81 of 263 and 1 of 29.
    assert wilson(81 / 263, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert wilson(1 / 29, 29) == pytest.approx((0.0061, 0.1718), abs=5e-5)
    assert wilson(0, 0) == (0.0, 1.0)
    assert wilson(1.0, 10) == pytest.approx((0.7225, 1.0), abs=5e-5)


@pytest.mark.parametrize(("rate", "n"), [(1.1, 5), (-0.1, 5), (float("nan"), 5), (0.5, -1)])
def test_wilson_out_of_range(rate, n):
    with pytest.raises(SpikeflipError, match="an interval of rate"):
        wilson(rate, n)


def test_metrics_worked_out_by_hand():
    difference = torch.tensor([[[0.0, 0.6], [-0.8, 0.0]], [[1.0, -1.0], [0.0, 1.0]]])
    expected = {
        "mse": [0.25, 0.75],
        "rms": [0.5, 0.75**0.5],
        "l0": [2, 3],
        "l1": [1.4, 3],
        "l2": [1, 3**0.5],
        "linf": [0.8, 1],
        "l2_per_point": [0.25, 3**0.5 / 4],
    }
    assert [name for name, metric in METRICS.items() if metric.on == "all"] == list(expected)
    for name, values in expected.items():
        found = METRICS[name](Change(torch.zeros_like(difference), difference))
        torch.testing.assert_close(found, torch.tensor(values, dtype=torch.float32))


def coin():
    """One pixel a class, one time step: class k fires exactly when pixel k does."""
    network = SpikingNetwork("2FC", (2,), time_steps=1, neuron=LIF(0.5, 0.0, "hard", Rectangular(4.0)))
    with torch.no_grad():
        network.weights[0].copy_(torch.eye(2))
    return network


def done(inputs, steps):
    result = AttackResult.blank(inputs, None)
    result.steps.fill_(steps)
    return result


def test_verified_success_is_the_chance_of_a_fresh_draw():
    # The adversarial fires class 1 alone with probability 0.8 * 0.5 and class 0 alone with 0.2 * 0.5.
    original = torch.tensor([[1.0, 0.0]]).expand(4, 2)
    adversarial = torch.tensor([[0.5, 0.8]]).expand(4, 2).clone()
    labels = torch.zeros(4, dtype=torch.int64)
    found = judge(coin(), original, adversarial, labels, None, done(original, 1), draws=4000)
    assert found.rows["verified"].tolist() == pytest.approx([0.4] * 4, abs=0.04)
    assert found.rows["still_right"].tolist() == pytest.approx([0.1] * 4, abs=0.03)
    summary = found.summary()
    assert summary["robust_accuracy"] == pytest.approx(0.1, abs=0.02)
    assert summary["clean_accuracy"] == 1


def test_rates_of_four_spike_inputs_by_hand():
    inputs = torch.tensor([[[1.0, 0.0]], [[1.0, 0.0]], [[1.0, 0.0]], [[0.0, 1.0]]])
    after = torch.tensor([[[0.0, 1.0]], [[1.0, 1.0]], [[1.0, 0.0]], [[0.0, 1.0]]])  # fooled, tied, held; wrong before
    found = judge(coin(), inputs, after, torch.zeros(4, dtype=torch.int64), None, done(inputs, 1))
    summary = found.summary()
    assert found.draws == 1
    assert found.rows["prediction"].tolist() == [1, -1, 0, 1]
    assert (summary["n"], summary["clean_accuracy"], summary["robust_accuracy"]) == (4, 0.75, 0.25)
    for name in ("attack_success_rate", "verified_success_rate", "tie_rate"):
        assert summary[name] == pytest.approx(1 / 3)
        assert summary[f"{name}_n"] == 3
    assert summary["mse_mean"] == 1.0
    assert summary["l0_mean"] == 2.0


def test_a_claimed_success_is_not_believed():
    inputs = torch.tensor([[[1.0, 0.0]]])
    result = done(inputs, 1)
    result.success.fill_(True)
    assert judge(coin(), inputs, inputs, torch.tensor([0]), None, result).summary()["attack_success_rate"] == 0


def test_targeted_success_needs_the_target():
    network = SpikingNetwork("3FC", (3,), time_steps=1, neuron=LIF(0.5, 0.0))
    with torch.no_grad():
        network.weights[0].copy_(torch.eye(3))
    inputs = torch.tensor([[[1.0, 0.0, 0.0]]]).expand(2, 1, 3)
    after = torch.tensor([[[0.0, 1.0, 0.0]]]).expand(2, 1, 3)
    found = judge(network, inputs, after, torch.tensor([0, 0]), torch.tensor([1, 2]), done(inputs, 1))
    assert found.rows["success"].tolist() == [True, False]
    assert found.summary()["robust_accuracy"] == 0


def test_judging_agrees_with_the_attack(digit_victim, digits):
    images, labels = digits.images[:30], digits.labels[:30]
    result = scg(digit_victim, images, labels, seed=5)
    found = judge(digit_victim, images, result.adversarials, labels, None, result, seed=5, draws=20)
    assert torch.equal(found.rows["success"], result.success)
    assert torch.equal(found.rows["already_wrong"], result.already_wrong)
    assert torch.equal(found.rows["prediction"], result.prediction)
    summary = found.summary()
    assert summary["verified_success_rate"] < summary["attack_success_rate"]


def test_nothing_correct_gives_no_rate():
    inputs = torch.zeros(2, 1, 2)
    summary = judge(coin(), inputs, inputs, torch.tensor([0, 1]), None, done(inputs, 0)).summary()
    assert summary["attack_success_rate"] is None
    assert summary["attack_success_rate_interval"] == [0.0, 1.0]
    assert summary["robust_accuracy"] == 0


def test_bad_input():
    inputs = torch.zeros(2, 1, 2)
    labels = torch.tensor([0, 1])
    with pytest.raises(SpikeflipError, match="adversarials have shape"):
        judge(coin(), inputs, inputs[:1], labels, None, done(inputs, 0))
    with pytest.raises(SpikeflipError, match=r"spikes hold the value 0.5"):
        judge(coin(), inputs, inputs + 0.5, labels, None, done(inputs, 0))
    with pytest.raises(SpikeflipError, match="spikes hold the value 5"):
        judge(coin(), inputs + 5, inputs, labels, None, done(inputs, 0))
    for result, goal, options, message in (
        (done(inputs, 0), None, {"draws": 0}, "draws is 0"),
        (done(inputs, 0), None, {"micro_batch": 0}, "micro_batch is 0"),
        (done(inputs, 0), None, {"seed": -1}, "seed is -1: give a whole number from 0"),
        (done(inputs, 0), None, {"samples": torch.tensor([0])}, r"samples are torch.int64 \(1,\) for 2 inputs"),
        (done(inputs, 0), labels, {}, "the target of sample 0 is its label, 0"),
        (done(inputs, 0), labels + 2, {}, "target 2 is out of range"),
        (done(inputs[:1], 0), None, {}, "result is of 1 samples, for 2 inputs"),
    ):
        with pytest.raises(SpikeflipError, match=message):
            judge(coin(), inputs, inputs, labels, goal, result, **options)
    with pytest.raises(SpikeflipError, match="label 50 is out of range"):
        judge(coin(), inputs, inputs, labels + 50, None, done(inputs, 0))


def test_sizes_do_not_depend_on_the_micro_batch():
    inputs = torch.rand(5, 2, generator=torch.Generator().manual_seed(0))
    moved, labels = 1 - inputs, torch.tensor([0, 1, 0, 1, 0])
    whole, parts = (
        judge(coin(), inputs, moved, labels, None, done(inputs, 1), draws=1, micro_batch=size).rows for size in (64, 2)
    )
    for name, metric in METRICS.items():
        if metric.on != "all":
            assert name not in whole
            continue
        assert torch.equal(whole[name], metric(Change(inputs.double(), moved.double())))
        assert torch.equal(whole[name], parts[name])


def test_what_another_tool_made_is_judged_without_its_counts():
    inputs = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]])
    after, labels = torch.tensor([[0.0, 1.0], [0.0, 1.0], [1.0, 0.0]]), torch.tensor([0, 0, 0])
    found = judge(coin(), inputs, after, labels, draws=3)
    summary = found.summary()
    assert (summary["attack_success_rate"], summary["attack_success_rate_n"], summary["l0_mean"]) == (0.5, 2, 2)
    assert (summary["robust_accuracy"], summary["clean_accuracy"]) == (1 / 3, 2 / 3)
    assert not [
        name for name in (*summary, *found.rows) if name.startswith(("steps", "forw", "backw", "vanish", "over"))
    ]
    whole = judge(coin(), inputs, after, labels, None, done(inputs, 1), draws=3).summary()
    assert {name: value for name, value in whole.items() if name in summary} == summary

"""What the benchmarks report is what was run."""

import importlib
import json
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from spikeflip import SCG
from spikeflip.attacks import SDA
from spikeflip.snn.coding import winner


@pytest.fixture
def script(monkeypatch):
    """Imports a script as when it is run, with its neighbours."""
    monkeypatch.syspath_prepend(Path(__file__).parents[2] / "benchmarks")
    return importlib.import_module


@pytest.fixture
def subject(script, digit_victim, digits):
    return script("victims").Subject(
        "digits", "small", 1.0, digit_victim, "mse", 0.9, 100, digits.images[:6], digits.labels[:6]
    )


def test_sides_take_turns(script):
    order = []
    sides = {name: (lambda name=name: order.append(name) or len(order)) for name in "ab"}
    assert script("measuring").in_turn(sides, 3) == {"a": [1, 3, 5], "b": [2, 4, 6]}
    assert order == list("ababab")


def test_rows_are_printed_as_json_or_in_a_sentence_each(script, capsys):
    rows = [{"a": 1}, {"a": 2.5}]
    script("rows").print_rows(rows, True, str)
    assert json.loads(capsys.readouterr().out) == rows
    script("rows").print_rows(rows, False, "{a} ms".format_map)
    assert capsys.readouterr().out == "1 ms\n2.5 ms\n"


def test_ratios_are_those_of_medians_with_the_range_within_rounds(script):
    found = script("measuring").ratio("x", [1, 2, 30], [1, 4, 10])
    assert found == {"x": 0.5, "x_range": [0.5, 3.0]}


def test_untrained_weights_fire_at_the_rate_asked_for(script, deep_network, some_spikes):
    spikes = some_spikes(8, 6, 2, 9, 9)
    script("measuring").fire_at_rate(deep_network, spikes, 0.1)
    fired, _ = deep_network.engine.forward(spikes, last=1)
    assert 0.05 < float(fired.mean()) <= 0.11  # the reset keeps it below the share of potentials
    assert all(weight.grad is None for weight in deep_network.weights)


def test_the_dense_limit_has_every_weight_layer(script, deep_network):
    dense = script("measuring").Dense(deep_network, 2, training=True)
    assert [str(layer[0]) for layer in dense.layers] == ["8C3", "12C5", "16FC", "10FC"]
    assert dense.seconds_a_sample() > 0


@pytest.mark.parametrize("density", [0.05, 0.4, 0.7])
def test_recordings_get_the_density_asked_for(script, some_spikes, density):
    spikes = some_spikes(4, 6, 2, 20, 20, density=0.4, seed=1)
    found = script("growth").with_density(spikes, density)
    assert float(found.mean()) == pytest.approx(density, abs=0.02)
    assert set(found.unique().tolist()) == {0.0, 1.0}
    assert bool((found >= spikes).all() if density >= 0.4 else (found <= spikes).all())


def test_recordings_are_cut_and_repeated_in_time(script, some_spikes):
    spikes = some_spikes(2, 3, 4)
    longer = script("growth").with_time_steps(spikes, 7)
    assert torch.equal(longer, torch.cat([spikes, spikes, spikes[:, :1]], 1))
    assert torch.equal(script("growth").with_time_steps(spikes, 2), spikes[:, :2])


def test_a_whole_attack_is_reported_as_it_ran(script, subject):
    rows = script("whole_attack").measure(subject, 1.0, ["plain"], 16, 1)
    expected = SCG(steps=25, threshold=1.0)(subject.network, subject.values, subject.labels)
    assert [row["engine"] for row in rows] == list(script("measuring").engines(subject.network))
    for row in rows:
        assert (row["samples"], row["success"]) == (6, int(expected.success.sum()))
        assert (row["sample_iterations"], row["updates"]) == (int(expected.forwards.sum()), int(expected.steps.sum()))
        taken = row["attack_ms_per_sample_iteration"]
        assert taken == pytest.approx(row["attack_ms"] / row["sample_iterations"], rel=0.01)
        assert row["ratio_to_dense"] == pytest.approx(taken / row["dense_ms"], rel=0.1)
        plain = row["peers"]["plain"]
        assert row["speedup_vs_plain"] == pytest.approx(
            plain["ms_per_sample_iteration"] / plain["our_ms_per_sample_iteration"], rel=0.01
        )
        assert (plain["success"], plain["sample_iterations"]) == (plain["our_success"], plain["our_sample_iterations"])
        assert row["speedup_vs_spikingjelly"] is None
        assert row["speedup_vs_snntorch"] is None


def test_a_peer_that_is_not_installed_is_left_out(script, subject, monkeypatch):
    def missing(network, **options):
        raise ImportError("no module named snntorch")

    benchmark = script("whole_attack")
    monkeypatch.setitem(benchmark.PEERS, "snntorch", missing)
    rows = benchmark.measure(subject, None, ["snntorch"], 16, 1)
    assert all(row["speedup_vs_snntorch"] is None and row["peers"] == {} for row in rows)


def test_the_guard_names_what_is_too_slow(script):
    benchmark = script("whole_attack")
    bound = benchmark.BOUNDS["torch"]
    rows = [
        {"engine": "torch", "threshold": None, "ratio_to_dense_range": [ratio, 99]} for ratio in (bound, bound + 0.1)
    ]
    assert benchmark.too_slow(rows) == [
        f"torch took {bound + 0.1} x dense or more at threshold None, {bound} x is its bound: something made it slower"
    ]


@pytest.mark.processes
def test_memory_is_measured_in_a_process_of_its_own(script, monkeypatch):
    memory = script("memory")
    small = ["memory.py", "--network", "small-spike", "--time-steps", "4", "--micro-batch", "2"]
    monkeypatch.setattr("sys.argv", small)
    case = memory.child("torch", 4)
    assert case["backwards"] == 4 * memory.STEPS
    assert case["peak_mb"] >= case["before_attack_mb"] > case["inputs_mb"] > 0


def test_a_victim_without_test_inputs_counts_those_it_was_trained_on(script):
    facts = {
        "accuracy": 0.75,
        "accuracy_n": 4,
        "training_accuracy": 1.0,
        "training_accuracy_n": 10,
        "loss": "mse",
        "config": {"engine": "auto", "seed": 3},
        "learned": True,
        "recipe": {},
        "history": {"notices": [{"text": "went back"}]},
        "manifest": {"seconds": 1.5},
    }
    found = script("recipes").row("digits", facts)
    assert (found["accuracy"], found["n"], found["of"], found["seed"]) == (0.75, 4, "test inputs", 3)
    assert found["interval"] == [0.3006, 0.9544]  # Wilson, of 3 in 4
    assert (found["cures"], found["seconds"]) == (["went back"], 1.5)
    found = script("recipes").row("dvsgesture", facts | {"accuracy": None, "accuracy_n": 0})
    assert (found["accuracy"], found["n"], found["of"]) == (1.0, 10, "training samples")


def test_a_flip_is_timed_against_whole_passes(script):
    benchmark = script("rescoring")
    network, values = benchmark.untrained("small-spike", 0.5, 2)
    row = benchmark.measure({"width": 0.5}, network, values, 8, 3)
    assert (row["samples"], row["candidates"], len(row["firing_rates"])) == (2, 8, len(network.layers))
    assert row["input_density"] == pytest.approx(float(values.mean()), abs=1e-4)
    assert 0 <= row["score_changes"] <= 1
    for name in script("measuring").engines(network):
        ratio = row[f"{name}_ms_per_sample"] / row["candidate_ms"]
        assert row[f"speedup_vs_{name}"] == pytest.approx(ratio, rel=0.1)


@pytest.fixture
def sda_case(script):
    """An untrained network with two recordings of which it is sure."""
    benchmark = script("sda")
    network, values = script("rescoring").untrained("small-spike", 0.5, 8)
    said = winner(network.scores(values))
    rows = (said >= 0).nonzero().squeeze(1)[:2]
    return benchmark, network, values[rows], said[rows]


def test_the_plain_sda_takes_the_same_first_step(sda_case):
    benchmark, network, values, labels = sda_case
    ours = SDA(steps=1, threshold=None, output_window=None)(network, values, labels, reduce=False).adversarials
    for i in range(2):
        one = benchmark.Plain(network, values[i : i + 1], benchmark.Goal(int(labels[i]), False), steps=1)
        one.reduce = lambda: None
        one.found()
        assert sorted(one.effect) == (ours[i] != values[i]).flatten().nonzero().squeeze(1).tolist() != []


@pytest.mark.parametrize("targeted", [False, True])
def test_the_plain_sda_ends_at_its_goal_with_the_flips_it_names(sda_case, targeted):
    benchmark, network, values, _ = sda_case
    wanted = int(network.scores(values[:1]).topk(2).indices[0, int(targeted)])
    one = benchmark.Plain(network, values[:1], benchmark.Goal(wanted, targeted), steps=30)
    found = one.found()
    said = int(winner(network.scores(one.flipped([list(one.effect)]))))
    assert found.success == [said == wanted if targeted else said not in (wanted, -1)] == [True]
    assert found.flips == [len(one.effect)]
    n = found.iterations[0]
    assert found.forwards[0] >= n + 1 + 5 * n * (n + 1)


def test_the_plain_sda_ranks_legal_flips_by_gradient_and_the_rest_behind_at_random(script, deep_network):
    benchmark = script("sda")
    spikes = torch.tensor([0.0, 1, 0, 1, 0, 1])
    one = benchmark.Plain(deep_network, spikes.view(1, 1, 6), benchmark.Goal(0, False), steps=1)
    one.effect = {5: 0.0}
    # Flips of cells 0 and 3 raise a loss that is lowered; that of 4 has no effect to first order.
    order = one.order(torch.tensor([0.9, 0.3, -0.5, -0.9, 0, 9])).tolist()
    assert order[:2] == [2, 1]
    assert sorted(order[2:]) == [0, 3, 4]
    assert len({tuple(one.order(torch.zeros(6)).tolist()) for _ in range(8)}) > 1


def test_the_plain_bisection_undoes_flips_of_least_effect_first(script, deep_network):
    benchmark = script("sda")
    one = benchmark.Plain(deep_network, torch.zeros(1, 1, 8), benchmark.Goal(0, False), steps=1)
    one.effect = {cell: -effect for cell, effect in enumerate([0.5, 0.1, 0.4, 0.2, 0.3])}
    one.scores = lambda flips: flips[0]
    one.goal = SimpleNamespace(reached=lambda cells: {0, 2} <= set(cells))
    one.reduce()
    assert set(one.effect) == {0, 2}


def test_a_widened_network_says_the_same(script, deep_network, some_spikes):
    spikes = some_spikes(4, 6, 2, 9, 9)
    wide = script("sda").widened(deep_network, 2)
    assert wide.architecture == "16C3-AP2-24C5-AP2-32FC-10FC"
    assert torch.equal(wide.scores(spikes), deep_network.scores(spikes))
    assert deep_network.scores(spikes).unique().numel() > 1


def test_both_sdas_are_timed_on_the_same_samples(sda_case):
    benchmark, network, values, labels = sda_case
    row = benchmark.measure({"width": 0.5}, network, values, labels, targeted=False, rounds=2, steps=30)
    assert (row["samples"], row["rounds"], row["goal"]) == (2, 2, "untargeted")
    expected = SDA(steps=30, threshold=None, output_window=None)(network, values, labels)
    assert row["ours_l0"] == (expected.adversarials != values).flatten(1).sum(1).tolist()
    assert (row["ours_success"], row["plain_success"]) == (2, 2)
    assert row["ours_iterations"] == expected.steps.tolist()
    ratio = row["plain_seconds_a_sample"] / row["ours_seconds_a_sample"]
    assert row["speedup"] == pytest.approx(ratio, rel=0.1)
    ratio = row["plain_seconds_a_sample"] / row["search_seconds_a_sample"]
    assert row["search_speedup"] == pytest.approx(ratio, rel=0.1)
    unreduced = SDA(steps=30, threshold=None, output_window=None)(network, values, labels, reduce=False)
    assert row["search_l0"] == (unreduced.adversarials != values).flatten(1).sum(1).tolist() != row["ours_l0"]


def test_an_iteration_is_in_the_precision_that_its_row_names(script, digit_victim, monkeypatch):
    iteration, seen = script("attack_iteration"), []

    def gradient(network):
        return network.engine.input_gradient(0, torch.full((1, 15, *network.engine.chain.shapes[1]), 1 / 3)).clone()

    def seconds(network, values, steps):
        seen.append(gradient(network))
        return float(steps)

    monkeypatch.setattr(iteration, "victim", lambda name, width: digit_victim)
    monkeypatch.setattr(iteration, "attack_seconds", seconds)
    row = iteration.measure("small-image", 1.0, 2, 1, "cpu", "bf16-gradient")
    assert row["precision"] == "bf16-gradient"
    full = gradient(digit_victim)
    assert all(torch.allclose(one, full, rtol=0.05, atol=0.01) and not torch.equal(one, full) for one in seen)

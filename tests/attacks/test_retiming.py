"""Retiming and its control, on victims whose best moves are known."""

import itertools
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from linear_victim import Linear, fewest_moves, random_case

from spikeflip import LIF, Budget, SpikeflipError, SpikingNetwork
from spikeflip.attacks import (
    METRICS,
    Change,
    RandomRetiming,
    Retiming,
    Smallest,
    SoftRetiming,
    random_retiming,
    reduce_flips,
    retiming,
    soft_retiming,
)
from spikeflip.attacks.moves import Moving
from spikeflip.attacks.reduce import each_move
from spikeflip.snn.coding import winner

GOALS = pytest.mark.parametrize("targeted", [False, True])


def measured(name, before, after):
    return METRICS[name](Change(before.float(), after.float())).tolist()


def per_line(spikes):
    return spikes.flatten(2).sum(1)


def of_one_line(weights, spikes, bias):
    """A victim of two classes that looks at one line: class 1 scores the weights of the spikes, class 0 the bias."""
    weights = torch.tensor([[0.0] * len(weights), weights]).unsqueeze(2)
    return Linear(weights, torch.tensor([bias, 0.0])), torch.tensor(spikes).view(1, -1, 1)


@GOALS
@pytest.mark.parametrize("seed", range(12))
def test_no_fewer_moves_suffice(seed, targeted):
    for behind in (300, 1500):
        victim, spikes, labels, rival = random_case(seed, steps=12, lines=(2, 4, 4), behind=behind)
        fewest = fewest_moves(victim, spikes[0], int(labels), int(rival))
        result = retiming(victim, spikes, labels, rival if targeted else None)
        assert result.success.all()
        assert measured("moved", spikes, result.adversarials) == [fewest]
        assert torch.equal(per_line(result.adversarials), per_line(spikes))


@GOALS
@pytest.mark.parametrize("seed", range(12))
def test_a_budget_of_the_fewest_moves_suffices_and_one_less_does_not(seed, targeted):
    victim, spikes, labels, rival = random_case(seed, steps=12, lines=(2, 4, 4), behind=6000)
    fewest, goal = fewest_moves(victim, spikes[0], int(labels), int(rival)), rival if targeted else None
    assert fewest > 20
    enough = retiming(victim, spikes, labels, goal, budget=Budget(fewest + 1, "moved"))
    assert enough.success.all()
    assert measured("moved", spikes, enough.adversarials) == [fewest]
    less = retiming(victim, spikes, labels, goal, budget=Budget(fewest, "moved"), reduce=False)
    assert not less.success.any()
    assert measured("moved", spikes, less.adversarials) == [fewest - 1]
    free = retiming(victim, spikes, labels, goal)
    assert fewest <= measured("moved", spikes, free.adversarials)[0] <= fewest + 3


def test_moves_by_hand():
    """The spike of least weight goes to the free bin of largest weight."""
    victim, spikes = of_one_line([5.0, 1, 9, 2, 7], [1.0, 1, 0, 0, 0], 13.5)
    result = retiming(victim, spikes, torch.tensor([0]), moves=1)
    assert result.adversarials.flatten().tolist() == [1, 0, 1, 0, 0]
    assert result.success.tolist() == [True]
    assert (result.forwards.tolist(), result.backwards.tolist()) == ([2 + 3], [1])  # three of the reduction


def test_a_moved_spike_moves_on_and_back():
    """Where no other move is left: from a bin that the gradient liked to one that it likes more, and home."""
    spikes = torch.tensor([1.0, 0, 0, 0]).view(1, 4, 1)
    now = torch.tensor([0.0, 1, 0, 0]).view(1, 4, 1)
    for worth, expected in (([0.0, 1, 3, 2], 2), ([4.0, 1, 3, 2], 0), ([0.0, 3, 1, 2], 1)):
        moving = Moving(Change(spikes, now), torch.tensor(worth).view(1, 4, 1), 3)
        moved, count = moving.best(torch.tensor([5]))
        assert moved.flatten().nonzero().tolist() == [[expected]]
        assert count.tolist() == [int(expected != 1)]


@pytest.mark.parametrize("window", [1, 2, 3, None])
@pytest.mark.parametrize("pays", [None, "moved", "moved_bins"])
def test_windows_and_budgets_hold_in_every_step(window, pays):
    victim, spikes, labels, _ = random_case(3, steps=9, lines=(2, 5), behind=10_000, n=4, density=0.5)
    limit = {"moved": 6.0, "moved_bins": 11.5, None: torch.inf}[pays]
    budget = None if pays is None else Budget(limit, pays)
    for steps in (1, 2, 5, 11):
        result = retiming(victim, spikes, labels, steps=steps, window=window, budget=budget, moves=3, reduce=False)
        after = result.adversarials
        assert torch.equal(per_line(after), per_line(spikes))
        assert max(measured("moved_bins_max", spikes, after)) <= (window or 8)
        if pays is not None:
            assert max(measured(pays, spikes, after)) < limit
            assert max(measured(pays, spikes, after)) >= min(limit - 1, steps)  # and is spent
    if pays is None and window is not None:
        assert max(measured("moved_bins_max", spikes, after)) == window  # and is used


def test_a_run_may_begin_a_bin_later():
    """Each of its spikes moves by one bin; one cell is emptied and one filled, so one has moved."""
    victim, spikes = of_one_line([0.0, 5, 5, 5, 9], [0.0, 1, 1, 1, 0], 18.5)
    result = retiming(victim, spikes, torch.tensor([0]), window=1)
    assert result.adversarials.flatten().tolist() == [0, 1, 1, 0, 1]
    run = torch.tensor([0.0, 0, 1, 1, 1]).view(1, 5, 1)
    names = ("moved", "moved_bins", "moved_bins_max")
    assert [measured(name, spikes, run) for name in names] == [[1.0], [3.0], [1.0]]


def test_the_farthest_move_is_that_of_the_nearest_assignment():
    numbers = torch.Generator().manual_seed(0)
    for _ in range(60):
        before = (torch.rand(1, 7, 2, generator=numbers) < 0.5).float()
        after = before[:, torch.randperm(7, generator=numbers)]
        farthest, total = 0, 0
        for old, new in zip(before[0].T, after[0].T, strict=True):
            old, new = (line.nonzero().flatten().tolist() for line in (old, new))
            ways = [[abs(a - b) for a, b in zip(old, order, strict=True)] for order in itertools.permutations(new)]
            farthest = max(farthest, min(max(way, default=0) for way in ways))
            total += min(sum(way) for way in ways)
        assert measured("moved_bins_max", before, after) == [farthest]
        assert measured("moved_bins", before, after) == [total]


def test_what_is_too_dear_stands_in_no_way():
    """A bin that is worth most, five bins away, where four can be paid for."""
    victim, spikes = of_one_line([0.0, 3, 0, 0, 0, 40, 0], [1.0, 0, 0, 0, 0, 0, 0], 2.5)
    result = retiming(victim, spikes, torch.tensor([0]), budget=Budget(5, "moved_bins"))
    assert result.adversarials.flatten().nonzero().tolist() == [[1]]


def test_a_budget_of_the_farthest_move_is_a_window():
    victim, spikes, labels, _ = random_case(5, behind=2500)
    one = retiming(victim, spikes, labels, window=2, steps=4)
    other = retiming(victim, spikes, labels, budget=Budget(3, "moved_bins_max"), steps=4)
    assert torch.equal(one.adversarials, other.adversarials)
    assert not torch.equal(one.adversarials, spikes)


def test_a_budget_of_bins_buys_what_gives_most_a_bin():
    """A move of 3 for one bin before one of 4 for four."""
    victim, spikes = of_one_line([0.0, 3, 0, 0, 4, 0, 0], [1.0, 0, 0, 0, 0, 0, 0], 3.5)
    far = retiming(victim, spikes, torch.tensor([0]), moves=1, steps=1)
    near = retiming(victim, spikes, torch.tensor([0]), moves=1, steps=1, budget=Budget(4.5, "moved_bins"))
    assert far.adversarials.flatten().nonzero().tolist() == [[4]]
    assert near.adversarials.flatten().nonzero().tolist() == [[1]]
    # With the next step it moves on, as there is room for it.
    both = retiming(victim, spikes, torch.tensor([0]), moves=1, budget=Budget(4.5, "moved_bins"))
    assert both.success.tolist() == [True]
    assert not retiming(victim, spikes, torch.tensor([0]), budget=Budget(4, "moved_bins")).success.any()


@pytest.mark.parametrize("name", ["moved", "moved_bins", "moved_bins_max"])
def test_a_budget_of_nothing_changes_nothing(name):
    victim, spikes, labels, _ = random_case(1)
    for limit in (0, 0.5, 1):
        result = retiming(victim, spikes, labels, budget=Budget(limit, name))
        assert torch.equal(result.adversarials, spikes)
        assert not result.success.any()
        assert result.steps.tolist() == [1]  # nothing can move, now or ever


def test_batches_do_not_matter():
    victim, spikes, labels, _ = random_case(2, n=11, lines=(2, 4, 4), behind=300, density=0.4)
    whole = retiming(victim, spikes, labels, micro_batch=8, seed=5)
    assert whole.success.all()
    for row in range(11):
        samples = torch.tensor([row])
        alone = retiming(victim, spikes[samples], labels[samples], micro_batch=1, samples=samples, seed=5)
        assert torch.equal(alone.adversarials[0], whole.adversarials[row])
        assert alone.forwards[0] == whole.forwards[row]


@pytest.mark.parametrize(
    "spikes", [torch.ones(2, 1, 3), torch.ones(2, 7, 3), torch.zeros(2, 7, 3)], ids=["T = 1", "full", "silent"]
)
@pytest.mark.parametrize("attack", [Retiming(), RandomRetiming(share=1)])
def test_where_nothing_can_move_it_ends(spikes, attack):
    victim = Linear(torch.ones(2, *spikes.shape[1:]), torch.tensor([1.0, 0]))
    result = attack(victim, spikes, torch.zeros(2, dtype=torch.int64))
    assert torch.equal(result.adversarials, spikes)
    assert (result.steps.tolist(), result.success.tolist()) == ([1, 1], [False, False])


def test_no_samples():
    victim, spikes, labels, _ = random_case(2)
    assert len(retiming(victim, spikes[:0], labels[:0]).success) == 0


def test_fewer_spikes_than_moves():
    victim, spikes = of_one_line([0.0, 1, 2, 3], [1.0, 0, 0, 0], 2.5)
    result = retiming(victim, spikes, torch.tensor([0]), moves=1000)
    assert result.adversarials.flatten().nonzero().tolist() == [[3]]


def test_a_vanished_gradient_moves_at_random():
    """Every class has the same weights: no gradient of the margin, and what moves depends on seed and sample."""
    victim = Linear(torch.ones(2, 6, 8), torch.tensor([1.0, 0]))
    spikes = (torch.arange(48).view(6, 8) % 3 == 0).float().expand(2, 6, 8)
    labels = torch.zeros(2, dtype=torch.int64)
    one, again, other = (retiming(victim, spikes, labels, steps=3, seed=seed) for seed in (0, 0, 1))
    assert one.vanished.tolist() == [3, 3]
    assert torch.equal(one.adversarials, again.adversarials)
    assert not torch.equal(one.adversarials, other.adversarials)
    assert not torch.equal(one.adversarials[0], one.adversarials[1])
    assert torch.equal(per_line(one.adversarials), per_line(spikes))


def test_moves_are_undone_until_none_can_be():
    victim, spikes, labels, rival = random_case(7, steps=8, lines=(6,), behind=600)
    whole = retiming(victim, spikes, labels, moves=50, reduce=False)
    assert whole.success.all()
    reduced = reduce_flips(victim, spikes, whole.adversarials, labels, units=each_move)
    left, cells = each_move(spikes, reduced.adversarials)
    assert 0 < len(left) < measured("moved", spikes, whole.adversarials)[0]
    assert torch.equal(per_line(reduced.adversarials), per_line(spikes))
    assert winner(victim.scores(reduced.adversarials)) == reduced.prediction == rival
    for pair in cells:
        back = reduced.adversarials.clone()
        back.view(-1)[pair] = 1 - back.view(-1)[pair]
        assert torch.equal(per_line(back), per_line(spikes))
        assert winner(victim.scores(back)) != rival


def test_flips_that_are_no_moves_stay_while_moves_are_undone():
    victim, spikes = of_one_line([0.0, 1, 2, 3], [1.0, 0, 0, 0], 2.5)
    after = torch.tensor([0.0, 1, 0, 1]).view(1, 4, 1)
    reduced = reduce_flips(victim, spikes, after, torch.tensor([0]), units=each_move)
    assert reduced.adversarials.flatten().tolist() == [1, 0, 0, 1]


@pytest.mark.slow
def test_a_long_recording_takes_little_memory():
    """160 bins of 128 x 128 pixels with 200,000 spikes: beside the victim's own less than 2 GB, in another process."""
    code = """
import resource, sys
import torch
from linear_victim import Linear
from spikeflip.attacks import Budget, retiming
numbers = torch.Generator().manual_seed(0)
weights = torch.randn(2, 160, 2, 128, 128, generator=numbers)
spikes = (torch.rand(1, 160, 2, 128, 128, generator=numbers) < 0.038).float()
assert 190_000 < spikes.sum() < 210_000
victim = Linear(weights, torch.tensor([1e6, 0]))
result = retiming(victim, spikes, torch.tensor([0]), steps=3, budget=Budget(25, "moved"), moves=10)
assert result.steps.tolist() == [3]
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=_with_support())
    assert int(done.stdout) < 2_000_000


def _with_support():
    return os.environ | {"PYTHONPATH": str(Path(__file__).parents[1] / "support")}


@pytest.mark.parametrize("metric", ["mse", "l0", "l0_events", "moved_us", "moved_us_max", "linf"])
@pytest.mark.parametrize("attack", [Retiming, SoftRetiming])
def test_budgets_in_another_unit(metric, attack):
    text = f"budget is in {metric}, and what retiming does is measured in moved, moved_bins, moved_bins_max: give one"
    with pytest.raises(SpikeflipError, match=text):
        attack(budget=Budget(3, metric))


@pytest.mark.parametrize("settings", [{"window": 0}, {"window": -1}, {"moves": 0}, {"momentum": 1}, {"momentum": -0.1}])
def test_settings_out_of_range(settings):
    with pytest.raises(SpikeflipError, match=f"{next(iter(settings))} is .*: give (at least 1|a number in \\[0, )"):
        Retiming(**settings)


@pytest.mark.parametrize("settings", [{"share": 0}, {"share": 1.01}, {"window": 0}])
def test_settings_of_the_control_out_of_range(settings):
    with pytest.raises(SpikeflipError, match=f"{next(iter(settings))} is "):
        RandomRetiming(**settings)


@pytest.mark.parametrize("attack", [retiming, random_retiming, soft_retiming])
def test_images_are_refused(attack):
    network = SpikingNetwork("8FC-3FC", (4,), time_steps=5)
    with pytest.raises(SpikeflipError, match="are images, but this attack is defined on spikes only"):
        attack(network, torch.rand(2, 4), torch.zeros(2, dtype=torch.int64))


def test_the_smallest_success_is_kept_where_that_is_asked_for():
    victim, spikes, labels, _ = random_case(4, behind=1500)
    first = retiming(victim, spikes, labels, moves=50, reduce=False)
    best = retiming(victim, spikes, labels, moves=50, reduce=False, stop=Smallest("moved"), steps=5)
    assert measured("moved", spikes, best.adversarials) <= measured("moved", spikes, first.adversarials)


def test_reduced_random_retiming_is_of_moves():
    network = SpikingNetwork("32FC-3FC", (20,), time_steps=8, neuron=LIF(0.3, 0.5), seed=1)
    spikes = (torch.rand(40, 8, 20, generator=torch.Generator().manual_seed(0)) < 0.4).float()
    labels = network.scores(spikes).argmax(1)
    result = random_retiming(network, spikes, labels, share=1, window=2, reduce=True)
    whole = random_retiming(network, spikes, labels, share=1, window=2)
    assert int(result.success.sum()) > 3
    assert torch.equal(result.success, whole.success)
    assert torch.equal(per_line(result.adversarials), per_line(spikes))
    assert max(measured("moved_bins_max", spikes, result.adversarials)) <= 2
    moved, before = (torch.tensor(measured("moved", spikes, x.adversarials)) for x in (result, whole))
    assert (moved[result.success] < before[result.success]).all()


@pytest.mark.parametrize(("share", "window"), [(0.1, None), (0.5, 1), (1, 2)])
def test_random_retiming_moves_its_share(share, window):
    victim, spikes, labels, _ = random_case(6, steps=20, lines=(30,), n=3, density=0.2, behind=1e6)
    result = random_retiming(victim, spikes, labels, share=share, window=window, steps=1, seed=4)
    after = result.adversarials
    assert torch.equal(per_line(after), per_line(spikes))
    assert max(measured("moved_bins_max", spikes, after)) <= (window or 19)
    for moved, count in zip(measured("moved", spikes, after), spikes.flatten(1).sum(1).tolist(), strict=True):
        # With a small window some spikes have no free bin, and pairs of others may be nearer as one move.
        assert moved == round(share * count) if share < 1 else 0.9 * count < moved <= count
    again = random_retiming(
        victim, spikes[1:2], labels[1:2], share=share, window=window, steps=1, seed=4, samples=torch.tensor([1])
    )
    assert torch.equal(again.adversarials[0], after[1])
    assert not torch.equal(
        random_retiming(victim, spikes, labels, share=share, window=window, steps=2).adversarials, after
    )


def test_random_moves_prefer_no_spike_and_no_bin():
    """One of two spikes, to one of the three free bins: each of the six about as often."""
    victim, spikes = of_one_line([0.0] * 5, [0.0, 1, 0, 1, 0], 1.0)
    many = spikes.expand(1500, 5, 1)
    after = random_retiming(victim, many, torch.zeros(1500, dtype=torch.int64), share=0.5, steps=1).adversarials
    counts = {}
    for row in after.squeeze(2).tolist():
        counts[tuple(row)] = counts.get(tuple(row), 0) + 1
    possible = {
        tuple(float(bin in (stays, free)) for bin in range(5)) for stays, free in itertools.product((1, 3), (0, 2, 4))
    }
    assert set(counts) == possible
    assert all(190 < count < 310 for count in counts.values())


@pytest.mark.parametrize("most", [1, 3, 50])
def test_without_bounds_the_best_moves_are_those_that_a_bound_of_everything_leaves(most):
    numbers = torch.Generator().manual_seed(0)
    before = (torch.rand(3, 9, 2, 4, generator=numbers) < 0.4).float()
    now = before[:, torch.randperm(9, generator=numbers)]
    worth = torch.randint(-3, 4, before.shape, generator=numbers).float()  # with many equal
    each = torch.full((3,), most)
    free, count = Moving(Change(before, now), worth, 9).best(each)
    bounded, other = Moving(Change(before, now), worth, 8, "moved", torch.full((3,), 1000)).best(each)
    assert torch.equal(count, other)
    assert torch.equal((free * worth).flatten(1).sum(1), (bounded * worth).flatten(1).sum(1))
    assert torch.equal(per_line(free), per_line(before))


def test_moves_grow_from_iteration_to_iteration():
    victim = Linear(torch.stack([torch.zeros(40, 60), torch.arange(2400.0).view(40, 60)]), torch.tensor([1e9, 0.0]))
    spikes = torch.zeros(1, 40, 60)
    spikes[:, :20] = 1
    made = [
        measured("moved", spikes, retiming(victim, spikes, torch.tensor([0]), moves=3, steps=steps).adversarials)[0]
        for steps in range(1, 6)
    ]
    assert made == [3, 6, 9, 12, 15]


def test_a_gradient_without_order_in_time_is_named():
    victim = SpikingNetwork("16FC-3FC", (20,), time_steps=6, seed=1)
    spikes = (torch.arange(240).reshape(2, 6, 20) % 3 == 0).float()
    labels = victim.scores(spikes).argmax(1)
    found = retiming(victim, spikes, labels, gradient="hart", steps=3)
    assert [notice.code for notice in found.notices if "no spike moves" in notice.text] == ["no-order-in-time"]
    assert torch.equal(found.adversarials, spikes)
    assert retiming(victim, spikes, labels, gradient="bptt,hart", steps=3).notices == found.notices
    assert not retiming(victim, spikes, labels, steps=3).notices

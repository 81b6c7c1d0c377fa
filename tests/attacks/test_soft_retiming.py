"""Soft retiming: optima that are known, budgets of each sample, and its gradient against autograd."""

import pytest
import torch
from linear_victim import Linear, fewest_moves, random_case

from spikeflip import Budget
from spikeflip.attacks import METRICS, Change, SoftRetiming, soft_retiming
from spikeflip.attacks.moves import Assigning, Spikes
from spikeflip.attacks.soft_retiming import Places, _gradient
from spikeflip.attacks.timed import Bounds


def measured(name, before, after):
    return METRICS[name](Change(before.float(), after.float())).tolist()


def succeed(factor, **settings):
    """On how many of twelve linear victims so many times the fewest moves suffice."""
    won = 0
    for seed in range(12):
        victim, spikes, labels, rival = random_case(seed, steps=12, lines=(2, 4, 4), behind=1500)
        limit = int(factor * fewest_moves(victim, spikes[0], int(labels), int(rival)))
        result = soft_retiming(victim, spikes, labels, loss="margin", budget=Budget(limit + 1, "moved"), **settings)
        assert max(measured("moved", spikes, result.adversarials)) <= limit
        won += int(result.success.sum())
    return won


def test_half_more_moves_than_the_fewest_suffice():
    assert succeed(1.5) == 12


def test_signs_forget_which_moves_give_most():
    assert succeed(1, sign=True) < succeed(1)
    assert succeed(3, sign=True) == 12


@pytest.mark.parametrize("window", [1, 3, None])
@pytest.mark.parametrize("metric", ["moved", "moved_bins"])
def test_budgets_are_those_of_each_sample_and_are_spent(window, metric):
    victim, spikes, labels, _ = random_case(3, steps=9, lines=(2, 5), behind=10_000, n=4, density=0.3)
    spikes[0, 1:] = 0  # one sample has a few spikes alone
    for limit in (3, 7.5):
        for steps in (1, 6):
            result = soft_retiming(
                victim, spikes, labels, steps=steps, window=window, loss="margin", budget=Budget(limit, metric)
            )
            paid = measured(metric, spikes, result.adversarials)
            assert max(paid) < limit
            assert min(paid[1:]) >= (2 if limit == 3 else 5)
            assert max(measured("moved_bins_max", spikes, result.adversarials)) <= (window or 8)
            assert torch.equal(result.adversarials.flatten(2).sum(1), spikes.flatten(2).sum(1))


def test_a_window_is_a_budget_of_the_farthest_move():
    victim, spikes, labels, _ = random_case(5, behind=2500)
    one = soft_retiming(victim, spikes, labels, window=2, steps=4, loss="margin")
    other = soft_retiming(victim, spikes, labels, budget=Budget(3, "moved_bins_max"), steps=4, loss="margin")
    assert torch.equal(one.adversarials, other.adversarials)
    assert not torch.equal(one.adversarials, spikes)


@pytest.mark.parametrize(
    "bounds", [Bounds(2), Bounds(3, "moved", 1), Bounds(3, "moved", 50), Bounds(2, "moved_bins", 2)]
)
def test_the_gradient_is_that_of_the_objective(bounds):
    """The straight-through loss, less the crowded cells and what is paid over the limit, as the paper writes it."""
    numbers = torch.Generator().manual_seed(1)
    originals = (torch.rand(2, 7, 3, generator=numbers) < 0.4).float()
    values = torch.randn(2, 7, 3, generator=numbers, dtype=torch.float64)
    spikes = Spikes.of(Change(originals, originals))
    places = Places.around(spikes, bounds.window, originals)
    logits = torch.randn(places.cell.shape, generator=numbers, dtype=torch.float64).requires_grad_()
    chance = logits.masked_fill(~places.legal, -torch.inf).softmax(1)
    total = torch.zeros(())
    for sample in range(2):
        mine = spikes.sample == sample
        soft = torch.zeros(21, dtype=torch.float64)
        soft = soft.index_add(0, places.cell[mine].flatten(), chance[mine].flatten())
        total = total + soft @ values[sample].flatten() - 20 * (soft - 1).clamp(min=0).square().mean()
        if bounds.limit is not None:
            distance = places.shift.abs() if bounds.pays == "moved_bins" else places.shift.ne(0)
            over = ((chance[mine] * distance).sum() - bounds.limit).clamp(min=0) / bounds.limit
            total = total - (10 if bounds.pays == "moved_bins" else 5) * over
    (expected,) = torch.autograd.grad(total, logits)
    found = _gradient(logits.detach(), places, spikes.sample, values, bounds)
    torch.testing.assert_close(found, expected)


def test_the_likeliest_move_comes_first_and_of_equal_ones_the_shortest():
    """Two spikes of a line want the same bin; a third is as likely at one and at two bins away."""
    spikes = torch.tensor([[1.0, 0], [1, 0], [0, 1], [0, 0], [0, 0]]).view(1, 5, 2)
    chances = torch.tensor([[0, 0, 0.2, 0.3, 0.5], [0, 0.0, 0.1, 0.7, 0.2], [0, 0.4, 0.2, 0.4, 0.4]])
    moving = Assigning(Change(spikes, spikes), torch.zeros(1, 5, 2), 2, probability=chances)
    moved, count = moving.best(torch.tensor([9]))
    assert count.tolist() == [3 - 1]
    assert moved[0, :, 0].tolist() == [1, 0, 1, 0, 0]
    assert moved[0, :, 1].tolist() in ([0, 1, 0, 0, 0], [0, 0, 0, 1, 0])


def test_batches_do_not_matter():
    victim, spikes, labels, _ = random_case(2, n=7, lines=(2, 4, 4), behind=300, density=0.4)
    whole = SoftRetiming(loss="margin")(victim, spikes, labels, micro_batch=4)
    assert whole.success.all()
    for row in range(7):
        rows = torch.tensor([row])
        alone = SoftRetiming(loss="margin")(victim, spikes[rows], labels[rows], micro_batch=1, samples=rows)
        assert torch.equal(alone.adversarials[0], whole.adversarials[row])


def test_no_samples():
    victim, spikes, labels, _ = random_case(2)
    assert len(soft_retiming(victim, spikes[:0], labels[:0]).success) == 0


@pytest.mark.parametrize(
    "spikes", [torch.ones(2, 1, 3), torch.ones(2, 7, 3), torch.zeros(2, 7, 3)], ids=["T = 1", "full", "silent"]
)
@pytest.mark.parametrize("window", [None, 1])
def test_where_nothing_can_move(spikes, window):
    victim = Linear(torch.randn(2, *spikes.shape[1:]), torch.tensor([99.0, 0]))
    result = soft_retiming(victim, spikes, torch.zeros(2, dtype=torch.int64), window=window, loss="margin", steps=3)
    assert torch.equal(result.adversarials, spikes)
    assert not result.success.any()


def test_a_gradient_of_nothing_moves_nothing():
    victim = Linear(torch.ones(2, 6, 8), torch.tensor([1.0, 0]))
    spikes = (torch.arange(48).view(1, 6, 8) % 3 == 0).float()
    result = soft_retiming(victim, spikes, torch.tensor([0]), steps=3, loss="margin")
    assert torch.equal(result.adversarials, spikes)
    assert result.vanished.tolist() == [3]

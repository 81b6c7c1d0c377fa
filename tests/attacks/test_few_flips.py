"""Attacks that look for the fewest flips: optima that are known, budgets, and what each may look at."""

from functools import partial

import pytest
import torch
from faulty_models import model
from plain_victims import Plain, fewest, made, nearest

from spikeflip import Budget, SpikeflipError, SpikingNetwork, attacks, scg, wrap
from spikeflip.attacks import ATTACKS, Smallest, Trace
from spikeflip.attacks.cells import Neighbours, flip, listed, repeated
from spikeflip.attacks.flips import adam, annealed
from spikeflip.attacks.random_flips import first_of, flips_of
from spikeflip.attacks.sparse_rs import swapped_share
from spikeflip.attacks.spikefool import _crossing, _Difference
from spikeflip.snn.coding import winner
from spikeflip.snn.memory import Memory

FEWEST = {
    "sigma-zero": partial(attacks.sigma_zero, steps=50),
    "sda": attacks.sda,
    "spikefool": attacks.spikefool,
    "gumbel-flips": partial(attacks.gumbel_flips, steps=50),
    "sparse-rs": partial(attacks.sparse_rs, steps=11, queries=20, share=1.5),
    "flip-search": partial(attacks.flip_search, steps=40, queries=5, share=0.1),
}
WHITE = ("sigma-zero", "sda", "spikefool", "gumbel-flips")
BLACK = ("sparse-rs", "flip-search", "random-flips")
ALL = FEWEST | {"random-flips": partial(attacks.random_flips, share=0.5)}
SCG = partial(scg, loss="margin", reduce=True)
SPIKING = SpikingNetwork("16FC-4FC", (8,), time_steps=5, seed=3)


def count(spikes, result):
    return (result.adversarials != spikes).flatten(1).sum(1)


def spiking(n=10):
    """A spiking victim with spikes that it is sure of, and what it says."""
    spikes = (torch.rand(60, 5, 8, generator=torch.Generator().manual_seed(0)) < 0.4).float()
    said = winner(SPIKING.scores(spikes))
    return SPIKING, spikes[said >= 0][:n], said[said >= 0][:n]


@pytest.mark.parametrize("name", ["sigma-zero", "sda", "spikefool"])
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("classes", "ahead", "targeted"), [(2, 6.0, False), (2, 12.0, True), (4, 3.0, False)])
def test_the_fewest_flips_of_a_linear_victim(name, seed, classes, ahead, targeted):
    victim, spikes, labels = made(classes, seed=seed, ahead=ahead)
    best = fewest(victim, spikes, labels)
    assert best.max() < 30
    found = FEWEST[name](victim, spikes, labels, 1 - labels if targeted else None, seed=seed)
    assert found.success.all()
    assert torch.equal(count(spikes, found), best)


@pytest.mark.parametrize("name", ["gumbel-flips", "sparse-rs", "scg"])
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("targeted", [False, True])
def test_others_come_near_it(name, seed, targeted):
    """Within three times of the optimum for each sample, and within half more in the mean."""
    victim, spikes, labels = made(2, seed=seed, ahead=6.0)
    best = fewest(victim, spikes, labels)
    attack = {**FEWEST, "scg": SCG}[name]
    bound = attack(victim, spikes, labels, 1 - labels if targeted else None, seed=seed)
    assert bound.success.all()
    assert (count(spikes, bound) <= 3 * best).all()
    assert (count(spikes, bound) / best).mean() <= 1.5


@pytest.mark.parametrize("reach", [0, 1, 2])
def test_gumbel_flips_near_spikes_alone(reach):
    """Time and place are counted alike; the fewest flips of a linear victim that has no worth elsewhere are found."""
    victim, spikes, labels = made(2, (5, 8), 8, seed=0, ahead=2.0)
    sparse = spikes * (torch.arange(8) == 3)
    labels = winner(victim.scores(sparse))
    found = attacks.gumbel_flips(victim, sparse, labels, near=reach, steps=30, reduce=False)
    free = attacks.gumbel_flips(victim, sparse, labels, steps=30, reduce=False)

    def farthest(result):
        changed, fired = (result.adversarials != sparse).nonzero(), sparse.nonzero()
        steps = (changed[:, None, 1:] - fired[None, :, 1:]).abs().sum(2)
        return steps.masked_fill(changed[:, None, 0] != fired[None, :, 0], 99).amin(1).max()

    assert farthest(found) == reach < farthest(free)


@pytest.mark.parametrize("seed", range(3))
def test_flip_search_comes_near_it_where_random_flips_fool_at_all(seed):
    victim, spikes, labels = made(2, seed=seed, ahead=2.0)
    best = fewest(victim, spikes, labels)
    found = FEWEST["flip-search"](victim, spikes, labels, seed=seed)
    assert found.success.all()
    assert (count(spikes, found) <= 3 * best).all()
    assert (count(spikes, found) / best).mean() <= 1.25


@pytest.mark.parametrize("name", FEWEST)
@pytest.mark.parametrize("targeted", [False, True])
def test_two_layers_against_every_input(name, targeted):
    """Of twelve cells, where the optimum is four flips or less: all inputs are looked at to know it."""
    own = {"candidates": 1} if name == "sda" else {}
    ratios, successes = [], []
    for seed in range(3):
        victim, spikes, labels = made(3, (4, 3), 8, seed=seed, hidden=(16,))
        targets = (labels + 1) % 3 if targeted else None
        best = nearest(victim, spikes, labels, targets)
        found = FEWEST[name](victim, spikes, labels, targets, seed=seed, **own)
        assert (count(spikes, found)[found.success] >= best[found.success]).all()
        near = best <= 4
        ratios.append((count(spikes, found) / best)[near & found.success])
        successes.append(found.success[near])
    assert torch.cat(successes).double().mean() >= (0.7 if name in ("spikefool", "flip-search") else 0.85)
    assert torch.cat(ratios).mean() <= (1.25 if name in WHITE else 2)


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("targeted", [False, True])
def test_any_batch_and_order(name, targeted):
    for victim, spikes, labels in (spiking(), made(4, (5, 8), 10, seed=1, ahead=2.0)):
        targets = (labels + 1) % 4 if targeted else None
        few = {"steps": 8} if name != "sparse-rs" else {"steps": 3}
        whole = ALL[name](victim, spikes, labels, targets, **few, seed=2)
        order = torch.randperm(len(spikes), generator=torch.Generator().manual_seed(1))
        for micro_batch in (1, 8):
            other = ALL[name](
                victim,
                spikes[order],
                labels[order],
                None if targets is None else targets[order],
                **few,
                seed=2,
                samples=order,
                micro_batch=micro_batch,
            )
            for part in ("adversarials", "success", "forwards", "backwards", "steps"):
                assert torch.equal(getattr(other, part), getattr(whole, part)[order])


@pytest.mark.parametrize("name", FEWEST)
def test_every_pass_is_counted(name):
    victim, spikes, labels = made(3, (5, 8), 8, seed=1, ahead=2.0)
    for reduce in (False, True):
        victim.asked = victim.sent_back = 0
        found = FEWEST[name](victim, spikes, labels, reduce=reduce, steps=40 if name == "gumbel-flips" else 12)
        assert found.success.any()
        assert int(found.forwards.sum()) == victim.asked
        assert int(found.backwards.sum()) == victim.sent_back


@pytest.mark.parametrize("name", FEWEST)
@pytest.mark.parametrize("metric", ["l0", "mse"])
def test_a_budget_bounds_the_success_to_the_last_cell(name, metric):
    victim, spikes, labels = made(2, (5, 8), 8, seed=0, ahead=2.0)
    free = FEWEST[name](victim, spikes, labels)
    size = count(spikes, free)
    assert free.success.all()
    assert size.max() > size.min()
    for limit in (int(size.min()), int(size.max()), int(size.max()) + 1):
        found = FEWEST[name](victim, spikes, labels, budget=Budget(limit if metric == "l0" else limit / 40, metric))
        within = size < limit
        assert torch.equal(found.success, within)
        assert torch.equal(found.over_budget, ~within)
        assert torch.equal(found.adversarials[within], free.adversarials[within])
        assert torch.equal(found.adversarials[~within], spikes[~within])
        assert torch.equal(found.prediction, winner(victim.scores(found.adversarials)))
        assert torch.equal(found.forwards, free.forwards)


@pytest.mark.parametrize("name", FEWEST)
def test_a_budget_of_nothing_leaves_every_input(name):
    """Of what fails as well, and an input that is wrong already is not over it."""
    victim, spikes, labels = made(2, (5, 8), 6, seed=3, ahead=6.0)
    labels = labels.clone()
    labels[0] = 1 - labels[0]
    for steps in (1, 3):
        found = FEWEST[name](victim, spikes, labels, budget=0, steps=steps)
        assert torch.equal(found.adversarials, spikes)
        assert found.already_wrong.tolist() == [True] + [False] * 5
        assert not found.success.any()
        assert torch.equal(found.prediction, winner(victim.scores(spikes)))
        moved = FEWEST[name](victim, spikes, labels, steps=steps)
        assert found.over_budget[(moved.adversarials != spikes).flatten(1).any(1)].all()
        assert not found.over_budget[0]


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float16, torch.float64])
@pytest.mark.parametrize("metric", ["l0", "mse"])
def test_budgets_on_spikes_of_any_type(dtype, metric):
    """Also of more flips than a small type can count."""
    weights = torch.zeros(2, 600)
    weights[1, :300] = 1.0
    victim = Plain(weights, shape=(6, 100), bias=torch.tensor([270.5, 0.0]))
    spikes, label = torch.zeros(1, 6, 100), torch.tensor([0])
    for flips, holds in ((271, False), (272, True)):
        budget = Budget(flips if metric == "l0" else flips / 600, metric)
        inputs = spikes.to(dtype).requires_grad_(dtype.is_floating_point)
        found = attacks.spikefool(victim, inputs, label, budget=budget)
        assert found.success.tolist() == [holds]
        assert found.adversarials.dtype == dtype
        assert not found.adversarials.requires_grad
        assert int((found.adversarials != inputs).sum()) == (271 if holds else 0)


@pytest.mark.parametrize("name", FEWEST)
def test_budgets_that_say_nothing_are_refused(name):
    victim, spikes, labels = made(2, seed=0)
    with pytest.raises(SpikeflipError, match="a linf budget bounds nothing on spikes"):
        FEWEST[name](victim, spikes, labels, budget=Budget(0.5, "linf"))
    for given in ({}, {"recorded": None}):
        with pytest.raises(
            SpikeflipError, match="l0_events is measured on recordings, and the inputs are frames alone"
        ):
            FEWEST[name](victim, spikes, labels, budget=Budget(5, "l0_events"), **given)


@pytest.mark.parametrize("name", BLACK)
def test_black_boxes_ask_for_no_gradient(name):
    victim, spikes, labels = made(3, (5, 8), 8, seed=1, gradients=False)
    found = ALL[name](victim, spikes, labels)
    assert found.success.any()
    assert not found.backwards.any()
    with pytest.raises(AssertionError, match="a gradient is asked for"):
        FEWEST["sda"](victim, spikes, labels)


@pytest.mark.parametrize("name", ["flip-search", "random-flips"])
@pytest.mark.parametrize("targeted", [False, True])
def test_decisions_alone(name, targeted):
    """Where a victim hides its scores, nothing is otherwise; sparse-rs has nothing to go by then."""
    (open_, spikes, labels), hidden = made(3, n=8, seed=1), made(3, n=8, seed=1, decisions=True)[0]
    targets = (labels + 1) % 3 if targeted else None
    one, other = ALL[name](open_, spikes, labels, targets), ALL[name](hidden, spikes, labels, targets)
    assert one.success.any()
    for part in ("adversarials", "success", "prediction", "forwards", "steps"):
        assert torch.equal(getattr(one, part), getattr(other, part))
    by_scores = [FEWEST["sparse-rs"](victim, spikes, labels, targets).adversarials for victim in (open_, hidden)]
    assert not torch.equal(*by_scores)


@pytest.mark.parametrize("name", ALL)
def test_inputs_that_are_refused(name):
    victim, spikes, labels = spiking(4)
    with pytest.raises(SpikeflipError, match="are images, but this attack is defined on spikes only: choose one"):
        ALL[name](victim, torch.rand(4, 8), labels, **({"candidates": 3} if name == "sda" else {}))
    with pytest.raises(SpikeflipError, match=r"spikes hold the value 2 at .*: binarise them to exactly 0 or 1"):
        ALL[name](victim, 2 * spikes, labels)
    counted = torch.randint(0, 3, (4, 6, 20), generator=torch.Generator().manual_seed(1)).float()
    with pytest.raises(SpikeflipError, match="binarise them to exactly 0 or 1"):
        ALL[name](wrap(model(), counted), counted, torch.zeros(4, dtype=torch.int64))
    with pytest.raises(SpikeflipError, match="steps is 0"):
        ALL[name](victim, spikes, labels, steps=0)


@pytest.mark.parametrize(
    ("name", "given", "words"),
    [
        ("sda", {"candidates": 41}, "candidates is 41, and an input has 40 cells: give at most that"),
        ("sda", {"candidates": 0}, "candidates is 0"),
        ("gumbel-flips", {"near": -1}, "near is -1: give at least 0, or leave it out"),
        ("sigma-zero", {"sigma": 0}, "sigma is 0"),
        ("sigma-zero", {"rate": -1}, "rate is -1"),
        ("spikefool", {"reach": 0}, "reach is 0"),
        ("spikefool", {"rivals": 0}, "rivals is 0"),
        ("gumbel-flips", {"stay": 0.5}, "stay is 0.5"),
        ("gumbel-flips", {"cost": -1}, "cost is -1"),
        ("sparse-rs", {"share": 0}, "share is 0"),
        ("sparse-rs", {"queries": 0}, "queries is 0"),
        ("sparse-rs", {"loss": "hinge"}, "loss is 'hinge'"),
        ("flip-search", {"growth": 1}, "growth is 1"),
        ("flip-search", {"budget": -1}, "budget is -1"),
        ("random-flips", {"share": -0.1}, "share is -0.1"),
    ],
)
def test_settings_that_are_refused(name, given, words):
    victim, spikes, labels = spiking(2)
    with pytest.raises(SpikeflipError, match=words):
        ALL[name](victim, spikes, labels, **given)


def test_as_many_candidates_as_cells():
    victim, spikes, labels = made(2, (2, 5), 4, seed=0)
    found = attacks.sda(victim, spikes, labels, candidates=10)
    assert found.success.all()
    assert (found.forwards >= 11).all()


@pytest.mark.parametrize("name", ALL)
def test_edges(name):
    """One time step, no samples, and samples that are wrong already."""
    victim, spikes, labels = made(2, (1, 30), 6, seed=2)
    assert ALL[name](victim, spikes, labels).success.any()
    none = ALL[name](victim, spikes[:0], labels[:0], **({"budget": 3} if name in FEWEST else {}))
    assert none.adversarials.shape == (0, 1, 30)
    for one in (victim, SPIKING, SPIKING.on("event")):
        spikes = (torch.rand(5, one.time_steps, *one.input_shape) < 0.4).float()
        labels = (winner(one.scores(spikes)) + 1).remainder(one.classes)
        wrong = ALL[name](one, spikes, labels)
        assert wrong.already_wrong.all()
        assert torch.equal(wrong.adversarials, spikes)
        assert (wrong.forwards == 1).all()


@pytest.mark.parametrize("name", ALL)
def test_restarts_smallest_and_trace(name):
    victim, spikes, labels = spiking(6)
    few = {"steps": 6, "seed": 1}
    once = ALL[name](victim, spikes, labels, **few, trace=True)
    again = ALL[name](victim, spikes, labels, **few, restarts=3, trace=True)
    assert (again.success >= once.success).all()
    assert again.trace.mover.shape[1] == 3 * once.trace.mover.shape[1] == 18
    moved = {"random-flips": Trace.NOISE, "sda": Trace.SEARCH, "sparse-rs": Trace.SEARCH, "flip-search": Trace.SEARCH}
    movers = set(once.trace.mover[once.trace.mover != Trace.NOT_RUN].tolist())
    assert movers == {moved.get(name, Trace.SIGN)}
    assert torch.equal((once.trace.mover != Trace.NOT_RUN).sum(1), once.steps)
    smallest = ALL[name](victim, spikes, labels, **few, stop=Smallest("l0"), reduce=False)
    assert torch.equal(smallest.success, once.success)
    first = ALL[name](victim, spikes, labels, **few, reduce=False)
    both = smallest.success & first.success
    assert (count(spikes, smallest)[both] <= count(spikes, first)[both]).all()
    assert torch.equal(smallest.prediction, winner(victim.scores(smallest.adversarials)))


def test_flip_search_is_done_with_one_flip():
    victim = Plain(torch.tensor([[0.0] * 6, [1.0] * 6]), shape=(2, 3), bias=torch.tensor([0.5, 0.0]))
    found = attacks.flip_search(victim, torch.zeros(1, 2, 3), torch.tensor([0]), share=1)
    assert count(torch.zeros(1, 2, 3), found).tolist() == [1]
    assert found.steps.tolist() == [2]
    assert found.forwards.tolist() == [1 + 1 + 3]  # the original, what one step made of it, and the reduction's three


def test_flip_search_begins_again_after_all_cells():
    """Sets of 1, 2, 4, 8 and all 12 of the cells, and 1 again: of other cells, since only all but a few fool."""
    sizes = []

    class Watched(Plain):
        def scores(self, spikes):
            sizes.append(int(spikes.sum()))
            return super().scores(spikes)

    victim = Watched(torch.zeros(2, 12), shape=(3, 4), bias=torch.tensor([0.5, 0.0]))
    attacks.flip_search(victim, torch.zeros(1, 3, 4), torch.tensor([0]), share=1, growth=2, steps=11)
    assert sizes == [0, 1, 2, 4, 8, 12, 1, 2, 4, 8, 12, 1]


def test_flip_search_of_many_steps_with_a_large_growth():
    victim = Plain(torch.zeros(2, 12), shape=(3, 4), bias=torch.tensor([0.5, 0.0]))
    spikes = torch.zeros(1, 3, 4)
    found = attacks.flip_search(victim, spikes, torch.tensor([0]), growth=1000, share=1000, steps=400)
    assert count(spikes, found).tolist() == [12]


def test_random_numbers_of_sda_and_gumbel_are_of_the_seed():
    """Cells of no gradient come in a random order; draws decide where a gradient is taken."""
    weights = torch.zeros(2, 40)
    victim = Plain(weights, shape=(5, 8), bias=torch.tensor([0.5, 0.0]))
    spikes, labels = torch.zeros(3, 5, 8), torch.zeros(3, dtype=torch.int64)
    tried = [attacks.sda(victim, spikes, labels, steps=2, candidates=3, seed=seed) for seed in (0, 0, 1)]
    assert torch.equal(tried[0].adversarials, tried[1].adversarials)
    assert not torch.equal(tried[0].adversarials, tried[2].adversarials)
    assert (count(spikes, tried[0]) == 9).all()  # three, and six others: what changes nothing is kept
    assert not torch.equal(*tried[0].adversarials[:2])
    network, spikes, labels = spiking(6)
    drawn = [attacks.gumbel_flips(network, spikes, labels, steps=8, reduce=False, stay=0.6, seed=s) for s in (0, 1)]
    assert not torch.equal(drawn[0].adversarials, drawn[1].adversarials)


def test_cost_makes_gumbel_flip_fewer():
    victim, spikes, labels = made(2, seed=0, ahead=6.0)
    sizes = [
        count(spikes, attacks.gumbel_flips(victim, spikes, labels, steps=30, cost=cost, reduce=False)).sum()
        for cost in (0.0, 20.0)
    ]
    assert sizes[1] < sizes[0]


def test_spikefool_crosses_a_boundary_at_once_and_takes_the_nearest_rival():
    """Class 2 is nearer by its score, class 1 by the cells that it takes."""
    weights = torch.zeros(3, 8)
    weights[1, :4], weights[2, 4:] = 4.0, 0.5
    victim = Plain(weights, shape=(2, 4), bias=torch.tensor([3.0, 0.0, 1.5]))
    spikes, label = torch.zeros(1, 2, 4), torch.tensor([0])
    found = attacks.spikefool(victim, spikes, label, reach=1.0)
    assert found.prediction.tolist() == [1]
    assert found.adversarials.flatten().tolist() == [1, 0, 0, 0, 0, 0, 0, 0]
    assert (found.steps.tolist(), found.backwards.tolist()) == ([1], [2])
    alone = attacks.spikefool(victim, spikes, label, reach=1.1, rivals=1)
    assert (alone.prediction.tolist(), alone.backwards.tolist()) == ([2], [1])
    assert count(spikes, alone).tolist() == [4]
    further = attacks.spikefool(victim, spikes, label, reach=4.0, reduce=False)
    assert count(spikes, further).tolist() == [4]  # 3 behind, four times: gains of 4 until they sum to more than 12


def test_pieces_of_spikefool():
    gain = torch.tensor([[1.0, 3, 2, 0], [0, -1, 0.5, 0], [0, 0, 0, 0]])
    mask = _crossing(gain, torch.tensor([3.0, 0.0, 1.0]))
    assert mask.tolist() == [[False, True, True, False], [False, False, True, False], [False] * 4]
    scores, classes = torch.tensor([[0.5, 0.2, 0.4], [0.1, 0.9, 0.3]]), torch.tensor([0, 2])
    torch.testing.assert_close(_Difference(0)(scores, classes), torch.tensor([-0.1, 0.6]))
    torch.testing.assert_close(_Difference(1)(scores, classes), torch.tensor([-0.3, -0.2]))


def test_adam_is_torch_s():
    generator = torch.Generator().manual_seed(0)
    gradients = torch.randn(6, 2, 5, generator=generator)
    leaf = torch.zeros(2, 5, requires_grad=True)
    optimizer, memory, ours = torch.optim.Adam([leaf], lr=0.3), Memory(2), torch.zeros(2, 5)
    for number, gradient in enumerate(gradients):
        leaf.grad = gradient.clone()
        optimizer.step()
        ours -= 0.3 * adam(memory, gradient, torch.tensor([number, number]))
        torch.testing.assert_close(ours, leaf.detach(), rtol=1e-5, atol=1e-6)


def test_a_number_that_falls_along_half_a_cosine():
    class At:
        iterations, inputs = torch.tensor([0, 5, 10]), torch.zeros(3)

    torch.testing.assert_close(annealed(At, 10, 2.0, 1.0), torch.tensor([[2.0], [1.5], [1.0]]))


def test_the_schedule_of_swaps_is_the_paper_s():
    """0.3 divided by more and more, from so many of 10,000 queries on."""
    begins = (0, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)
    divisors = (2, 4, 5, 6, 8, 10, 12, 15, 20)
    for begin, end, by in zip(begins, (*begins[1:], 10_001), divisors, strict=True):
        for query in (begin, end - 1):
            assert swapped_share(query / 10_000) == 0.3 / by


def test_lists_of_cells():
    mask = torch.tensor([[False, True, False, True], [False] * 4, [True] * 4])
    table, sizes = listed(mask)
    assert table.tolist() == [[1, 3, -1, -1], [-1] * 4, [0, 1, 2, 3]]
    assert sizes.tolist() == [2, 0, 4]
    assert listed(mask[1:2])[0].tolist() == [[-1]]
    assert repeated(torch.tensor([[1, 1, 1], [1, 2, 1], [1, 2, 3]])).tolist() == [
        [False, True, True],
        [False, False, True],
        [False] * 3,
    ]
    flip(mask, torch.tensor([0, 2]), torch.tensor([[1, 0], [3, -1]]))
    assert mask.tolist() == [[True, False, False, True], [False] * 4, [True, True, True, False]]


def test_neighbours_by_hand():
    """Along time and each axis, not around a border, and not diagonally."""
    spikes = torch.zeros(2, 3, 1, 3, 3)
    spikes[0, 0, 0, 1, 1] = 1
    near = Neighbours.of(spikes)
    expected = torch.zeros(3, 1, 3, 3, dtype=torch.bool)
    for cell in ((0, 0, 1, 1), (1, 0, 1, 1), (0, 0, 0, 1), (0, 0, 2, 1), (0, 0, 1, 0), (0, 0, 1, 2)):
        expected[cell] = True
    assert torch.equal(near.mask[0], expected.flatten())
    assert near.sizes.tolist() == [6, 0]
    assert not near.mask[1].any()
    late = torch.zeros(1, 3, 1, 3, 3)
    late[0, 2, 0, 0, 0] = 1
    assert Neighbours.of(late).table.tolist() == [[9, 18, 19, 21]]


def test_half_are_drawn_near_spikes():
    spikes = torch.zeros(2, 10, 20)
    spikes[0, 5, 10] = 1
    near = Neighbours.of(spikes)
    generator = torch.Generator().manual_seed(0)
    keys = torch.rand(2, 200, generator=generator)
    for total, close in ((1, 0), (4, 2), (6, 3), (100, 5), (200, 5)):
        sets = near.first(keys, torch.tensor([total, total]))
        assert sets.sum(1).tolist() == [total, total]
        assert int((sets & near.mask)[0].sum()) >= close
    assert near.first(keys, torch.tensor([10, 0]))[0][near.mask[0]].all()
    numbers = torch.rand(2, 2000, 2, generator=generator)
    drawn = near.drawn(numbers, torch.tensor([0, 1]))
    share = near.mask[0][drawn[0]].double().mean()
    assert 0.48 < share < 0.56  # a half, and what is near by chance of the others
    assert len(drawn[1].unique()) == 200
    highest = near.drawn(torch.full((1, 1, 2), 1 - 2**-24), torch.tensor([0]))
    assert highest.tolist() == [[199]]
    first = near.drawn(torch.zeros(2, 1, 2), torch.tensor([0, 1]))
    assert first.tolist() == [[int(near.mask[0].nonzero()[0])], [0]]


def test_shares_of_spikes_as_flips():
    spikes = torch.zeros(3, 2, 10)
    spikes[0], spikes[1, 0, :5] = 1, 1
    assert flips_of(spikes, 0.3).tolist() == [6, 2, 1]
    assert first_of(torch.tensor([[3.0, 1, 2], [1, 1, 1]]), torch.tensor([2, 5])).tolist() == [
        [False, True, True],
        [True] * 3,
    ]


def test_random_flips_flip_as_many_as_they_are_told():
    victim, spikes, labels = made(2, seed=0, ahead=30.0)  # never fooled
    found = attacks.random_flips(victim, spikes, labels, share=0.5, steps=3)
    assert torch.equal(count(spikes, found), flips_of(spikes, 0.5))
    assert (found.steps == 3).all()
    assert not torch.equal((found.adversarials != spikes)[0], (found.adversarials != spikes)[1])


def test_sparse_rs_keeps_the_size_of_its_set_and_never_gets_worse():
    victim, spikes, labels = made(2, seed=0, ahead=30.0)
    margins = []
    for steps in (1, 2, 6):
        found = attacks.sparse_rs(victim, spikes, labels, steps=steps, queries=20, share=0.5)
        assert torch.equal(count(spikes, found), flips_of(spikes, 0.5))
        assert torch.equal(found.forwards, torch.full((8,), 1 + steps + 20 * (steps - 1)))
        scores = victim.scores(found.adversarials)
        margins.append(scores.gather(1, 1 - labels[:, None]) - scores.gather(1, labels[:, None]))
    assert (margins[1] >= margins[0]).all()
    assert (margins[2] > margins[0]).all()


def test_every_attack_of_few_flips_is_here():
    assert {*FEWEST, "retiming", "soft-retiming"} == {
        name for name, info in ATTACKS.items() if getattr(info.settings, "reduces", False)
    }
    assert set(ATTACKS) >= set(ALL)
    assert set(WHITE) | set(BLACK) == set(ALL)


def test_spikefool_needs_two_classes():
    victim = SpikingNetwork("16FC-1FC", (20,), time_steps=6)
    with pytest.raises(SpikeflipError, match="spikefool goes to where two classes are alike, and the victim has one"):
        attacks.spikefool(victim, torch.ones(2, 6, 20), torch.zeros(2, dtype=torch.int64))

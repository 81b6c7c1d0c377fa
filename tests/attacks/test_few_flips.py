"""Attacks that look for the fewest flips: optima that are known, budgets, and what each may look at."""

from functools import partial

import pytest
import torch
from faulty_models import model
from plain_victims import Plain, count, fewest, made, nearest

from spikeflip import Budget, SpikeflipError, SpikingNetwork, attacks, scg, wrap
from spikeflip.attacks import ATTACKS, Smallest, Trace
from spikeflip.snn.coding import winner

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


@pytest.mark.parametrize("name", ["sigma-zero", "gumbel-flips", "flip-search"])
def test_the_success_that_is_kept_is_the_smallest_by_the_budget(name):
    attack = ATTACKS[name].settings
    assert attack().best == Smallest("l0")
    assert attack(budget=Budget(5, "l0_events")).best == Smallest("l0_events")


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


def test_every_attack_of_few_flips_is_here():
    assert {*FEWEST, "retiming", "soft-retiming"} == {
        name for name, info in ATTACKS.items() if getattr(info.settings, "reduces", False)
    }
    assert set(ATTACKS) >= set(ALL)
    assert set(WHITE) | set(BLACK) == set(ALL)

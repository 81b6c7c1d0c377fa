"""Undoing what an attack did not need: what is left is needed, and every pass is counted."""

import pytest
import torch
from hand_rules import lit, move, reader
from hand_rules import run as run_rule
from plain_victims import Plain, fewest, made

from spikeflip import Budget, SpikeflipError, SpikingNetwork, scg
from spikeflip.attacks import Recorded, reduce_flips
from spikeflip.attacks.metrics import METRICS, Change
from spikeflip.snn.coding import winner


def flips(spikes, adversarials):
    return (spikes != adversarials).flatten(1)


def needed(victim, spikes, adversarials, goal):
    """Whether every flip of each sample is needed, by undoing one after the other; of none flipped, yes."""
    said = []
    for x, adversarial in zip(spikes, adversarials, strict=True):
        cells = (x != adversarial).flatten().nonzero().squeeze(1)
        tried = adversarial.repeat(len(cells), *[1] * x.ndim)
        for n, cell in enumerate(cells):
            tried.view(len(cells), -1)[n, cell] = x.flatten()[cell]
        said.append(not any(bool(goal(one)) for one in winner(victim.scores(tried))) if len(cells) else True)
    return torch.tensor(said)


def flooded(spikes, share, seed=1):
    numbers = torch.rand(spikes.shape, generator=torch.Generator().manual_seed(seed))
    return torch.where(numbers < share, 1 - spikes, spikes)


def setting(side=6, steps=5, n=10, share=0.2, **options):
    """A spiking victim, spikes, what it says of them, and flips that change what it says of some."""
    network = SpikingNetwork("8C3-AP2-24FC-5FC", (2, side, side), time_steps=steps, seed=4, **options)
    generator = torch.Generator().manual_seed(0)
    spikes = (torch.rand(n, steps, 2, side, side, generator=generator) < 0.3).float()
    labels = winner(network.scores(spikes)).clamp(min=0)
    return network, spikes, labels, flooded(spikes, share)


@pytest.mark.parametrize("decisions_only", [False, True])
@pytest.mark.parametrize("kind", ["linear", "spiking"])
@pytest.mark.parametrize("targeted", [False, True])
def test_what_is_left_is_needed_and_fools(kind, decisions_only, targeted):
    victim, spikes, labels = made(4, (5, 8), 12, seed=3) if kind == "linear" else setting(n=40)[:3]
    flooded_spikes = flooded(spikes, 0.4)
    said = winner(victim.scores(flooded_spikes))
    fooled = (said >= 0) & (said != labels)
    assert fooled.sum() >= 3
    spikes, labels, before, said = (one[fooled] for one in (spikes, labels, flooded_spikes, said))
    classes = said if targeted else labels

    def goal_of(n):
        return lambda one: one == classes[n] if targeted else one not in (-1, int(classes[n]))

    found = reduce_flips(victim, spikes, before, labels, said if targeted else None, decisions_only=decisions_only)
    left = flips(spikes, found.adversarials)
    assert not (left & ~flips(spikes, before)).any()
    assert (left.sum(1) < flips(spikes, before).sum(1)).any()
    assert left.any(1).all()
    assert torch.equal(found.prediction, winner(victim.scores(found.adversarials)))
    for n in range(len(spikes)):
        assert goal_of(n)(int(found.prediction[n]))
        assert needed(victim, spikes[n : n + 1], found.adversarials[n : n + 1], goal_of(n)).all()


@pytest.mark.parametrize("decisions_only", [False, True])
def test_the_same_in_any_batch_order_and_on_both_engines(decisions_only):
    network, spikes, labels, before = setting()
    whole = reduce_flips(network, spikes, before, labels, decisions_only=decisions_only)
    order = torch.randperm(len(spikes), generator=torch.Generator().manual_seed(2))
    for micro_batch in (1, 8):
        other = reduce_flips(
            network, spikes[order], before[order], labels[order], decisions_only=decisions_only, micro_batch=micro_batch
        )
        for name in ("adversarials", "prediction", "forwards"):
            assert torch.equal(getattr(other, name), getattr(whole, name)[order])
    event = reduce_flips(network.on("event"), spikes, before, labels, decisions_only=decisions_only)
    for name in ("adversarials", "prediction", "forwards"):
        assert torch.equal(getattr(event, name), getattr(whole, name))


@pytest.mark.parametrize("decisions_only", [False, True])
def test_many_flips_go_block_by_block(decisions_only):
    """With thousands of flips, of which a handful is needed, far fewer passes are made than there are flips."""
    victim, spikes, labels = made(2, (20, 100), 4, seed=5, ahead=40.0)
    before = flooded(spikes, 0.5)
    weights = victim.weights[0]
    helps = (weights[1 - labels] - weights[labels]).view_as(spikes) * (1 - 2 * spikes) > 0
    before = torch.where(helps, 1 - spikes, before)  # all that help, and half of the others
    assert (flips(spikes, before).sum(1) > 1000).all()
    found = reduce_flips(victim, spikes, before, labels, decisions_only=decisions_only)
    left = flips(spikes, found.adversarials)
    assert torch.equal(found.prediction, 1 - labels)
    for n in range(4):
        assert needed(
            victim, spikes[n : n + 1], found.adversarials[n : n + 1], lambda one, n=n: one == 1 - labels[n]
        ).all()
    assert (found.forwards < 0.75 * flips(spikes, before).sum(1)).all()
    if not decisions_only:
        assert left.sum(1).max() < 100


def test_blocks_are_for_more_than_256_flips():
    """One flip of a linear victim is needed: with blocks it is found in few passes, without in a pass a flip."""
    weights = torch.zeros(2, 400)
    weights[1, 7] = 1.0
    victim = Plain(weights, shape=(4, 100), bias=torch.tensor([0.5, 0.0]))
    spikes = torch.zeros(2, 4, 100)
    before = spikes.clone()
    before.view(2, -1)[0, :256] = 1
    before.view(2, -1)[1, :257] = 1
    found = reduce_flips(victim, spikes, before, torch.zeros(2, dtype=torch.int64))
    assert [one.nonzero().flatten().tolist() for one in flips(spikes, found.adversarials)] == [[7], [7]]
    assert found.forwards[0] > 256
    assert found.forwards[1] < 64


def test_decisions_alone_give_the_same_where_scores_are_hidden():
    open_, spikes, labels = made(3, (5, 8), 10, seed=1)
    hidden = made(3, (5, 8), 10, seed=1, decisions=True)[0]
    before = flooded(spikes, 0.5)
    one = reduce_flips(open_, spikes, before, labels, decisions_only=True)
    other = reduce_flips(hidden, spikes, before, labels, decisions_only=True)
    assert torch.equal(one.adversarials, other.adversarials)
    assert torch.equal(one.forwards, other.forwards)
    with_scores = reduce_flips(open_, spikes, before, labels)
    assert not torch.equal(with_scores.adversarials, one.adversarials)


def test_scores_order_what_is_undone():
    """Of a linear victim those flips stay that gain most: as few as can be. By decisions alone it may be more."""
    victim, spikes, labels = made(2, (5, 8), 12, seed=2, ahead=4.0)
    weights = victim.weights[0]
    helps = ((weights[1 - labels] - weights[labels]).view_as(spikes) * (1 - 2 * spikes)) > 0
    before = torch.where(helps, 1 - spikes, spikes)
    found = reduce_flips(victim, spikes, before, labels)
    assert torch.equal(flips(spikes, found.adversarials).sum(1), fewest(victim, spikes, labels))
    blind = reduce_flips(victim, spikes, before, labels, decisions_only=True)
    assert flips(spikes, blind.adversarials).sum() > flips(spikes, found.adversarials).sum()


@pytest.mark.parametrize("decisions_only", [False, True])
@pytest.mark.parametrize("shape", [(5, 8), (8, 100)])
def test_every_pass_is_counted(shape, decisions_only):
    victim, spikes, labels = made(3, shape, 6, seed=4)
    before = flooded(spikes, 0.6)
    victim.asked = 0
    found = reduce_flips(victim, spikes, before, labels, decisions_only=decisions_only, micro_batch=4)
    assert int(found.forwards.sum()) == victim.asked
    assert found.forwards.min() >= 2


def test_what_fools_nobody_stays():
    victim, spikes, labels = made(2, (5, 8), 6, seed=4, ahead=3.0)
    before = flooded(spikes, 0.1)
    stands = victim.scores(before).argmax(1) == labels
    assert stands.any()
    found = reduce_flips(victim, spikes, before, labels)
    assert torch.equal(found.adversarials[stands], before[stands])
    assert torch.equal(found.prediction[stands], labels[stands])
    assert (found.forwards[stands] == 2).all()


def test_a_tie_fools_nobody():
    victim = Plain(
        torch.tensor([[0.0, 0.0, 0.0, 0.0], [1.0, 1.0, 0.0, 0.0]]), shape=(2, 2), bias=torch.tensor([1.0, 0])
    )
    spikes = torch.zeros(1, 2, 2)
    before = torch.tensor([[[1.0, 1.0], [1.0, 0.0]]])  # one of the first two alone is a tie
    found = reduce_flips(victim, spikes, before, torch.tensor([0]))
    assert found.adversarials.flatten().tolist() == [1, 1, 0, 0]


def test_no_flips_and_no_samples():
    network, spikes, labels, _before = setting()
    same = reduce_flips(network, spikes, spikes, labels)
    assert torch.equal(same.adversarials, spikes)
    wrong = reduce_flips(network, spikes, spikes, (labels + 1) % 5)  # reach the goal as they are
    assert torch.equal(wrong.adversarials, spikes)
    for victim in (network, network.on("event"), made(5, (5, 72))[0]):
        shape = (0, victim.time_steps, *victim.input_shape)
        none = reduce_flips(victim, torch.zeros(shape), torch.zeros(shape), torch.zeros(0, dtype=torch.int64))
        assert none.adversarials.shape == shape
        assert none.forwards.shape == none.prediction.shape == (0,)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.uint8, torch.int64, torch.bool])
def test_spikes_of_any_type(dtype):
    network, spikes, labels, before = setting()
    expected = reduce_flips(network, spikes, before, labels)
    found = reduce_flips(network, spikes.to(dtype), before.to(dtype), labels)
    assert found.adversarials.dtype == dtype
    assert torch.equal(found.adversarials.float(), expected.adversarials)
    assert torch.equal(found.forwards, expected.forwards)


def test_the_loop_reduces_successes_alone_and_adds_their_passes():
    """A rule that sets all cells: of the reader's two steps one is enough, where the true class fires in none."""
    spikes = lit((0, 1), (0, 2))

    def rule(step):
        return move(step, torch.cat([step.inputs[..., :1], torch.ones_like(step.inputs[..., 1:])], 2))

    plain = run_rule(rule, spikes, [0, 0])
    found = run_rule(rule, spikes, [0, 0], reduce=True)
    assert plain.success.tolist() == found.success.tolist() == [True, False]
    assert plain.adversarials[0].tolist() == found.adversarials[0].tolist() == [[1, 1], [0, 1]]  # both are needed
    assert torch.equal(found.adversarials[1], plain.adversarials[1])
    assert found.forwards[0] > plain.forwards[0]
    assert found.forwards[1] == plain.forwards[1]


def test_reduction_keeps_a_budget_that_less_can_exceed():
    """Cell 0 moves by one bin; without the nearer spike it would have moved by two."""
    neuron_weights = torch.tensor([[2.0, 0, 0, 0], [0, 0.25, 1.0, 0]])
    victim = Plain(neuron_weights, shape=(4, 1), bias=torch.tensor([0.5, 0.0]))
    spikes = torch.tensor([[[1.0], [0], [0], [0]]])
    recorded = Recorded(
        sample=torch.tensor([0]), cell=torch.tensor([0]), more=torch.tensor([0]), edges=torch.arange(5).view(1, 5) * 100
    )

    def rule(step):
        return move(step, torch.tensor([[[0.0], [1], [1], [0]]]))

    def limited(limit):
        return run_rule(
            rule, spikes, [0], network=victim, reduce=True, budget=Budget(limit, "moved_us_max"), recorded=recorded
        )

    free, tight = limited(1000), limited(150)
    assert free.success.all()
    assert tight.success.all()
    assert METRICS["moved_us_max"](Change(spikes, tight.adversarials, recorded)).max() < 150
    assert flips(spikes, free.adversarials).sum() < flips(spikes, tight.adversarials).sum()


def test_scg_with_reduction_is_its_success_with_fewer_flips():
    network, spikes, labels, _before = setting(n=6)
    plain = scg(network, spikes, labels, loss="margin", output_window=2.0)
    found = scg(network, spikes, labels, loss="margin", output_window=2.0, reduce=True)
    assert torch.equal(found.success, plain.success)
    assert found.success.any()
    assert not (flips(spikes, found.adversarials) & ~flips(spikes, plain.adversarials)).any()
    assert flips(spikes, found.adversarials).sum() < flips(spikes, plain.adversarials).sum()
    reduced = reduce_flips(network, spikes, plain.adversarials, labels)
    assert torch.equal(
        found.adversarials, torch.where(found.success.view(-1, 1, 1, 1, 1), reduced.adversarials, plain.adversarials)
    )
    assert torch.equal(found.forwards - plain.forwards, torch.where(found.success, reduced.forwards, 0))


def test_images_and_counts_are_not_reduced():
    network = SpikingNetwork("8FC-3FC", (6,), time_steps=4, seed=1)
    with pytest.raises(SpikeflipError, match="reduce undoes flips of spikes, and the inputs are images: leave it out"):
        scg(network, torch.rand(2, 6), torch.tensor([0, 1]), reduce=True)
    counts = reader()
    counts.counts = True
    with pytest.raises(SpikeflipError, match="the inputs are counts of events: leave it out"):
        scg(counts, 2 * lit((0, 1)), torch.tensor([0]), reduce=True)

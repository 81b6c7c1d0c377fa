"""Going on until a success holds over fresh encodings: what is asked for is kept, what is reported was never seen."""

import math

import pytest
import torch

from spikeflip import LIF, Rectangular, SpikeflipError, SpikingNetwork, judge, scg
from spikeflip.attacks import Smallest, Verified, bim, loop, pgd
from spikeflip.attacks.stop import Judged, Verdict, _draws, _needed, _part
from spikeflip.snn.coding import encode, winner
from spikeflip.snn.estimators import ASSG, StraightThrough
from spikeflip.snn.gradients import GradientRequest
from spikeflip.snn.losses import score_gradient
from spikeflip.snn.memory import Memory


def tail(draws, share, least):
    return sum(math.comb(draws, k) * share**k * (1 - share) ** (draws - k) for k in range(least, draws + 1))


@pytest.mark.parametrize("share", [0.5, 0.9, 0.99])
@pytest.mark.parametrize("look", [1, 2, 7, 40])
def test_a_look_spends_its_part_of_the_error(share, look):
    policy = Verified(share)
    draws, part = _draws(policy, look), _part(0.05, look)
    needed = _needed(draws, share, part)
    assert tail(draws, share, needed) <= part < tail(draws, share, needed - 1)
    assert needed <= draws  # it can be passed


def test_all_looks_together_spend_no_more_than_the_error():
    assert sum(_part(0.05, look) for look in range(1, 10_000)) <= 0.05


def judged(fresh, n=1):
    return Judged(None, torch.ones(n, dtype=torch.bool), Memory(n), fresh)


def test_whose_share_is_not_above_the_confidence_passes_in_at_most_the_error_of_cases():
    """A thousand samples of a share of exactly the confidence, each looked at ten times."""
    generator, policy, passed = torch.Generator().manual_seed(0), Verified(0.8, error=0.2), 0
    for _ in range(300):
        one = judged(lambda rows, draws: torch.rand(len(rows), draws, generator=generator) < 0.8)
        passed += any(bool(policy(one).done) for _ in range(10))
    assert 0 < passed <= 0.2 * 300


def test_what_is_looked_at_a_hundred_times_would_pass_without_the_bound():
    """The same with every look at the whole error: what the union bound is for."""
    generator, share, passed = torch.Generator().manual_seed(0), 0.8, 0
    needed = _needed(100, share, 0.2)
    for _ in range(300):
        passed += any(int((torch.rand(100, generator=generator) < share).sum()) >= needed for _ in range(10))
    assert passed > 0.2 * 300


def test_of_those_that_never_pass_the_best_is_kept():
    shares = iter([0.5, 0.7, 0.6])
    cost = []
    one = judged(lambda rows, draws: torch.arange(draws).expand(len(rows), draws) < next(shares) * draws)
    for _ in range(3):
        verdict = Verified(0.9)(one)
        assert not verdict.done.any()
        cost.append(verdict.cost.item())
    assert cost == pytest.approx([0.5, 0.3, 0.4])
    passed = Verified(0.9)(judged(lambda rows, draws: torch.ones(len(rows), draws, dtype=torch.bool)))
    assert passed.done.item()
    assert passed.cost.item() < 0


def coin(slope=4.0):
    """One pixel a class, several steps: class k fires as often as pixel k does."""
    network = SpikingNetwork("2FC", (2,), time_steps=9, neuron=LIF(0.5, 0.0, "hard", Rectangular(slope)))
    with torch.no_grad():
        network.weights[0].copy_(torch.eye(2))
    return network


IMAGES, LABELS = torch.tensor([[0.9, 0.3], [0.8, 0.4], [0.6, 0.1]]), torch.tensor([0, 0, 0])


@pytest.mark.parametrize("attack", [bim, scg])
def test_success_holds_over_encodings_that_were_never_looked_at(attack):
    options = {"loss": "margin", "steps": 60} | ({"threshold": None} if attack is scg else {})
    plain = attack(coin(), IMAGES, LABELS, **options)
    sure = attack(coin(), IMAGES, LABELS, stop=Verified(0.9), **options)
    before = judge(coin(), IMAGES, plain.adversarials, LABELS, None, plain, draws=400)
    after = judge(coin(), IMAGES, sure.adversarials, LABELS, None, sure, draws=400)
    assert attack is scg or before.rows["verified"].min() < 0.85
    assert after.rows["verified"].min() > 0.9
    assert after.rows["success"].all()  # in the one encoding that decided
    assert (sure.forwards > plain.forwards).all()
    assert (sure.forwards >= sure.steps + 1 + 110).all()


def test_looks_change_neither_gradients_nor_batch_mates():
    options = {"loss": "margin", "steps": 12, "stop": Verified(0.9)}
    whole = bim(coin(), IMAGES, LABELS, **options)
    order = torch.tensor([2, 0, 1])
    for size in (1, 2, 3):
        part = bim(coin(), IMAGES[order], LABELS[order], samples=order, micro_batch=size, **options)
        assert torch.equal(part.adversarials, whole.adversarials[order])
        assert part.forwards.tolist() == whole.forwards[order].tolist()


def test_the_encoding_that_decided_is_the_one_that_is_judged():
    """The best of several steps or starts is judged in its own encoding, not in that of the last step."""
    for options in ({"stop": Smallest("l2"), "steps": 9}, {"restarts": 4, "steps": 1, "step_size": 0.2}):
        result = bim(coin(), IMAGES, LABELS, loss="margin", **options)
        found = judge(coin(), IMAGES, result.adversarials, LABELS, None, result, draws=2)
        assert found.rows["success"].tolist() == result.success.tolist()
        assert (result.moments != result.steps).any()


def test_where_nothing_is_drawn_there_is_nothing_to_verify():
    network = SpikingNetwork("2FC", (2,), time_steps=9, coding="latency")
    for victim, inputs in ((network, IMAGES), (coin(), torch.ones(3, 9, 2))):
        with pytest.raises(SpikeflipError, match=r"confidence is 0\.9, but nothing is drawn"):
            scg(victim, inputs, LABELS, stop=Verified(0.9), threshold=None)
    for wrong in (0, 1, -0.1, 1.5, math.nan):
        with pytest.raises(SpikeflipError, match=r"confidence is .*: give a share between 0 and 1"):
            Verified(wrong)
    with pytest.raises(SpikeflipError, match="error is 0: give a share between 0 and 1"):
        Verified(0.9, error=0)
    with pytest.raises(SpikeflipError, match=r"confidence is 0\.999, which takes over 2,000 encodings to tell"):
        Verified(0.999)


def test_works_with_the_attacks_within_a_ball():
    result = pgd(coin(), IMAGES, LABELS, loss="margin", budget=0.6, steps=30, stop=Verified(0.9))
    found = judge(coin(), IMAGES, result.adversarials, LABELS, None, result, draws=400)
    assert (found.rows["verified"][result.success] > 0.88).all()
    assert result.success.any()


def deep():
    return SpikingNetwork("9FC-7FC-3FC", (6,), time_steps=8, neuron=LIF(0.3, 0.5), seed=3)


def test_a_gradient_after_looks_is_that_of_the_pass_that_judged():
    """Looks run the victim in the same memory as the pass before them."""
    victim, compared = deep(), []
    images = torch.rand(5, 6, generator=torch.Generator().manual_seed(0))
    labels = winner(victim.scores(encode(images, (6,), 8, seed=0, samples=torch.arange(5)))).clamp(min=0)

    def look(judged):
        judged.fresh(torch.arange(len(judged.success)), 3)
        return Verdict(
            torch.full(judged.success.shape, torch.inf, dtype=torch.float64), torch.zeros_like(judged.success)
        )

    def rule(step):
        found = step.gradient("margin", GradientRequest(estimator=StraightThrough())).values.clone()
        compared.append((step.spikes.clone(), step.classes.clone(), found))
        return loop.Move(1 - step.inputs, torch.zeros(len(step.inputs), dtype=torch.int8))

    loop.run(victim, images, labels, None, rule, steps=3, stop=look)
    assert len(compared) == 3
    for spikes, classes, found in compared:
        again = (
            deep()
            .probe(spikes)
            .input_gradient(
                lambda scores, _, classes=classes: score_gradient("margin", scores, classes)[1],
                GradientRequest(estimator=StraightThrough()),
            )
        )
        assert found.any()
        torch.testing.assert_close(found, again.values)


def test_statistics_are_taken_of_the_encoding_that_judges_alone():
    def kept(encodings):
        seen = []

        def rule(step):
            step.gradient("ce", GradientRequest(estimator=ASSG()), encodings=encodings)
            like = torch.zeros(len(step.inputs), 8, 3)
            seen.append(step.memory.recall(("assg mean", 2), like).clone())
            return loop.Move(step.inputs, torch.zeros(len(step.inputs), dtype=torch.int8))

        images = torch.rand(4, 6, generator=torch.Generator().manual_seed(0))
        labels = winner(deep().scores(encode(images, (6,), 8, seed=0, samples=torch.arange(4)))).clamp(min=0)
        loop.run(deep(), images, labels, None, rule, steps=2)
        return seen

    one, many = kept(1), kept(4)
    assert len(one) == 2
    assert all(torch.equal(a, b) for a, b in zip(one, many, strict=True))
    assert one[0].std() > 0


def test_the_error_is_shared_by_the_tests_of_all_starts():
    looks = []

    def policy(judged):
        verdict = Verified(0.6)(judged)
        looks.append(int(judged.memory.recall("verified looks", torch.zeros(1))))
        return verdict

    def rule(step):
        return loop.Move(torch.tensor([[0.5, 0.52]]), torch.zeros(1, dtype=torch.int8))

    result = loop.run(coin(), IMAGES[:1], LABELS[:1], None, rule, steps=1, restarts=40, stop=policy)
    assert result.success.item()
    assert looks == sorted(looks)
    assert looks[-1] > 1


def test_more_starts_than_have_random_numbers_of_their_own_are_refused():
    with pytest.raises(SpikeflipError, match=r"restarts is 2,049: give at most 2,048"):
        bim(coin(), IMAGES, LABELS, steps=1, restarts=2049)

"""Regions keep to their budget; walks and searches find what a closed form says is there."""

import pytest
import torch

from spikeflip import Budget, load_images, load_victim
from spikeflip.attacks.metrics import METRICS, Change
from spikeflip.evaluation.battery import _ties, _unfinished
from spikeflip.evaluation.regions import Ball, Flips, regions
from spikeflip.evaluation.stability import disagreement, stability
from spikeflip.evaluation.walking import Course, Subject, search, walk
from spikeflip.snn.gradients import GradientRequest, InputGradient

T, CELLS = 4, 6


class Linear:
    """Scores are sums of weights over the cells that fire; nothing else."""

    coding, time_steps, input_shape, classes = "latency", T, (CELLS,), 2
    device, penultimate_threshold = torch.device("cpu"), None

    def __init__(self, weights):
        self.weights = weights

    def scores(self, spikes):
        return torch.einsum("ntc,ktc->nk", spikes, self.weights)

    def probe(self, spikes, request=None):
        victim = self

        class Probe:
            scores = victim.scores(spikes)

            def input_gradient(self, of, request=None):
                values = torch.einsum("nk,ktc->ntc", of(self.scores, torch.arange(len(spikes))), victim.weights)
                zero = torch.zeros(len(spikes), dtype=torch.bool)
                return InputGradient(values, zero, zero, zero)

        return Probe()


def subject(victim, spikes, labels):
    return Subject(victim, spikes, labels, None, torch.arange(len(spikes)), 0, 16)


def linear(n=12, seed=0):
    """A victim, spikes, labels, and the fewest flips that fool, ``(n,)``."""
    generator = torch.Generator().manual_seed(seed)
    weights = torch.randn(2, T, CELLS, generator=generator)
    spikes = (torch.rand(n, T, CELLS, generator=generator) < 0.5).float()
    victim = Linear(weights)
    scores = victim.scores(spikes)
    labels = scores.argmax(1)
    towards = weights[1 - labels] - weights[labels]
    gain = (towards * (1 - 2 * spikes)).flatten(1).sort(1, descending=True).values.clamp(min=0)
    margin = (scores.amax(1) - scores.amin(1)).unsqueeze(1)
    return victim, spikes, labels, (gain.cumsum(1) <= margin).sum(1) + 1


@pytest.mark.parametrize("share", [0.1, 0.25, 0.5])
def test_a_walk_of_flips_is_optimal_on_a_linear_victim(share):
    victim, spikes, labels, fewest = linear(40)
    course = walk(subject(victim, spikes, labels), Flips(share), GradientRequest(), steps=3)
    allowed = (share * spikes.flatten(1).sum(1)).floor()
    assert torch.equal(course.success, fewest <= allowed)
    flips = (course.adversarials != spikes).flatten(1).sum(1)
    assert bool((flips <= allowed).all())
    assert share > 0.1 or not bool(course.success.all())
    assert int(course.success.sum()) > 0


def test_flips_stay_while_the_gradient_asks_for_them():
    originals = torch.tensor([[[1.0, 0, 0, 1]]])
    gradient, pull = torch.tensor([[[-3.0, 2, -5, 1]]]), torch.zeros(1, 1, 4)
    once = Flips(1.0).step(originals, originals, gradient, pull, 0, 2)
    assert once.tolist() == [[[0, 1, 0, 1]]]  # cell 2 has nothing to remove, cell 3 nothing to add
    assert torch.equal(Flips(1.0).step(once, originals, gradient, pull, 0.5, 2), once)


def test_a_walk_without_a_bound_reaches_all_that_can_be_reached():
    victim, spikes, labels, fewest = linear(40)
    course = walk(subject(victim, spikes, labels), Flips(0.1, grows=True), GradientRequest(), steps=10)
    assert torch.equal(course.success, fewest <= T * CELLS)
    assert int(course.success.sum()) > 30


def test_a_search_keeps_to_the_budget_and_finds_without_a_gradient():
    victim, spikes, labels, fewest = linear(40)
    asked = subject(victim, spikes, labels)
    course = search(asked, Flips(0.5), queries=100)
    allowed = (0.5 * spikes.flatten(1).sum(1)).floor()
    assert bool(((course.adversarials != spikes).flatten(1).sum(1) <= allowed).all())
    possible = fewest <= allowed
    assert not bool((course.success & ~possible).any())
    assert int(course.success.sum()) >= 0.9 * int(possible.sum())
    assert asked.passes.forwards == 40 * 101 + int(course.view.sum())
    assert asked.passes.backwards == 0


@pytest.mark.parametrize(("metric", "limit"), [("linf", 0.1), ("l2", 0.7)])
def test_a_ball_is_never_left(metric, limit):
    generator = torch.Generator().manual_seed(0)
    originals = torch.rand(5, 2, 6, 6, generator=generator)
    ball, inputs, pull = Ball(Budget(limit, metric)), originals, torch.zeros_like(originals)
    for step in range(5):
        gradient = torch.randn(originals.shape, generator=generator)
        inputs = ball.step(inputs, originals, gradient, pull, step / 5, 5)
        inputs = ball.propose(inputs, originals, torch.rand(5, 73, generator=generator), step / 5)
        assert float(inputs.min()) >= 0
        assert float(inputs.max()) <= 1
        assert float(METRICS[metric](Change(originals, inputs)).max()) <= limit * 1.0001
    single = ball.step(originals, originals, gradient, pull, 0, 1)
    assert float(METRICS[metric](Change(originals, single)).max()) > 0.5 * limit


def test_a_mean_squared_change_is_a_length():
    region, free = regions("image-mse", 0.01, (1, 8, 8))
    assert region == Ball(Budget(0.8, "l2"))  # sqrt(0.01 * 64)
    assert free == Ball(Budget(1.0, "linf"))
    assert regions("binary-l0", 0.2, (4, 6)) == (Flips(0.2), Flips(0.2, grows=True))


def course(nearness, tied=None):
    nearness = torch.tensor(nearness)
    no = torch.zeros(len(nearness), dtype=torch.bool)
    ties = torch.zeros(nearness.shape, dtype=torch.bool) if tied is None else torch.tensor(tied)
    return Course(nearness, no, no, no, ties, nearness, no)


def test_a_walk_is_unfinished_while_it_still_comes_nearer():
    early = [-1.0] + [-0.5] * 20
    late = [-1.0] * 10 + [-0.8] + [-0.7] * 10  # the last tenth of all within the last ten steps
    little = [-1.0, 0.0] + [0.0] * 9 + [0.04] * 10
    still = [-1.0] * 21
    assert _unfinished(course([early, late, little, still])).tolist() == [False, True, False, False]


def test_ties_are_counted_beside_the_calls_that_are_as_close():
    nearness = [[-0.3, -0.1, 0.0, 0.1, 0.0, -0.2]]
    rate = _ties(course(nearness, [[False, False, True, False, True, False]]))
    assert (rate.hits, rate.n) == (2, 4)


def test_stability_of_a_linear_victim():
    victim, spikes, labels, _ = linear()
    found = stability(subject(victim, spikes, labels))
    assert (found.leaking, found.random, found.constant) == (0, 0, False)
    assert found.jump > 0


def test_scores_that_change_are_seen_by_their_size():
    victim, spikes, labels, _ = linear()

    class Drifts(Linear):
        calls = 0

        def scores(self, spikes):
            self.calls += 1
            return super().scores(spikes) * torch.tensor([1.0, 1.0 + 0.001 * self.calls])

    class Draws(Linear):
        def scores(self, spikes):
            return super().scores(spikes) + 0.01 * torch.rand(2)

    drifting = stability(subject(Drifts(victim.weights), spikes, labels))
    assert drifting.leaking > 1e-4
    drawing = stability(subject(Draws(victim.weights), spikes, labels))
    assert drawing.leaking == 0
    assert drawing.random > 1e-4


def test_a_view_that_answers_otherwise_is_seen():
    victim, spikes, labels, _ = linear()

    class Twisted(Linear):
        def probe(self, spikes, request=None):
            return Linear(self.weights.flip(0)).probe(spikes)

    assert disagreement(subject(victim, spikes, labels), spikes) == 0
    assert disagreement(subject(Twisted(victim.weights), spikes, labels), spikes) == 1


def test_further_encodings_are_of_what_attacks_look_at(monkeypatch):
    victim, digits = load_victim("demo-digits"), load_images("digits", "test")
    quick = victim.on("event")
    monkeypatch.setattr(victim, "probe", lambda *_: pytest.fail("the victim itself was asked for a gradient"))
    images = digits.images[:4]
    of = Subject(victim, images, digits.labels[:4], None, torch.arange(4), 0, 16, attacked=quick)
    walk(of, Ball(Budget(0.1, "linf")), GradientRequest(), steps=1, encodings=3)
    assert of.passes.backwards == 4 * 3

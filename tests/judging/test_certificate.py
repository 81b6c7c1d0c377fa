"""Certified radii: against every change of a two-pixel image, and against attacks."""

import itertools
import json
import math
from types import SimpleNamespace

import pytest
import torch

import spikeflip
from spikeflip import LIF, Budget, SpikeflipError, SpikingNetwork
from spikeflip.intervals import at_least, exact
from spikeflip.judging import Certificate, certify
from spikeflip.judging.certificate import certified_radius
from spikeflip.judging.judgement import answers_to
from spikeflip.snn.checkpoint import save_checkpoint
from spikeflip.streams import stream
from spikeflip.victims.defences import StochasticGate


class Pixels(SimpleNamespace):
    """A victim of two pixels: ``votes``, bool, says of every pattern of their draws whether class 1 wins."""

    coding, penultimate_threshold, device, classes, input_shape = "rate", None, torch.device("cpu"), 2, (2,)

    def scores(self, spikes):
        places = (spikes.flatten(1).long() * 2 ** torch.arange(2 * self.time_steps)).sum(1)
        one = self.votes[places].float()
        return torch.stack([1 - one, one], 1)

    def probe(self, spikes, request=None):
        raise NotImplementedError

    def share(self, images):
        """The exact share of encodings that vote for class 1, of images ``(n, 2)`` float64."""
        patterns = torch.tensor(list(itertools.product((0.0, 1.0), repeat=2 * self.time_steps))).double()
        fires = images.double().repeat(1, self.time_steps).unsqueeze(1)
        chances = (patterns * fires + (1 - patterns) * (1 - fires)).prod(2)
        return (chances * self.scores(patterns.view(-1, self.time_steps, 2))[:, 1]).sum(1)


def ever(steps, pixel=0):
    """Class 1 if a pixel ever fires."""
    patterns = torch.arange(4**steps)
    fired = torch.stack([(patterns >> (2 * t + pixel)) & 1 for t in range(steps)]).any(0)
    return Pixels(time_steps=steps, votes=fired)


def some(steps, seed):
    numbers = torch.Generator().manual_seed(seed)
    return Pixels(time_steps=steps, votes=torch.rand(4**steps, generator=numbers) < 0.2 + 0.15 * (seed % 5))


def all_within(image, radius):
    """A grid of the images within an L1 distance, its border and corners included."""
    steps = torch.linspace(-1, 1, 9).double()
    changes = torch.tensor(list(itertools.product(steps, steps))).double()
    sizes = changes.abs().sum(1, keepdim=True).clamp(min=1)
    return (image.double() + radius * changes / sizes).clamp(0, 1)


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_no_change_within_the_radius_changes_the_vote_of_two_pixels(steps):
    certified = broken_by_the_published = 0
    victims = [ever(steps), ever(steps, 1), *(some(steps, seed) for seed in range(5))]
    for victim, a, b in itertools.product(victims, (0.0, 0.1, 0.5), (0.0, 0.9)):
        image = torch.tensor([a, b])
        share = float(victim.share(image[None]))
        radius = certified_radius(max(share, 1 - share), steps, 2)
        if radius == 0:
            continue
        certified += 1
        near, published = (
            victim.share(all_within(image, within)) > 0.5 for within in (radius, 0.999 * (max(share, 1 - share) - 0.5))
        )
        assert bool((near == (share > 0.5)).all())
        broken_by_the_published += bool((published != (share > 0.5)).any())
    assert certified > 10
    assert (broken_by_the_published > 0) == (steps > 1)


def test_the_published_radius_is_broken_and_this_one_is_not():
    """Class 1 if pixel 1 ever fires in 8 steps: at 0 all vote for class 0, at 0.4 98.3 % for class 1."""
    victim, zero = ever(8), torch.zeros(1, 2)
    found = certify(victim, zero, draws=1000, error=0.001)
    assert (found.classes.tolist(), found.bounds.tolist()) == ([0], [pytest.approx(0.001 ** (1 / 1000))])
    moved = torch.tensor([[0.4, 0.0]])
    assert found.bounds[0] - 0.5 > 0.4
    answers = answers_to(victim, moved[0], 0, torch.arange(500), 0, 64)
    assert (answers == 1).float().mean() == pytest.approx(0.983, abs=0.03)
    assert found.radii[0] == pytest.approx((float(found.bounds[0]) - 0.5) / 8, abs=1e-6)
    assert 1 - (1 - float(found.radii[0])) ** 8 < 0.5
    # It is no worse than by a third: from here on class 1 has the vote.
    assert float(found.radii[0]) > (1 - 0.5 ** (1 / 8)) / 1.5


def test_a_step_of_the_random_numbers_is_allowed_for_every_pixel():
    """Two images that differ by next to nothing may have draws that differ, once in 2^24 of each."""
    half = 0.5 + 3 * 1000 * 2.0**-24
    assert certified_radius(half, 3, 1000) == 0
    assert certified_radius(half + 0.3, 3, 1000) == pytest.approx(0.1)


def binomial_tail(hits, n, rate):
    return sum(math.comb(n, k) * rate**k * (1 - rate) ** (n - k) for k in range(hits, n + 1))


@pytest.mark.parametrize(("hits", "n"), [(1, 1), (1, 30), (20, 30), (29, 30), (30, 30), (700, 1000)])
def test_the_bound_is_where_so_many_hits_are_as_likely_as_the_error(hits, n):
    for error in (0.001, 0.05, 0.9):
        assert binomial_tail(hits, n, at_least(hits, n, error)) == pytest.approx(error, rel=1e-6)
    assert at_least(0, n, 0.05) == 0


@pytest.mark.parametrize(("hits", "n"), [(0, 0), (0, 4), (5, 5), (3, 8), (15, 20)])
def test_the_exact_interval_leaves_half_of_the_error_on_each_side(hits, n):
    low, high = exact(hits, n)
    assert low == 0 if hits == 0 else binomial_tail(hits, n, low) == pytest.approx(0.025)
    assert high == 1 if hits == n else binomial_tail(n - hits, n, 1 - high) == pytest.approx(0.025)


def test_a_bound_of_nothing_that_can_be_is_refused():
    for hits, n, error in ((3, 2, 0.1), (-1, 2, 0.1), (1, 2, 0.0), (1, 2, 1.0)):
        with pytest.raises(SpikeflipError, match="give no more hits than trials and an error between 0 and 1"):
            at_least(hits, n, error)


def test_the_first_draws_choose_and_only_fresh_ones_count():
    """By hand, from the numbers of the documented streams: the class of the first three, counted in the next forty."""
    victim, image, other = ever(1), torch.tensor([[0.5, 0.0]]), set()
    for seed in range(12):
        drawn = [
            int(stream(seed, 7, "certify", step).random((1, 2), dtype="float32")[0, 0] < 0.5) for step in range(43)
        ]
        chosen = int(sum(drawn[:3]) >= 2)
        found = certify(victim, image, draws=40, first=3, error=0.4, seed=seed, samples=torch.tensor([7]))
        hits = drawn[3:].count(chosen)
        assert float(found.bounds) == at_least(hits, 40, 0.4)
        assert found.classes.tolist() == [chosen if found.bounds > 0.5 else -1]
        assert bool(found.radii > 0) == bool(found.bounds > 0.5)
        other.add(hits < 20)
    assert other == {True, False}  # what the fresh draws say most is not what is counted


def test_bounds_are_wrong_as_seldom_as_promised():
    """Of an image with a share of exactly one half for either class, hardly any seed may certify it."""
    victim, image = ever(1), torch.tensor([0.5, 0.0]).repeat(200, 1)
    found = certify(victim, image, draws=40, first=3, error=0.05)
    assert 0 < int((found.classes >= 0).sum()) < 200 * 0.05 + 3 * (200 * 0.05) ** 0.5


def test_results_do_not_depend_on_batches_and_order():
    victim = some(2, 3)
    images = torch.rand(5, 2, generator=torch.Generator().manual_seed(0))
    whole = certify(victim, images, draws=30)
    part = certify(victim, images[3:], draws=30, samples=torch.tensor([3, 4]), micro_batch=7)
    assert torch.equal(whole.bounds[3:], part.bounds)


def small():
    return SpikingNetwork("12FC-3FC", (16,), time_steps=2, neuron=LIF(0.2, 0.3), seed=3)


def votes(victim, images, draws=100):
    """How often each class is answered, ``(N, K)``."""
    every = [answers_to(victim, image, 5, torch.arange(draws), 1, 64) for image in images]
    return torch.stack([answers[answers >= 0].bincount(minlength=3) for answers in every]) / draws


def steepest(victim, images, labels, radii):
    """The whole radius spent on the pixels whose mean gradient over encodings takes most from the class."""
    found = images.clone()
    for i, image in enumerate(images):
        encoded = (torch.rand(50, 2, 16, generator=torch.Generator().manual_seed(i)) < image).float()

        def margin(scores, rows, label=int(labels[i])):
            others = scores.clone()
            others[:, label] = -1
            rival = torch.zeros_like(scores).scatter_(1, others.argmax(1, keepdim=True), 1.0)
            rival[:, label] = -1
            return rival

        gradient = victim.probe(encoded).input_gradient(margin).values.sum(1).mean(0)
        left = float(radii[i])
        for pixel in gradient.abs().argsort(descending=True).tolist():
            room = float(1 - image[pixel] if gradient[pixel] > 0 else image[pixel])
            step = min(left, room)
            found[i, pixel] += step if gradient[pixel] > 0 else -step
            left -= step
    return found


def test_attacks_do_not_break_a_certified_radius():
    victim = small()
    images = torch.rand(16, 16, generator=torch.Generator().manual_seed(4)).round(decimals=1)
    found = certify(victim, images, draws=80, error=0.001)
    rows = (found.radii > 0).nonzero().squeeze(1)
    assert len(rows) >= 4
    images, labels, radii = images[rows], found.classes[rows], found.radii[rows]
    near = steepest(victim, images, labels, 0.999 * radii)
    assert ((near - images).abs().sum(1) <= radii).all()
    assert (votes(victim, near).argmax(1) == labels).all()
    far = steepest(victim, images, labels, 60 * radii)
    assert (votes(victim, far).argmax(1) != labels).any()  # the attack is one
    for i in radii.argsort(descending=True)[:1].tolist():
        budget = Budget(float(radii[i]), "l1")
        one = (images[i : i + 1], labels[i : i + 1])
        for attack in (spikeflip.scg, spikeflip.attacks.bim):
            moved = attack(victim, *one, steps=3, budget=budget, samples=torch.tensor([i])).adversarials
            assert (moved - one[0]).abs().sum() <= radii[i] + 1e-6
            assert votes(victim, moved).argmax(1).tolist() == [int(labels[i])]


def test_a_defence_is_part_of_what_is_certified():
    images = torch.rand(4, 16, generator=torch.Generator().manual_seed(4))
    bare, gated = (certify(v, images, draws=100).bounds for v in (small(), StochasticGate(small(), drop=0.5)))
    assert not torch.equal(bare, gated)


def test_the_summary_counts_what_is_right_and_certified():
    found = Certificate(
        torch.tensor([1, 0, -1, 2]),
        torch.tensor([0.9, 0.8, 0.4, 0.55]),
        torch.tensor([0.09375, 0.075, 0.0, 0.01]),
        4,
        9,
        0.1,
    )
    summary = found.summary(torch.tensor([1, 1, 1, 2]))
    assert (summary["accuracy"]["rate"], summary["abstained"]["rate"]) == (0.5, 0.25)
    curve = [(row["radius"], row["rate"]) for row in summary["certified_accuracy"]]
    assert curve == [(0.0, 0.5), (0.03125, 0.25), (0.0625, 0.25), (0.09375, 0.0)]
    assert summary["accuracy"]["interval"] == list(spikeflip.judging.wilson(0.5, 4))


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"images": torch.zeros(1, 2, 16)}, "have one encoding alone: give images, and a victim that codes them by"),
        ({"victim": SpikingNetwork("3FC", (16,), coding="latency")}, "have one encoding alone: give images"),
        ({"images": torch.full((1, 16), 2.0)}, "images hold the value 2"),
        ({"images": torch.zeros(1, 15)}, "inputs have shape"),
        ({"images": 3}, "inputs are a int: give a tensor"),
        ({"victim": 3}, "the victim is a int"),
        ({"draws": 0}, "draws is 0: give at least 1"),
        ({"first": 0}, "first is 0: give at least 1"),
        ({"error": 1.0}, "error is 1.0: give a share between 0 and 1, such as 0.001"),
        ({"draws": 9}, "draws is 9, and at error 0.001 so few .* even if all agree: give at least 10$"),
        ({"draws": 4, "error": 2**-4}, "give at least 5$"),
        ({"samples": torch.zeros(2).long()}, "samples are .* for 1 inputs"),
    ],
)
def test_what_cannot_be_certified_is_said(changed, message):
    given = {"victim": small(), "images": torch.zeros(1, 16)} | changed
    with pytest.raises(SpikeflipError, match=message):
        certify(given.pop("victim"), given.pop("images"), **given)


# --- the command ------------------------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path):
    network = SpikingNetwork("12FC-10FC", (1, 8, 8), time_steps=2, neuron=LIF(0.2, 0.3), seed=1)
    save_checkpoint(network, tmp_path / "victim", {"loss": "mse"})
    return tmp_path / "victim"


def test_the_command_certifies_a_data_set(run, folder, digits):
    arguments = ("certify", "--victim", str(folder), "--samples", "3", "--draws", "30", "--first", "4")
    status, out, _ = run(*arguments, "--json")
    found = json.loads(out)
    here = certify(spikeflip.load_checkpoint(folder).network, digits.images[:3], draws=30, first=4)
    assert (status, found["n"], found["draws"]) == (0, 3, 30)
    assert [row["bound"] for row in found["rows"]] == here.bounds.tolist()
    assert [row["class"] for row in found["rows"]] == [c if c >= 0 else None for c in here.classes.tolist()]
    assert [row["label"] for row in found["rows"]] == digits.labels[:3].tolist()
    status, out, _ = run(*arguments)
    assert status == 0
    assert out.startswith(f"accuracy of the vote: {found['accuracy']['rate']:.1%} (")
    assert out.count("in L1: ") == 4
    gated = json.loads(run(*arguments, "--json", "--defence", "stochastic-gate:drop=0.5")[1])
    assert gated["rows"] != found["rows"]


def test_the_command_refuses_what_has_one_encoding(run, folder):
    status, _, err = run("certify", "--victim", str(folder), "--error", "1")
    assert (status, err) == (2, "spikeflip: --error is '1': input should be less than 1\n")
    save_checkpoint(SpikingNetwork("3FC-10FC", (1, 8, 8), coding="latency"), folder.with_name("latency"), {})
    status, _, err = run("certify", "--victim", str(folder.with_name("latency")), "--samples", "2")
    assert status == 2
    assert "certify votes over random encodings" in err


def test_as_many_draws_as_are_asked_for_can_bound_a_vote():
    always = Pixels(time_steps=1, votes=torch.ones(4, dtype=torch.bool))
    for draws, error in ((10, 0.001), (5, 2**-4), (2, 0.49)):
        assert certify(always, torch.zeros(1, 2), draws=draws, error=error).classes.tolist() == [1]


def test_the_command_says_what_must_be_known(run, folder):
    save_checkpoint(spikeflip.load_checkpoint(folder).network, folder, {"loss": "mse", "learned": False})
    arguments = ("certify", "--victim", str(folder), "--samples", "1000", "--draws", "10", "--first", "1")
    found = json.loads(run(*arguments, "--json")[1])
    assert [notice["code"] for notice in found["notices"]][-2:] == ["fewer-inputs", "victim-did-not-learn"]
    status, out, _ = run(*arguments)
    assert (status, f"there are {found['n']} inputs, fewer than the 1,000 asked for" in out) == (0, True)


def test_options_of_recordings_are_not_in_its_help(run):
    shown = run("certify", "--help")[1]
    for option in ("--sensor", "--columns", "--time-unit", "--simulate-events", "--bins", "--time-bin "):
        assert option not in shown
    assert "--root" in shown

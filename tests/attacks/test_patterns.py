"""Universal perturbations and patches: the best pattern where it is known, and what they put on inputs."""

from dataclasses import replace
from itertools import combinations
from types import SimpleNamespace

import pytest
import torch

from spikeflip import (
    LIF,
    Pattern,
    SpikeflipError,
    SpikingNetwork,
    learn_patch,
    learn_universal,
    load_images,
    patch,
    simulate_saccades,
    universal,
)
from spikeflip.attacks import Patch, Universal
from spikeflip.snn.coding import winner
from spikeflip.snn.gradients import InputGradient
from spikeflip.snn.training import Training, train

T, F = 4, 6
WEIGHT = torch.tensor([9.0, -8, 7, -6, 5, 4, 0.3, 0.2, -0.2, 0.1, 0.1, -0.1] + [0.0] * 12).view(T, F)
"""Of the cells for class 1, one by one: the largest come first."""


class Linear:
    """Class 1 scores the sum of the weights of the cells that fire, class 0 always 7.5."""

    input_shape, time_steps, coding, classes = (F,), T, "rate", 2
    device, penultimate_threshold = torch.device("cpu"), None

    def scores(self, spikes):
        return torch.stack([torch.full((len(spikes),), 7.5), (spikes * WEIGHT).sum((1, 2))], 1)

    def probe(self, spikes, request=None):
        scores = self.scores(spikes)

        def gradient(direction, request=None):
            rows = request.rows_of(len(spikes), spikes.device)
            values = direction(scores[rows], rows)[:, 1].view(-1, 1, 1) * WEIGHT
            nothing = torch.zeros(len(rows), dtype=torch.bool)
            return InputGradient(values, nothing, nothing, nothing.float())

        return SimpleNamespace(scores=scores, input_gradient=gradient)


@pytest.fixture
def votes():
    return Linear()


@pytest.fixture
def firsts():
    """Three inputs of class 0 alike in the cells of large weight, of which 1 and 3, which hold class 0, fire."""
    spikes = torch.zeros(3, T, F)
    spikes[:, 0, [1, 3]] = 1
    spikes[1, 1, :3] = 1
    spikes[2, 1, 3:] = 1
    return spikes


def labels_of(network, spikes):
    return winner(network.scores(spikes)).clamp_min(0)


@pytest.mark.parametrize(("cells", "fools"), [(1, 0), (2, 0), (3, 1), (4, 1), (6, 1)])
def test_the_cells_that_matter_most_are_flipped(votes, firsts, cells, fools):
    """The scores of class 1 are near -14, and must come above 7.5: 9 + 8 do not do, 9 + 8 + 7 do."""
    labels = labels_of(votes, firsts)
    assert labels.tolist() == [0, 0, 0]
    found = learn_universal(votes, firsts, labels, cells=cells)
    assert found.bits.flatten().tolist() == [1] * cells + [0] * (T * F - cells)
    assert (found.cells, found.facts["success"], found.facts["inputs"], found.target) == (cells, fools, 3, None)
    result = universal(votes, firsts.roll(1, 0), labels, pattern=found)
    assert result.success.tolist() == [bool(fools)] * 3
    assert torch.equal(result.adversarials, (firsts.roll(1, 0) != found.bits).float())


def test_inputs_that_stand_have_the_say(votes):
    """Cell 0 helps two inputs and hurts the third, whose cells are the others: all fall to what is learned later."""
    spikes = torch.zeros(3, T, F)
    spikes[:, 0, 3] = 1
    spikes[2, 0, :2] = 1  # 9 - 8 - 6: loses by flips of cell 0
    labels = labels_of(votes, spikes)
    fooled = {}
    for chosen in combinations(range(6), 3):
        bits = torch.zeros(T * F, dtype=torch.uint8)
        bits[list(chosen)] = 1
        pattern = Pattern("universal", bits.view(T, F), (T, F))
        fooled[chosen] = int(universal(votes, spikes, labels, pattern=pattern).success.sum())
    found = learn_universal(votes, spikes, labels, cells=3)
    assert found.facts["success"] == max(fooled.values()) / 3


def by_plain_loop(network, inputs, labels, cells, steps):
    """The flips that the sums of gradients, each input's of size 1, have found by then, and what is known of them."""
    right = [i for i in range(len(inputs)) if int(winner(network.scores(inputs[i : i + 1]))) == int(labels[i])]
    sums, best, most, standing = torch.zeros(T, F, dtype=torch.float64), None, -1, right
    flips = torch.zeros(T, F)
    for _ in range(steps):
        gain = torch.zeros(T, F, dtype=torch.float64)
        for i in standing:
            score = float(network.scores((inputs[i] - flips).abs()[None])[0, 1])
            own = (score - int(labels[i])) * WEIGHT.double() * (1 - 2 * inputs[i])  # of mse over two classes
            gain += own / own.abs().sum()
        sums += gain / gain.abs().sum()
        flips = torch.zeros(T * F)
        for cell in sorted(range(T * F), key=lambda cell: -float(sums.flatten()[cell]))[:cells]:
            flips[cell] = float(sums.flatten()[cell] > 0)
        flips = flips.view(T, F)
        won = winner(network.scores((inputs[right] - flips).abs()))
        fooled = [int(won[n]) not in (-1, int(labels[i])) for n, i in enumerate(right)]
        standing = [i for n, i in enumerate(right) if not fooled[n]]
        if sum(fooled) > most:
            best, most = flips, sum(fooled)
        if not standing:
            break
    return best, len(right), most / len(right)


@pytest.mark.parametrize(
    ("cells", "steps", "density", "seed"), [(3, 12, 0.4, 0), (5, 9, 0.5, 1), (20, 4, 0.2, 2), (3, 9, 0.3, 8)]
)
def test_learning_is_what_a_plain_loop_does(votes, some_spikes, cells, steps, density, seed):
    inputs = some_spikes(30, T, F, density=density, seed=seed)
    labels = labels_of(votes, inputs)
    labels[:4] = 1 - labels[:4]  # which it has wrong
    best, right, success = by_plain_loop(votes, inputs, labels, cells, steps)
    seen = []
    found = learn_universal(
        votes, inputs, labels, cells=cells, steps=steps, loss="mse", progress=lambda *now: seen.append(now)
    )
    assert right == 26
    assert torch.equal(found.bits.float(), best)
    assert (found.facts["inputs"], found.facts["success"]) == (right, success)
    assert seen[-1] == (steps + 1, steps + 1)
    assert seen[0] == (1, steps + 1)


def test_an_answer_of_no_class_is_no_success():
    spikes = torch.zeros(1, T, F)
    found = learn_universal(Tied(), spikes, torch.tensor([0]), cells=24)
    assert found.facts["success"] == 0


class Tied(Linear):
    """Whatever fires, no class is ahead."""

    def scores(self, spikes):
        fired = spikes.flatten(1).any(1).float()
        return torch.stack([torch.ones(len(spikes)), fired], 1)


def test_a_target_is_led_to(votes, firsts):
    labels = labels_of(votes, firsts)
    found = learn_universal(votes, firsts, labels, cells=8, target=1)
    assert found.target == 1
    assert universal(votes, firsts, labels, torch.ones_like(labels), pattern=found).success.all()
    with pytest.raises(SpikeflipError, match="the victim has none of 3 inputs right that are not of the target"):
        learn_universal(votes, firsts, labels, cells=8, target=0)


def test_zero_cells_change_nothing(votes, firsts):
    labels = labels_of(votes, firsts)
    found = learn_universal(votes, firsts, labels, cells=0)
    assert (found.cells, found.facts["success"]) == (0, 0)
    result = universal(votes, firsts, labels, pattern=found)
    assert torch.equal(result.adversarials, firsts)
    assert not result.success.any()


def test_what_is_the_same_in_all_inputs_is_not_reduced_in_each(votes, firsts):
    labels = labels_of(votes, firsts)
    flips = learn_universal(votes, firsts, labels, cells=8)
    square = learn_patch(votes, firsts, labels, side=3, place=(2,))
    for attack, pattern in ((universal, flips), (patch, square)):
        with pytest.raises(SpikeflipError, match="this attack does the same to all: leave it out"):
            attack(votes, firsts, labels, pattern=pattern, reduce=True)
        plain, said = (attack(votes, firsts, labels, pattern=pattern, reduce=given) for given in (None, False))
        assert torch.equal(plain.adversarials, said.adversarials)


@pytest.mark.parametrize("dtype", [torch.float64, torch.uint8, torch.bool])
def test_a_pattern_on_spikes_of_any_type(firsts, dtype):
    bits = (torch.arange(firsts[0].numel()) % 3 == 0).view_as(firsts[0]).to(torch.uint8)
    pattern = Pattern("universal", bits, tuple(bits.shape))
    found = pattern.applied(firsts.to(dtype))
    assert found.dtype == dtype
    assert torch.equal(found.float(), pattern.applied(firsts))


def test_a_patch_at_a_place_has_the_bits_that_help(votes, firsts):
    """1 where the weight of the cell under it is positive, for it leads to class 1."""
    labels = labels_of(votes, firsts)
    found = learn_patch(votes, firsts, labels, side=3, place=(2,), target=1)
    assert torch.equal(found.bits, (WEIGHT[:, 2:5] > 0).to(torch.uint8))
    assert found.cells == 3 * T
    put = patch(votes, firsts, labels, pattern=found).adversarials
    assert torch.equal(put[:, :, 2:5], found.bits.float().expand(3, -1, -1))
    assert torch.equal(put[:, :, [0, 1, 5]], firsts[:, :, [0, 1, 5]])


def test_places_of_a_patch():
    """By a plain loop: any first row and column that leaves the patch inside, the last ones too."""
    shape = (3, 2, 5, 7)
    bits = (torch.arange(3 * 2 * 2 * 2) % 3 == 0).view(3, 2, 2, 2).to(torch.uint8)
    found, spikes = Pattern("patch", bits, shape), torch.ones(4, *shape)
    assert found.free == (4, 6)
    places = found.places(torch.tensor([[0.0, 0.0], [0.999_999_97, 0.999_999_97], [0.25, 0.5], [0.2499, 0.4999]]))
    assert places.tolist() == [[0, 0], [3, 5], [1, 3], [0, 2]]
    put = found.applied(spikes, places)
    for one, (row, column) in zip(put, places.tolist(), strict=True):
        expected = spikes[0].clone()
        for y in range(2):
            for x in range(2):
                expected[:, :, row + y, column + x] = bits[:, :, y, x].float()
        assert torch.equal(one, expected)
    assert replace(found, place=(1, 4)).places(torch.zeros(2, 2)).tolist() == [[1, 4]] * 2


def test_a_patch_without_a_place_lies_elsewhere_in_each_input_and_restart(some_spikes):
    network = SpikingNetwork("3FC", (1, 8, 8), time_steps=2, seed=1)
    inputs = some_spikes(1, 2, 1, 8, 8).repeat(20, 1, 1, 1, 1)
    labels = labels_of(network, inputs)
    pattern = Pattern("patch", torch.ones(2, 1, 2, 2, dtype=torch.uint8), (2, 1, 8, 8))
    one, again = (patch(network, inputs, labels, pattern=pattern, seed=3, micro_batch=n) for n in (1, 8))
    assert not one.already_wrong.any()
    assert torch.equal(one.adversarials, again.adversarials)
    assert len(one.adversarials.unique(dim=0)) > 10
    more = patch(network, inputs, labels, pattern=pattern, seed=3, restarts=2)
    failed = ~more.success
    assert failed.any()
    assert (more.steps[failed] == 2).all()
    assert not torch.equal(more.adversarials[failed], one.adversarials[failed])
    fixed = patch(network, inputs, labels, pattern=replace(pattern, place=(0, 6))).adversarials
    assert len(fixed.unique(dim=0)) == 1


@pytest.mark.parametrize("micro_batch", [1, 8])
def test_neither_batch_nor_a_second_call_matters(votes, some_spikes, micro_batch):
    inputs = some_spikes(24, T, F)
    labels = labels_of(votes, inputs).clamp_min(0)
    found, again = (learn_universal(votes, inputs, labels, cells=5, steps=6, micro_batch=n) for n in (micro_batch, 24))
    assert torch.equal(found.bits, again.bits)
    assert found.sha256 == again.sha256
    one = universal(votes, inputs, labels, pattern=found, micro_batch=micro_batch)
    assert torch.equal(one.adversarials, universal(votes, inputs, labels, pattern=again).adversarials)


def test_a_gradient_that_vanished_everywhere_is_replaced_by_random_numbers(firsts):
    network = SpikingNetwork("2FC", (F,), time_steps=T, neuron=LIF(1.0, 0.0))
    with torch.no_grad():
        network.weights[0].copy_(torch.tensor([[9.0, 0, 0, 0, 0, 0], [0] * 6]))  # far above every window
    labels = labels_of(network, firsts)
    one, two = (learn_universal(network, firsts, labels, cells=3, steps=2, seed=seed) for seed in (0, 1))
    assert one.cells == two.cells == 3
    assert not torch.equal(one.bits, two.bits)
    assert torch.equal(one.bits, learn_universal(network, firsts, labels, cells=3, steps=2).bits)


def test_learned_flips_and_patches_beat_random_ones_on_other_inputs():
    """On a victim that has learned, and inputs that were not learned from."""
    data, other = load_images("digits", "train"), load_images("digits", "test")
    network = SpikingNetwork("8C3-AP2-32FC-10FC", (2, 16, 16), time_steps=6, neuron=LIF(0.3, 0.25), seed=1)
    spikes = simulate_saccades(data.images[:500], steps=6, size=16)
    settings = Training(updates=80, learning_rate=5e-3, dropout=0, widest_dropout=0, initial_share=0, validate_every=80)
    train(network, (spikes[:400], data.labels[:400]), (spikes[400:], data.labels[400:500]), settings)
    unseen, truth = simulate_saccades(other.images[:100], steps=6, size=16), other.labels[:100]
    found = learn_universal(network, spikes[:60], data.labels[:60], cells=60, steps=10)
    square = learn_patch(network, spikes[:60], data.labels[:60], side=5, steps=10)

    def rate(pattern, attack=universal):
        result = attack(network, unseen, truth, pattern=pattern)
        assert (~result.already_wrong).sum() > 60
        return result.success.sum() / (~result.already_wrong).sum()

    generator = torch.Generator().manual_seed(0)
    order = torch.rand(5, found.bits.numel(), generator=generator).argsort(1)
    drawn = [replace(found, bits=(one < found.cells).view(found.shape).to(torch.uint8)) for one in order]
    assert all(one.cells == found.cells == 60 for one in drawn)
    assert rate(found) > 0.1 + max(map(rate, drawn))
    drawn = [replace(square, bits=(torch.rand(square.bits.shape, generator=generator) < 0.5).byte()) for _ in range(5)]
    assert rate(square, patch) > 0.05 + max(rate(one, patch) for one in drawn)


def test_budgets_bind(votes, firsts):
    labels = labels_of(votes, firsts)
    found = learn_universal(votes, firsts, labels, cells=6)
    assert found.cells == 6
    below = universal(votes, firsts, labels, pattern=found, budget=7 / (T * F))
    assert below.success.all()
    at = universal(votes, firsts, labels, pattern=found, budget=6 / (T * F))
    assert at.over_budget.all()
    assert torch.equal(at.adversarials, firsts)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"cells": 25}, "cells is 25, and an input has 24: give 0 to so many"),
        ({"cells": -1}, "cells is -1, and an input has 24"),
        ({"cells": 1.5}, "cells is 1.5, and an input has 24"),
        ({"target": 2}, "target 2 is out of range: the network has classes 0 to 1"),
        ({"steps": 0}, "steps is 0: give at least 1"),
        ({"micro_batch": 0}, "micro_batch is 0: give at least 1"),
        ({"seed": -1}, "seed is -1: give a whole number"),
        ({"loss": "l2"}, "loss is 'l2': choose from"),
        ({"loss": "dlr"}, "dlr compares three classes, and the victim has 2: choose margin"),
        ({"gradient": "none"}, "none"),
        (
            {"inputs": torch.zeros(3, F)},
            r"inputs of shape \(3, 6\) are images, and patterns are learned on spikes: give",
        ),
        ({"inputs": torch.full((3, T, F), 2.0)}, r"spikes hold the value 2 at \(0, 0, 0\): binarise"),
        ({"inputs": torch.zeros(3, T, F + 1)}, "inputs have shape"),
        ({"labels": torch.tensor([1, 1, 1])}, "the victim has none of 3 inputs right"),
    ],
)
def test_what_nothing_can_be_learned_from(votes, firsts, wrong, words):
    given = {"inputs": firsts, "labels": torch.zeros(3, dtype=torch.int64), "cells": 3} | wrong
    with pytest.raises(SpikeflipError, match=words):
        learn_universal(votes, **given)


def test_a_gradient_that_is_not_finite_is_named_and_teaches_nothing(votes, firsts, monkeypatch):
    monkeypatch.setattr(f"{__name__}.WEIGHT", WEIGHT / torch.zeros(()))
    monkeypatch.setattr(votes, "scores", lambda spikes: torch.tensor([[1.0, 0.0]]).repeat(len(spikes), 1))
    with pytest.raises(SpikeflipError, match="input gradient is not finite for sample 0: check its weights"):
        learn_universal(votes, firsts, torch.zeros(3, dtype=torch.int64), cells=3)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"side": 0}, "side is 0, and inputs have 6 pixels: give 1 to so many"),
        ({"side": 7}, "side is 7, and inputs have 6 pixels"),
        ({"side": 2, "place": (5,)}, r"place is \(5,\) for a side of 2: give a place from \(0,\) to \(4,\)"),
        ({"side": 2, "place": (1, 1)}, r"place is \(1, 1\) for a side of 2"),
    ],
)
def test_patches_that_do_not_fit(votes, firsts, wrong, words):
    with pytest.raises(SpikeflipError, match=words):
        learn_patch(votes, firsts, torch.zeros(3, dtype=torch.int64), **wrong)


def test_patterns_that_are_not_of_these_inputs(votes, firsts):
    labels = labels_of(votes, firsts)
    flips = Pattern("universal", torch.ones(T, F, dtype=torch.uint8), (T, F))
    with pytest.raises(SpikeflipError, match=r"pattern is of inputs \(3, 6\), and these are \(4, 6\): learn one on"):
        universal(votes, firsts, labels, pattern=Pattern("universal", torch.ones(3, F, dtype=torch.uint8), (3, F)))
    with pytest.raises(SpikeflipError, match="the attack universal has no pattern: learn one on other inputs"):
        universal(votes, firsts, labels)
    with pytest.raises(SpikeflipError, match="pattern is a universal one: give it to the attack universal, not patch"):
        Patch(pattern=flips)
    with pytest.raises(SpikeflipError, match="pattern is a str: give what load_pattern returns"):
        Universal(pattern="flips.safetensors")
    with pytest.raises(SpikeflipError, match=r"spikes hold the value 2 at \(0, 0, 1\)"):
        universal(votes, firsts * 2, labels, pattern=flips)

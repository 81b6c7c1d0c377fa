"""Inputs that real models take: counts of events, signed values, normalised images and features."""

import pytest
import torch
from equations import spikes
from faulty_models import X, model
from few_steps import few_steps
from torch import nn
from torchvision.transforms import Normalize

from spikeflip import SCG, SpikeflipError, SpikingNetwork, judge, scg, wrap
from spikeflip.attacks import ATTACKS, bim
from spikeflip.attacks.scg import overflow_aware, restricted_spike_flipper
from spikeflip.interop import adv_lib_attack, as_module
from spikeflip.victims import doctor

COUNTS = spikes(4, 6, 20) + spikes(4, 6, 20, seed=5) * 2
BINARISE = "binarise them to exactly 0 or 1"


@pytest.fixture
def victim():
    return wrap(model(), COUNTS)


def test_scg_moves_counts_one_event_a_step_between_none_and_the_samples_largest(victim):
    inputs = COUNTS.clone()
    inputs[2] = inputs[2].clamp(max=1)
    inputs[3] = 0
    labels = victim.scores(inputs).argmax(1)
    after_one = scg(victim, inputs, labels, steps=1, sampling=False, gamma=0.5).adversarials
    assert set((after_one - inputs).unique().tolist()) == {-1.0, 0.0, 1.0}
    result = scg(victim, inputs, labels, steps=12, threshold=None)
    assert torch.equal(result.adversarials, result.adversarials.round())
    assert result.adversarials.min() == 0
    most = inputs.flatten(1).amax(1).clamp(min=1)
    assert (result.adversarials.flatten(1).amax(1) <= most).all()
    assert most.tolist() == [3, 3, 1, 1]
    assert [notice.code for notice in result.notices] == ["counts"]
    judged = judge(victim, inputs, result.adversarials, labels, None, result)
    assert torch.equal(judged.rows["success"], result.success)
    assert judged.notices[0].code == "counts"


def test_a_sample_of_counts_does_not_depend_on_its_batch(victim):
    labels = victim.scores(COUNTS).argmax(1)
    together = scg(victim, COUNTS, labels)
    alone = scg(victim, COUNTS[1:2], labels[1:2], samples=torch.tensor([1]))
    assert torch.equal(together.adversarials[1:2], alone.adversarials)


def test_the_pieces_on_counts_by_hand():
    counts = torch.tensor([[0.0, 1, 3, 3, 0]])
    ternary = torch.tensor([[-1.0, -1, 1, -1, 1]])
    assert overflow_aware(ternary, counts, torch.tensor([[3.0]])).tolist() == [[0, -1, 0, -1, 1]]
    numbers = torch.tensor([[0.1, 0.1, 0.1, 0.9, 0.9]])
    moved = restricted_spike_flipper(counts, 0.5, numbers)
    assert moved.tolist() == [[1, -1, -1, 0, 0]]
    assert not torch.signbit(moved[:, 3:]).any()


def test_counts_in_the_ways_of_other_libraries_and_in_the_doctor(victim):
    labels = victim.scores(COUNTS).argmax(1)
    found = adv_lib_attack("scg", seed=3)(victim, COUNTS, labels)
    assert torch.equal(found, scg(victim, COUNTS, labels, seed=3).adversarials)
    assert torch.equal(as_module(victim)(COUNTS), victim.scores(COUNTS))
    assert doctor(victim, COUNTS).attackable
    assert doctor(model(), COUNTS).attackable
    assert torch.equal(wrap(model(), COUNTS.to(torch.uint8)).scores(COUNTS), victim.scores(COUNTS))


@pytest.mark.parametrize("name", sorted(set(ATTACKS) - {"scg", "conversion"}))
def test_other_attacks_say_what_they_do_not_change(name, victim):
    attack = ATTACKS[name].settings(**few_steps(name, 2, tuple(COUNTS.shape[1:])))
    with pytest.raises(SpikeflipError, match=f"{BINARISE}.*wrap it on an example of counts and attack with scg|images"):
        attack(victim, COUNTS, torch.zeros(4, dtype=torch.int64))


VICTIMS = {
    "ours": lambda: SpikingNetwork("16FC-5FC", (20,), time_steps=6, seed=1),
    "wrapped on spikes": lambda: wrap(model(), X),
}


@pytest.mark.parametrize("made", VICTIMS.values(), ids=VICTIMS)
@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        (COUNTS, f"spikes hold the value [23] at .*: {BINARISE}, or, for a model that was trained on counts, wrap it"),
        (-X, f"spikes hold the value -1 at .*: {BINARISE}, OFF and ON as two channels whose difference is taken"),
        (X * 0.7, f"spikes hold the value 0.7 at .*: {BINARISE}, or give features as images"),
    ],
)
def test_other_values_are_told_the_way_in(made, inputs, words):
    with pytest.raises(SpikeflipError, match=words):
        SCG()(made(), inputs, torch.zeros(4, dtype=torch.int64))


@pytest.mark.parametrize("example", [-X, X * 0.7, X - 0.5, COUNTS + 0.25])
def test_wrapping_on_other_values(example):
    with pytest.raises(SpikeflipError, match=BINARISE):
        wrap(model(), example)


class Difference(nn.Module):
    def forward(self, x):
        return x[..., 1, :] - x[..., 0, :]


def test_signed_values_as_two_channels():
    thing, polarity = model(), spikes(4, 6, 2, 20)
    signed = polarity[:, :, 1] - polarity[:, :, 0]
    victim = wrap(nn.Sequential(Difference(), thing), polarity)
    assert torch.equal(victim.scores(polarity), thing(signed.transpose(0, 1)).mean(0))
    result = scg(victim, polarity, victim.scores(polarity).argmax(1), steps=3)
    assert set(result.adversarials.unique().tolist()) == {0.0, 1.0}


class Pixels(nn.Module):
    """Was trained on normalised images."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.body = nn.Sequential(nn.Flatten(), nn.Linear(192, 20), model())

    def forward(self, x):
        return self.body[2](torch.relu(self.body[1](self.body[0](x))).expand(6, len(x), 20))


def test_normalised_images_with_the_normalisation_inside():
    thing, images = Pixels(), torch.rand(4, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    normalise = Normalize((0.5, 0.4, 0.3), (0.2, 0.2, 0.2))
    with pytest.raises(SpikeflipError, match=r"scale them to \[0, 1\], and put .* Sequential\(Normalize\(mean, std\)"):
        wrap(thing, normalise(images), layout="static")
    victim = wrap(nn.Sequential(normalise, thing), images, layout="static")
    scores = as_module(victim)(images)
    assert torch.equal(scores, thing(normalise(images)).mean(0))
    adversarials = bim(victim, images, scores.argmax(1), steps=2).adversarials
    assert 0 <= adversarials.min() <= adversarials.max() <= 1


class Scaled(nn.Module):
    """Features of [0, 1] as the model was trained on them, time first."""

    def forward(self, x):
        return (6 * x - 3).transpose(0, 1)


def test_features_as_images():
    thing, features = model(), torch.rand(4, 6, 20, generator=torch.Generator().manual_seed(0))
    victim = wrap(nn.Sequential(Scaled(), thing), features, layout="static")
    scores = as_module(victim)(features)
    assert torch.equal(scores, thing((6 * features - 3).transpose(0, 1)).mean(0))
    assert bim(victim, features, scores.argmax(1), steps=2).backwards.any()

import pytest
import torch

from spikeflip import SpikeflipError, SpikingNetwork
from spikeflip.attacks import Noise, noise
from spikeflip.attacks.result import Trace
from spikeflip.streams import stream


def stubborn():
    """Class 0 fires at every step whatever the input is: nothing ever succeeds, and every try is made."""
    network = SpikingNetwork("2FC", (40,), time_steps=8)
    with torch.no_grad():
        network.weights[0].copy_(torch.tensor([[1.0], [-1.0]]).expand(2, 40))
    return network


LABELS = torch.zeros(50, dtype=torch.int64)


@pytest.mark.parametrize("strength", [0.02, 0.3])
@pytest.mark.parametrize("steps", [1, 7])
def test_spikes_are_flipped_with_the_probability_given_from_the_original(strength, steps):
    spikes = torch.ones(50, 8, 40)
    result = noise(stubborn(), spikes, LABELS, strength=strength, steps=steps)
    # Tries do not add up: the last one has the strength of the first.
    mse = (result.adversarials - spikes).square().mean()
    assert float(mse) == pytest.approx(strength, abs=4 * (strength * (1 - strength) / spikes.numel()) ** 0.5)
    assert result.steps.tolist() == [steps] * 50
    assert result.forwards.tolist() == [steps + 1] * 50


def test_noise_on_images_has_the_mse_given_where_nothing_is_clipped():
    images = torch.full((50, 40), 0.5)
    result = noise(stubborn(), images, LABELS, strength=0.03, steps=3)
    difference = result.adversarials - images
    assert difference.abs().max() <= 0.3  # sqrt(3 * 0.03)
    assert float(difference.square().mean()) == pytest.approx(0.03, rel=0.05)
    assert float(difference.mean()) == pytest.approx(0, abs=0.015)


def test_a_try_is_the_numbers_of_its_stream():
    """The last of three, from the original: the sign and the size of every change."""
    ids, numbers = (
        torch.arange(50) + 7,
        lambda sample, shape: stream(3, sample, "noise", 2).random(shape, dtype="float32"),
    )
    options = {"strength": 0.03, "steps": 3, "seed": 3, "samples": ids}
    images = noise(stubborn(), torch.full((50, 40), 0.5), LABELS, **options).adversarials
    spikes = noise(stubborn(), torch.ones(50, 8, 40), LABELS, **options).adversarials
    for n, sample in enumerate(ids.tolist()):
        drawn = torch.from_numpy(numbers(sample, 40))
        torch.testing.assert_close(images[n], 0.5 + 0.3 * (2 * drawn - 1))
        assert torch.equal(spikes[n] == 0, torch.from_numpy(numbers(sample, (8, 40))) < 0.03)
    assert (noise(stubborn(), torch.ones(50, 8, 40), LABELS, strength=1, steps=1).adversarials == 0).all()


def test_no_gradient_is_asked_for():
    result = noise(stubborn(), torch.ones(50, 8, 40), LABELS, steps=2, trace=True)
    assert not result.backwards.any()
    assert not result.vanished.any()
    assert not result.first_vanishing.any()
    assert (result.trace.mover == Trace.NOISE).all()
    assert (result.trace.penultimate_spikes == -1).all()


def test_a_try_that_fools_ends_the_tries(digit_victim, digits):
    images, labels = digits.images[:40], digits.labels[:40]
    result = noise(digit_victim, images, labels, strength=0.1, steps=30)
    attacked = ~result.already_wrong
    assert result.success[attacked].any()
    assert result.steps[result.success].min() < 30
    assert (result.steps[attacked & ~result.success] == 30).all()


@pytest.mark.parametrize("strength", [0, -0.1, 1.5, float("nan")])
def test_bad_strength(strength):
    with pytest.raises(SpikeflipError, match=f"strength is {strength}: give a number in .0, 1., such as 0.03") as error:
        Noise(strength=strength)
    assert "\n" not in str(error.value)


def test_bad_steps():
    with pytest.raises(SpikeflipError, match=r"steps is 0: give a number in .1, 1e.06., such as 25"):
        noise(stubborn(), torch.ones(50, 8, 40), LABELS, steps=0)

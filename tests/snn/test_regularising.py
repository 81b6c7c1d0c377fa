"""Weights towards orthogonal ones, by the formula and by singular values, and in training."""

import pytest
import torch

from spikeflip import LIF, SpikeflipError, SpikingNetwork
from spikeflip.runs import TrainConfig
from spikeflip.runs.recipe import choose_recipe
from spikeflip.snn.regularising import retract
from spikeflip.snn.training import Training, train


def weight(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).double()


@pytest.mark.parametrize("shape", [(6, 9), (9, 6), (4, 2, 3, 3), (12, 1, 3, 3)])
def test_a_step_is_that_of_the_formula(shape):
    given = weight(*shape)
    moved = given.clone()
    retract([moved], 0.02)
    left, values, right = torch.linalg.svd(given.flatten(1), full_matrices=False)
    s = values.square().mean().sqrt()
    stepped = values - 0.02 * (values.square() / s.square() - 1) * values
    wanted = left @ torch.diag(stepped * values.norm() / stepped.norm()) @ right
    assert torch.allclose(moved.flatten(1), wanted)


def spread(weights):
    """The largest singular value of each by its smallest."""
    return [float(v.max() / v.min()) for v in map(torch.linalg.svdvals, weights)]


@pytest.mark.parametrize("strength", [0.01, 0.5, 0.99])
def test_singular_values_become_alike_and_the_size_is_kept(strength):
    moved = [weight(8, 20), weight(20, 8, seed=1), weight(8, 8, seed=2)]
    moved[2][:] = moved[2][:1] + 0.1 * moved[2]  # nearly of rank 1, which a full step would overshoot
    sizes, before = [w.norm() for w in moved], spread(moved)
    for _ in range(200):
        retract(moved, strength)
    for first, last, size, now in zip(before, spread(moved), sizes, moved, strict=True):
        assert last < (1.01 if strength > 0.01 and first < 50 else first)
        assert torch.allclose(now.norm(), size)


def test_nothing_moves_without_strength_nor_from_nothing():
    given = [weight(3, 4), torch.zeros(3, 4)]
    moved = [w.clone() for w in given]
    retract(moved, 0.0)
    assert torch.equal(moved[0], given[0])
    retract(moved, 0.5)
    assert not torch.equal(moved[0], given[0])
    assert torch.equal(moved[1], given[1])


def trained(orthogonality, state=None, stop=None):
    network = SpikingNetwork("24FC-3FC", (12,), time_steps=4, neuron=LIF(0.3, 0.3), seed=2)
    numbers = torch.Generator().manual_seed(0)
    labels = torch.randint(3, (40,), generator=numbers)
    images = (0.2 * torch.rand(40, 12, generator=numbers) + torch.eye(3)[labels].repeat(1, 4) * 0.7).clamp(0, 1)
    settings = Training(updates=12, batch_size=10, validate_every=4, dropout=0, orthogonality=orthogonality)

    def interrupt(now):
        if now.update == stop:
            raise KeyboardInterrupt

    train(network, (images, labels), (images[:5], labels[:5]), settings, state=state, progress=interrupt)
    return network


def flatness(network):
    """How much larger the largest singular value of each layer is than the root mean square of all."""
    values = [torch.linalg.svdvals(w.detach().flatten(1)) for w in network.weights]
    return [float(v.max() / v.square().mean().sqrt()) for v in values]


def test_training_with_it_ends_with_flatter_weights():
    plain, regular = flatness(trained(0.0)), flatness(trained(0.4))
    assert all(after < before for after, before in zip(regular, plain, strict=True))
    assert max(regular) < 1.15 < max(plain)


def test_an_interrupted_training_ends_with_the_same_weights_and_another_strength_is_another(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        trained(0.4, tmp_path / "state", stop=6)
    with pytest.raises(SpikeflipError, match="unfinished training of another network, setting or data set"):
        trained(0.1, tmp_path / "state")
    resumed, whole = trained(0.4, tmp_path / "state"), trained(0.4)
    assert all(torch.equal(a, b) for a, b in zip(resumed.weights, whole.weights, strict=True))


def test_the_command_has_it_and_its_range():
    made = choose_recipe(TrainConfig(orthogonality=0.02), "images", 1_000, 1)
    assert made.training.orthogonality == made.as_json()["orthogonality"] == 0.02
    assert "orthogonality 0.02" in made.sentence(1_000)
    assert "orthogonality" not in choose_recipe(TrainConfig(), "images", 1_000, 1).sentence(1_000)
    with pytest.raises(SpikeflipError, match="orthogonality is 1: give a share in"):
        Training(orthogonality=1)

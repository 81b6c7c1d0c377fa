"""What an update is made of: its inputs, its learning rate, and its dropout."""

from itertools import islice

import numpy as np
import pytest
import torch

from spikeflip import LIF, SpikingNetwork
from spikeflip.snn.batches import Masks, batches, schedule
from spikeflip.snn.training import Training, train
from spikeflip.streams import stream


def test_every_epoch_is_each_input_once_in_an_order_of_its_own():
    """Batches of three out of five: the second takes two of the first epoch and one of the next."""
    found = list(islice(batches(5, 3, seed=7), 10))
    assert [len(batch) for batch in found] == [3] * 10
    epochs = torch.cat(found).reshape(6, 5).tolist()
    assert epochs == [stream(7, epoch, "batch").permutation(5).tolist() for epoch in range(6)]
    assert all(sorted(epoch) == list(range(5)) for epoch in epochs)
    for first in (1, 4):
        later = list(islice(batches(5, 3, seed=7, first=first), 3))
        assert all(map(torch.equal, later, found[first:]))
    whole = next(batches(3, 7, seed=7)).tolist()  # larger than an epoch
    assert sorted(whole[:3]) == sorted(whole[3:6]) == [0, 1, 2]


def test_the_learning_rate_rises_and_falls_as_a_half_cosine():
    assert [schedule(update, 100) for update in (1, 2, 3)] == pytest.approx([1 / 3, 2 / 3, 1])
    assert schedule(3 + 49, 100) == pytest.approx(0.5)  # half of the 98 that the fall has
    assert schedule(100, 100) == pytest.approx((1 - np.cos(np.pi / 98)) / 2)
    rates = [schedule(update, 100) for update in range(3, 101)]
    assert rates == sorted(rates, reverse=True)
    assert schedule(1, 1) == schedule(1, 10) == 1
    assert 0 < schedule(10, 10) < schedule(9, 10) < 1


@pytest.fixture
def network():
    """The second convolution has the most channels; pooling and the output layer drop nothing."""
    return SpikingNetwork("4C3-8C3-AP2-6FC-3FC", (1, 4, 4))


def test_the_widest_convolution_has_its_own_share(network):
    drawn = Masks(network, 0.25, 0.75, seed=0, update=1).draw(2000)
    shares = [None if one is None else 1 - one.kept.float().mean().item() for one in drawn]
    assert shares == [
        pytest.approx(0.25, abs=0.01),
        pytest.approx(0.75, abs=0.01),
        None,
        pytest.approx(0.25, abs=0.02),
        None,
    ]
    assert [None if one is None else one.scale for one in drawn] == [1 / 0.75, 1 / 0.25, None, 1 / 0.75, None]
    assert [None if one is None else tuple(one.kept.shape) for one in drawn] == [
        (2000, 1, 4, 4, 4),
        (2000, 1, 8, 4, 4),
        None,
        (2000, 1, 6),
        None,
    ]  # fmt: skip


@pytest.mark.parametrize(("share", "widest", "drops"), [(0.0, 0.5, [1]), (0.5, 0.0, [0, 3]), (0.0, 0.0, [])])
def test_a_share_of_zero_drops_nothing(network, share, widest, drops):
    drawn = Masks(network, share, widest, seed=0, update=1).draw(3)
    assert [at for at, one in enumerate(drawn) if one is not None] == drops


def test_convolutions_of_equal_width_are_all_the_widest():
    drawn = Masks(SpikingNetwork("4C3-4C3-3FC", (1, 4, 4)), 0.0, 0.5, seed=0, update=1).draw(3)
    assert [one is None for one in drawn] == [False, False, True]


def test_masks_are_the_numbers_of_their_update_in_one_go_or_in_parts(network):
    numbers = stream(7, 0, "dropout", 5)
    expected = numbers.random((3, 1, 4, 4, 4), dtype=np.float32) >= 0.25
    whole = Masks(network, 0.25, 0.5, seed=7, update=5).draw(3)
    assert np.array_equal(whole[0].kept.numpy(), expected)
    for seed, update in ((8, 5), (7, 6)):
        other = Masks(network, 0.25, 0.5, seed=seed, update=update).draw(3)
        assert not torch.equal(other[0].kept, whole[0].kept)
    masks = Masks(network, 0.25, 0.5, seed=7, update=5)
    assert not torch.equal(masks.draw(3)[0].kept, masks.draw(3)[0].kept)


def test_a_training_takes_both_shares():
    generator = torch.Generator().manual_seed(0)
    data = torch.rand(8, 1, 4, 4, generator=generator), torch.arange(8) % 3
    found = []
    for share, widest in ((0.0, 0.0), (0.9, 0.0), (0.0, 0.9)):
        trained = SpikingNetwork("4C3-8C3-6FC-3FC", (1, 4, 4), time_steps=4, neuron=LIF(0.1, 0.5), seed=1)
        settings = Training(updates=1, batch_size=8, dropout=share, widest_dropout=widest, validate_every=1)
        train(trained, data, data, settings)
        found.append(torch.cat([weight.detach().flatten() for weight in trained.weights]))
    assert not torch.equal(found[0], found[1])
    assert not torch.equal(found[0], found[2])
    assert not torch.equal(found[1], found[2])

"""What a camera adds: how much, where, and in whose random numbers."""

from itertools import pairwise

import pytest
import torch
from linear_victim import Linear

from spikeflip import SpikeflipError, SpikingNetwork
from spikeflip.attacks import CameraNoise, camera_noise

KINDS = ("background", "hot-pixels", "dash", "frame")
T, SHAPE = 6, (2, 5, 8)


def added(kind, share, n=4, density=0.2, **options):
    """Which cells of n inputs, which nothing fools, were filled in one try; with a density of 0 a row of OFF fires."""
    spikes = (torch.rand(n, T, *SHAPE, generator=torch.Generator().manual_seed(2)) < density).float()
    spikes[:, 0, 0] = torch.where(torch.tensor(density > 0), spikes[:, 0, 0], torch.ones(()))
    victim = Linear(torch.zeros(2, T, *SHAPE), torch.tensor([1.0, 0]))
    result = camera_noise(victim, spikes, torch.zeros(n, dtype=torch.int64), kind=kind, share=share, steps=1, **options)
    assert (result.adversarials >= spikes).all()
    return result.adversarials - spikes, spikes


@pytest.mark.parametrize(("kind", "share"), [("background", 0.5), ("hot-pixels", 0.5), ("dash", 0.05), ("frame", 0.3)])
def test_as_many_are_added_as_asked_for(kind, share):
    new, spikes = added(kind, share)
    assert new.flatten(1).sum(1).tolist() == [round(share * count) for count in spikes.flatten(1).sum(1).tolist()]
    again, _ = added(kind, share)
    assert torch.equal(new, again)
    assert not torch.equal(new, added(kind, share, seed=1)[0])
    assert torch.equal(added(kind, share, n=2)[0], new[:2])
    assert not torch.equal(new[0], new[1])


def test_hot_pixels_fire_at_all_times_but_for_the_last():
    new, spikes = added("hot-pixels", 0.5)
    for one, before in zip(new, spikes, strict=True):
        touched = one.sum(0) > 0
        full = ((one + before).sum(0) == T) & touched
        assert int(touched.sum()) - int(full.sum()) <= 1
        assert int(full.sum()) > 3


def test_a_dash_is_two_pixels_a_bin_that_move_by_one():
    new, _ = added("dash", 100.0, density=0, n=8)
    seen = set()
    for one in new:
        assert not one[:, 0].any()  # ON alone
        places = []
        for frame in one[:, 1]:
            rows, columns = frame.nonzero().T.tolist()
            assert len(set(rows)) == 1
            assert (columns[1] - columns[0]) % SHAPE[2] in (1, SHAPE[2] - 1)
            places.append((rows[0], columns[0] if columns[1] - columns[0] == 1 else columns[1]))
        moves = {((b[0] - a[0]) % 5, (b[1] - a[1]) % 8) for a, b in pairwise(places)}
        assert len(moves) == 1
        assert moves <= {(a % 5, b % 8) for a in (-1, 0, 1) for b in (-1, 0, 1)} - {(0, 0)}
        seen |= moves
    assert len(seen) > 2


def test_a_frame_is_the_border():
    new, _ = added("frame", 1000.0, density=0)
    border = torch.ones(SHAPE[1:])
    border[1:-1, 1:-1] = 0
    assert torch.equal(new[0, :, 1], border.expand(T, -1, -1))
    assert not new[:, :, 0].any()
    part, spikes = added("frame", 0.3, density=0.1)
    for one, before in zip(part, spikes, strict=True):
        assert not (one[:, 1] * (1 - border)).any()
        # Pixels side by side, each at all times.
        assert int((((one + before).sum(0) < T) & (one.sum(0) > 0)).sum()) <= 1


def test_tries_go_on_until_one_fools():
    weights = torch.zeros(2, T, *SHAPE)
    weights[1, :, 1, 2, 3] = 1  # one pixel decides
    spikes = torch.zeros(3, T, *SHAPE)
    spikes[:, :, 0, 0, 0] = 1
    victim, labels = Linear(weights, torch.tensor([3.5, 0])), torch.zeros(3, dtype=torch.int64)
    result = camera_noise(victim, spikes, labels, kind="hot-pixels", share=4, steps=200)
    assert result.success.all()
    assert (result.adversarials[:, :, 1, 2, 3].sum(1) >= 4).all()
    assert torch.equal(result.forwards, 1 + result.steps)
    assert not camera_noise(victim, spikes, labels, kind="frame", share=4, steps=20).success.any()


def test_bad_input():
    with pytest.raises(SpikeflipError, match="kind is 'rain': choose from background, hot-pixels, dash, frame"):
        CameraNoise(kind="rain")
    with pytest.raises(SpikeflipError, match="share is 0: give"):
        CameraNoise(share=0)
    network, spikes = SpikingNetwork("8FC-3FC", (4,), time_steps=5), torch.zeros(2, 5, 4)
    for kind in ("dash", "frame"):
        text = rf"kind is {kind}, which takes pixels in rows and columns, and an input is \(4,\): choose background"
        with pytest.raises(SpikeflipError, match=text):
            camera_noise(network, spikes, torch.zeros(2, dtype=torch.int64), kind=kind)
    with pytest.raises(SpikeflipError, match="are images, but this attack is defined on spikes only"):
        camera_noise(network, torch.rand(2, 4), torch.zeros(2, dtype=torch.int64))

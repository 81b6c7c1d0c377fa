"""What the attacks of few flips are made of, each piece against a value by hand or a plain form."""

import pytest
import torch
from plain_victims import Plain, count, made

from spikeflip import SpikeflipError, SpikingNetwork, attacks
from spikeflip.attacks.cells import Neighbours, flip, listed, repeated
from spikeflip.attacks.flips import adam, annealed
from spikeflip.attacks.random_flips import first_of, flips_of
from spikeflip.attacks.sparse_rs import swapped_share
from spikeflip.attacks.spikefool import _crossing, _Difference
from spikeflip.snn.memory import Memory


def test_spikefool_crosses_a_boundary_at_once_and_takes_the_nearest_rival():
    """Class 2 is nearer by its score, class 1 by the cells that it takes."""
    weights = torch.zeros(3, 8)
    weights[1, :4], weights[2, 4:] = 4.0, 0.5
    victim = Plain(weights, shape=(2, 4), bias=torch.tensor([3.0, 0.0, 1.5]))
    spikes, label = torch.zeros(1, 2, 4), torch.tensor([0])
    found = attacks.spikefool(victim, spikes, label, reach=1.0)
    assert found.prediction.tolist() == [1]
    assert found.adversarials.flatten().tolist() == [1, 0, 0, 0, 0, 0, 0, 0]
    assert (found.steps.tolist(), found.backwards.tolist()) == ([1], [2])
    alone = attacks.spikefool(victim, spikes, label, reach=1.1, rivals=1)
    assert (alone.prediction.tolist(), alone.backwards.tolist()) == ([2], [1])
    assert count(spikes, alone).tolist() == [4]
    further = attacks.spikefool(victim, spikes, label, reach=4.0, reduce=False)
    assert count(spikes, further).tolist() == [4]  # 3 behind, four times: gains of 4 until they sum to more than 12


def test_pieces_of_spikefool():
    gain = torch.tensor([[1.0, 3, 2, 0], [0, -1, 0.5, 0], [0, 0, 0, 0]])
    mask = _crossing(gain, torch.tensor([3.0, 0.0, 1.0]))
    assert mask.tolist() == [[False, True, True, False], [False, False, True, False], [False] * 4]
    scores, classes = torch.tensor([[0.5, 0.2, 0.4], [0.1, 0.9, 0.3]]), torch.tensor([0, 2])
    torch.testing.assert_close(_Difference(0)(scores, classes), torch.tensor([-0.1, 0.6]))
    torch.testing.assert_close(_Difference(1)(scores, classes), torch.tensor([-0.3, -0.2]))


def test_adam_is_torch_s():
    generator = torch.Generator().manual_seed(0)
    gradients = torch.randn(6, 2, 5, generator=generator)
    leaf = torch.zeros(2, 5, requires_grad=True)
    optimizer, memory, ours = torch.optim.Adam([leaf], lr=0.3), Memory(2), torch.zeros(2, 5)
    for number, gradient in enumerate(gradients):
        leaf.grad = gradient.clone()
        optimizer.step()
        ours -= 0.3 * adam(memory, gradient, torch.tensor([number, number]))
        torch.testing.assert_close(ours, leaf.detach(), rtol=1e-5, atol=1e-6)


def test_a_number_that_falls_along_half_a_cosine():
    class At:
        iterations, inputs = torch.tensor([0, 5, 10]), torch.zeros(3)

    torch.testing.assert_close(annealed(At, 10, 2.0, 1.0), torch.tensor([[2.0], [1.5], [1.0]]))


def test_the_schedule_of_swaps_is_the_paper_s():
    """0.3 divided by more and more, from so many of 10,000 queries on."""
    begins = (0, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)
    divisors = (2, 4, 5, 6, 8, 10, 12, 15, 20)
    for begin, end, by in zip(begins, (*begins[1:], 10_001), divisors, strict=True):
        for query in (begin, end - 1):
            assert swapped_share(query / 10_000) == 0.3 / by


def test_lists_of_cells():
    mask = torch.tensor([[False, True, False, True], [False] * 4, [True] * 4])
    table, sizes = listed(mask)
    assert table.tolist() == [[1, 3, -1, -1], [-1] * 4, [0, 1, 2, 3]]
    assert sizes.tolist() == [2, 0, 4]
    assert listed(mask[1:2])[0].tolist() == [[-1]]
    assert repeated(torch.tensor([[1, 1, 1], [1, 2, 1], [1, 2, 3]])).tolist() == [
        [False, True, True],
        [False, False, True],
        [False] * 3,
    ]
    flip(mask, torch.tensor([0, 2]), torch.tensor([[1, 0], [3, -1]]))
    assert mask.tolist() == [[True, False, False, True], [False] * 4, [True, True, True, False]]


def test_neighbours_by_hand():
    """Along time and each axis, not around a border, and not diagonally."""
    spikes = torch.zeros(2, 3, 1, 3, 3)
    spikes[0, 0, 0, 1, 1] = 1
    near = Neighbours.of(spikes)
    expected = torch.zeros(3, 1, 3, 3, dtype=torch.bool)
    for cell in ((0, 0, 1, 1), (1, 0, 1, 1), (0, 0, 0, 1), (0, 0, 2, 1), (0, 0, 1, 0), (0, 0, 1, 2)):
        expected[cell] = True
    assert torch.equal(near.mask[0], expected.flatten())
    assert near.sizes.tolist() == [6, 0]
    assert not near.mask[1].any()
    late = torch.zeros(1, 3, 1, 3, 3)
    late[0, 2, 0, 0, 0] = 1
    assert Neighbours.of(late).table.tolist() == [[9, 18, 19, 21]]


def test_half_are_drawn_near_spikes():
    spikes = torch.zeros(2, 10, 20)
    spikes[0, 5, 10] = 1
    near = Neighbours.of(spikes)
    generator = torch.Generator().manual_seed(0)
    keys = torch.rand(2, 200, generator=generator)
    for total, close in ((1, 0), (4, 2), (6, 3), (100, 5), (200, 5)):
        sets = near.first(keys, torch.tensor([total, total]))
        assert sets.sum(1).tolist() == [total, total]
        assert int((sets & near.mask)[0].sum()) >= close
    assert near.first(keys, torch.tensor([10, 0]))[0][near.mask[0]].all()
    numbers = torch.rand(2, 2000, 2, generator=generator)
    drawn = near.drawn(numbers, torch.tensor([0, 1]))
    share = near.mask[0][drawn[0]].double().mean()
    assert 0.48 < share < 0.56  # a half, and what is near by chance of the others
    assert len(drawn[1].unique()) == 200
    highest = near.drawn(torch.full((1, 1, 2), 1 - 2**-24), torch.tensor([0]))
    assert highest.tolist() == [[199]]
    first = near.drawn(torch.zeros(2, 1, 2), torch.tensor([0, 1]))
    assert first.tolist() == [[int(near.mask[0].nonzero()[0])], [0]]


def test_shares_of_spikes_as_flips():
    spikes = torch.zeros(3, 2, 10)
    spikes[0], spikes[1, 0, :5] = 1, 1
    assert flips_of(spikes, 0.3).tolist() == [6, 2, 1]
    assert first_of(torch.tensor([[3.0, 1, 2], [1, 1, 1]]), torch.tensor([2, 5])).tolist() == [
        [False, True, True],
        [True] * 3,
    ]


def test_random_flips_flip_as_many_as_they_are_told():
    victim, spikes, labels = made(2, seed=0, ahead=30.0)  # never fooled
    found = attacks.random_flips(victim, spikes, labels, share=0.5, steps=3)
    assert torch.equal(count(spikes, found), flips_of(spikes, 0.5))
    assert (found.steps == 3).all()
    assert not torch.equal((found.adversarials != spikes)[0], (found.adversarials != spikes)[1])


def test_sparse_rs_keeps_the_size_of_its_set_and_never_gets_worse():
    victim, spikes, labels = made(2, seed=0, ahead=30.0)
    margins = []
    for steps in (1, 2, 6):
        found = attacks.sparse_rs(victim, spikes, labels, steps=steps, queries=20, share=0.5)
        assert torch.equal(count(spikes, found), flips_of(spikes, 0.5))
        assert torch.equal(found.forwards, torch.full((8,), 1 + steps + 20 * (steps - 1)))
        scores = victim.scores(found.adversarials)
        margins.append(scores.gather(1, 1 - labels[:, None]) - scores.gather(1, labels[:, None]))
    assert (margins[1] >= margins[0]).all()
    assert (margins[2] > margins[0]).all()


def test_spikefool_needs_two_classes():
    victim = SpikingNetwork("16FC-1FC", (20,), time_steps=6)
    with pytest.raises(SpikeflipError, match="spikefool goes to where two classes are alike, and the victim has one"):
        attacks.spikefool(victim, torch.ones(2, 6, 20), torch.zeros(2, dtype=torch.int64))

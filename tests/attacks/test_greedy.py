import pytest
import torch

from spikeflip import LIF, Budget, Rectangular, SpikeflipError, SpikingNetwork
from spikeflip.attacks import GreedyFlips, GreedyPixels, greedy_flips, greedy_pixels
from spikeflip.attacks.greedy import blocks
from spikeflip.attacks.result import Trace
from spikeflip.snn.coding import encode
from spikeflip.snn.losses import ce
from spikeflip.streams import stream


def smooth(scores, classes):
    """A loss in which two changes of rates are never equal, so that the best candidate is a single one."""
    weights = 1 + 0.01 * torch.arange(scores.shape[1])
    return ce(scores * weights, classes)


@pytest.fixture
def network():
    return SpikingNetwork("12FC-3FC", (7,), time_steps=4, neuron=LIF(0.2, 0.5), seed=5)


@pytest.fixture
def spikes(some_spikes):
    return some_spikes(6, 4, 7)


@pytest.mark.parametrize("targeted", [False, True])
def test_all_flips_are_tried_and_the_best_is_kept(network, spikes, targeted):
    labels = network.scores(spikes).argmax(1)
    targets = (labels + 1) % 3 if targeted else None
    result = greedy_flips(network, spikes, labels, targets, steps=1, loss=smooth, micro_batch=4)
    for n in (~result.already_wrong).nonzero().flatten().tolist():
        every = spikes[n].repeat(28, 1, 1)
        for cell in range(28):
            every[cell].view(-1)[cell] = 1 - every[cell].view(-1)[cell]
        goal = labels[n] if targets is None else targets[n]
        values = smooth(network.scores(every), goal.expand(28)) * (-1 if targeted else 1)
        kept = smooth(network.scores(result.adversarials[n : n + 1]), goal.view(1)) * (-1 if targeted else 1)
        assert (result.adversarials[n] != spikes[n]).sum() == 1
        assert kept.item() == pytest.approx(values.max().item())
        assert result.forwards[n] == 1 + 28 + 1
    assert not result.backwards.any()


def wired_by_hand(time_steps):
    """Class k fires exactly when cell k does; cell 2 is wired to nothing."""
    network = SpikingNetwork("2FC", (3,), time_steps=time_steps, neuron=LIF(0.5, 0.0, "hard", Rectangular(4.0)))
    with torch.no_grad():
        network.weights[0].copy_(torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]))
    return network


def test_flips_known_by_hand():
    # Both wired cells must change for class 1 to fire alone: two flips, in either order.
    result = greedy_flips(wired_by_hand(1), torch.tensor([[[1.0, 0.0, 0.0]]]), torch.tensor([0]))
    assert result.success.all()
    assert result.adversarials.tolist() == [[[0.0, 1.0, 0.0]]]
    assert result.steps.tolist() == [2]
    assert result.forwards.tolist() == [1 + 2 * (3 + 1)]


def test_a_search_of_everything_in_vain_ends():
    network = SpikingNetwork("2FC", (2,), time_steps=1, neuron=LIF(0.5, 0.0))
    with torch.no_grad():
        network.weights[0].copy_(torch.eye(2))

    def distance_from_the_start(scores, classes):
        return (scores - torch.tensor([1.0, 0.0])).abs().sum(1)

    spikes, label, target = torch.tensor([[[1.0, 0.0]]]), torch.tensor([0]), torch.tensor([1])
    result = greedy_flips(network, spikes, label, target, loss=distance_from_the_start, trace=True)
    assert result.adversarials.tolist() == [[[1.0, 0.0]]]
    assert result.trace.mover[0, 0] == Trace.UNMOVED
    assert (result.trace.mover[0, 1:] == Trace.NOT_RUN).all()
    assert result.forwards.tolist() == [1 + 2]
    # Some candidates in vain say nothing of the others: the search goes on.
    some = greedy_flips(network, spikes, label, target, loss=distance_from_the_start, candidates=1, steps=4)
    assert some.steps.tolist() == [4]
    assert some.forwards.tolist() == [1 + 4 * 2]


def test_of_equals_the_first_in_the_order_of_the_sample_is_taken_and_a_standstill_is_no_reason_to_stop():
    """Under a loss that is the same for all, every flip is as good as none: each step makes one of them."""
    network, spikes = wired_by_hand(4), torch.ones(3, 4, 3) * torch.tensor([1.0, 0.0, 0.0])
    flat = {"loss": lambda scores, classes: scores.sum(1) * 0, "steps": 1, "seed": 6, "trace": True}
    ids = torch.tensor([4, 9, 2])
    result = greedy_flips(network, spikes, torch.zeros(3, dtype=torch.int64), samples=ids, **flat)
    for n, sample in enumerate(ids.tolist()):
        first = int(torch.from_numpy(stream(6, sample, "search", 0).random(12, dtype="float32")).argmin())
        assert (result.adversarials[n] != spikes[n]).flatten().nonzero().flatten().tolist() == [first]
    assert result.trace.mover.tolist() == [[Trace.SEARCH]] * 3
    assert result.steps.tolist() == [1] * 3


def test_every_step_draws_its_candidates_anew():
    """Three candidates of 40 cells, all as good as none: the first of each step is flipped, and another each time."""
    network = SpikingNetwork("2FC", (40,), time_steps=1)
    with torch.no_grad():
        network.weights[0].copy_(torch.tensor([[1.0], [-1.0]]).expand(2, 40))  # class 0 alone, whatever is lit
    spikes, flat = torch.ones(1, 1, 40), {"loss": lambda scores, classes: scores.sum(1) * 0, "candidates": 3}
    result = greedy_flips(network, spikes, torch.tensor([0]), steps=4, seed=1, **flat)
    firsts = [int(torch.from_numpy(stream(1, 0, "search", k).random(40, dtype="float32")).argmin()) for k in range(4)]
    assert len(set(firsts)) == 4
    assert (result.adversarials == 0).flatten().nonzero().flatten().tolist() == sorted(firsts)


@pytest.mark.parametrize(("limit", "flips"), [(1 / 12, 0), (1.5 / 12, 1), (2 / 12, 1), (2.5 / 12, 2)])
def test_a_search_ends_at_its_budget(limit, flips):
    """Of the two flips that it takes, those whose share of the cells stays below the limit."""
    spikes = torch.tensor([[[1.0, 0.0, 0.0]]]).expand(1, 4, 3)
    easy = wired_by_hand(4)
    free = greedy_flips(easy, spikes, torch.tensor([0]), loss="ce", steps=2)
    assert (free.adversarials != spikes).sum() == 2
    bound = greedy_flips(easy, spikes, torch.tensor([0]), loss="ce", steps=2, budget=limit)
    assert (bound.adversarials != spikes).sum() == flips
    assert bound.over_budget.tolist() == [flips < 2]


def test_candidates_are_what_the_budget_leaves_of_them():
    """Raised by 1 a pixel would fire at the first of three steps; within 0.1 none is bright enough before the last."""
    network = SpikingNetwork("2FC", (2,), time_steps=3, neuron=LIF(0.5, 0.0), coding="latency")
    with torch.no_grad():
        network.weights[0].copy_(torch.tensor([[0.0, 1.0], [5.0, 0.0]]))
    tried, real = [], network.scores
    network.scores = lambda spikes: (tried.append(spikes.clone()), real(spikes))[1]
    image, options = torch.tensor([[0.0, 0.05]]), {"unit": 1.0, "block": 1, "steps": 1}
    result = greedy_pixels(network, image, torch.tensor([0]), budget=Budget(0.1, "linf"), **options)
    # (0.1, 0.05), (0, 0.05), (0, 0.15) and (0, 0).
    last_steps = sorted(tuple(row) for row in torch.cat(tried)[:, 2].tolist())
    assert last_steps == [(0.0, 0.0), (0.0, 1.0), (0.0, 1.0), (1.0, 1.0)]
    assert not torch.cat(tried)[:, :2].any()
    assert (result.adversarials - image).abs().max() <= 0.1
    tried.clear()
    greedy_pixels(network, image, torch.tensor([0]), **options)
    assert torch.cat(tried)[:, 0].any()


def test_blocks_are_numbered_by_hand():
    assert blocks((3, 3, 3), 2).tolist() == [[[0, 0, 1], [0, 0, 1], [2, 2, 3]]] * 3
    assert blocks((5,), 2).tolist() == [0, 0, 1, 1, 2]
    assert blocks((1, 2, 2), 9).tolist() == [[[0, 0], [0, 0]]]


@pytest.mark.parametrize("targeted", [False, True])
def test_all_blocks_are_tried_both_ways_under_one_encoding(digit_victim, digits, targeted):
    images, labels = digits.images[:3], digits.labels[:3]
    targets = (labels + 1) % 10 if targeted else None
    result = greedy_pixels(
        digit_victim, images, labels, targets, steps=1, unit=0.5, block=4, loss=smooth, seed=9, micro_batch=2
    )
    for n in (~result.already_wrong).nonzero().flatten().tolist():
        tried = []
        for top, left in ((0, 0), (0, 4), (4, 0), (4, 4)):
            for unit in (0.5, -0.5):
                image = images[n].clone()
                image[:, top : top + 4, left : left + 4] += unit
                tried.append(image.clamp(0, 1))
        goal = labels[n] if targets is None else targets[n]
        # Every candidate sees the numbers of the pass that judged the original: sample n, iteration 0.
        spikes = encode(torch.stack(tried), (1, 8, 8), 10, seed=9, samples=torch.full((8,), n), step=0)
        values = smooth(digit_victim.scores(spikes), goal.expand(8)) * (-1 if targeted else 1)
        assert torch.equal(result.adversarials[n], tried[int(values.argmax())])
        assert result.forwards[n] == 1 + 4 * 2 + 1


def test_pixels_known_by_hand():
    result = greedy_pixels(
        wired_by_hand(4), torch.tensor([[1.0, 0.0, 0.5]]), torch.tensor([0]), unit=1.0, block=1, steps=5
    )
    assert result.success.all()
    assert result.steps.tolist() == [2]
    torch.testing.assert_close(result.adversarials[:, :2], torch.tensor([[0.0, 1.0]]))
    assert result.forwards.tolist() == [1 + 2 * (2 * 3 + 1)]


def test_candidates_are_some_of_all_and_more_than_all_is_all(network, spikes):
    labels = network.scores(spikes).argmax(1)
    everything = greedy_flips(network, spikes, labels, steps=2)
    more = greedy_flips(network, spikes, labels, steps=2, candidates=999)
    some = greedy_flips(network, spikes, labels, steps=2, candidates=5)
    assert torch.equal(everything.adversarials, more.adversarials)
    assert torch.equal(everything.forwards, more.forwards)
    run = some.steps > 0
    assert torch.equal(some.forwards[run], 1 + some.steps[run] * 6)


def test_one_step_changes_one_block_within_the_budget(digit_victim, digits):
    images, labels = digits.images[:20], digits.labels[:20]
    result = greedy_pixels(digit_victim, images, labels, steps=1, unit=0.5, candidates=6, budget=Budget(0.1, "linf"))
    difference = (result.adversarials - images).abs()
    assert difference.max() <= 0.1 + 1e-6
    assert difference.gt(0).flatten(1).sum(1).max() <= 4


def test_digits_are_fooled(digit_victim, digits):
    images, labels = digits.images[:12], digits.labels[:12]
    result = greedy_pixels(digit_victim, images, labels)
    assert result.success[~result.already_wrong].float().mean() >= 0.8


@pytest.mark.parametrize(
    ("attack", "options", "message"),
    [
        (GreedyFlips, {"candidates": 0}, "candidates is 0: give at least 1, or leave it out"),
        (GreedyPixels, {"candidates": -2}, "candidates is -2: give at least 1"),
        (GreedyPixels, {"block": 0}, "block is 0: give at least 1"),
        (GreedyPixels, {"unit": 0.0}, "unit is 0.0: give a positive number"),
        (GreedyPixels, {"unit": float("nan")}, "unit is nan: give a positive number"),
        (GreedyPixels, {"loss": "hinge"}, "loss is 'hinge'"),
        (GreedyFlips, {"loss": "hinge"}, "loss is 'hinge'"),
    ],
)
def test_bad_options(attack, options, message):
    with pytest.raises(SpikeflipError, match=message) as error:
        attack(**options)
    assert "\n" not in str(error.value)


def test_bad_calls(network, spikes):
    labels = torch.zeros(6, dtype=torch.int64)
    with pytest.raises(SpikeflipError, match="are spikes, but this attack is defined on images only"):
        greedy_pixels(network, spikes, labels)
    with pytest.raises(SpikeflipError, match="are images, but this attack is defined on spikes only"):
        greedy_flips(network, spikes[:, 0], labels)
    with pytest.raises(SpikeflipError, match="a linf budget bounds nothing on spikes"):
        greedy_flips(network, spikes, labels, budget=Budget(0.1, "linf"))
    with pytest.raises(SpikeflipError, match="steps is 0"):
        greedy_flips(network, spikes, labels, steps=0)

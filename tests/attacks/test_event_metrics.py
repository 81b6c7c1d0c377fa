"""Metrics that see more than a difference: moved spikes, and what the recordings behind frames say."""

import itertools

import numpy as np
import pytest
import torch

from spikeflip import LIF, Binning, Budget, Recording, SpikeflipError, SpikingNetwork, bin_events, scg
from spikeflip.attacks import METRICS, Change, Recorded, Smallest
from spikeflip.judging import judge

BINNING = Binning(4, time_bin=1)  # ms, so edges at 0, 1000, ... µs


def recording(*events):
    """Events (t, x, polarity) on a sensor of one row."""
    t, x, p = np.array(events).T
    return Recording.from_columns(t, x, np.zeros_like(x), p, height=1, width=3)


ONE = recording((10, 0, 1), (20, 0, 1), (30, 0, 1), (1500, 1, 0), (3100, 0, 1))


def changed(binned, lost=(), got=()):
    """Frames without some cells (bin, polarity, x), and with others."""
    frames = binned.frames.clone().float()
    for at, value in ((lost, 0), (got, 1)):
        for step, polarity, x in at:
            assert frames[step, polarity, 0, x] == 1 - value
            frames[step, polarity, 0, x] = value
    return frames


@pytest.mark.parametrize(
    ("lost", "got", "expected"),
    [
        ((), (), (0, 0, 0, 0)),
        ([(0, 1, 0)], (), (3, 0, 0, 0)),  # a cell of three events
        ((), [(1, 1, 0)], (1, 0, 0, 0)),
        ([(0, 1, 0)], [(1, 1, 0)], (4, 1, 1000, 1000)),  # moved by a bin: three events go, one comes
        ([(1, 0, 1)], [(3, 0, 1)], (2, 1, 2000, 2000)),
        ([(1, 0, 1)], [(3, 1, 1)], (2, 0, 0, 0)),  # another polarity is no move
        ([(1, 0, 1)], [(3, 0, 2)], (2, 0, 0, 0)),  # nor is another pixel
        ([(0, 1, 0), (3, 1, 0)], [(1, 1, 0), (2, 1, 0)], (6, 2, 2000, 1000)),  # in order of time
        ([(0, 1, 0), (1, 0, 1)], [(2, 1, 0), (2, 0, 1)], (6, 2, 3000, 2000)),
        ([(0, 1, 0), (3, 1, 0)], [(2, 1, 0)], (5, 1, 2000, 2000)),  # the first lost with the first got
    ],
)
def test_by_hand(lost, got, expected):
    binned = bin_events(ONE, BINNING)
    change = Change(binned.frames[None].float(), changed(binned, lost, got)[None], Recorded.of([binned]))
    found = [METRICS[name](change).item() for name in ("l0_events", "moved", "moved_us", "moved_us_max")]
    assert found == list(expected)
    bins = [METRICS[name](change).item() for name in ("moved_bins", "moved_bins_max")]
    assert [1000 * distance for distance in bins] == list(expected[2:])
    assert METRICS["l0"](change).item() == len(lost) + len(got)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int64, torch.bool])
def test_frames_of_any_type(dtype):
    binned = bin_events(ONE, BINNING)
    after = changed(binned, [(0, 1, 0), (1, 0, 1)], [(1, 1, 0), (2, 0, 1)])[None]
    before, recorded = binned.frames[None], Recorded.of([binned])
    whole, other = Change(before.float(), after, recorded), Change(before.to(dtype), after.to(dtype), recorded)
    for name, metric in METRICS.items():
        assert metric(other).tolist() == metric(whole).tolist(), name


def plain(before, after, edges):
    """Moved spikes, and the sum and the largest of their distances, by a loop over pixels."""
    middles, distances = [(a + b) / 2 for a, b in itertools.pairwise(edges.tolist())], []
    for pixel in itertools.product(*map(range, before.shape[1:])):
        line = [(before[(t, *pixel)].item(), after[(t, *pixel)].item()) for t in range(len(before))]
        lost = [t for t, (was, now) in enumerate(line) if was > now]
        got = [t for t, (was, now) in enumerate(line) if was < now]
        distances += [abs(middles[a] - middles[b]) for a, b in zip(lost, got, strict=False)]
    return len(distances), sum(distances), max(distances, default=0)


def test_against_a_plain_loop_with_unequal_bins():
    random = torch.Generator().manual_seed(0)
    before = (torch.rand((6, 7, 2, 3, 4), generator=random) < 0.4).double()
    after = (torch.rand((6, 7, 2, 3, 4), generator=random) < 0.4).double()
    after[5] = before[5]
    edges = torch.randint(1, 50, (6, 8), generator=random).cumsum(1)
    nothing = torch.empty(0, dtype=torch.int64)
    change = Change(before, after, Recorded(edges, nothing, nothing, nothing))
    found = torch.stack([METRICS[name](change) for name in ("moved", "moved_us", "moved_us_max")], 1)
    expected = [plain(before[n], after[n], edges[n]) for n in range(6)]
    assert found.tolist() == [list(map(float, row)) for row in expected]


def test_no_other_pairing_is_cheaper_where_as_many_come_as_go():
    before, after = torch.zeros(1, 8, 1), torch.zeros(1, 8, 1)
    before[0, [0, 3, 6]], after[0, [1, 5, 7]] = 1, 1
    edges, nothing = torch.arange(9)[None] * 100, torch.empty(0, dtype=torch.int64)
    change = Change(before, after, Recorded(edges, nothing, nothing, nothing))
    orders = itertools.permutations((1, 5, 7))
    costs = [[100 * abs(a - b) for a, b in zip((0, 3, 6), order, strict=True)] for order in orders]
    assert METRICS["moved_us"](change).item() == min(map(sum, costs))
    assert METRICS["moved_us_max"](change).item() == min(map(max, costs))


def test_rows_of_recordings_are_those_of_the_samples():
    other = recording((5, 2, 0), (6, 2, 0), (2500, 2, 1))
    binned = [bin_events(one, BINNING) for one in (ONE, other, ONE)]
    recorded = Recorded.of(binned)
    assert (recorded.sample.tolist(), recorded.more.tolist()) == ([0, 1, 2], [2, 1, 2])
    picked = recorded.rows(torch.tensor([2, 1]))
    again = Recorded.of([binned[2], binned[1]])
    assert sorted(zip(picked.sample.tolist(), picked.cell.tolist(), picked.more.tolist(), strict=True)) == sorted(
        zip(again.sample.tolist(), again.cell.tolist(), again.more.tolist(), strict=True)
    )
    assert torch.equal(picked.edges, again.edges)
    assert len(Recorded.of([]).rows(torch.arange(0)).edges) == 0


NETWORK = SpikingNetwork("8FC-2FC", (2, 1, 3), time_steps=4, neuron=LIF(0.2, 0.5), seed=9)


def attacked(**options):
    binned = bin_events(ONE, BINNING)
    frames = binned.frames[None].float()
    label = NETWORK.scores(frames).argmax(1)
    return frames, scg(NETWORK, frames, label, recorded=Recorded.of([binned]), **options)


@pytest.mark.parametrize("limit", [1, 2, 4, 6, 11])
def test_a_budget_in_events_is_kept(limit):
    frames, result = attacked(budget=Budget(limit, "l0_events"))
    change = Change(frames, result.adversarials, Recorded.of([bin_events(ONE, BINNING)]))
    assert METRICS["l0_events"](change).item() < limit
    assert result.over_budget.any() or result.success.any()


def test_a_policy_may_measure_events_and_needs_the_recordings():
    _, result = attacked(stop=Smallest("l0_events"), steps=5)
    assert result.forwards.item() >= 1
    frames = bin_events(ONE, BINNING).frames[None].float()
    with pytest.raises(SpikeflipError, match="l0_events is measured on recordings, and the inputs are frames alone"):
        scg(NETWORK, frames, torch.tensor([0]), budget=Budget(3, "l0_events"))
    with pytest.raises(SpikeflipError, match="l0_events is measured on recordings, and the inputs are frames alone"):
        scg(NETWORK, frames, torch.tensor([0]), stop=Smallest("l0_events"))


def test_judging_measures_what_it_is_given():
    frames, result = attacked()
    labels = NETWORK.scores(frames).argmax(1)
    recorded = Recorded.of([bin_events(ONE, BINNING)])
    known = judge(NETWORK, frames, result.adversarials, labels, None, result, recorded=recorded)
    assert known.rows.keys() - judge(NETWORK, frames, result.adversarials, labels, None, result).rows.keys() == {
        "moved", "moved_bins", "moved_bins_max", "l0_events", "moved_us", "moved_us_max",
    }  # fmt: skip
    assert known.rows["l0_events"] == METRICS["l0_events"](Change(frames, result.adversarials, recorded))
    assert "moved_us_mean" in known.summary()

"""Events that move with their spike: the same events, each at its pixel, in order, with the frames asked for."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from spikeflip import Binning, Recording, bin_events
from spikeflip.attacks import Change
from spikeflip.data.moving import destinations


def recording(*events, height=1, width=3):
    """Events (t, x, polarity) on a sensor of one row."""
    t, x, p = np.array(events).T
    return Recording.from_columns(t, x, np.zeros_like(x), p, height=height, width=width)


def moved(found, binning, pairs):
    """The events after spikes (polarity, x) went from one bin to another, and the binned recording."""
    binned = bin_events(found, binning)
    frames = binned.frames.clone()
    for (polarity, x), before, after in pairs:
        assert (frames[before, polarity, 0, x], frames[after, polarity, 0, x]) == (1, 0)
        frames[before, polarity, 0, x], frames[after, polarity, 0, x] = 0, 1
    back = binned.write_back(frames, moves="fewest")
    assert torch.equal(bin_events(back, binning, edges=binned.edges).frames, frames)
    return [(event[0], event[1], int(event[3])) for event in back.events.tolist()], binned


MS = Binning(4, time_bin=1)


def test_all_events_of_a_cell_keep_their_place_in_the_bin():
    found = recording((10, 0, 1), (20, 0, 1), (30, 0, 1), (1500, 1, 0))
    after, binned = moved(found, MS, [((1, 0), 0, 2)])
    assert after == [(1500, 1, 0), (2010, 0, 1), (2020, 0, 1), (2030, 0, 1)]
    frames = torch.zeros_like(binned.frames)
    frames[2, 1, 0, 0] = frames[1, 0, 0, 1] = 1
    assert binned.moved(frames, "fewest") == (0, 3)


def test_without_moves_a_cell_loses_all_and_gets_one():
    binned = bin_events(recording((10, 0, 1), (20, 0, 1)), MS)
    frames = binned.frames.flip(0)
    assert len(binned.write_back(frames)) == 1
    assert len(binned.write_back(frames, moves="fewest")) == 2


def test_a_time_that_another_event_of_the_pixel_has_is_not_taken():
    """Of the other polarity, which the frame has in another cell; other pixels may share a time."""
    found = recording((10, 0, 1), (12, 0, 1), (1010, 0, 0), (1011, 0, 0), (1012, 1, 0))
    after, _ = moved(found, MS, [((1, 0), 0, 1)])
    assert after == [(1010, 0, 0), (1011, 0, 0), (1012, 1, 0), (1012, 0, 1), (1013, 0, 1)]


def test_at_the_end_of_a_bin_times_are_earlier():
    found = recording((998, 0, 1), (999, 0, 1), (1999, 0, 0))
    after, _ = moved(found, MS, [((1, 0), 0, 1)])
    assert after == [(1997, 0, 1), (1998, 0, 1), (1999, 0, 0)]


def test_both_polarities_of_a_pixel_move_apart():
    found = recording((5, 0, 1), (1005, 0, 0))
    after, _ = moved(found, MS, [((1, 0), 0, 2), ((0, 0), 1, 2)])
    assert sorted(after) == [(2005, 0, 1), (2006, 0, 0)]


def test_in_a_bin_without_room_some_share_a_time():
    found = recording((0, 0, 1), (1, 0, 0))
    after, _ = moved(found, Binning(2, time_bin=0.001), [((1, 0), 0, 1)])
    assert after == [(1, 0, 0), (1, 0, 1)]


def test_bins_of_another_length():
    """Two fifths of the way through a bin of 5 µs is two fifths of the way through one of 1999."""
    found = recording((2, 0, 1), *((t, 1, 1) for t in (0, 1, 3, 4, 5, 6, 7, 8, 2003)))
    after, binned = moved(found, Binning(2, "events"), [((1, 0), 0, 1)])
    assert binned.edges.tolist() == [0, 5, 2004]
    assert [event for event in after if event[1] == 0] == [(5 + 2 * 1999 // 5, 0, 1)]


def test_of_a_run_that_begins_later_the_first_goes_or_each_goes_a_bin():
    found = recording((10, 0, 1), (1020, 0, 1), (1021, 0, 1), (3100, 1, 1))
    binned = bin_events(found, MS)
    frames = binned.frames.clone()
    frames[0, 1, 0, 0], frames[2, 1, 0, 0] = 0, 1
    times = {
        moves: [event[0] for event in binned.write_back(frames, moves=moves).events.tolist() if event[1] == 0]
        for moves in ("fewest", "nearest")
    }
    assert times == {"fewest": [1020, 1021, 2010], "nearest": [1010, 2020, 2021]}
    assert [binned.moved(frames, moves) for moves in times] == [(0, 1), (0, 3)]


def test_left_over_spikes_are_added_and_removed():
    binned = bin_events(recording((10, 0, 1), (1010, 0, 1), (20, 1, 0)), MS)
    frames = binned.frames.clone()
    frames[0, 1, 0, 0] = frames[1, 1, 0, 0] = 0  # two lost, one got
    frames[3, 1, 0, 0] = frames[2, 0, 0, 2] = 1  # and one from nowhere
    back = binned.write_back(frames, moves="fewest")
    assert [event for event in back.events.tolist() if event[1] == 0] == [(3010, 0, 0, True)]
    assert len(back) == 3
    assert torch.equal(bin_events(back, MS).frames, frames)


def test_pairs_are_those_of_the_metric():
    numbers = np.random.default_rng(0)
    before, after = (numbers.integers(0, 2, (50, 7, 3)).astype(np.uint8) for _ in range(2))
    moves = Change(torch.from_numpy(before)[None].float(), torch.from_numpy(after)[None].float()).moves
    expected = np.full((50, 21), -1)
    expected[moves.before.numpy() % 50, moves.line.numpy()] = moves.after.numpy()
    assert np.array_equal(destinations(before, after), expected)


@given(
    n=st.integers(1, 80),
    size=st.integers(1, 4),
    steps=st.integers(2, 6),
    time_bin=st.sampled_from([0.003, 0.05, 1.0]),
    seed=st.integers(0, 2**32),
    moves=st.sampled_from(["fewest", "nearest"]),
)
@settings(max_examples=150, deadline=None)
def test_every_retimed_recording_has_its_events_and_its_frames(n, size, steps, time_bin, seed, moves):
    numbers = np.random.default_rng(seed)
    width = round(1000 * time_bin)
    t = numbers.integers(0, steps * width, n)
    x, y, p = numbers.integers(0, 5, n), numbers.integers(0, 5, n), numbers.integers(0, 2, n)
    found = Recording.from_columns(t, x, y, p, height=5, width=5)
    binning = Binning(steps, time_bin=time_bin, height=size, width=size)
    binned = bin_events(found, binning)
    frames = torch.from_numpy(numbers.permuted(binned.frames.numpy(), axis=0))  # every line keeps its spikes
    back = binned.write_back(frames, seed=1, moves=moves)
    assert torch.equal(bin_events(back, binning).frames, frames)
    assert len(back) == n
    assert (np.diff(back.events["t"]) >= 0).all()

    def pixels(of):
        return sorted((int(e[1]), int(e[2]), bool(e[3])) for e in of.events.tolist())

    assert pixels(back) == pixels(found)

    def doubled(of):
        """Pixels and bins in which times are shared."""
        seen, twice = set(), set()
        for time, column, row, _ in of.events.tolist():
            (twice if (time, column, row) in seen else seen).add((time, column, row))
        return {(column, row) for _, column, row in twice}

    full = {
        (column, row)
        for column, row in itertools.product(range(5), repeat=2)
        if max(sum((e[1], e[2], e[0] // width) == (column, row, k) for e in back.events.tolist()) for k in range(steps))
        > width
    }
    assert doubled(back) <= doubled(found) | full


@pytest.mark.parametrize("moves", [None, "fewest", "nearest"])
def test_no_change_gives_the_very_recording(moves):
    found = recording((10, 0, 1), (20, 0, 1), (1010, 2, 0))
    binned = bin_events(found, MS)
    assert np.array_equal(binned.write_back(binned.frames, moves=moves).events, found.events)

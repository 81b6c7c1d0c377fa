"""Binning against a plain loop and tonic, and the way back for every format, rule and size."""

import tempfile
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from spikeflip import SpikeflipError
from spikeflip.data import FORMATS, Binning, Recording, bin_events, read_recording, write_recording

WRITABLE = [name for name, entry in FORMATS.items() if entry.write is not None]
FAERY = {"ES", "AEDAT4", "DAT", "EVT2", "EVT3"}


def recording(n=500, height=34, width=34, last=80_000, seed=0, t0=0):
    random = np.random.default_rng(seed)
    t = random.integers(0, last + 1, n)
    x, y, p = random.integers(0, width, n), random.integers(0, height, n), random.integers(0, 2, n)
    return Recording.from_columns(np.sort(t), x, y, p, height=height, width=width, t0=t0)


def plain_frames(found, edges, height, width):
    """Event by event, as the definition says."""
    frames = np.zeros((len(edges) - 1, 2, height, width), dtype=int)
    for t, x, y, p in found.events.tolist():
        for k in range(len(edges) - 1):
            if edges[k] <= t < edges[k + 1]:
                frames[k, int(p), y * height // found.height, x * width // found.width] += 1
    return frames


@pytest.mark.parametrize("size", [(34, 34), (17, 34), (11, 5), (1, 1)])
@pytest.mark.parametrize(
    "rule", [{"time_bin": 5.0}, {"time_bin": 0.0015}, {"rule": "duration"}, {"rule": "events"}], ids=str
)
def test_equals_a_plain_loop(rule, size):
    found = recording()
    binned = bin_events(found, Binning(7, **rule, height=size[0], width=size[1], counted=True))
    expected = plain_frames(found, binned.edges, *size)
    assert np.array_equal(binned.frames.numpy(), expected)
    binary = bin_events(found, Binning(7, **rule, height=size[0], width=size[1]))
    assert binary.frames.dtype == torch.uint8
    assert np.array_equal(binary.frames.numpy(), expected > 0)
    assert binned.outside == len(found) - expected.sum()
    assert np.array_equal(binned.bins, [_bin(t, binned.edges) for t in found.events["t"]])


def _bin(t, edges):
    k = int(np.searchsorted(edges, t, side="right")) - 1
    return k if 0 <= k < len(edges) - 1 else -1


def test_bins_by_time_are_the_papers():
    found = Recording.from_columns([0, 4_999, 5_000, 74_999, 75_000], [0] * 5, [0] * 5, [1] * 5, height=34, width=34)
    binned = bin_events(found, Binning(15, time_bin=5))
    assert binned.edges.tolist() == list(range(0, 75_001, 5_000))
    assert binned.bins.tolist() == [0, 0, 1, 14, -1]
    assert binned.outside == 1


def test_bins_over_the_duration_lose_nothing_not_even_the_last_event():
    for n in (1, 2, 3, 500):
        assert bin_events(recording(n), Binning(10, "duration")).outside == 0


def test_bins_of_equally_many_events_are_even_and_part_no_microsecond():
    found = Recording.from_columns([0, 1, 2, 3, 4, 5, 6, 7], [0] * 8, [0] * 8, [1] * 8, height=1, width=1)
    counts = bin_events(found, Binning(4, "events", counted=True)).frames[:, 1, 0, 0]
    assert counts.tolist() == [2, 2, 2, 2]
    tied = Recording.from_columns([0, 0, 0, 0, 4, 5], [0] * 6, [0] * 6, [1] * 6, height=1, width=1)
    binned = bin_events(tied, Binning(3, "events", counted=True))
    assert binned.frames[:, 1, 0, 0].tolist() == [4, 0, 2]
    assert (np.diff(binned.edges) >= 1).all()
    assert binned.outside == 0


@pytest.mark.parametrize("times", [[-(2**62), 2**62 - 1], [0, 1, 2**61], [-50, -20, 10]], ids=str)
@pytest.mark.parametrize("rule", ["duration", "events"])
@pytest.mark.parametrize("steps", [2, 3, 15])
def test_bins_are_exact_over_any_time_that_a_recording_can_take(times, rule, steps):
    zeros = [0] * len(times)
    found = Recording.from_columns(times, zeros, zeros, zeros, height=1, width=1)
    binned = bin_events(found, Binning(steps, rule))
    assert (binned.edges[1:] > binned.edges[:-1]).all()
    assert binned.outside == 0
    if rule == "duration":
        span = times[-1] + 1 - times[0]
        assert binned.edges.tolist() == [times[0] + k * span // steps for k in range(steps + 1)]


def test_the_longest_bins_by_time_ascend():
    edges = bin_events(recording(0), Binning(15, time_bin=3e14)).edges
    assert edges[-1] == 15 * 3 * 10**17
    assert (np.diff(edges) > 0).all()


@pytest.mark.parametrize("rule", ["duration", "events"])
@pytest.mark.parametrize("times", [[], [7], [7, 7, 7], [7, 8]], ids=str)
def test_short_recordings_have_bins_to_write_into(rule, times):
    zeros = [0] * len(times)
    found = Recording.from_columns(times, zeros, zeros, zeros, height=2, width=2)
    binned = bin_events(found, Binning(5, rule))
    assert (np.diff(binned.edges) >= 1).all()
    assert binned.outside == 0
    full = torch.ones_like(binned.frames)
    back = binned.write_back(full)
    assert torch.equal(bin_events(back, binned.binning, edges=binned.edges).frames, full)


def test_counts_equal_tonics():
    tonic = pytest.importorskip("tonic", reason="compares with tonic where it is installed")
    found = recording(5_000, last=74_999)
    events = np.empty(len(found), dtype=[("x", int), ("y", int), ("t", int), ("p", int)])
    for name in "xytp":
        events[name] = found.events[name]
    theirs = tonic.transforms.ToFrame(sensor_size=(34, 34, 2), time_window=5_000, include_incomplete=True)(events)
    # tonic starts at the first event: put it at 0
    assert found.events["t"][0] < 100
    shifted = Recording.from_columns(
        found.events["t"] - found.events["t"][0], *(found.events[name] for name in "xyp"), height=34, width=34
    )
    ours = bin_events(shifted, Binning(15, time_bin=5, counted=True)).frames.numpy()
    assert np.array_equal(ours, theirs)


# --- the way back -----------------------------------------------------------------------------------------------------


@st.composite
def attacked(draw):
    """A recording, a binning by time, and frames that an attack could have made."""
    height, width = draw(st.integers(1, 40)), draw(st.integers(1, 40))
    steps, time_bin = draw(st.integers(1, 6)), draw(st.sampled_from([0.001, 0.25, 1.0, 5.0]))
    n, seed = draw(st.integers(1, 60)), draw(st.integers(0, 2**32))
    last = int(steps * time_bin * 1000 * draw(st.sampled_from([0.5, 1.5])))
    found = recording(n, height, width, last, seed, t0=draw(st.sampled_from([0, 1, 2_000_000])))
    binning = Binning(steps, time_bin=time_bin, height=draw(st.integers(1, height)), width=draw(st.integers(1, width)))
    random = np.random.default_rng(seed)
    before = bin_events(found, binning).frames
    flips = torch.from_numpy((random.random(before.shape) < draw(st.sampled_from([0.0, 0.1, 1.0]))).astype(np.uint8))
    return found, binning, before ^ flips


@pytest.mark.parametrize("name", WRITABLE)
@given(case=attacked())
@settings(max_examples=60, deadline=None)
def test_events_to_frames_to_file_to_frames_is_exact(name, case):
    if name in FAERY:
        pytest.importorskip("faery", reason="faery reads and writes this format")
    found, binning, frames = case
    back = bin_events(found, binning).write_back(frames, seed=3, sample=9)
    if name == "DAT" and not len(back):
        return  # refused, see the tests of formats
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"a{FORMATS[name].endings[0]}"
        write_recording(back, path, format=name)
        again = read_recording(path, height=found.height, width=found.width)
    assert torch.equal(bin_events(again, binning).frames, frames)
    assert again.t0 == (found.t0 if FORMATS[name].holds_t0 else 0)
    t = again.events["t"]
    assert (t[1:] >= t[:-1]).all()


@given(case=attacked())
@settings(max_examples=200, deadline=None)
def test_untouched_events_keep_their_times_and_order(case):
    found, binning, frames = case
    binned = bin_events(found, binning)
    back = binned.write_back(frames, seed=1)
    flat = frames.numpy()
    kept = [
        event
        for event, k in zip(found.events.tolist(), binned.bins.tolist(), strict=True)
        if k < 0
        or flat[k, int(event[3]), event[2] * flat.shape[2] // found.height, event[1] * flat.shape[3] // found.width]
    ]
    added = int(((frames == 1) & (binned.frames == 0)).sum())
    assert len(back) == len(kept) + added
    remaining = iter(back.events.tolist())
    assert all(event in remaining for event in kept)  # a subsequence, in order
    assert (back.height, back.width, back.t0) == (found.height, found.width, found.t0)


def test_no_change_gives_the_very_recording():
    found = recording()
    for binning in (Binning(15, time_bin=5), Binning(4, "duration", height=8, width=8), Binning(4, "events")):
        binned = bin_events(found, binning)
        assert np.array_equal(binned.write_back(binned.frames).events, found.events)


def test_times_of_added_events_come_from_the_seed_and_the_sample():
    binned = bin_events(recording(0), Binning(2, time_bin=5))
    full = torch.ones_like(binned.frames)
    first = binned.write_back(full, seed=1, sample=2).events
    assert np.array_equal(first, binned.write_back(full, seed=1, sample=2).events)
    assert not np.array_equal(first, binned.write_back(full, seed=1, sample=3).events)
    assert not np.array_equal(first, binned.write_back(full, seed=2, sample=2).events)
    assert 2_000 < first["t"][first["t"] < 5_000].mean() < 3_000


def test_an_added_cell_sits_on_its_middle_pixel():
    found = Recording.from_columns([], [], [], [], height=8, width=9)
    binned = bin_events(found, Binning(1, time_bin=1, height=2, width=3))
    frames = torch.zeros_like(binned.frames)
    frames[0, 1, 1, 2] = 1  # rows 4 to 7, columns 6 to 8
    (event,) = binned.write_back(frames).events.tolist()
    assert event[1:] == (7, 5, True)


# --- what is refused --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"steps": 0, "time_bin": 1}, "steps is 0"),
        ({"steps": 5}, "time_bin is None ms: give at least 0.001"),
        ({"steps": 5, "time_bin": 0}, "time_bin is 0 ms"),
        ({"steps": 5, "time_bin": float("nan")}, "time_bin is nan ms"),
        ({"steps": 5, "time_bin": float("inf")}, "time_bin is inf ms"),
        ({"steps": 5, "rule": "events", "time_bin": 1}, "takes none"),
        ({"steps": 5, "time_bin": 1, "height": 0}, "height is 0"),
        ({"steps": 15, "time_bin": 1e17}, r"time_bin is 1e\+17 ms: give at least 0.001 for .* at most 3.07e\+14"),
        ({"steps": 5, "time_bin": 10**400}, "time_bin is 10+ ms: give"),
        ({"steps": 5, "time_bin": True}, "time_bin is True ms"),
        ({"steps": 5, "time_bin": "5"}, "time_bin is '5' ms"),
        ({"steps": 5, "rule": "events", "time_bin": "5"}, "takes none"),
        ({"steps": 4.0, "time_bin": 1}, "steps is 4.0: give a whole number from 1 to"),
        ({"steps": True, "time_bin": 1}, "steps is True"),
        ({"steps": None, "time_bin": 1}, "steps is None"),
        ({"steps": 10**400, "time_bin": 1}, "steps is 10+: give"),
        ({"steps": 5, "time_bin": 1, "height": 9.0}, "height is 9.0"),
        ({"steps": 5, "time_bin": 1, "width": "9"}, "width is '9'"),
        ({"steps": 5, "time_bin": 1, "width": 10**400}, "width is 10+: give"),
        ({"steps": 5, "rule": "foo"}, "rule is 'foo': give one of time, duration, events"),
        ({"steps": 5, "rule": []}, r"rule is \[\]"),
        ({"steps": 5, "time_bin": 1, "counted": "no"}, "counted is 'no': give True or False"),
        ({"steps": 5, "time_bin": 1, "counted": 1}, "counted is 1"),
    ],
)
def test_wrong_settings_are_refused(options, message):
    with pytest.raises(SpikeflipError, match=message):
        Binning(**options)


def test_frames_larger_than_the_sensor_are_refused():
    with pytest.raises(SpikeflipError, match=r"frames of 64 × 35 are larger than the sensor of 34 × 34"):
        bin_events(recording(), Binning(1, time_bin=1, height=35, width=64))


def test_frames_too_large_for_memory_are_refused():
    with pytest.raises(SpikeflipError, match="a whole number from 1 to 10,000"):
        bin_events(recording(), Binning(10**9, time_bin=1))


def test_frames_that_cannot_be_written_back_are_refused():
    binned = bin_events(recording(), Binning(2, time_bin=1))
    with pytest.raises(SpikeflipError, match="shape"):
        binned.write_back(binned.frames[:1])
    with pytest.raises(SpikeflipError, match="0 and 1"):
        binned.write_back(binned.frames * 2)
    counted = bin_events(recording(), Binning(2, time_bin=1, counted=True))
    with pytest.raises(SpikeflipError, match="counted=False"):
        counted.write_back(counted.frames)


def test_edges_must_fit():
    with pytest.raises(SpikeflipError, match="edges"):
        bin_events(recording(), Binning(2, time_bin=1), edges=np.array([0, 1]))


def test_numbers_of_numpy_are_those_of_python():
    of_numpy = Binning(np.int64(5), time_bin=np.float32(2.5), height=np.int16(17), width=np.int16(17))
    assert repr(of_numpy) == repr(Binning(5, time_bin=2.5, height=17, width=17))
    with pytest.raises(SpikeflipError, match="steps is True: give a whole number"):
        Binning(np.bool_(True), time_bin=2.5)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64, torch.bool, torch.int64])
@pytest.mark.parametrize("moves", [None, "fewest"])
def test_frames_of_any_type_are_written_back(dtype, moves):
    binned = bin_events(recording(200), Binning(4, time_bin=10))
    after = binned.frames.clone()
    after[:2] = after[:2].flip(0)
    expected = binned.write_back(after, moves=moves).events
    assert len(expected) != len(binned.recording) or not np.array_equal(expected, binned.recording.events)
    assert np.array_equal(binned.write_back(after.to(dtype), moves=moves).events, expected)


def test_frames_that_are_no_tensor():
    binned = bin_events(recording(20), Binning(4, time_bin=10))
    with pytest.raises(SpikeflipError, match="frames are a ndarray: give a tensor"):
        binned.write_back(binned.frames.numpy())

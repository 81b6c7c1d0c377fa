"""Recordings in memory: columns in any order and type, checked once."""

import re
from dataclasses import replace

import numpy as np
import pytest

from spikeflip import Recording, SpikeflipError
from spikeflip.data.formats.files import on_sensor


def test_times_are_sorted_stably_and_said():
    recording = Recording.from_columns([5, 3, 5, 3], [0, 1, 2, 3], [0] * 4, [0] * 4, height=34, width=34)
    assert recording.events["x"].tolist() == [1, 3, 0, 2]
    assert recording.notes == ("2 events were earlier than those before them: sorted by time",)


def test_sorted_columns_are_taken_as_they_are():
    recording = Recording.from_columns([1, 1, 2], [3, 2, 1], [0] * 3, [0, 1, 0], height=34, width=34)
    assert recording.events["x"].tolist() == [3, 2, 1]
    assert recording.notes == ()


@pytest.mark.parametrize("times", [[], [7], [7, 7, 7]], ids=str)
def test_short_recordings_are_recordings(times):
    zeros = [0] * len(times)
    recording = Recording.from_columns(times, zeros, zeros, zeros, height=2, width=2)
    assert (len(recording), recording.duration) == (len(times), 0)


def test_negative_times_are_kept():
    recording = Recording.from_columns([-5, 5], [0, 0], [0, 0], [0, 1], height=2, width=2)
    assert recording.events["t"].tolist() == [-5, 5]
    assert recording.duration == 10


@pytest.mark.parametrize(("given", "read"), [([0, 1], [0, 1]), ([-1, 1], [0, 1]), ([1, 1], [1, 1]), ([-1, -1], [0, 0])])
def test_both_pairs_of_polarities_are_read(given, read):
    recording = Recording.from_columns([1, 2], [0, 0], [0, 0], given, height=2, width=2)
    assert recording.events["p"].tolist() == read


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (([1], [0], [0], [2]), r"polarities are 2: give 0 and 1, or -1 and 1"),
        (([1, 2, 3], [0] * 3, [0] * 3, [-1, 0, 1]), "polarities are -1, 0, 1"),
        (([1, 2], [0], [0], [1]), r"differ in length \(2 of t, 1 of x"),
        (([1.5], [0], [0], [1]), "t is float64"),
        (([[1]], [0], [0], [1]), r"t is int64 of shape \(1, 1\)"),
        (([1], [-1], [0], [1]), "x is -1 in one event: it must be 0 to 65535"),
        (([1], [0], [70_000], [1]), "y is 70000"),
        (([1 << 62], [0], [0], [1]), "t is 4611686018427387904"),
        (([1, 2], [0, 9], [0, 0], [1, 1]), r"1 of 2 events lie outside the sensor of 2 × 2, the first at x = 9, y = 0"),
    ],
)
def test_wrong_columns_are_refused(columns, message):
    with pytest.raises(SpikeflipError, match=message):
        Recording.from_columns(*columns, height=2, width=2)


@pytest.mark.parametrize(
    ("x", "y", "size"), [(33, 33, (34, 34)), (34, 0, (128, 128)), (200, 100, (180, 240)), (2000, 3, (4, 2001))]
)
def test_an_unsaid_sensor_is_guessed_and_said(x, y, size):
    recording = Recording.from_columns([0], [x], [y], [1])
    assert (recording.height, recording.width) == size
    assert recording.sensor_guessed
    assert recording.notes[0].startswith("the file does not say the sensor's size")


def test_a_sensor_is_a_guess_by_its_field_and_not_by_its_words(tmp_path):
    guessed = Recording.from_columns([0, 10], [1, 2], [0, 0], [1, 0])
    said = Recording.from_columns([0, 10], [1, 2], [0, 0], [1, 0], height=34, width=34)
    assert not said.sensor_guessed
    assert not replace(said, notices=guessed.notices).sensor_guessed
    assert guessed.between(0, 5).sensor_guessed
    placed = on_sensor(guessed, 128, 128, tmp_path)
    assert (placed.sensor_guessed, placed.notes) == (False, ())


def test_half_a_sensor_and_an_absurd_zero_are_refused():
    with pytest.raises(SpikeflipError, match="the sensor is None × 34: give both its sides, or neither"):
        Recording.from_columns([0], [0], [0], [1], height=34)
    with pytest.raises(SpikeflipError, match="t0 is 9223372036854775808 µs: it must be"):
        Recording.from_columns([0], [0], [0], [1], t0=1 << 63)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"t0": 1.5}, "t0 is 1.5 µs: it must be a whole number"),
        ({"t0": "5"}, "t0 is 5 µs: it must be a whole number"),
        ({"height": 3.5, "width": 4}, "the sensor is 4 × 3.5: both must be whole numbers from 1 to 65536"),
        ({"height": "4", "width": "4"}, "the sensor is 4 × 4: both must be whole numbers"),
    ],
)
def test_clocks_and_sensors_are_whole(given, said):
    with pytest.raises(SpikeflipError, match=re.escape(said)):
        Recording.from_columns([1], [0], [0], [1], **given)


def test_whole_numbers_of_other_types_are_whole():
    found = Recording.from_columns([1], [0], [0], [1], height=np.int16(4), width=np.uint8(5), t0=np.int64(7))
    assert (found.height, found.width, found.t0) == (4, 5, 7)
    assert {type(side) for side in (found.height, found.width, found.t0)} == {int}


def test_between_cuts_by_the_files_clock():
    recording = Recording.from_columns([0, 10, 20, 30], range(4), [0] * 4, [1] * 4, height=34, width=34, t0=1000)
    part = recording.between(1010, 1030)
    assert (part.t0, part.events["t"].tolist(), part.events["x"].tolist()) == (1010, [0, 10], [1, 2])
    assert recording.events["t"].tolist() == [0, 10, 20, 30]  # the original is as it was
    assert np.shares_memory(recording.events, part.events) is False


@pytest.mark.parametrize("times", [(1.5, 3), (1, 3.0), (1, "3")])
def test_between_takes_whole_times(times):
    recording = Recording.from_columns([1, 2, 3], [0] * 3, [0] * 3, [0, 1, 1], height=34, width=34)
    with pytest.raises(SpikeflipError, match="give times in whole µs"):
        recording.between(*times)
    assert recording.between(np.int64(2), np.uint32(3)).events["t"].tolist() == [0]

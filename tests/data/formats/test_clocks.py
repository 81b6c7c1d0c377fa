"""Files whose times are those of a clock: they count from the first event, and keep what the clock said."""

import numpy as np
import pytest

from spikeflip.data import FORMATS, Binning, Recording, bin_events, read_recording, write_recording

UNIX = 1_600_000_000_000_000
BORDER = 1 << 32
LATEST = 1 << 61
KEEPING = [name for name, entry in FORMATS.items() if entry.write is not None and entry.holds_t0]


def column_file(path, times):
    """A file of the four columns alone, as other programs write them."""
    times, n = np.asarray(times), len(times)
    columns = {"t": times, "x": np.arange(n) % 30, "y": np.arange(n) % 20, "p": np.arange(n) % 2}
    if path.suffix == ".npz":
        np.savez(path, **columns)
    elif path.suffix == ".npy":
        np.save(path, np.rec.fromarrays(list(columns.values()), names=list(columns)))
    else:
        np.savetxt(path, np.stack(list(columns.values()), 1), fmt="%d", delimiter=",", header="t,x,y,p", comments="")
    return path


def clock_of(recording):
    return (recording.events["t"] + recording.t0).tolist()


@pytest.mark.parametrize("ending", [".npz", ".npy", ".csv"])
def test_the_first_event_of_a_clock_becomes_zero_and_t0_keeps_it(tmp_path, ending):
    times = [UNIX, UNIX + 7, UNIX + 40_000]
    found = read_recording(column_file(tmp_path / f"a{ending}", times), height=34, width=34)
    assert found.events["t"].tolist() == [0, 7, 40_000]
    assert found.t0 == UNIX
    assert [(notice.code, notice.figure) for notice in found.notices] == [("absolute-clock", UNIX)]
    assert found.notes[0] == (
        "times are those of a clock, the first at 1,600,000,000,000,000 µs: they count from the first event, and t0 "
        "keeps it"
    )
    binned = bin_events(found, Binning(15, time_bin=5))
    assert (int(binned.frames.sum()), binned.outside) == (3, 0)


@pytest.mark.parametrize(
    ("first", "t0"),
    [
        (12_000, 0),  # nothing moved at first
        (60_000_000, 0),
        (BORDER - 1, 0),
        (BORDER, BORDER),
        (LATEST, LATEST),
        (LATEST + 1, 0),  # t0 could not keep it
        (-UNIX, 0),
    ],
)
def test_only_times_that_no_recording_reaches_are_those_of_a_clock(tmp_path, first, t0):
    found = read_recording(column_file(tmp_path / "a.npz", [first, first + 5]), height=34, width=34)
    assert found.t0 == t0
    assert clock_of(found) == [first, first + 5]
    assert bool(found.notices) == (t0 > 0)


def test_a_late_event_after_an_early_one_is_no_clock(tmp_path):
    found = read_recording(column_file(tmp_path / "a.npz", [3, UNIX]), height=34, width=34)
    assert (found.t0, found.events["t"].tolist(), found.notices) == (0, [3, UNIX], ())


def test_times_are_put_in_order_before_the_first_is_taken(tmp_path):
    found = read_recording(column_file(tmp_path / "a.csv", [UNIX + 9, UNIX, UNIX + 4]), height=34, width=34)
    assert (found.t0, found.events["t"].tolist()) == (UNIX, [0, 4, 9])
    assert [notice.code for notice in found.notices] == ["times-sorted", "absolute-clock"]


@pytest.mark.parametrize("name", KEEPING)
def test_formats_that_hold_t0_get_the_clock_back(tmp_path, name):
    if name == "AEDAT4":
        pytest.importorskip("faery", reason="faery writes this format")
    found = read_recording(column_file(tmp_path / "in.csv", [UNIX, UNIX + 7, UNIX + 40_000]), height=34, width=34)
    path = tmp_path / f"out{FORMATS[name].endings[0]}"
    said = write_recording(found, path, format=name)
    assert [text.split(" the ")[0] for text in said] == [f"{name} has no room for"] * (name in ("DAT", "EVT2", "EVT3"))
    again = read_recording(path)
    assert clock_of(again) == [UNIX, UNIX + 7, UNIX + 40_000]
    assert (again.t0, again.events.tolist(), again.notices) == (UNIX, found.events.tolist(), ())


@pytest.mark.parametrize("name", ["csv", "npy", "N-MNIST bin"])
def test_formats_that_do_not_hold_t0_count_from_it_and_say_so(tmp_path, name):
    found = read_recording(column_file(tmp_path / "in.npz", [UNIX, UNIX + 7]), height=34, width=34)
    path = tmp_path / f"out{FORMATS[name].endings[0]}"
    said = write_recording(found, path, format=name)
    assert said == (f"{name} does not hold t0 = 1,600,000,000,000,000 µs: times in the file count from it",)
    again = read_recording(path, height=34, width=34)
    assert (again.t0, again.events.tolist()) == (0, found.events.tolist())


def test_an_archive_of_an_earlier_version_that_kept_the_clock_in_t_is_read_alike(tmp_path):
    old = Recording.from_columns([UNIX, UNIX + 7], [1, 2], [3, 4], [0, 1], height=34, width=34, t0=11)
    assert old.events["t"].tolist() == [UNIX, UNIX + 7]  # what is made in memory stays as it was made
    write_recording(old, tmp_path / "a.npz")
    found = read_recording(tmp_path / "a.npz")
    assert (found.t0, found.events["t"].tolist()) == (UNIX + 11, [0, 7])


def test_an_adversarial_of_a_clock_has_the_frames_and_the_clock(tmp_path):
    """Also where the first event, from which times count, is taken away."""
    binning = Binning(3, time_bin=5)
    found = read_recording(column_file(tmp_path / "in.npz", UNIX + 900 * np.arange(16)), height=34, width=34)
    binned = bin_events(found, binning)
    attacked = binned.frames.clone()
    attacked[0] = 0
    attacked[2, 1, 20:24] = 1
    write_recording(binned.write_back(attacked), tmp_path / "out.npz")
    again = read_recording(tmp_path / "out.npz")
    assert bin_events(again, binning).frames.equal(attacked)
    kept = clock_of(found)[6:]  # 5,400 µs is the first in the second bin
    assert [t for t in clock_of(again) if t in kept] == kept
    assert again.t0 == UNIX

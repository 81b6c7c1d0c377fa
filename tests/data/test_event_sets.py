"""Event data sets: hand-written trees in every layout, the real ones where they are at hand, and ways to break them."""

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from event_sets import CIFAR10, cifar10dvs, names, random_recording, refused, write

from spikeflip.data import EVENT_SETS, Clip, EventSet, event_set, load_event_set
from spikeflip.data.event_layouts import OFFICIAL, natural_order
from spikeflip.data.formats.files import read_recording
from spikeflip.data.recordings import Recording
from spikeflip.errors import SpikeflipError

GESTURES = (
    "hand clapping",
    "right hand wave",
    "left hand wave",
    "right arm clockwise",
    "right arm counter clockwise",
    "left arm clockwise",
    "left arm counter clockwise",
    "arm roll",
    "air drums",
    "air guitar",
    "other gestures",
)


# --- N-MNIST ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("prefix", ["NMNIST", ""])
def test_nmnist_takes_what_is_there_and_counts_it(tmp_path: Path, prefix: str) -> None:
    for name in ("3/00001.bin", "3/00010.bin", "0/00002.bin"):
        write(tmp_path / prefix / "Train" / name, seed=len(name))
    write(tmp_path / prefix / "Test" / "9" / "00005.bin", seed=7)
    (tmp_path / prefix / "Train" / "0" / ".DS_Store").touch()
    (tmp_path / prefix / "Train" / "0" / "list.html").touch()

    train, test = load_event_set("nmnist", "train", root=tmp_path), load_event_set("nmnist", root=str(tmp_path))

    assert names(train) == ["3/00001.bin", "0/00002.bin", "3/00010.bin"]  # MNIST's order
    assert train.labels.tolist() == [3, 0, 3]
    assert train.labels.dtype == torch.int64
    assert "3 of 60,000 official training recordings" in train.source
    assert "1 other file" in train.notes[0]
    assert (test.name, test.split, len(test), test.classes) == ("nmnist", "test", 1, tuple("0123456789"))
    assert "1 of 10,000 official test recordings" in test.source
    assert test.notes == ()
    assert (test.height, test.width) == (34, 34)
    assert test.read(0).events.tolist() == random_recording(seed=7).events.tolist()


def test_nmnist_is_put_on_its_sensor_and_a_larger_recording_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "Test/1/1.bin", Recording.from_columns([0], [2], [3], [1], height=34, width=34))
    write(tmp_path / "Test/1/2.bin", side=40)
    found = load_event_set("nmnist", root=tmp_path)
    recording = found.read(0)
    assert (recording.height, recording.width, recording.notes) == (34, 34, ())
    with pytest.raises(SpikeflipError, match=r"2\.bin.*outside the sensor of 34 × 34"):
        found.read(1)


def test_nmnist_with_a_foreign_class_folder_is_not_nmnist(tmp_path: Path) -> None:
    write(tmp_path / "Test/1/1.bin")
    write(tmp_path / "Test/cat/1.bin")
    assert "folder 'cat' and N-MNIST only 0 to 9" in refused("nmnist", root=tmp_path)


@pytest.mark.parametrize("name", ["1/a.bin", "1/00001.npz", "00001.bin"])
def test_nmnist_without_its_layout_says_what_was_looked_for(tmp_path: Path, name: str) -> None:
    write(tmp_path / "NMNIST/Test" / name)
    message = refused("nmnist", root=tmp_path)
    assert str(tmp_path) in message
    assert "<digit>/<number>.bin in NMNIST/Train" in message
    assert "--root" in message


# --- CIFAR10-DVS ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("prefix", ["CIFAR10DVS", ""])
def test_cifar10dvs_is_split_by_number_within_each_class(tmp_path: Path, prefix: str) -> None:
    cifar10dvs(tmp_path / prefix, 21)
    (tmp_path / prefix / "cat" / "0.aedat4").touch()  # tonic's copy beside the originals is not taken twice
    train, test = load_event_set("cifar10dvs", "train", root=tmp_path), load_event_set("cifar10dvs", root=tmp_path)

    assert (len(train), len(test)) == (190, 20)
    assert names(test)[::10] == ["airplane/cifar10_airplane_9.aedat", "airplane/cifar10_airplane_19.aedat"]
    assert not set(names(train)) & set(names(test))
    assert test.labels.tolist() == [*range(10), *range(10)]  # any beginning holds all classes
    assert test.classes == CIFAR10
    assert "210 of 10,000 official recordings, 20 of them for test" in test.source
    assert "no official split: every tenth" in test.notes[0]
    assert "1 other file" in test.notes[1]
    recording = test.read(10)
    assert (recording.height, recording.width, recording.t0) == (128, 128, 50)
    assert recording.events.tolist() == [(0, 1, 2, True), (29, 127, 127, False)]


@pytest.fixture
def as_tonic_has_it(tmp_path: Path) -> EventSet:
    for name in CIFAR10:
        for n in range(10):
            (tmp_path / "CIFAR10DVS" / name).mkdir(parents=True, exist_ok=True)
            (tmp_path / "CIFAR10DVS" / name / f"{n}.aedat4").touch()
    return load_event_set("cifar10dvs", root=tmp_path)


def test_cifar10dvs_as_tonic_has_it(as_tonic_has_it: EventSet) -> None:
    assert names(as_tonic_has_it) == [f"{name}/9.aedat4" for name in CIFAR10]


def test_cifar10dvs_as_tonic_has_it_is_read(as_tonic_has_it: EventSet) -> None:
    pytest.importorskip("faery", reason="faery reads and writes AEDAT4")
    write(as_tonic_has_it.clips[2].path, side=128)
    assert as_tonic_has_it.read(2).events.tolist() == random_recording(side=128).events.tolist()


def test_small_or_incompletecifar10dvs(tmp_path: Path) -> None:
    cifar10dvs(tmp_path, 2)
    test = load_event_set("cifar10dvs", root=tmp_path)
    assert len(test) == 0
    assert test.labels.shape == (0,)
    assert test.notes[1] == "no test recordings here: no class has ten"
    (tmp_path / "ship").rename(tmp_path / "boat")
    assert "all ten class folders, airplane to truck" in refused("cifar10dvs", root=tmp_path)


# --- DVS128 Gesture ---------------------------------------------------------------------------------------------------

HEADER = "class,startTime_usec,endTime_usec\n"


def _gestures(folder: Path, rows: str, *, name: str = "user01_led", split: str = "test", n: int = 400) -> Recording:
    """One recording with an event every 10 µs from 1000 µs on, its labels, and the list of trials."""
    rng = np.random.default_rng(3)
    x, y, p = rng.integers(0, 128, n), rng.integers(0, 128, n), rng.integers(0, 2, n)
    recording = Recording.from_columns(10 * np.arange(n), x, y, p, height=128, width=128, t0=1000)
    write(folder / f"{name}.aedat", recording)
    (folder / f"{name}_labels.csv").write_text(HEADER + rows)
    (folder / f"trials_to_{split}.txt").write_text(f"{name}.aedat\n\n")
    return recording


@pytest.mark.parametrize("prefix", ["DvsGesture", ""])
def test_dvsgesture_cuts_labelled_windows_of_the_file_clock(tmp_path: Path, prefix: str) -> None:
    whole = _gestures(tmp_path / prefix, "2,1000,1100\n11,2005,2100\n2,3000,3050\n")
    test = load_event_set("dvsgesture", root=tmp_path)

    assert names(test) == [
        "user01_led/02_right_hand_wave.aedat",
        "user01_led/11_other_gestures.aedat",
        "user01_led/02_right_hand_wave_2.aedat",
    ]
    assert test.labels.tolist() == [1, 10, 1]
    assert test.classes == GESTURES
    assert "3 gestures from 1 of 1 listed test trials (24 official)" in test.source
    assert test.notes == ()
    recordings = list(test)
    assert [len(recording) for recording in recordings] == [10, 9, 5]  # 1000 ... 1090, 2010 ... 2090, 3000 ... 3040
    assert [recording.t0 for recording in recordings] == [1000, 2005, 3000]
    assert recordings[1].events["t"].tolist() == list(range(5, 95, 10))
    for name in ("x", "y", "p"):
        assert recordings[1].events[name].tolist() == whole.events[name][101:110].tolist()


def test_a_file_of_many_gestures_is_read_once_and_again_when_it_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _gestures(tmp_path, "1,1000,1100\n2,1100,1200\n3,1200,1300\n")
    test = load_event_set("dvsgesture", root=tmp_path)
    paths: list[Path] = []

    def counting(path: Path) -> Recording:
        paths.append(path)
        return read_recording(path)

    monkeypatch.setattr(event_set, "read_recording", counting)
    for recording in test:
        recording.events["t"] = 0  # what was read is the caller's
    assert [recording.events["t"].max() for recording in test] == [90, 90, 90]
    assert len(paths) == 1
    path = test.clips[0].path
    write(path, Recording.from_columns([1010], [5], [6], [1], height=128, width=128))
    assert [len(recording) for recording in test] == [1, 0, 0]
    assert len(paths) == 2
    path.unlink()
    with pytest.raises(SpikeflipError, match="no file"):
        test.read(0)


def test_overlapping_windows_end_where_the_next_starts(tmp_path: Path) -> None:
    _gestures(tmp_path, "10,1500,1700\n9,1000,1600\n8,1700,1800\n")
    test = load_event_set("dvsgesture", root=tmp_path)
    assert [(clip.label, clip.start, clip.stop) for clip in test.clips] == [
        (8, 1000, 1500),
        (9, 1500, 1700),
        (7, 1700, 1800),
    ]
    assert test.notes == ("user01_led_labels.csv: class 9 ends at 1600 µs, after the next starts: cut at 1500 µs",)
    assert sum(len(recording) for recording in test) == 80  # no event is in two gestures


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("1,1000,x\n", "line 2 is '1,1000,x'"),
        ("1,1000\n", "line 2 is '1,1000'"),
        ("1,1000,2000,3\n", "must be class, start and end"),
        ("1,-5,2000\n", "line 2 is '1,-5,2000'"),
        ("1,1000,2000\n12,2000,3000\n", "line 3 has class 12: classes are 1 to 11"),
        ("0,1000,2000\n", "has class 0"),
        ("1,2000,1000\n", "from 2000 to 1000 µs: it must end after its start"),
        ("1,2000,2000\n", "must end after its start"),
        ("1,1000,2000\n2,1000,3000\n", "two gestures that start at 1000 µs"),
        ("", "lists no gesture"),
    ],
)
def test_damaged_labels_are_refused(tmp_path: Path, rows: str, message: str) -> None:
    _gestures(tmp_path, rows)
    error = refused("dvsgesture", root=tmp_path)
    assert message in error
    assert "user01_led_labels.csv" in error


def test_missing_trials_are_counted_and_none_or_no_labels_is_an_error(tmp_path: Path) -> None:
    _gestures(tmp_path, "1,1000,1100\n", split="train")
    trials = tmp_path / "trials_to_train.txt"
    trials.write_text("user01_led.aedat\r\nuser02_lab.aedat\r\nuser01_led.aedat\r\n")
    train = load_event_set("dvsgesture", "train", root=tmp_path)
    assert "1 gesture from 1 of 2 listed training trials (98 official)" in train.source
    assert "looked for trials_to_train.txt" in refused("dvsgesture", "test", root=tmp_path)
    trials.write_text("user02_lab.aedat\nuser03_lab.aedat")
    assert "none of the 2 recordings" in refused("dvsgesture", "train", root=tmp_path)
    trials.write_text("../user01_led.aedat\n")
    assert "every line must be the name of an .aedat file" in refused("dvsgesture", "train", root=tmp_path)
    trials.write_text("user01_led.aedat\n")
    (tmp_path / "user01_led_labels.csv").unlink()
    assert "user01_led_labels.csv does not exist" in refused("dvsgesture", "train", root=tmp_path)


def test_an_empty_list_of_trials_is_a_set_without_clips(tmp_path: Path) -> None:
    (tmp_path / "trials_to_test.txt").write_text("\n")
    test = load_event_set("dvsgesture", root=tmp_path)
    assert len(test) == 0
    assert list(test) == []
    assert test.labels.dtype == torch.int64
    assert test.notes == ("no test recordings here: trials_to_test.txt is empty",)
    assert test.sha256 == hashlib.sha256().hexdigest()


@pytest.mark.parametrize("prefix", ["DVSGesture", ""])
def test_dvsgesture_as_tonic_has_it(tmp_path: Path, prefix: str) -> None:
    folder = tmp_path / prefix / "ibmGestureTest" / "user24_fluorescent"
    folder.mkdir(parents=True)
    for label in (0, 2, 10):
        np.save(folder / f"{label}.npy", np.array([[1, 2, 0, 7], [127, 120, 1, 9 + label]], dtype=np.float64))
    (folder / "11.npy").touch()
    test = load_event_set("dvsgesture", root=tmp_path)
    assert names(test) == [f"user24_fluorescent/{label}.npy" for label in (0, 2, 10)]
    assert test.labels.tolist() == [0, 2, 10]
    assert "3 of its 264 test gestures" in test.source
    assert "1 other file" in test.notes[1]
    recording = test.read(2)
    assert (recording.height, recording.width, recording.t0) == (128, 128, 7000)
    assert recording.events.tolist() == [(0, 1, 2, False), (12000, 127, 120, True)]


# --- hash -------------------------------------------------------------------------------------------------------------


def test_hash_is_of_names_labels_windows_and_bytes_in_any_order(tmp_path: Path) -> None:
    _gestures(tmp_path, "1,1000,1100\n2,1100,1200\n")
    test = load_event_set("dvsgesture", root=tmp_path)
    file = hashlib.sha256((tmp_path / "user01_led.aedat").read_bytes()).hexdigest()
    lines = [
        f"user01_led/01_hand_clapping.aedat\0000\0001000\0001100\000{file}\n",
        f"user01_led/02_right_hand_wave.aedat\0001\0001100\0001200\000{file}\n",
    ]
    assert test.sha256 == hashlib.sha256("".join(lines).encode()).hexdigest()
    assert replace(test, clips=test.clips[::-1]).sha256 == test.sha256
    moved = replace(test.clips[0], stop=1099)
    for clips in (test.clips[:1], (replace(test.clips[0], label=3), test.clips[1]), (moved, test.clips[1])):
        assert replace(test, clips=clips).sha256 != test.sha256
    with (tmp_path / "user01_led.aedat").open("ab") as trials:
        trials.write(b"\0")
    assert load_event_set("dvsgesture", root=tmp_path).sha256 != test.sha256
    with pytest.raises(SpikeflipError, match="cannot be read"):
        _ = replace(test, clips=(Clip(tmp_path / "gone.bin", 0, "gone.bin"),)).sha256


# --- arguments --------------------------------------------------------------------------------------------------------


def test_unknown_names_splits_roots_and_sizes(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert "neither an event data set (nmnist, dvsgesture, cifar10dvs) nor a folder" in refused("mnist-dvs")
    assert "nor a folder" in refused(tmp_path / "file")
    assert "choose train or test" in refused("nmnist", "validation", root=tmp_path)
    assert "no root was given: add --root" in refused("nmnist")
    assert "is not a folder" in refused("nmnist", root=tmp_path / "absent")
    assert "is not a folder" in refused("nmnist", root=tmp_path / "file", download=True)
    assert "give both" in refused("nmnist", root=tmp_path, height=34)
    assert "34 × 34 pixels, not 40 × 30" in refused("nmnist", root=tmp_path, height=30, width=40)
    write(tmp_path / "Test/1/1.bin")
    assert len(load_event_set("nmnist", root=tmp_path, height=34, width=34)) == 1


def test_every_set_is_described() -> None:
    assert list(EVENT_SETS) == list(OFFICIAL)
    assert all("\n" not in text and len(text) > 40 for text in EVENT_SETS.values())


def test_natural_order_compares_numbers_as_numbers() -> None:
    names = ["10", "9", "a10b2", "a10b10", "a9", "b", "09", "x²"]
    assert sorted(names, key=natural_order) == ["09", "9", "10", "a9", "a10b2", "a10b10", "b", "x²"]


# --- real data --------------------------------------------------------------------------------------------------------


def test_real_nmnist_has_the_documented_class_counts(real_recordings: Path) -> None:
    train, test = (
        load_event_set("nmnist", "train", root=real_recordings),
        load_event_set("nmnist", "test", root=real_recordings),
    )
    assert train.labels.bincount().tolist() == [97, 116, 99, 93, 105, 92, 94, 117, 87, 100]
    assert test.labels.bincount().tolist() == [8, 14, 8, 11, 14, 7, 10, 15, 2, 11]
    assert "1,000 of 60,000 official training recordings" in train.source
    assert "100 of 10,000 official test recordings" in test.source
    lengths = [len(recording) for recording in test]
    assert min(lengths) >= 1069
    assert max(lengths) <= 7152
    assert len(test.sha256) == 64


def test_real_nmnist_as_a_plain_folder_has_the_same_recordings(real_recordings: Path) -> None:
    official, plain = load_event_set("nmnist", root=real_recordings), load_event_set(real_recordings / "NMNIST")
    assert (plain.height, plain.width) == (34, 34)
    assert set(plain.clips) == set(official.clips)
    assert plain.sha256 == official.sha256


def test_real_gestures_equal_their_single_files(real_recordings: Path) -> None:
    train = load_event_set("dvsgesture", "train", root=real_recordings)
    assert train.labels.tolist() == list(range(10))
    assert "10 gestures from 1 of 1 listed training trials (98 official)" in train.source
    singles = sorted((real_recordings / "DvsGesture_bin").glob("*.bin"), key=lambda path: natural_order(path.name))
    assert len(singles) == 10
    counts = []
    for number, (recording, path) in enumerate(zip(train, singles, strict=True), start=1):
        np.testing.assert_array_equal(recording.events, read_recording(path).events)
        assert (recording.height, recording.width, recording.t0) == (128, 128, number * 2_000_000)
        counts.append(len(recording))
    assert counts == [63471, 84260, 113063, 151879, 181179, 124244, 159617, 101288, 141773, 85936]
    assert len(load_event_set("dvsgesture", "test", root=real_recordings)) == 0

"""Event data sets: hand-written trees in every layout, the real ones where they are at hand, and ways to break them."""

import hashlib
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

from spikeflip.data import EVENT_SETS, Clip, EventSet, event_set, folder_of_recordings, load_event_set
from spikeflip.data.event_layouts import OFFICIAL, natural_order
from spikeflip.data.formats.files import read_recording, write_recording
from spikeflip.data.recordings import Recording
from spikeflip.errors import SpikeflipError

CIFAR10 = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
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


def _recording(seed: int = 0, side: int = 34, n: int = 5, last: int = 1000) -> Recording:
    """Random events, of which one is in the last pixel, so that a guess of the sensor is right for the usual ones."""
    rng = np.random.default_rng(seed)
    x, y = rng.integers(0, side, (2, n))
    x[0] = y[0] = side - 1
    return Recording.from_columns(
        np.sort(rng.integers(0, last, n)), x, y, rng.integers(0, 2, n), height=side, width=side
    )


def _write(path: Path, recording: Recording | None = None, **options: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_recording(_recording(**options) if recording is None else recording, path)
    return path


def _names(found: EventSet) -> list[str]:
    return [clip.name for clip in found.clips]


def _refused(*args: Any, **options: Any) -> str:
    with pytest.raises(SpikeflipError) as caught:
        load_event_set(*args, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# --- N-MNIST ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("prefix", ["NMNIST", ""])
def test_nmnist_takes_what_is_there_and_counts_it(tmp_path: Path, prefix: str) -> None:
    for name in ("3/00001.bin", "3/00010.bin", "0/00002.bin"):
        _write(tmp_path / prefix / "Train" / name, seed=len(name))
    _write(tmp_path / prefix / "Test" / "9" / "00005.bin", seed=7)
    (tmp_path / prefix / "Train" / "0" / ".DS_Store").touch()
    (tmp_path / prefix / "Train" / "0" / "list.html").touch()

    train, test = load_event_set("nmnist", "train", root=tmp_path), load_event_set("nmnist", root=str(tmp_path))

    assert _names(train) == ["3/00001.bin", "0/00002.bin", "3/00010.bin"]  # MNIST's order
    assert train.labels.tolist() == [3, 0, 3]
    assert train.labels.dtype == torch.int64
    assert "3 of 60,000 official training recordings" in train.source
    assert "1 other file" in train.notes[0]
    assert (test.name, test.split, len(test), test.classes) == ("nmnist", "test", 1, tuple("0123456789"))
    assert "1 of 10,000 official test recordings" in test.source
    assert test.notes == ()
    assert (test.height, test.width) == (34, 34)
    assert test.read(0).events.tolist() == _recording(seed=7).events.tolist()


def test_nmnist_is_put_on_its_sensor_and_a_larger_recording_is_refused(tmp_path: Path) -> None:
    _write(tmp_path / "Test/1/1.bin", Recording.from_columns([0], [2], [3], [1], height=34, width=34))
    _write(tmp_path / "Test/1/2.bin", side=40)
    found = load_event_set("nmnist", root=tmp_path)
    recording = found.read(0)
    assert (recording.height, recording.width, recording.notes) == (34, 34, ())
    with pytest.raises(SpikeflipError, match=r"2\.bin.*outside the sensor of 34 × 34"):
        found.read(1)


def test_nmnist_with_a_foreign_class_folder_is_not_nmnist(tmp_path: Path) -> None:
    _write(tmp_path / "Test/1/1.bin")
    _write(tmp_path / "Test/cat/1.bin")
    assert "folder 'cat' and N-MNIST only 0 to 9" in _refused("nmnist", root=tmp_path)


@pytest.mark.parametrize("name", ["1/a.bin", "1/00001.npz", "00001.bin"])
def test_nmnist_without_its_layout_says_what_was_looked_for(tmp_path: Path, name: str) -> None:
    _write(tmp_path / "NMNIST/Test" / name)
    message = _refused("nmnist", root=tmp_path)
    assert str(tmp_path) in message
    assert "<digit>/<number>.bin in NMNIST/Train" in message
    assert "--root" in message


# --- CIFAR10-DVS ------------------------------------------------------------------------------------------------------


def _aedat2(path: Path, events: list[tuple[int, int, int, int]]) -> None:
    """Write AEDAT 2.0 of the DVS128: (t, x, y, p), turned as CIFAR10-DVS is."""
    words = [((127 - x) << 8 | (127 - y) << 1 | (1 - p), t) for t, x, y, p in events]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"#!AER-DAT2.0\r\n" + np.array(words, dtype=">u4").tobytes())


def _cifar10dvs(folder: Path, count: int) -> None:
    for name in CIFAR10:
        for n in range(count):
            _aedat2(folder / name / f"cifar10_{name}_{n}.aedat", [(50, 1, 2, 1), (60 + n, 127, 127, 0)])


@pytest.mark.parametrize("prefix", ["CIFAR10DVS", ""])
def test_cifar10dvs_is_split_by_number_within_each_class(tmp_path: Path, prefix: str) -> None:
    _cifar10dvs(tmp_path / prefix, 21)
    _write(tmp_path / prefix / "cat" / "0.aedat4")  # tonic's copy beside the originals is not taken twice
    train, test = load_event_set("cifar10dvs", "train", root=tmp_path), load_event_set("cifar10dvs", root=tmp_path)

    assert (len(train), len(test)) == (190, 20)
    assert _names(test)[::10] == ["airplane/cifar10_airplane_9.aedat", "airplane/cifar10_airplane_19.aedat"]
    assert not set(_names(train)) & set(_names(test))
    assert test.labels.tolist() == [*range(10), *range(10)]  # any beginning holds all classes
    assert test.classes == CIFAR10
    assert "210 of 10,000 official recordings, 20 of them for test" in test.source
    assert "no official split: every tenth" in test.notes[0]
    assert "1 other file" in test.notes[1]
    recording = test.read(10)
    assert (recording.height, recording.width, recording.t0) == (128, 128, 50)
    assert recording.events.tolist() == [(0, 1, 2, True), (29, 127, 127, False)]


def test_cifar10dvs_as_tonic_has_it(tmp_path: Path) -> None:
    pytest.importorskip("faery")
    for name in CIFAR10:
        for n in range(10):
            (tmp_path / "CIFAR10DVS" / name).mkdir(parents=True, exist_ok=True)
            (tmp_path / "CIFAR10DVS" / name / f"{n}.aedat4").touch()
    _write(tmp_path / "CIFAR10DVS/bird/9.aedat4", side=128)
    test = load_event_set("cifar10dvs", root=tmp_path)
    assert _names(test) == [f"{name}/9.aedat4" for name in CIFAR10]
    assert test.read(2).events.tolist() == _recording(side=128).events.tolist()


def test_small_or_incomplete_cifar10dvs(tmp_path: Path) -> None:
    _cifar10dvs(tmp_path, 2)
    test = load_event_set("cifar10dvs", root=tmp_path)
    assert len(test) == 0
    assert test.labels.shape == (0,)
    assert test.notes[1] == "no test recordings here: no class has ten"
    (tmp_path / "ship").rename(tmp_path / "boat")
    assert "all ten class folders, airplane to truck" in _refused("cifar10dvs", root=tmp_path)


# --- DVS128 Gesture ---------------------------------------------------------------------------------------------------

HEADER = "class,startTime_usec,endTime_usec\n"


def _gestures(folder: Path, rows: str, *, name: str = "user01_led", split: str = "test", n: int = 400) -> Recording:
    """One recording with an event every 10 µs from 1000 µs on, its labels, and the list of trials."""
    rng = np.random.default_rng(3)
    x, y, p = rng.integers(0, 128, n), rng.integers(0, 128, n), rng.integers(0, 2, n)
    recording = Recording.from_columns(10 * np.arange(n), x, y, p, height=128, width=128, t0=1000)
    _write(folder / f"{name}.aedat", recording)
    (folder / f"{name}_labels.csv").write_text(HEADER + rows)
    (folder / f"trials_to_{split}.txt").write_text(f"{name}.aedat\n\n")
    return recording


@pytest.mark.parametrize("prefix", ["DvsGesture", ""])
def test_dvsgesture_cuts_labelled_windows_of_the_file_clock(tmp_path: Path, prefix: str) -> None:
    whole = _gestures(tmp_path / prefix, "2,1000,1100\n11,2005,2100\n2,3000,3050\n")
    test = load_event_set("dvsgesture", root=tmp_path)

    assert _names(test) == [
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
    _write(path, Recording.from_columns([1010], [5], [6], [1], height=128, width=128))
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
    error = _refused("dvsgesture", root=tmp_path)
    assert message in error
    assert "user01_led_labels.csv" in error


def test_missing_trials_are_counted_and_none_or_no_labels_is_an_error(tmp_path: Path) -> None:
    _gestures(tmp_path, "1,1000,1100\n", split="train")
    trials = tmp_path / "trials_to_train.txt"
    trials.write_text("user01_led.aedat\r\nuser02_lab.aedat\r\nuser01_led.aedat\r\n")
    train = load_event_set("dvsgesture", "train", root=tmp_path)
    assert "1 gesture from 1 of 2 listed training trials (98 official)" in train.source
    assert "looked for trials_to_train.txt" in _refused("dvsgesture", "test", root=tmp_path)
    trials.write_text("user02_lab.aedat\nuser03_lab.aedat")
    assert "none of the 2 recordings" in _refused("dvsgesture", "train", root=tmp_path)
    trials.write_text("../user01_led.aedat\n")
    assert "every line must be the name of an .aedat file" in _refused("dvsgesture", "train", root=tmp_path)
    trials.write_text("user01_led.aedat\n")
    (tmp_path / "user01_led_labels.csv").unlink()
    assert "user01_led_labels.csv does not exist" in _refused("dvsgesture", "train", root=tmp_path)


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
    assert _names(test) == [f"user24_fluorescent/{label}.npy" for label in (0, 2, 10)]
    assert test.labels.tolist() == [0, 2, 10]
    assert "3 of its 264 test gestures" in test.source
    assert "1 other file" in test.notes[1]
    recording = test.read(2)
    assert (recording.height, recording.width, recording.t0) == (128, 128, 7000)
    assert recording.events.tolist() == [(0, 1, 2, False), (12000, 127, 120, True)]


# --- folders ----------------------------------------------------------------------------------------------------------


def test_a_folder_of_classes_is_split_by_natural_order(tmp_path: Path) -> None:
    for n in (1, 2, 3, 4, 9, 10, 20, 30, 40, 50):
        _write(tmp_path / "c10" / f"r{n}.bin", seed=n)
    for n in range(4):
        _write(tmp_path / "c9" / f"{n}.NPZ", seed=n) if n else _write(tmp_path / "c9" / "0.npz")
    (tmp_path / "c9" / ".hidden.bin").touch()
    (tmp_path / "c9" / "photo.png").touch()
    (tmp_path / "README.md").touch()
    (tmp_path / "empty").mkdir()
    test, train = load_event_set(tmp_path), load_event_set(str(tmp_path), "train")

    assert test.classes == train.classes == ("c9", "c10")
    assert _names(test) == ["c10/r9.bin", "c10/r50.bin"]
    assert test.labels.tolist() == [1, 1]
    assert len(train) == 12
    assert not set(_names(train)) & set(_names(test))
    assert "2 of 14, 2 class folders" in test.source
    assert test.notes[0].startswith("no split in the folder: every fifth recording")
    assert test.notes[1].startswith("2 other files")
    assert (test.height, test.width) == (34, 34)
    assert test.name == f"folder {tmp_path.name}"


@pytest.mark.parametrize(("train_name", "test_name"), [("train", "test"), ("Train", "Test")])
def test_a_folder_with_a_split_has_one_list_of_classes(tmp_path: Path, train_name: str, test_name: str) -> None:
    for name in ("b", "a"):
        _write(tmp_path / train_name / name / "1.bin")
    _write(tmp_path / test_name / "b" / "7.bin")
    _write(tmp_path / test_name / "z" / "1.bin")
    test, train = load_event_set(tmp_path), load_event_set(tmp_path, "train")
    assert test.classes == train.classes == ("a", "b", "z")
    assert _names(test) == ["b/7.bin", "z/1.bin"]
    assert test.labels.tolist() == [1, 2]
    assert train.labels.tolist() == [0, 1]
    assert "guessed" in test.notes[0]
    assert len(test.notes) == 1


def test_a_class_named_train_is_no_split(tmp_path: Path) -> None:
    for name in ("car", "train"):
        for n in range(5):
            _write(tmp_path / name / f"{n}.npz", seed=n)
    assert _names(load_event_set(tmp_path)) == ["car/4.npz", "train/4.npz"]


def test_a_split_without_recordings_has_no_clips_and_a_missing_one_is_an_error(tmp_path: Path) -> None:
    _write(tmp_path / "flat" / "a" / "1.npz")
    _write(tmp_path / "parts" / "train" / "a" / "1.npz")
    assert "'train' but none named 'test'" in _refused(tmp_path / "parts")
    (tmp_path / "parts" / "test" / "a").mkdir(parents=True)
    for name, why in (("flat", "no class has five"), ("parts", "test has none")):
        found = load_event_set(tmp_path / name)
        assert len(found) == 0
        assert (found.height, found.width, found.classes) == (34, 34, ("a",))
        assert found.notes[-1].startswith("no test recordings here: ")
        assert found.notes[-1].endswith(why)


def test_a_folder_named_like_a_set_is_not_that_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _write(tmp_path / "nmnist" / "a" / "1.npz", side=8)
    monkeypatch.chdir(tmp_path)
    assert load_event_set(Path("nmnist"), "train").name == load_event_set("./nmnist", "train").name == "folder nmnist"
    assert "no test recordings of N-MNIST" in _refused("nmnist", root=tmp_path / "nmnist")


def test_mixed_sensors_are_refused_when_loaded_unless_a_size_is_given(tmp_path: Path) -> None:
    small, large = _write(tmp_path / "a/1.npz", side=34), _write(tmp_path / "b/1.npz", side=64)
    message = _refused(tmp_path, "train")
    assert f"{small} is of a sensor of 34 × 34 and {large} of 64 × 64" in message
    assert "(height=, width=)" in message
    found = load_event_set(tmp_path, "train", height=70, width=80)
    assert [(recording.height, recording.width) for recording in found] == [(70, 80)] * 2
    with pytest.raises(SpikeflipError, match="outside the sensor of 34 × 34"):
        list(load_event_set(tmp_path, "train", height=34, width=34))


def test_guessed_sensors_that_differ_are_refused_as_well(tmp_path: Path) -> None:
    _write(tmp_path / "a/1.bin", side=34), _write(tmp_path / "b/1.bin", side=128)
    assert "34 × 34" in (message := _refused(tmp_path, "train"))
    assert "128 × 128" in message


def test_later_recordings_are_checked_when_read(tmp_path: Path) -> None:
    stated, other = _write(tmp_path / "a/1.npz", side=128), _write(tmp_path / "a/2.npz", side=64)
    _write(tmp_path / "a/3.bin", side=34), _write(tmp_path / "a/4.bin", side=200)
    found = load_event_set(tmp_path, "train")
    assert (found.height, found.width) == (128, 128)
    assert not any("guessed" in note for note in found.notes)
    assert len(found.read(0)) == 5
    with pytest.raises(SpikeflipError) as caught:
        found.read(1)
    assert f"{stated} is of a sensor of 128 × 128 and {other} of 64 × 64" in str(caught.value)
    placed = found.read(2)  # its guess, 34 × 34, gives way
    assert (placed.height, placed.width, placed.notes) == (128, 128, ())
    with pytest.raises(SpikeflipError, match=r"4\.bin.*outside the sensor of 128 × 128"):
        found.read(3)


@pytest.mark.parametrize("content", [[], ["a.bin"], ["a/notes.md"], ["a/b/1.bin"]])
def test_a_folder_without_class_folders_is_refused(tmp_path: Path, content: list[str]) -> None:
    for name in content:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert "no sub-folder with recordings (.aedat, .aedat4, .bin" in _refused(tmp_path)


def test_a_damaged_first_recording_is_named(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "1.bin").write_bytes(b"123")
    assert str(tmp_path / "a" / "1.bin") in _refused(tmp_path)


def test_an_unreadable_folder_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("spikeflip.data.event_layouts.os.scandir", refuse)
    assert "cannot be read (Permission denied)" in _refused(tmp_path)


# --- recordings without a split ---------------------------------------------------------------------------------------


def test_folder_of_recordings_labels_by_sub_folder_in_natural_order(tmp_path: Path) -> None:
    for name in ("wave/10.npz", "wave/9.npz", "7/clap/1.npz", "other/1.npz", "1.npz"):
        _write(tmp_path / name)
    (tmp_path / "other" / "notes.md").touch()
    found = folder_of_recordings(tmp_path, ("clap", "wave"))
    assert _names(found) == ["1.npz", "7/clap/1.npz", "other/1.npz", "wave/9.npz", "wave/10.npz"]
    assert found.labels.tolist() == [-1, 0, -1, 1, 1]
    assert (found.split, found.height, found.width, len(found.read(2))) == ("all", 34, 34, 5)
    assert found.source.endswith(": 5 recordings")
    assert "1 other file" in found.notes[0]
    assert folder_of_recordings(tmp_path, ("clap", "wave"), label=1).labels.tolist() == [1] * 5


def test_one_recording_is_a_set_of_one(tmp_path: Path) -> None:
    path = _write(tmp_path / "wave" / "1.bin")
    found = folder_of_recordings(str(path), ("clap", "wave"), height=40, width=50)
    assert _names(found) == ["1.bin"]
    assert found.labels.tolist() == [-1]
    assert (found.read(0).height, found.read(0).width) == (40, 50)
    assert found.name == "file 1.bin"


def test_folder_of_recordings_refuses(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "absent"):
        with pytest.raises(SpikeflipError, match="no recording and no folder with any"):
            folder_of_recordings(path, ("a",))
    small, large = _write(tmp_path / "a" / "1.npz"), _write(tmp_path / "b" / "1.npz", side=50)
    with pytest.raises(SpikeflipError, match="a set has one sensor") as caught:
        folder_of_recordings(tmp_path, ("a",))
    assert str(small) in str(caught.value)
    assert str(large) in str(caught.value)
    with pytest.raises(SpikeflipError, match="label 1 is no class: give 0 to 0"):
        folder_of_recordings(small, ("a",), label=1)
    with pytest.raises(SpikeflipError, match="give both"):
        folder_of_recordings(small, ("a",), width=34)


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


# --- download ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def tonic(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """A tonic without data sets; tests put theirs in."""
    package, datasets = ModuleType("tonic"), ModuleType("tonic.datasets")
    monkeypatch.setitem(sys.modules, "tonic", package)
    monkeypatch.setitem(sys.modules, "tonic.datasets", datasets)
    return datasets


def test_tonic_downloads_what_is_missing_silently_and_once(tmp_path: Path, tonic: Any, capfd: Any) -> None:
    calls = []

    def fetch_nmnist(save_to: str, train: bool) -> None:
        calls.append(train)
        sys.stderr.write("0 %")
        sys.stdout.write("done")
        _write(Path(save_to) / "NMNIST" / ("Train" if train else "Test") / "4" / "1.bin")

    def fetch_gestures(save_to: str, train: bool) -> None:
        folder = Path(save_to) / "DVSGesture" / ("ibmGestureTrain" if train else "ibmGestureTest") / "user01_led"
        folder.mkdir(parents=True)
        np.save(folder / "3.npy", np.array([[1, 2, 0, 7]]))

    tonic.NMNIST, tonic.DVSGesture = fetch_nmnist, fetch_gestures
    tonic.CIFAR10DVS = lambda save_to: _cifar10dvs(Path(save_to) / "CIFAR10DVS", 10)
    root = tmp_path / "new"
    for split in ("train", "test", "train"):
        assert load_event_set("nmnist", split, root=root, download=True).labels.tolist() == [4]
    assert calls == [True, False]
    assert load_event_set("dvsgesture", "train", root=root, download=True).labels.tolist() == [3]
    assert load_event_set("cifar10dvs", root=root, download=True).labels.tolist() == list(range(10))
    assert capfd.readouterr() == ("", "")


def test_download_without_tonic_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tonic", None)
    monkeypatch.setitem(sys.modules, "tonic.datasets", None)
    message = _refused("nmnist", root=tmp_path, download=True)
    assert message == "downloading event data sets needs tonic (GPL-3.0): pip install tonic"


def test_a_failed_or_fruitless_download_is_one_line(tmp_path: Path, tonic: Any) -> None:
    def fail(save_to: str) -> None:
        raise RuntimeError("File not found\nor corrupted.")

    tonic.CIFAR10DVS = fail
    message = _refused("cifar10dvs", root=tmp_path, download=True)
    assert "CIFAR10-DVS could not be downloaded" in message
    assert "(File not found or corrupted.)" in message
    tonic.NMNIST = lambda save_to, train: None
    assert "no test recordings of N-MNIST" in _refused("nmnist", root=tmp_path, download=True)
    assert "no test recordings of N-MNIST" in _refused("nmnist", root=tmp_path / "absent", download=True)


def test_the_real_tonic_has_the_classes_and_arguments_that_are_called() -> None:
    import inspect

    datasets = pytest.importorskip("tonic.datasets")
    for official in OFFICIAL.values():
        parameters = inspect.signature(getattr(datasets, official.tonic)).parameters
        assert "save_to" in parameters
        assert ("train" in parameters) == official.split_by_tonic


# --- arguments --------------------------------------------------------------------------------------------------------


def test_unknown_names_splits_roots_and_sizes(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert "neither an event data set (nmnist, dvsgesture, cifar10dvs) nor a folder" in _refused("mnist-dvs")
    assert "nor a folder" in _refused(tmp_path / "file")
    assert "choose train or test" in _refused("nmnist", "validation", root=tmp_path)
    assert "no root was given: add --root" in _refused("nmnist")
    assert "is not a folder" in _refused("nmnist", root=tmp_path / "absent")
    assert "is not a folder" in _refused("nmnist", root=tmp_path / "file", download=True)
    assert "give both" in _refused("nmnist", root=tmp_path, height=34)
    assert "34 × 34 pixels, not 40 × 30" in _refused("nmnist", root=tmp_path, height=30, width=40)
    _write(tmp_path / "Test/1/1.bin")
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

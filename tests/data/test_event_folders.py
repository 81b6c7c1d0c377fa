"""Folders of recordings: with a split, without one, and without classes."""

from pathlib import Path

import pytest
from event_sets import names, refused, write

from spikeflip.data import folder_of_recordings, load_event_set
from spikeflip.errors import SpikeflipError

# --- folders ----------------------------------------------------------------------------------------------------------


def test_a_folder_of_classes_is_split_by_natural_order(tmp_path: Path) -> None:
    for n in (1, 2, 3, 4, 9, 10, 20, 30, 40, 50):
        write(tmp_path / "c10" / f"r{n}.bin", seed=n)
    for n in range(4):
        write(tmp_path / "c9" / f"{n}.NPZ", seed=n) if n else write(tmp_path / "c9" / "0.npz")
    (tmp_path / "c9" / ".hidden.bin").touch()
    (tmp_path / "c9" / "photo.png").touch()
    (tmp_path / "README.md").touch()
    (tmp_path / "empty").mkdir()
    test, train = load_event_set(tmp_path), load_event_set(str(tmp_path), "train")

    assert test.classes == train.classes == ("c9", "c10")
    assert names(test) == ["c10/r9.bin", "c10/r50.bin"]
    assert test.labels.tolist() == [1, 1]
    assert len(train) == 12
    assert not set(names(train)) & set(names(test))
    assert "2 of 14, 2 class folders" in test.source
    assert test.notes[0].startswith("no split in the folder: every fifth recording")
    assert test.notes[1].startswith("2 other files")
    assert (test.height, test.width) == (34, 34)
    assert test.name == f"folder {tmp_path.name}"


@pytest.mark.parametrize(("train_name", "test_name"), [("train", "test"), ("Train", "Test")])
def test_a_folder_with_a_split_has_one_list_of_classes(tmp_path: Path, train_name: str, test_name: str) -> None:
    for name in ("b", "a"):
        write(tmp_path / train_name / name / "1.bin")
    write(tmp_path / test_name / "b" / "7.bin")
    write(tmp_path / test_name / "z" / "1.bin")
    test, train = load_event_set(tmp_path), load_event_set(tmp_path, "train")
    assert test.classes == train.classes == ("a", "b", "z")
    assert names(test) == ["b/7.bin", "z/1.bin"]
    assert test.labels.tolist() == [1, 2]
    assert train.labels.tolist() == [0, 1]
    assert "guessed" in test.notes[0]
    assert len(test.notes) == 1


def test_a_class_named_train_is_no_split(tmp_path: Path) -> None:
    for name in ("car", "train"):
        for n in range(5):
            write(tmp_path / name / f"{n}.npz", seed=n)
    assert names(load_event_set(tmp_path)) == ["car/4.npz", "train/4.npz"]


def test_a_split_without_recordings_has_no_clips_and_a_missing_one_is_an_error(tmp_path: Path) -> None:
    write(tmp_path / "flat" / "a" / "1.npz")
    write(tmp_path / "parts" / "train" / "a" / "1.npz")
    assert "'train' but none named 'test'" in refused(tmp_path / "parts")
    (tmp_path / "parts" / "test" / "a").mkdir(parents=True)
    for name, why in (("flat", "no class has five"), ("parts", "test has none")):
        found = load_event_set(tmp_path / name)
        assert len(found) == 0
        assert (found.height, found.width, found.classes) == (34, 34, ("a",))
        assert found.notes[-1].startswith("no test recordings here: ")
        assert found.notes[-1].endswith(why)


def test_a_folder_named_like_a_set_is_not_that_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "nmnist" / "a" / "1.npz", side=8)
    monkeypatch.chdir(tmp_path)
    assert load_event_set(Path("nmnist"), "train").name == load_event_set("./nmnist", "train").name == "folder nmnist"
    assert "no test recordings of N-MNIST" in refused("nmnist", root=tmp_path / "nmnist")


def test_mixed_sensors_are_refused_when_loaded_unless_a_size_is_given(tmp_path: Path) -> None:
    small, large = write(tmp_path / "a/1.npz", side=34), write(tmp_path / "b/1.npz", side=64)
    message = refused(tmp_path, "train")
    assert f"{small} is of a sensor of 34 × 34 and {large} of 64 × 64" in message
    assert "(height=, width=)" in message
    found = load_event_set(tmp_path, "train", height=70, width=80)
    assert [(recording.height, recording.width) for recording in found] == [(70, 80)] * 2
    with pytest.raises(SpikeflipError, match="outside the sensor of 34 × 34"):
        list(load_event_set(tmp_path, "train", height=34, width=34))


def test_guessed_sensors_that_differ_are_refused_as_well(tmp_path: Path) -> None:
    write(tmp_path / "a/1.bin", side=34), write(tmp_path / "b/1.bin", side=128)
    assert "34 × 34" in (message := refused(tmp_path, "train"))
    assert "128 × 128" in message


def test_later_recordings_are_checked_when_read(tmp_path: Path) -> None:
    stated, other = write(tmp_path / "a/1.npz", side=128), write(tmp_path / "a/2.npz", side=64)
    write(tmp_path / "a/3.bin", side=34), write(tmp_path / "a/4.bin", side=200)
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
    assert "no sub-folder with recordings (.aedat, .aedat4, .bin" in refused(tmp_path)


def test_a_damaged_first_recording_is_named(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "1.bin").write_bytes(b"123")
    assert str(tmp_path / "a" / "1.bin") in refused(tmp_path)


def test_an_unreadable_folder_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("spikeflip.data.event_layouts.os.scandir", refuse)
    assert "cannot be read (Permission denied)" in refused(tmp_path)


def test_a_folder_with_a_link_to_itself_says_what_to_remove(tmp_path: Path) -> None:
    write(tmp_path / "1.npz")
    (tmp_path / "again").symlink_to(".")
    with pytest.raises(SpikeflipError, match="remove the link to a folder above itself"):
        folder_of_recordings(tmp_path, ("a",))


# --- recordings without a split ---------------------------------------------------------------------------------------


def test_folder_of_recordings_labels_by_sub_folder_in_natural_order(tmp_path: Path) -> None:
    for name in ("wave/10.npz", "wave/9.npz", "7/clap/1.npz", "other/1.npz", "1.npz"):
        write(tmp_path / name)
    (tmp_path / "other" / "notes.md").touch()
    found = folder_of_recordings(tmp_path, ("clap", "wave"))
    assert names(found) == ["1.npz", "7/clap/1.npz", "other/1.npz", "wave/9.npz", "wave/10.npz"]
    assert found.labels.tolist() == [-1, 0, -1, 1, 1]
    assert (found.split, found.height, found.width, len(found.read(2))) == ("all", 34, 34, 5)
    assert found.source.endswith(": 5 recordings")
    assert "1 other file" in found.notes[0]
    assert folder_of_recordings(tmp_path, ("clap", "wave"), label=1).labels.tolist() == [1] * 5


def test_one_recording_is_a_set_of_one(tmp_path: Path) -> None:
    path = write(tmp_path / "wave" / "1.bin")
    found = folder_of_recordings(str(path), ("clap", "wave"), height=40, width=50)
    assert names(found) == ["1.bin"]
    assert found.labels.tolist() == [-1]
    assert (found.read(0).height, found.read(0).width) == (40, 50)
    assert found.name == "file 1.bin"


def test_folder_of_recordings_refuses(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "absent"):
        with pytest.raises(SpikeflipError, match="no recording and no folder with any"):
            folder_of_recordings(path, ("a",))
    small, large = write(tmp_path / "a" / "1.npz"), write(tmp_path / "b" / "1.npz", side=50)
    with pytest.raises(SpikeflipError, match="a set has one sensor") as caught:
        folder_of_recordings(tmp_path, ("a",))
    assert str(small) in str(caught.value)
    assert str(large) in str(caught.value)
    with pytest.raises(SpikeflipError, match="label 1 is no class: give 0 to 0"):
        folder_of_recordings(small, ("a",), label=1)
    with pytest.raises(SpikeflipError, match="give both"):
        folder_of_recordings(small, ("a",), width=34)

"""Labels are the victim's classes, by their names, and data are told apart by the order of their recordings too."""

import json
import shutil
from pathlib import Path

import pyarrow.parquet
import pytest

from spikeflip import SpikeflipError
from spikeflip.data import Clip, read_recording
from spikeflip.data.event_layouts import Contents
from spikeflip.data.event_set import event_set
from spikeflip.runs import AttackConfig, judge_files, run_attack, transfer_run
from spikeflip.runs.inputs import class_at
from spikeflip.snn.checkpoint import load_checkpoint, save_checkpoint


def labels_of(victim, data, out):
    run_attack(AttackConfig(victim=victim, data=str(data), steps=1), out, page=False)
    return pyarrow.parquet.read_table(out / "rows.parquet")["label"].to_pylist()


def renamed(victim, classes, out):
    """The victim with other names for its classes."""
    checkpoint = load_checkpoint(victim)
    save_checkpoint(checkpoint.network, out, {**checkpoint.facts, "classes": classes})
    return out


def test_a_folder_without_some_classes_keeps_the_labels_of_the_others(small_recordings, tmp_path):
    victim, data = small_recordings
    assert labels_of(victim, data, tmp_path / "all") == [0, 1]
    shutil.copytree(data / "right", tmp_path / "some" / "right")
    assert labels_of(victim, tmp_path / "some", tmp_path / "run") == [1]
    assert json.loads((tmp_path / "run" / "config.json").read_text())["classes"] == ["left", "right"]


def test_labels_follow_the_victims_order_of_names(small_recordings, tmp_path):
    victim, data = small_recordings
    assert labels_of(renamed(victim, ["right", "left"], tmp_path / "v"), data, tmp_path / "run") == [1, 0]


def test_a_class_that_the_victim_does_not_have_is_refused(small_recordings, tmp_path):
    victim, data = small_recordings
    shutil.copytree(data, tmp_path / "more")
    shutil.copytree(data / "left", tmp_path / "more" / "middle")
    with pytest.raises(SpikeflipError, match="has a class 'middle', and the victim has left, right: name the sub-fold"):
        labels_of(victim, tmp_path / "more", tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_run_with_labels_of_other_names_is_not_gone_on_with(small_recordings, tmp_path):
    """As an earlier version wrote it, which counted the folder's own classes."""
    victim, data = small_recordings
    shutil.copytree(data / "right", tmp_path / "some" / "right")
    labels_of(victim, tmp_path / "some", tmp_path / "run")
    config = json.loads((tmp_path / "run" / "config.json").read_text()) | {"classes": ["right"]}
    (tmp_path / "run" / "config.json").write_text(json.dumps(config))
    with pytest.raises(SpikeflipError, match=r"holds a run with other options [(]classes: "):
        labels_of(victim, tmp_path / "some", tmp_path / "run")


def test_inputs_are_not_shown_to_a_victim_of_other_classes(small_recordings, tmp_path):
    victim, data = small_recordings
    labels_of(victim, data, tmp_path / "run")
    assert transfer_run(tmp_path / "run", victim, successes=False)["n"] == 2
    other = renamed(victim, ["right", "left"], tmp_path / "v")
    with pytest.raises(SpikeflipError, match=r"and the victim has .'right', 'left'.: choose a victim of the same data"):
        transfer_run(tmp_path / "run", other, successes=False)


def test_the_checksum_holds_the_order_of_a_list_of_files(tmp_path):
    """Rows and samples go by position: in another order they are other inputs."""
    for name in ("a.aedat", "b.aedat"):
        (tmp_path / name).write_bytes(b"")

    def checksum(*names):
        clips = tuple(Clip(tmp_path / name, 0, f"{Path(name).stem}/one.aedat", 0, 9) for name in names)
        return event_set("set", "test", Contents(clips, "here"), ("one",), (4, 4)).sha256

    assert checksum("a.aedat", "b.aedat") != checksum("b.aedat", "a.aedat")


GESTURES = ("hand clapping", "right hand wave", "left hand wave")


@pytest.mark.parametrize(
    ("said", "position"),
    [
        ("right hand wave", 1),
        ("Right_Hand-Wave", 1),
        (2, 2),
        ("2", 2),
        ("hand clapping", 0),
    ],
)
def test_a_class_is_named_or_numbered(said, position):
    assert class_at(said, GESTURES, "--label") == position


def test_a_name_counts_before_a_number():
    assert class_at("1", ("1", "2", "3"), "--label") == class_at(1, ("1", "2", "3"), "--label") == 0


@pytest.mark.parametrize("said", ["-1", -1, "--2", "00000000010"])
def test_a_sign_is_no_hyphen_and_all_digits_count(said):
    with pytest.raises(SpikeflipError, match=f"--target {said} is out of range"):
        class_at(said, ("1", "2", "3"), "--target")


@pytest.mark.parametrize(("said", "what"), [("wave", "no class"), (3, "out of range"), (-1, "out of range")])
def test_other_classes_are_refused_and_the_names_said(said, what):
    with pytest.raises(SpikeflipError, match=rf"--target {said} is {what}: the classes are 0 \(hand clapping\), 1 \(r"):
        class_at(said, GESTURES, "--target")


def test_labels_and_targets_are_attacked_by_name(small_recordings, tmp_path):
    victim, data = small_recordings
    path = next((data / "right").iterdir())
    for label, target, out in (("right", "left", "a"), (1, "0", "b")):
        options = {"victim": victim, "input": path, "label": label, "target": target, "steps": 1}
        run_attack(AttackConfig(**options), tmp_path / out, page=False)
    first, second = (pyarrow.parquet.read_table(tmp_path / out / "rows.parquet") for out in "ab")
    assert first.equals(second)
    assert (first["label"].to_pylist(), first["target"].to_pylist()) == ([1], [0])


def test_text_recordings_are_attacked_with_their_columns(small_recordings, tmp_path):
    victim, data = small_recordings
    recording = read_recording(next((data / "right").iterdir()))
    rows = (f"{x} {y} {int(p)} {t / 1000:.3f}\n" for t, x, y, p in recording.events.tolist())
    (tmp_path / "a.txt").write_text("".join(rows))
    options = {"victim": victim, "input": tmp_path / "a.txt", "label": "right", "steps": 1}
    options["sensor"] = f"{recording.width}x{recording.height}"
    run_attack(AttackConfig(**options, columns="x,y,p,t", time_unit="ms"), tmp_path / "run", page=False)
    kept = set(read_recording(tmp_path / "run" / "adversarial" / "a.txt").events["t"].tolist())
    assert len(kept & set(recording.events["t"].tolist())) > len(kept) / 2  # µs again, as written here
    with pytest.raises(SpikeflipError, match=r"a\.txt: its times, such as .* --time-unit"):
        run_attack(AttackConfig(**options, columns="x,y,p,t"), tmp_path / "no", page=False)
    (answer,) = judge_files(victim, [tmp_path / "a.txt"], columns="x,y,p,t", time_unit="ms")
    assert answer["events"] == len(recording)

"""Labels are the victim's classes, by their names, and data are told apart by the order of their recordings too."""

import json
import shutil
from pathlib import Path

import pyarrow.parquet
import pytest

from spikeflip import SpikeflipError
from spikeflip.data import Clip
from spikeflip.data.event_layouts import Contents
from spikeflip.data.event_set import event_set
from spikeflip.runs import AttackConfig, run_attack, transfer_run
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

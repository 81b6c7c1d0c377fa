"""What a power cut can take: nothing that a name says is finished, nothing that replaces what was removed."""

import errno
import os
import stat
import sys
from pathlib import Path

import pytest
from disk_events import record, whole
from disturbances import full_disk, small_config

from spikeflip import SpikingNetwork, load_checkpoint, load_images
from spikeflip.errors import SpikeflipError
from spikeflip.runs import AttackConfig, TrainConfig, run_attack, run_training
from spikeflip.runs.folder import new_folder
from spikeflip.snn.checkpoint import save_checkpoint
from spikeflip.writing import PARTIAL

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="folders cannot be opened there")


def state(path):
    """What tells a file or folder from one that was written to since."""
    found = path.stat()
    return found.st_ino, found.st_size, found.st_mtime_ns


@pytest.fixture
def disk(monkeypatch):
    """The files and folders whose last content was brought to the disk; checks what relies on that."""
    safe, relied = set(), []
    rename, replace, remove, fsync = os.rename, os.replace, os.unlink, os.fsync

    def synced(descriptor):
        fsync(descriptor)
        found = os.fstat(descriptor)
        safe.add((found.st_ino, found.st_size, found.st_mtime_ns))

    def needs(paths, what):
        assert [path for path in paths if state(path) not in safe] == []
        relied.append(what)

    def renamed(path, target):
        needs([Path(path), *Path(path).rglob("*")], Path(target).name)
        rename(path, target)

    def replaced(path, target):
        # A recording in a shard's folder is nothing yet.
        if "adversarial" not in Path(target).parts or not any(PARTIAL in part for part in Path(target).parts):
            needs([Path(path)], Path(target).name)
        replace(path, target)

    def removed(path, *given, **options):
        path = Path(path)
        if path.name == "shard.json" and relied[-1] != "without shards":
            shards = path.parents[1]
            others = [p for p in shards.parent.rglob("*") if shards not in (p, *p.parents)]
            needs([shards.parent, *(p for p in others if p.name not in ("run.log", ".lock"))], "without shards")
        remove(path, *given, **options)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, "rename", renamed)
    monkeypatch.setattr(os, "replace", replaced)
    monkeypatch.setattr(os, "unlink", removed)
    return relied


def test_all_is_on_the_disk_before_a_name_says_so(small_victim, disk, tmp_path):
    run_attack(small_config(small_victim), tmp_path / "run")
    assert [name for name in disk if name.isdigit()] == [f"{number:05}" for number in range(6)]
    assert disk.count("shard.json") == 6
    assert disk[-5:] == ["outputs.safetensors", "manifest.json", "summary.json", "report.html", "without shards"]


def test_recordings_are_on_the_disk_before_their_shard_is_finished(small_recordings, disk, tmp_path):
    victim, data = small_recordings
    run_attack(AttackConfig(victim=victim, input=data, shard_size=6, steps=3), tmp_path / "run")
    assert sum(name.endswith((".npz", ".bin")) for name in disk) == 12
    assert disk[-1] == "without shards"


TINY = TrainConfig(network="4C3-AP2-10FC", updates=2, batch_size=8, validate_every=1, validation=10, test_samples=10)
STATE, CLAIM = "training.safetensors", "training.json"
VICTIM = [("sync", "home"), *whole("weights.safetensors", "v"), *whole("victim.json", "v")]


def test_a_training_removes_its_state_when_the_victim_is_on_the_disk(monkeypatch, tmp_path):
    events = record(monkeypatch, tmp_path)
    run_training(TINY, tmp_path / "v")
    events = [event for event in events if ".lock" not in event]
    saved = [("sync", "home"), *whole(STATE, "v")]
    assert events[:4] == [("sync", "home"), *whole(CLAIM, "v")]
    assert events[4:] == [*saved, *saved, *VICTIM, ("remove", STATE), ("remove", CLAIM)]


@pytest.mark.parametrize("at", [1, 2])
def test_a_victim_that_finds_no_room_leaves_the_one_that_was_there(monkeypatch, tmp_path, at):
    networks = [SpikingNetwork("4C3-AP2-10FC", (1, 8, 8), time_steps=5, seed=seed) for seed in (0, 1)]
    save_checkpoint(networks[0], tmp_path / "v", {})
    before = load_checkpoint(tmp_path / "v").sha256
    events = record(monkeypatch, tmp_path)
    with monkeypatch.context() as patch:
        full_disk(patch, tmp_path, at)
        with pytest.raises(OSError, match="No space left"):
            save_checkpoint(networks[1], tmp_path / "v", {})
    assert load_checkpoint(tmp_path / "v").sha256 == before
    assert sorted(path.name for path in (tmp_path / "v").iterdir()) == ["victim.json", "weights.safetensors"]
    events.clear()
    save_checkpoint(networks[1], tmp_path / "v", {})
    assert events == VICTIM
    assert load_checkpoint(tmp_path / "v").sha256 != before


def test_a_training_that_was_killed_while_it_saved_goes_on(tmp_path):
    """Before it had saved anything, and while it said whose the folder is."""
    (tmp_path / "v").mkdir()
    for name in (".lock", f".{CLAIM}.0123abcd{PARTIAL}"):
        (tmp_path / "v" / name).touch()
    run_training(TINY, tmp_path / "v")
    assert sorted(path.name for path in (tmp_path / "v").iterdir()) == ["victim.json", "weights.safetensors"]
    digits = load_images("digits", "train").images
    assert load_checkpoint(tmp_path / "v").network.scores(digits[:2, None].expand(2, 10, 1, 8, 8)).shape == (2, 10)


def test_a_new_folder_has_its_name_when_all_in_it_is_on_the_disk(monkeypatch, tmp_path):
    (tmp_path / "new").mkdir()
    events = record(monkeypatch, tmp_path)
    with new_folder(tmp_path / "new") as partial:
        (partial / "file").write_text("one")
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["file"]
    at = next(number for number, event in enumerate(events) if event[0] == "name")
    assert sorted(events[at - 2 : at]) == [("sync", "file"), ("sync", "new*")]
    assert events[at + 1 :] == [("sync", "home")]


def test_a_disk_that_fails_is_one_sentence(small_victim, tmp_path, monkeypatch):
    fsync = os.fsync

    def fail(descriptor):
        if stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(SpikeflipError, match=r"cannot be written \(Input/output error\): see that the disk has room"):
        run_attack(small_config(small_victim), tmp_path / "run")


def test_a_disk_that_cannot_be_asked_is_good_enough(small_victim, undisturbed, results, tmp_path, monkeypatch):
    def refuse(_):
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))

    monkeypatch.setattr(os, "fsync", refuse)
    run_attack(small_config(small_victim), tmp_path / "run")
    assert results(tmp_path / "run") == results(undisturbed)

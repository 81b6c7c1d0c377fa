"""What a power cut can take: nothing that a name says is finished, nothing that replaces what was removed."""

import errno
import os
import shutil
import sys
from pathlib import Path

import pytest
from disturbances import small_config

from spikeflip.errors import SpikeflipError
from spikeflip.runs import AttackConfig, folder, run_attack

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="folders cannot be opened there")


def state(path):
    """What tells a file or folder from one that was written to since."""
    found = path.stat()
    return found.st_ino, found.st_size, found.st_mtime_ns


@pytest.fixture
def disk(monkeypatch):
    """The files and folders whose last content was brought to the disk; checks what relies on that."""
    safe, relied = set(), []
    rename, replace, remove, fsync = Path.rename, Path.replace, shutil.rmtree, os.fsync

    def synced(descriptor):
        fsync(descriptor)
        found = os.fstat(descriptor)
        safe.add((found.st_ino, found.st_size, found.st_mtime_ns))

    def needs(paths, what):
        assert [path for path in paths if state(path) not in safe] == []
        relied.append(what)

    def renamed(path, target):
        needs([path, *path.rglob("*")], Path(target).name)
        return rename(path, target)

    def replaced(path, target):
        if path.suffix == folder.PARTIAL or "adversarial" in path.parts:
            needs([path], Path(target).name)
        return replace(path, target)

    def removed(path, *given, **options):
        path = Path(path)
        if path.name == "shards":
            others = [p for p in path.parent.rglob("*") if path not in (p, *p.parents)]
            needs([path.parent, *(p for p in others if p.name not in ("run.log", ".lock"))], "without shards")
        remove(path, *given, **options)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(Path, "rename", renamed)
    monkeypatch.setattr(Path, "replace", replaced)
    monkeypatch.setattr(shutil, "rmtree", removed)
    return relied


def test_all_is_on_the_disk_before_a_name_says_so(small_victim, disk, tmp_path):
    run_attack(small_config(small_victim), tmp_path / "run")
    assert [name for name in disk if name.isdigit()] == [f"{number:05}" for number in range(6)]
    assert disk.count("shard.json") == 6
    assert disk[-5:] == ["adversarials.safetensors", "manifest.json", "summary.json", "report.html", "without shards"]


def test_recordings_are_on_the_disk_before_their_shard_is_finished(small_recordings, disk, tmp_path):
    victim, data = small_recordings
    run_attack(AttackConfig(victim=victim, input=data, shard_size=6, steps=3), tmp_path / "run")
    assert sum(name.endswith((".npz", ".bin")) for name in disk) == 12
    assert disk[-1] == "without shards"


def test_a_disk_that_fails_is_one_sentence(small_victim, tmp_path, monkeypatch):
    def fail(_):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(SpikeflipError, match=r"cannot be written \(Input/output error\): see that the disk has room"):
        run_attack(small_config(small_victim), tmp_path / "run")


def test_a_disk_that_cannot_be_asked_is_good_enough(small_victim, undisturbed, results, tmp_path, monkeypatch):
    def refuse(_):
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))

    monkeypatch.setattr(os, "fsync", refuse)
    run_attack(small_config(small_victim), tmp_path / "run")
    assert results(tmp_path / "run") == results(undisturbed)

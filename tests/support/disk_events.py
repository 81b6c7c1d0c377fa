"""What is brought to the disk, gets its name and is removed, in order: what a power cut takes is told by that."""

import os
from pathlib import Path

from spikeflip.writing import PARTIAL


def record(monkeypatch, home: Path) -> list[tuple[str, ...]]:
    """The events below ``home`` from now on; a temporary name is shown as that of its file and ``*``."""
    found: list[tuple[str, ...]] = []
    fsync, unlink = os.fsync, os.unlink

    def plain(path):
        name = Path(path).name
        if name.endswith(PARTIAL):
            return name.lstrip(".").rpartition(".")[0].rpartition(".")[0] + "*"
        return "home" if Path(path) == home else name

    def synced(descriptor):
        fsync(descriptor)
        names = {path.stat().st_ino: plain(path) for path in (home, *home.rglob("*"))}
        found.append(("sync", names[os.fstat(descriptor).st_ino]))

    def named(real):
        def name(source, target):
            real(source, target)
            found.append(("name", plain(source), plain(target)))

        return name

    def removed(path, *given, **options):
        unlink(path, *given, **options)
        found.append(("remove", plain(path)))

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, "replace", named(os.replace))
    monkeypatch.setattr(os, "rename", named(os.rename))
    monkeypatch.setattr(os, "unlink", removed)
    return found


def whole(name: str, folder: str) -> list[tuple[str, ...]]:
    """The events of a file that is whole and on the disk before anything follows."""
    return [("sync", f"{name}*"), ("name", f"{name}*", name), ("sync", folder)]

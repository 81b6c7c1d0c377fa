"""What is on the disk after a power cut: of every file and folder what it held when it was last asked to be there."""

import os
import stat
import threading
from pathlib import Path


class Disk:
    """Notes what reaches the disk below ``home``, which is empty, and makes folders as cuts would leave them.

    The most that a file system may lose is lost: a file without a sync of its own is empty, a name is there only if its
    folder was synced since.
    """

    def __init__(self, monkeypatch, home: Path) -> None:
        self.home = home
        self.moments: list[tuple[dict[int, bytes], dict[int, dict[str, tuple[int, bool]]]]] = []
        """The contents of files and of folders by their number, after every sync."""
        self.named: list[tuple[int, str]] = []
        """What was named done, and after how many syncs."""
        self._files, self._folders = {}, {}
        self._held = []  # a number is given to another file when the last name of its file is gone and it is not open
        self._real, self._lock = os.fsync, threading.Lock()
        monkeypatch.setattr(os, "fsync", self._sync)

    def done(self, what: str) -> None:
        """Note that the program says that something is done."""
        self.named.append((len(self.moments), what))

    def cut(self, moment: int, target: Path) -> list[str]:
        """Make ``target`` as a cut after so many syncs leaves ``home``; returns what had been named done by then."""
        files, folders = self.moments[moment - 1]
        self._restore(self.home.stat().st_ino, target, files, folders)
        return [what for at, what in self.named if at <= moment]

    def _sync(self, descriptor: int) -> None:
        self._real(descriptor)
        with self._lock:
            facts = os.fstat(descriptor)
            self._held.append(os.dup(descriptor))
            if stat.S_ISDIR(facts.st_mode):
                self._folders[facts.st_ino] = dict(self._listed(descriptor))
            else:
                self._files[facts.st_ino] = os.pread(descriptor, facts.st_size, 0)
            self.moments.append((dict(self._files), dict(self._folders)))

    def _listed(self, folder: int):
        with os.scandir(folder) as entries:
            for entry in entries:
                try:
                    self._held.append(os.open(entry.name, os.O_RDONLY, dir_fd=folder))
                except FileNotFoundError:  # a temporary one of another thread
                    continue
                yield entry.name, (entry.inode(), entry.is_dir(follow_symlinks=False))

    def _restore(self, number, target, files, folders) -> None:
        target.mkdir()
        for name, (inner, is_folder) in folders.get(number, {}).items():
            if is_folder:
                self._restore(inner, target / name, files, folders)
            else:
                (target / name).write_bytes(files.get(inner, b""))

    def close(self) -> None:
        """Let go of the files."""
        for descriptor in self._held:
            os.close(descriptor)

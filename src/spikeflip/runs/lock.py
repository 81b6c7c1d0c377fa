"""One process a run folder: a lock that the system lets go of when its holder ends, however it ends."""

import errno
import os
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from spikeflip.errors import SpikeflipError
from spikeflip.writing import make_folder

LOCK = ".lock"


class InUseError(SpikeflipError):
    """Another process is at work on a folder."""


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Make a folder where it is not there yet, and hold its lock.

    Raises:
        InUseError: another process holds it.
        SpikeflipError: the folder cannot be written to.
    """
    path = folder / LOCK
    try:
        make_folder(folder)
        descriptor = _taken(path)
    except OSError as error:
        raise SpikeflipError(
            f"--out {folder} cannot be made or written to ({error.strerror}): choose another folder"
        ) from error
    if descriptor is None:
        raise InUseError(
            f"--out {folder} is in use by another process: wait until it has ended, or choose another folder"
        )
    try:
        yield
    finally:
        if sys.platform != "win32":  # where an open file cannot be removed, it stays
            path.unlink(missing_ok=True)
        os.close(descriptor)


def check_unlocked(folder: Path) -> None:
    """Raise :class:`InUseError` if another process holds the lock of a folder."""
    if (folder / LOCK).exists():
        with locked(folder):
            pass


def _taken(path: Path) -> int | None:
    """A descriptor that holds the lock, None where another process does."""
    while True:
        descriptor = _opened(path)
        if not _lock(descriptor):
            os.close(descriptor)
            return None
        if _is_same_file(descriptor, path):
            return descriptor
        os.close(descriptor)  # its last holder removed it between the two calls


def _opened(path: Path) -> int:
    """The lock as an open file; a SpikeflipError where there is anything but the empty file that a lock is."""
    foreign = SpikeflipError(f"{path} is not the lock of a run: remove it, or choose another folder")
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o644)
    except OSError as error:
        raise (foreign if error.errno == errno.ELOOP else error) from None
    facts = os.fstat(descriptor)
    if facts.st_size or not stat.S_ISREG(facts.st_mode):
        os.close(descriptor)
        raise foreign
    return descriptor


def _lock(descriptor: int) -> bool:
    try:
        if sys.platform == "win32":
            import msvcrt

            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    return True


def _is_same_file(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False

"""Files that appear whole or not at all, whatever ends the process or the power.

A file is written under another name beside its own, brought to the disk, given its name, and then the folder is brought
to the disk, as the name is the folder's. Before a name says that something is finished, or what it was made of is
removed, both must be where no power cut takes them from.
"""

import errno
import json
import os
import re
import secrets
import stat
import sys
from collections.abc import Container, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

PARTIAL = ".partial"
"""Ending of the temporary names, which all start with a dot."""
_LONGEST_NAME = 32  # of the file's own name in its temporary one, which must not become too long for the system
_TEMPORARY = re.compile(rf"\.(.+)\.[0-9a-f]{{8}}{re.escape(PARTIAL)}")
_AT_A_TIME = 8  # file systems write what is asked for together in one go: 256 files take 0.1 s instead of 1.1 s


@contextmanager
def whole_path(path: Path, *, durable: bool = True) -> Iterator[Path]:
    """An empty file to write under the name that is given; it becomes ``path`` when the block ends well.

    The name is of this writer alone: of several processes that write one file, the last wins. A file that is replaced
    hands on its permissions; a new one has those of any new file. No link is followed: one at ``path`` is replaced, and
    what it leads to stays.

    Args:
        path: the file, in a folder that exists.
        durable: whether file and name must be on the disk when the block has ended; whoever writes many files asks for
            all at once with :func:`sync`.

    Raises:
        OSError: it cannot be written, or ``path`` is a device, a pipe or a folder, which the file would take the place
            of.
    """
    if path.exists() and not path.is_file():
        raise OSError(errno.EINVAL, "it is no plain file", str(path))
    partial = path.with_name(f".{path.name[:_LONGEST_NAME]}.{secrets.token_hex(4)}{PARTIAL}")
    with _named(partial, path):
        partial.open("xb").close()
        try:
            yield partial
            if durable:
                _sync_path(partial)
            if path.exists() and not path.is_symlink():
                partial.chmod(stat.S_IMODE(path.stat().st_mode))
            os.replace(partial, path)
        except BaseException:
            with suppress(OSError):
                partial.unlink(missing_ok=True)
            raise
    if durable:
        _sync_path(path.parent)


@contextmanager
def whole_file(path: Path) -> Iterator[BinaryIO]:
    """The same, as an open file."""
    with whole_path(path) as partial, partial.open("wb") as file:
        yield file


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file whole."""
    with whole_file(path) as file:
        file.write(content)


def write_json(path: Path, values: Mapping[str, Any]) -> None:
    """Write a JSON file whole."""
    write_bytes(path, (json.dumps(values, indent=2) + "\n").encode())


def make_folder(folder: Path) -> None:
    """Make a folder and those it is in, where they are missing, so that they are on the disk as well."""
    missing = [path for path in folder.parents if not path.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    sync(path.parent for path in (folder, *missing))  # a process that was killed may have made it, and no more


def place_folder(partial: Path, folder: Path) -> None:
    """Give a folder its name, when all in it is on the disk."""
    sync([*partial.rglob("*"), partial])
    partial.rename(folder)
    sync([folder.parent])


def is_partial(path: Path, names: Container[str]) -> bool:
    """Whether this is what a writer that was killed has left of a file of one of these names."""
    found = _TEMPORARY.fullmatch(path.name)
    return found is not None and found[1] in names and stat.S_ISREG(path.lstat().st_mode)


def remove_partial(folder: Path, names: Container[str]) -> None:
    """Remove what killed writers of files of these names have left in a folder; no other may be at work there."""
    for path in folder.iterdir():
        with suppress(OSError):
            if is_partial(path, names):
                path.unlink()


def sync(paths: Iterable[Path]) -> None:
    """Return when these files and folders are on the disk itself.

    A file has its name at once and its content half a minute later.
    """
    with ThreadPoolExecutor(_AT_A_TIME) as pool:
        for _ in pool.map(_sync_path, paths):
            pass


def _sync_path(path: Path) -> None:
    folder = path.is_dir()
    if folder and sys.platform == "win32":  # where folders cannot be opened
        return
    try:
        descriptor = os.open(path, os.O_RDONLY if folder else os.O_RDWR)
    except PermissionError:
        if folder:  # one may write into a folder that one may not read
            return
        raise
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # as of network folders that cannot be asked
            raise
    finally:
        os.close(descriptor)


@contextmanager
def _named(partial: Path, path: Path) -> Iterator[None]:
    """Let an error be of the file that is written, not of its temporary name or of none, as one of a full disk is."""
    try:
        yield
    except OSError as error:
        if error.filename is not None and str(error.filename) != str(partial):
            raise
        raise OSError(error.errno, error.strerror, str(path)) from error

"""The finished shards of a run on disk: placed by a rename, and believed only as far as their checksums hold.

A shard's ``shard.json`` lists its files with their checksums, and says of which run and number it is. What was damaged,
or copied from elsewhere, is removed and attacked again.
"""

import hashlib
import json
import logging
import os
import re
import shutil
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from spikeflip.errors import SpikeflipError
from spikeflip.report.loading import read_json
from spikeflip.runs.plan import Plan
from spikeflip.runs.recordings import FOLDER as RECORDINGS
from spikeflip.runs.shard import INPUTS, MEMBERS, OUTPUTS, ROWS, TRACE
from spikeflip.writing import PARTIAL, make_folder, place_folder, sync, write_json

SHARDS, DONE = "shards", "shard.json"
_FILES = {ROWS, TRACE, INPUTS, OUTPUTS, MEMBERS}
_SHARD, _STAGED = re.compile(r"\d{5,}"), re.compile(rf"\.\d{{5,}}\.\d+{re.escape(PARTIAL)}")
_log = logging.getLogger(__name__)


def shard_sha256(plan: Plan, said: Mapping[str, Any], number: int) -> str:
    """Of all that a shard's results depend on: what is ``said`` of the run, and the rows it has."""
    size = plan.task.config.shard_size
    part = slice(number * size, (number + 1) * size)
    digest = hashlib.sha256(json.dumps([number, said], sort_keys=True).encode())
    for column in (plan.rows, plan.samples, plan.labels, plan.targets):
        digest.update(b"none" if column is None else column[part].numpy().tobytes())
    return digest.hexdigest()


@dataclass(frozen=True)
class Finished:
    """The folder ``shards`` of a run in ``out``, to which this process alone writes."""

    out: Path
    belongs: Callable[[int], str]
    """The checksum of what a shard of this run and number depends on."""

    def folder(self, number: int) -> Path:
        """Where a finished shard is."""
        return self.out / SHARDS / f"{number:05}"

    def staging(self, number: int) -> Path:
        """Make an empty folder in which a shard is attacked."""
        folder = self.out / SHARDS / f".{number:05}.{os.getpid()}{PARTIAL}"
        folder.mkdir()
        return folder

    def keep(self, number: int, staged: Path, seconds: float) -> None:
        """Give a shard its place; renaming its folder is what makes it finished, and it is on the disk then."""
        files = {path.relative_to(staged).as_posix(): _sha256(path) for path in _files(staged)}
        recordings = [name for name in files if name.startswith(f"{RECORDINGS}/")]
        sync(staged / name for name in recordings)
        for folder in {(self.out / name).parent for name in recordings}:
            make_folder(folder)
        for name in recordings:
            (staged / name).replace(self.out / name)
        sync({(self.out / name).parent for name in recordings})
        shutil.rmtree(staged / RECORDINGS, ignore_errors=True)
        said = {"seconds": round(seconds, 3), "files": files, "belongs": self.belongs(number)}
        write_json(staged / DONE, said | {"sha256": _digest(said)})
        place_folder(staged, self.folder(number))

    def holds(self, number: int) -> bool:
        """Whether a shard is there and whole; one that is not is removed."""
        folder = self.folder(number)
        if not folder.exists():
            return False
        if self._is_whole(number):
            return True
        _log.warning("shard %d is damaged or of another run, and is attacked again", number)
        self._remove(folder)
        return False

    def _is_whole(self, number: int) -> bool:
        folder = self.folder(number)
        try:
            said = read_json(folder / DONE)
            digest, files = said.pop("sha256"), said["files"]
            if digest != _digest(said) or said["belongs"] != self.belongs(number) or not {ROWS, INPUTS} <= set(files):
                return False
            return all(_sha256(self._place(folder, name)) == known for name, known in files.items())
        except (OSError, SpikeflipError, KeyError, TypeError, AttributeError, ValueError):
            return False

    def _place(self, folder: Path, name: str) -> Path:
        """Where a file of a shard is; a ValueError for what is none of a shard's."""
        if name in _FILES:
            return folder / name
        parts = PurePosixPath(name).parts
        if parts[0] != RECORDINGS or ".." in parts:
            raise ValueError(name)
        return self.out / name

    def seconds(self) -> float:
        """The seconds of work in all of them."""
        return sum(float(read_json(path / DONE)["seconds"]) for path in self._folders())

    def count(self) -> int:
        """How many there are."""
        return len(self._folders())

    def tidy(self) -> None:
        """Remove what is half-written, by this process or one that was killed."""
        for path in self._children():
            if _STAGED.fullmatch(path.name) and path.is_dir():
                shutil.rmtree(path, ignore_errors=True)

    def remove(self) -> None:
        """Remove all of them, as what was made of them is on the disk."""
        for path in self._folders():
            self._remove(path)
        with suppress(OSError):  # what is none of ours stays
            (self.out / SHARDS).rmdir()

    def _remove(self, folder: Path) -> None:
        for name in (DONE, *_FILES):  # first what says that the shard is finished
            (folder / name).unlink(missing_ok=True)
        try:
            folder.rmdir()
        except OSError as error:
            raise SpikeflipError(f"{folder} holds other files than a shard's: move them elsewhere") from error

    def _folders(self) -> list[Path]:
        return sorted(path for path in self._children() if _SHARD.fullmatch(path.name) and path.is_dir())

    def _children(self) -> list[Path]:
        folder = self.out / SHARDS
        return list(folder.iterdir()) if folder.is_dir() else []


def any_left(out: Path) -> bool:
    """Whether a run folder holds shards, as one that is not finished does."""
    folder = out / SHARDS
    if not folder.is_dir():
        return False
    return any(_SHARD.fullmatch(path.name) or _STAGED.fullmatch(path.name) for path in folder.iterdir())


def _digest(said: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())

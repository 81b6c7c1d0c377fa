"""Folders that are free to be written, tables in them, and what a result depends on."""

import functools
import io
import os
import platform
import shutil
import stat
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import torch
from pydantic import BaseModel
from torch import Tensor

from spikeflip import __version__
from spikeflip.errors import SpikeflipError
from spikeflip.report.loading import read_json
from spikeflip.runs.lock import LOCK
from spikeflip.writing import PARTIAL, is_partial, place_folder, write_bytes, write_json

_PROJECT = 'name = "spikeflip"'
_PACKAGES = ("torch", "torchvision", "numpy", "scikit-learn", "safetensors", "pyarrow")


def check_free(out: Path, first: frozenset[str] = frozenset()) -> None:
    """Raise a SpikeflipError if ``out`` is not a folder that is empty or can be made.

    Args:
        out: the folder.
        first: names of the files that will say whose the folder is. A process that was killed when it began may have
            left a part of one, and its lock; without names nothing may be there.
    """
    if out.is_file():
        raise SpikeflipError(f"--out {out} is a file: give a folder that does not exist yet")
    others = list(out.iterdir()) if out.is_dir() else []
    if any(not first or (path.name != LOCK and not is_partial(path, first)) for path in others):
        raise SpikeflipError(f"--out {out} already holds other files: choose another folder, or empty it")


def check_plain(folder: Path, names: Iterable[str] | None = None) -> None:
    """Raise a SpikeflipError if a folder holds a link or a device, through which one could write elsewhere.

    Args:
        folder: looked at to its deepest folder; it may be a link itself, as the user names it, or be missing.
        names: what is looked at of it; all when not given.
    """
    if names is not None:
        found = [folder / name for name in names]
    else:
        found = list(folder.iterdir()) if folder.is_dir() else []
    for path in found:
        with suppress(FileNotFoundError):  # another process has removed it, or has never made it
            mode = path.lstat().st_mode
            if stat.S_ISDIR(mode):
                check_plain(path)
            elif not stat.S_ISREG(mode):
                raise SpikeflipError(f"{path} is a link or no plain file: remove it, or choose another folder")


def check_no_links(folders: Iterable[Path]) -> None:
    """Raise a SpikeflipError if one of these folders is a link to another."""
    for folder in folders:
        if folder.is_symlink():
            raise SpikeflipError(f"{folder} is a link: remove it, or choose another folder")


def write_trouble(error: OSError, out: Path) -> str:
    """What keeps a process from writing below ``out``, as a sentence with what helps."""
    if isinstance(error, FileNotFoundError):
        return f"{error.filename or f'a file in {out}'} was removed meanwhile: give the same command again"
    return (
        f"{error.filename or out} cannot be written ({error.strerror or error}): see that the disk has room and the "
        "folder can be written to, then give the same command again"
    )


@contextmanager
def new_folder(out: Path) -> Iterator[Path]:
    """A temporary folder beside ``out`` that takes its name when the block ends well, and is removed when not."""
    check_free(out)
    partial = out.with_name(f".{out.name}.{os.getpid()}{PARTIAL}")
    try:
        partial.mkdir(parents=True)
    except OSError as error:
        raise SpikeflipError(f"--out {out} cannot be made ({error.strerror}): choose another folder") from error
    try:
        yield partial
        if out.is_dir():
            out.rmdir()
        place_folder(partial, out)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise


def write_table(path: Path, columns: Mapping[str, Tensor | list[str]]) -> None:
    """Write equally long ``(N,)`` tensors and lists as the columns of a Parquet file."""
    table = pyarrow.table(
        {
            name: pyarrow.array(v.cpu().numpy()) if isinstance(v, Tensor) else pyarrow.array(v, pyarrow.string())
            for name, v in columns.items()
        }
    )
    content = io.BytesIO()
    pyarrow.parquet.write_table(table, content)
    write_bytes(path, content.getvalue())


def manifest(device: torch.device) -> dict[str, Any]:
    """What a result depends on beside its configuration: versions, machine, threads and commit."""
    return {
        "versions": {"python": platform.python_version(), "spikeflip": __version__}
        | {name: _version(name) for name in _PACKAGES},
        "device": str(device) if device.type == "cpu" else torch.cuda.get_device_name(device),
        "cpu": cpu_name(),
        "threads": torch.get_num_threads(),
        "git": _commit(),
    }


def begin_manifest(path: Path, device: torch.device, how: Mapping[str, Any]) -> None:
    """Write the manifest of a folder that begins; one that goes on in another way has that in its manifest too."""
    now = {**manifest(device), **how}
    if not path.exists():
        write_json(path, now | {"started": moment()})
    elif (known := read_json(path)) != (both := went_on(known, now)):
        write_json(path, both)


def went_on(facts: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, Any]:
    """A manifest whose run goes on as ``now`` says: with another version, machine or number of threads, it has both.

    Args:
        facts: what the manifest holds.
        now: the :func:`manifest` of this process, and how it works.

    Returns:
        The manifest; ``continued`` has one entry for each other way in which the run went on.
    """
    others = facts.get("continued", [])
    known = [facts, *(others if isinstance(others, list) else [])]
    if any(isinstance(one, dict) and {**one, **now} == one for one in known):
        return dict(facts)
    return {**facts, "continued": [*known[1:], {**now, "started": moment()}]}


def moment() -> str:
    """The date and time, as a manifest holds it."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def cpu_name() -> str:
    """The processor's name, as well as the system tells it."""
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


@functools.cache
def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


@functools.cache
def _commit() -> str | None:
    """The commit of our own source tree, None when installed from a package, in whoever's tree that lies."""
    tree = Path(__file__).parents[3]
    try:
        if not (tree / ".git").exists() or _PROJECT not in (tree / "pyproject.toml").read_text(encoding="utf-8"):
            return None
        own = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
        answer = subprocess.run(
            ["git", "-C", str(tree), "rev-parse", "HEAD"], capture_output=True, text=True, timeout=5, env=own
        )
    except (OSError, ValueError, subprocess.TimeoutExpired):
        return None
    return answer.stdout.strip() or None


def known_to(theirs: Mapping[str, Any], ours: Mapping[str, Any], kind: type[BaseModel]) -> dict[str, Any]:
    """Those of ``ours`` that can be compared with ``theirs``, which an earlier version may have written.

    It did not know every option; one that it did not know and that has its default now changes nothing.
    """
    default = {name: field.default for name, field in kind.model_fields.items()}
    return {
        name: value for name, value in ours.items() if name in theirs or name not in default or value != default[name]
    }


def differences(theirs: Mapping[str, Any], ours: Mapping[str, Any]) -> list[str]:
    """What two identities differ in: ``gamma: 0.05 -> 0.1``."""
    names = dict.fromkeys((*theirs, *ours))
    return [
        f"{name}: {_short(theirs.get(name))} -> {_short(ours.get(name))}"
        for name in names
        if theirs.get(name) != ours.get(name)
    ]


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= 24 else f"{text[:12]}…"

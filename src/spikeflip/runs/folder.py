"""Folders that are free to be written, tables in them, and what a result depends on."""

import functools
import io
import os
import platform
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import torch
from torch import Tensor

from spikeflip import __version__
from spikeflip.errors import SpikeflipError
from spikeflip.writing import PARTIAL, place_folder, remove_partial, write_bytes

_PACKAGES = ("torch", "torchvision", "numpy", "scikit-learn", "safetensors", "pyarrow")


def check_free(out: Path, what: str = "run") -> None:
    """Raise a SpikeflipError if ``out`` is not a folder that is empty or can be made."""
    if out.is_file():
        raise SpikeflipError(f"--out {out} is a file: give a folder that does not exist yet")
    if out.is_dir() and any(not path.name.endswith(PARTIAL) for path in out.iterdir()):
        raise SpikeflipError(f"--out {out} already holds a {what} or other files: choose another folder, or empty it")


def check_plain(folder: Path) -> None:
    """Raise a SpikeflipError if a folder holds a link or a device, through which one could write elsewhere."""
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                check_plain(Path(entry.path))
            elif not entry.is_file(follow_symlinks=False):
                raise SpikeflipError(f"{entry.path} is a link or no plain file: remove it, or choose another folder")


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
            remove_partial(out)
            out.rmdir()
        place_folder(partial, out)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise


def write_table(path: Path, columns: Mapping[str, Tensor | list[str]]) -> None:
    """Write equally long ``(N,)`` tensors and lists as the columns of a Parquet file."""
    plain = {name: v.cpu().numpy() if isinstance(v, Tensor) else v for name, v in columns.items()}
    table = pyarrow.table({name: pyarrow.array(values) for name, values in plain.items()})
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
    """The commit of the source tree that runs, None when installed from a package."""
    try:
        answer = subprocess.run(
            ["git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD"], capture_output=True, text=True, timeout=5
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return answer.stdout.strip() or None

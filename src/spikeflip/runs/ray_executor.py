"""Shards as tasks of a Ray cluster, which places them, moves their data, and runs those of a lost machine again.

Machines need Python, Ray and spikeflip of the same versions, and no file of the driver: a shard carries its inputs, the
victim lies in Ray's object store, and a task returns the content of the files it wrote.
"""

import logging
import os
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from spikeflip.errors import SpikeflipError
from spikeflip.runs.executors import Job, sendable, tell
from spikeflip.runs.work import Shard, Worker
from spikeflip.writing import write_bytes

_RETRIES = 5
_WAITING = 2
"""Tasks handed to Ray for every slot: one runs, the next has its data there."""
_SECONDS = 0.5
_PATIENCE = 10.0
Files = dict[str, NDArray[np.uint8]]


def on_ray(job: Job, workers: int | None, address: str | None) -> None:
    """Attack the shards on a Ray cluster.

    Args:
        job: the shards, and whom to tell.
        workers: shards handed to Ray at a time; twice as many as can run at a time when not given.
        address: of the cluster; that of RAY_ADDRESS, or of a new one on this machine, when not given.

    Raises:
        SpikeflipError: Ray is not installed or not reached, a worker found a mistake, or a shard was lost too often.
    """
    with connected(address) as ray:
        try:
            _run(ray, job, workers)
        except ray.exceptions.RayError as error:
            reason = " ".join(str(error).split())[:200]
            raise SpikeflipError(
                f"a Ray worker was lost {_RETRIES + 1} times or the cluster went away ({reason}): look at the cluster"
            ) from error


@contextmanager
def connected(address: str | None) -> Iterator[Any]:
    """Ray, connected; to be disconnected by whoever connected first.

    Raises:
        SpikeflipError: Ray is not installed, or the cluster not reached.
    """
    ray = import_ray()
    if ray.is_initialized():
        yield ray
        return
    _connect(ray, address or os.environ.get("RAY_ADDRESS") or "local")
    try:
        yield ray
    finally:
        ray.shutdown()


def import_ray() -> Any:
    """Ray; a SpikeflipError where it is not installed."""
    try:
        import ray
        import ray.exceptions
    except ImportError as error:
        raise SpikeflipError("--executor ray needs Ray: pip install 'spikeflip[ray]'") from error
    return ray


def _connect(ray: Any, address: str) -> None:
    options: dict[str, Any] = {}
    if address == "local":  # seen by nobody else: a cluster does whatever it is told by who reaches it
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        options = {"include_dashboard": False, "_node_ip_address": "127.0.0.1"}
    try:
        _check_reached(address)
        ray.init(address, log_to_driver=False, logging_level=logging.ERROR, **options)
    except (OSError, ValueError, RuntimeError, ray.exceptions.RayError) as error:
        reason = " ".join(str(error).split())[:200]
        raise SpikeflipError(
            f"the Ray cluster {address} is not reached ({reason}): start it with 'ray start --head', give another "
            "--address, or, where it asks for a token, set RAY_AUTH_MODE=token with its token in ~/.ray/auth_token or "
            "RAY_AUTH_TOKEN"
        ) from error


def _check_reached(address: str) -> None:
    """Raise an OSError now where Ray would try for minutes."""
    host, _, port = address.rpartition(":")
    if port.isdecimal():
        socket.create_connection((host.rpartition("/")[2].strip("[]"), int(port)), timeout=_PATIENCE).close()


def _run(ray: Any, job: Job, workers: int | None) -> None:
    on_gpu = job.work.device != "cpu"
    task = ray.remote(_attack).options(num_cpus=1, num_gpus=int(on_gpu), max_retries=_RETRIES)
    work, tally = ray.put(job.work), _tally(ray)
    key = work.hex()
    waiting = list(reversed(job.todo))
    running: dict[Any, int] = {}
    try:
        while waiting or running:
            slots = int(ray.cluster_resources().get("GPU" if on_gpu else "CPU", 0))
            most = workers or max(1, slots) * _WAITING
            while waiting and len(running) < most:
                number = waiting.pop()
                running[task.remote(key, [work], [tally], job.shard(number))] = number
            ready, _ = ray.wait(list(running), num_returns=1, timeout=_SECONDS)
            for number, stage, done, every in ray.get(tally.taken.remote()):
                if number in running.values():
                    job.report(number)(stage, done, every)
            for reference in ready:
                _take(job, running.pop(reference), ray.get(reference))
    finally:
        for reference in running:
            ray.cancel(reference, force=True)


def _take(job: Job, number: int, answer: "tuple[Files, float, list[str]] | Exception") -> None:
    if isinstance(answer, Exception):
        raise answer
    files, seconds, notes = answer
    folder = job.staging(number)
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        write_bytes(folder / name, content.tobytes())
    tell(job, notes)
    job.finished(number, folder, seconds)


class _Tally:
    """Gathers the progress of all workers."""

    def __init__(self) -> None:
        self._news: dict[tuple[int, str], tuple[int, int]] = {}

    def add(self, number: int, stage: str, done: int, every: int) -> None:
        self._news[number, stage] = done, every

    def taken(self) -> list[tuple[int, str, int, int]]:
        news, self._news = self._news, {}
        return [(*where, *how_far) for where, how_far in news.items()]


def _tally(ray: Any) -> Any:
    """A tally on the driver's machine, which is there as long as the driver."""
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    return ray.remote(_Tally).options(num_cpus=0, scheduling_strategy=here).remote()


_worker: tuple[str, Worker] | None = None
"""The worker of this process, under the name of its work."""


def _attack(key: str, work: list[Any], tally: list[Any], shard: Shard) -> "tuple[Files, float, list[str]] | Exception":
    """A task: the files of an attacked shard, or the mistake that was found, which trying again would not mend."""
    import ray

    global _worker
    try:
        if _worker is None or _worker[0] != key:
            torch.set_num_threads(1)
            _worker = key, ray.get(work[0]).worker()
        worker = _worker[1]
        with tempfile.TemporaryDirectory() as folder:
            seconds = worker.attack(
                shard, Path(folder), lambda stage, done, of: tally[0].add.remote(shard.number, stage, done, of)
            )
            files = {
                path.relative_to(folder).as_posix(): np.fromfile(path, np.uint8)
                for path in sorted(Path(folder).rglob("*"))
                if path.is_file()
            }
        notes, worker.notes = worker.notes, []
    except Exception as error:
        return sendable(error)
    return files, seconds, notes

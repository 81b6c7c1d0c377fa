"""Where shards are attacked: in this process, or in several of this machine; :mod:`.ray_executor` has the third way.

Workers write a shard's files into a folder of its own, and only the driver gives finished ones their place.
"""

import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Any

import torch

from spikeflip.errors import SpikeflipError
from spikeflip.limits import ran_out
from spikeflip.runs.victim import LoadedVictim
from spikeflip.runs.work import Report, Shard, Work

_SAFE_PATH = "PYTHONSAFEPATH"
_PATIENCE = 2.0
"""Seconds that workers are given to end."""


@dataclass(frozen=True)
class Job:
    """What an executor is given: shards to attack, and whom to tell."""

    work: Work
    loaded: LoadedVictim
    """The victim, on its device in this process."""
    todo: Sequence[int]
    """Numbers of the shards that are not finished."""
    shard: Callable[[int], Shard]
    """Reads one of them."""
    staging: Callable[[int], Path]
    """An empty folder for one."""
    finished: Callable[[int, Path, float], None]
    """Takes a finished shard, its folder, and the seconds it took."""
    report: Callable[[int], Report]
    """Progress in one."""
    note: Callable[[str], None]
    """Says what the user should know."""


def in_this_process(job: Job) -> None:
    """One shard after the other."""
    worker = job.work.worker(job.loaded)
    for number in job.todo:
        folder = job.staging(number)
        seconds = worker.attack(job.shard(number), folder, job.report(number))
        tell(job, worker.notes)
        job.finished(number, folder, seconds)


def in_processes(job: Job, workers: int) -> None:
    """As many shards at a time as there are workers, each a process with its share of the threads.

    Raises:
        SpikeflipError: a worker found a mistake, or died.
    """
    workers = min(workers, len(job.todo))
    threads = max(1, torch.get_num_threads() // workers)
    crew = _Crew(job.work, workers, threads)
    waiting = iter(job.todo)
    try:
        for member in crew.members:
            crew.give(member, job, waiting)
        while busy := [member.connection for member in crew.members if member.number is not None]:
            for connection in wait(busy):
                member = next(member for member in crew.members if member.connection is connection)
                _hear(crew, member, job, waiting)
    finally:
        crew.dismiss()


@contextmanager
def _safe_path() -> Iterator[None]:
    """A Python process started here does not look for modules in the current folder, whose files may be anybody's.

    Python has no other way to tell a spawned process before it imports its first module.
    """
    before = os.environ.get(_SAFE_PATH)
    os.environ[_SAFE_PATH] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[_SAFE_PATH]
        else:
            os.environ[_SAFE_PATH] = before


@contextmanager
def _interrupts_held() -> Iterator[None]:
    """Ctrl-C waits, and a process started here never sees it: it could not say anything sensible while it starts."""
    if sys.platform == "win32":
        yield
        return
    resource_tracker.ensure_running()  # it would let them through again
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@dataclass
class _Member:
    process: SpawnProcess
    connection: "Connection[Any, Any]"
    number: int | None = None
    """The shard it is at."""
    folder: Path = Path()


class _Crew:
    """The worker processes; they end with this one, however it ends."""

    def __init__(self, work: Work, workers: int, threads: int) -> None:
        context = multiprocessing.get_context("spawn")
        self.members: list[_Member] = []
        for _ in range(workers):
            ours, theirs = context.Pipe()
            process = context.Process(target=_serve, args=(theirs, work, threads), daemon=True)
            with _safe_path(), _interrupts_held():
                process.start()
            theirs.close()  # a dead worker then ends the stream
            self.members.append(_Member(process, ours))

    def give(self, member: _Member, job: Job, waiting: Iterator[int]) -> None:
        """Hand a member its next shard, if there is one."""
        member.number = next(waiting, None)
        if member.number is not None:
            member.folder = job.staging(member.number)
            try:
                member.connection.send((job.shard(member.number), member.folder))
            except OSError as error:
                raise _lost(member) from error

    def dismiss(self) -> None:
        for member in self.members:
            member.process.terminate()
        deadline = time.monotonic() + _PATIENCE
        for member in self.members:
            member.process.join(max(0.0, deadline - time.monotonic()))
            member.process.kill()  # a stopped process ends by nothing else
            member.process.join()
            member.connection.close()


def _hear(crew: _Crew, member: _Member, job: Job, waiting: Iterator[int]) -> None:
    """Take one message of a worker: progress, a failure, or a finished shard."""
    try:
        what, *content = member.connection.recv()
    except (EOFError, OSError) as error:
        raise _lost(member) from error
    assert member.number is not None
    if what == "progress":
        job.report(member.number)(*content)
    elif what == "failed":
        raise content[0]
    else:
        seconds, notes = content
        tell(job, notes)
        job.finished(member.number, member.folder, seconds)
        crew.give(member, job, waiting)


def _lost(member: _Member) -> SpikeflipError:
    member.process.join(1)
    code = member.process.exitcode
    how = f"signal {signal.Signals(-code).name}" if code is not None and code < 0 else f"exit status {code}"
    return SpikeflipError(
        f"a worker process was lost ({how}, perhaps for lack of memory): give fewer --workers or a smaller "
        "--micro-batch"
    )


def tell(job: Job, notes: list[str]) -> None:
    """Pass on what a worker noted."""
    for note in notes:
        job.note(note)
    notes.clear()


def _serve(connection: "Connection[Any, Any]", work: Work, threads: int) -> None:
    """What a worker process does: attack the shards it is sent until nobody sends any."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the driver decides
    sys.stdout = sys.stderr  # what a model's own code prints is no part of the driver's answer
    threading.Thread(target=_end_with_the_driver, daemon=True).start()
    torch.set_num_threads(threads)

    def report(stage: str, done: int, every: int) -> None:
        connection.send(("progress", stage, done, every))

    with suppress(EOFError, OSError):
        try:
            worker = work.worker()
        except Exception as error:
            connection.recv()
            connection.send(("failed", sendable(error)))
            return
        while True:
            shard, folder = connection.recv()
            try:
                seconds = worker.attack(shard, folder, report)
            except Exception as error:
                connection.send(("failed", sendable(error)))
            else:
                connection.send(("done", seconds, list(worker.notes)))
                worker.notes.clear()


def sendable(error: Exception) -> Exception:
    """An exception that can be sent: its own kind where a user can cause it, else with its words alone."""
    if ran_out(error) == "memory" and not isinstance(error, SpikeflipError):
        return MemoryError(str(error))
    if isinstance(error, OSError):
        return OSError(error.errno, error.strerror or str(error), error.filename)
    if isinstance(error, SpikeflipError):
        return SpikeflipError(str(error))
    return RuntimeError(f"{type(error).__name__} in a worker: {error}")


def _end_with_the_driver() -> None:
    driver = multiprocessing.parent_process()
    if driver is not None:
        driver.join()
        os._exit(1)

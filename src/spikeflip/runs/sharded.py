"""The shards of a run on their way: attacked where they are to be, kept when they are finished, logged."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from spikeflip.errors import SpikeflipError
from spikeflip.runs.config import Execution
from spikeflip.runs.executors import Job, in_processes, in_this_process
from spikeflip.runs.finished import SHARDS, Finished
from spikeflip.runs.folder import write_trouble
from spikeflip.runs.plan import Plan
from spikeflip.runs.work import Work

Progress = Callable[[str, int, int], None]
"""Called with the name of the stage and the number of rows done and in all."""

LOG = "run.log"
_MOST_TRIES = 3
_log = logging.getLogger(__name__)


class Tally(Protocol):
    """Hears how far the shards of a run are."""

    def report(self, number: int, stage: str, share: float) -> None:
        """A share in [0, 1] of a stage of a shard is done."""
        ...

    def count(self, number: int) -> None:
        """A shard is finished."""
        ...


@dataclass(frozen=True)
class Shards:
    """The shards of a plan, in a folder that this process alone writes to."""

    plan: Plan
    work: Work
    finished: Finished
    tally: Tally

    def finish(self, execution: Execution) -> None:
        """Attack what is not finished, and again what is found damaged before it is joined."""
        for _ in range(_MOST_TRIES):
            todo = [number for number in range(self.plan.shards) if not self.finished.holds(number)]
            if not todo:
                return
            self._attack(todo, execution)
        raise SpikeflipError(
            f"{self.finished.out / SHARDS} holds damaged shards each time they were written: see that the disk works, "
            "then give the same command again"
        )

    @contextmanager
    def ending_logged(self) -> Iterator[None]:
        """Where what is done inside ends early, log why, and what of the shards stays; disks that fail say it too."""
        try:
            yield
        except OSError as error:
            message = f"{write_trouble(error, self.finished.out)}; {self.state}"
            _log.error(message)
            raise SpikeflipError(message) from error
        except SpikeflipError as error:
            _log.error("%s; %s", error, self.state)
            raise
        except KeyboardInterrupt as error:
            _log.info("interrupted%s; %s", f" by {error}" if str(error) else "", self.state)
            raise

    @property
    def state(self) -> str:
        """How far they are, in words."""
        try:
            done = self.finished.count()
        except OSError:
            done = 0
        return f"{done} of {self.plan.shards} shards are finished and stay"

    def _attack(self, todo: list[int], execution: Execution) -> None:
        every = range(self.plan.shards)
        _log.info("%d of %d shards to do, %d rows in all", len(todo), len(every), len(self.plan.rows))
        for number in every:
            if number not in todo:
                self.tally.count(number)
        job = Job(
            work=self.work,
            loaded=self.plan.task.loaded,
            todo=todo,
            shard=self.plan.shard,
            staging=self.finished.staging,
            finished=self._keep,
            report=lambda number: lambda stage, done, of: self.tally.report(number, stage, done / max(1, of)),
            note=_log.warning,
        )
        _executed(job, execution)

    def _keep(self, number: int, folder: Path, seconds: float) -> None:
        self.finished.keep(number, folder, seconds)
        _log.info("shard %d is finished, %.1f s", number, seconds)
        self.tally.count(number)


def check_execution(execution: Execution) -> None:
    """Raise a SpikeflipError where shards cannot be attacked so."""
    if execution.address is not None and execution.executor != "ray":
        raise SpikeflipError(f"--address {execution.address} is that of a Ray cluster: add --executor ray")
    if execution.executor == "ray":
        from spikeflip.runs.ray_executor import import_ray

        import_ray()


def _executed(job: Job, execution: Execution) -> None:
    if execution.executor == "ray":
        from spikeflip.runs.ray_executor import on_ray

        on_ray(job, execution.workers, execution.address)
    elif execution.workers in (None, 1):
        in_this_process(job)
    else:
        in_processes(job, execution.workers or 1)


class _LogFile(logging.FileHandler):
    """A log that is written where it can be: what keeps it from that also ends the run, in a sentence of its own."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's name
        pass


@contextmanager
def logged(out: Path) -> Iterator[None]:
    """What happens is also written to the run's log."""
    package = logging.getLogger("spikeflip")
    handler = _LogFile(out / LOG, encoding="utf-8", delay=True)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    before = package.level
    package.setLevel(min(before or logging.INFO, logging.INFO))
    package.addHandler(handler)
    try:
        yield
    finally:
        package.removeHandler(handler)
        package.setLevel(before)
        handler.close()

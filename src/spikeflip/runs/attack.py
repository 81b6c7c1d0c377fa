"""Attacking a victim into a run folder, shard by shard; a run that was interrupted goes on where it was."""

import logging
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from spikeflip.errors import SpikeflipError
from spikeflip.report import render_report
from spikeflip.report.loading import read_facts, read_json
from spikeflip.runs.circumstances import circumstances
from spikeflip.runs.config import AttackConfig, Execution
from spikeflip.runs.executors import Job, in_processes, in_this_process
from spikeflip.runs.folder import check_plain, manifest, moment
from spikeflip.runs.lock import LOCK, check_unlocked, locked
from spikeflip.runs.merge import DAMAGE, merge, summarise
from spikeflip.runs.plan import Plan, Task, description_sha256, differences, make_plan, open_task, stored_options
from spikeflip.runs.recordings import FOLDER as RECORDINGS
from spikeflip.runs.shard import INPUTS, ROWS
from spikeflip.snn.checkpoint import load_checkpoint
from spikeflip.writing import PARTIAL, remove_partial, sync, write_bytes, write_json

Progress = Callable[[str, int, int], None]
"""Called with the name of the stage and the number of rows done and in all."""

LOG, SHARDS = "run.log", "shards"
_CONFIG, _MANIFEST, _SUMMARY, _PAGE, _DONE = (
    "config.json",
    "manifest.json",
    "summary.json",
    "report.html",
    "shard.json",
)
_log = logging.getLogger(__name__)


def run_attack(
    config: AttackConfig,
    out: Path,
    *,
    execution: Execution | None = None,
    progress: Progress | None = None,
    page: bool = True,
) -> dict[str, Any]:
    """Attack, save, judge what was saved, and write the run folder ``out``; returns the summary.

    A folder with an unfinished run of the same configuration is gone on with, a finished one is left as it is. Rows and
    adversarial inputs come out the same bytes whatever ``execution`` says, and however often the run was interrupted.

    Args:
        config: what is attacked, and how.
        out: the run folder.
        execution: where shards are attacked; in this process when not given.
        progress: called with the stage, and rows done of all.
        page: write ``report.html`` too; drawing it takes longer than a small run.

    Raises:
        SpikeflipError: an option is wrong, ``out`` holds something else or is in use, or the run cannot go on; what is
            finished of it stays.
    """
    execution = execution or Execution()
    if execution.address is not None and execution.executor != "ray":
        raise SpikeflipError(f"--address {execution.address} is that of a Ray cluster: add --executor ray")
    if execution.executor == "ray":
        from spikeflip.runs.ray_executor import import_ray

        import_ray()
    _check_folder(out)
    task = open_task(config)
    if (out / _CONFIG).exists():
        _check_same(out, task)
        if is_finished(out, page=page):
            return read_facts(out, "summary")
    plan = make_plan(task)
    with locked(out), _logged(out):
        if (out / _CONFIG).exists():  # of another process, which may have begun since the folder was looked at
            _check_same(out, task)
        return _Run(plan, out, progress, page).finish(execution)


def is_finished(out: Path, *, page: bool = True) -> bool:
    """Whether a folder holds a finished run, with its page or, where that is not wanted, with or without."""
    return (out / _SUMMARY).is_file() and ((out / _PAGE).is_file() or not page) and not (out / SHARDS).exists()


def is_done(config: AttackConfig, out: Path, checksum: Callable[[AttackConfig], str]) -> bool:
    """Whether a folder holds a finished run of these options, this victim and data of this checksum."""
    if not is_finished(out):
        return False
    stored = read_json(out / _CONFIG)
    options, identity = stored.get("options"), stored.get("identity")
    if not isinstance(options, dict) or not isinstance(identity, dict) or differences(options, stored_options(config)):
        return False
    checkpoint = load_checkpoint(config.victim)
    ours = {
        "victim's weights": checkpoint.sha256,
        "victim's description": description_sha256(checkpoint),
        "data's checksum": checksum(config),
    }
    return not _changes({name: identity[name] for name in ours if name in identity}, ours)


@dataclass
class _Run:
    """A run under way in a folder that this process alone writes to."""

    plan: Plan
    out: Path
    progress: Progress | None
    page: bool
    rows: dict[str, dict[int, float]] = field(default_factory=dict)
    """By stage and shard, how many rows are done."""
    reported: dict[str, int] = field(default_factory=dict)

    def finish(self, execution: Execution) -> dict[str, Any]:
        """Do what is not done yet."""
        try:
            self._open(execution)
            if not (self.out / _SUMMARY).exists():
                self._attack(execution)
                self._merge()
            return self._close()
        except OSError as error:
            message = f"{_trouble(error, self.out)}; {self._state()}"
            _log.error(message)
            raise SpikeflipError(message) from error
        except SpikeflipError as error:
            _log.error("%s; %s", error, self._state())
            raise
        except KeyboardInterrupt as error:
            _log.info("interrupted%s; %s", f" by {error}" if str(error) else "", self._state())
            raise
        finally:
            self._tidy()

    def _tidy(self) -> None:
        """Remove what is half-written, by this process or one that was killed."""
        for folder in (self.out, self.out / SHARDS):
            remove_partial(folder)

    def _open(self, execution: Execution) -> None:
        self._tidy()
        (self.out / SHARDS).mkdir(exist_ok=True)
        if not (self.out / _CONFIG).exists():
            write_json(self.out / _CONFIG, self.plan.describe())
        if not (self.out / _MANIFEST).exists():
            facts = manifest(self.plan.task.victim.device)
            write_json(self.out / _MANIFEST, facts | execution.model_dump(mode="json") | {"started": moment()})

    def _attack(self, execution: Execution) -> None:
        every = range(self.plan.shards)
        todo = [number for number in every if not self._is_done(number)]
        _log.info("%d of %d shards to do, %d rows in all", len(todo), len(every), len(self.plan.rows))
        for number in every:
            if number not in todo:
                self._count(number)
        job = Job(
            work=self.plan.work(),
            network=self.plan.task.victim,
            todo=todo,
            shard=self.plan.shard,
            staging=self._staging,
            finished=self._keep,
            report=lambda number: lambda stage, done, of: self._report(number, stage, done / max(1, of)),
            note=_log.warning,
        )
        if todo:
            _executed(job, execution)

    def _staging(self, number: int) -> Path:
        folder = self.out / SHARDS / f".{number:05}.{os.getpid()}{PARTIAL}"
        folder.mkdir()
        return folder

    def _keep(self, number: int, folder: Path, seconds: float) -> None:
        """Give a finished shard its place; renaming its folder is what makes it finished."""
        sizes = {path.relative_to(folder).as_posix(): path.stat().st_size for path in _files(folder)}
        sync(folder / name for name in sizes if name.startswith(f"{RECORDINGS}/"))
        for name in sizes:
            if name.startswith(f"{RECORDINGS}/"):
                place = self.out / name
                place.parent.mkdir(parents=True, exist_ok=True)
                (folder / name).replace(place)
        shutil.rmtree(folder / RECORDINGS, ignore_errors=True)
        write_json(folder / _DONE, {"seconds": round(seconds, 3), "sizes": sizes})
        sync([folder])
        folder.rename(self.out / SHARDS / f"{number:05}")
        _log.info("shard %d is finished, %.1f s", number, seconds)
        self._count(number)

    def _is_done(self, number: int) -> bool:
        """Whether a shard is there and whole; what is left of one that is not is removed."""
        folder = self.out / SHARDS / f"{number:05}"
        try:
            sizes = read_json(folder / _DONE)["sizes"]
            places = {name: self.out if name.startswith(f"{RECORDINGS}/") else folder for name in sizes}
            if {ROWS, INPUTS} <= set(sizes) and all(
                (places[name] / name).stat().st_size == size for name, size in sizes.items()
            ):
                return True
            _log.warning("shard %d is damaged and attacked again", number)
        except (OSError, KeyError, AttributeError, TypeError, ValueError):
            pass
        if folder.exists():
            shutil.rmtree(folder)
        return False

    def _merge(self) -> None:
        plan = self.plan
        facts = read_json(self.out / _MANIFEST)
        shards = [self.out / SHARDS / f"{number:05}" for number in range(plan.shards)]
        try:
            merge(shards, self.out, steps=plan.task.config.steps)
            known = circumstances(plan)
            summary = summarise(self.out / ROWS, goal=plan.goal, kind=plan.task.kind, draws=plan.draws, known=known)
            seconds = sum(float(read_json(path)["seconds"]) for path in (self.out / SHARDS).glob(f"*/{_DONE}"))
        except DAMAGE as error:
            raise SpikeflipError(
                f"{self.out / SHARDS} holds a damaged shard ({' '.join(str(error).split())[:200]}): delete that "
                "folder, then give the same command again"
            ) from error
        write_json(self.out / _MANIFEST, facts | {"finished": moment(), "seconds": round(seconds, 1)})
        sync([self.out, *_folders(self.out / RECORDINGS)])
        write_json(self.out / _SUMMARY, summary)  # from here on, the shards are not needed any more

    def _close(self) -> dict[str, Any]:
        summary = read_facts(self.out, "summary")
        if self.page:
            write_bytes(self.out / _PAGE, render_report([self.out]).encode())
        sync([self.out])
        if (self.out / SHARDS).exists():
            shutil.rmtree(self.out / SHARDS)
        _log.info("finished: %d rows", summary["n"])
        return summary

    def _state(self) -> str:
        try:
            done = len(list((self.out / SHARDS).glob(f"*/{_DONE}")))
        except OSError:
            done = 0
        return f"{done} of {self.plan.shards} shards are finished and stay"

    def _size(self, number: int) -> int:
        size = self.plan.task.config.shard_size
        return len(self.plan.rows[number * size : (number + 1) * size])

    def _count(self, number: int) -> None:
        """Report a shard as finished in every stage."""
        stages = ("attack", "write", "judge") if self.plan.task.data.recordings is not None else ("attack", "judge")
        for stage in stages:
            self._report(number, stage, 1.0)

    def _report(self, number: int, stage: str, share: float) -> None:
        rows = self.rows.setdefault(stage, {})
        rows[number] = share * self._size(number)
        done = int(sum(rows.values()))
        if self.progress is not None and self.reported.get(stage) != done:
            self.reported[stage] = done
            self.progress(stage, done, len(self.plan.rows))


def _executed(job: Job, execution: Execution) -> None:
    if execution.executor == "ray":
        from spikeflip.runs.ray_executor import on_ray

        on_ray(job, execution.workers, execution.address)
    elif execution.workers in (None, 1):
        in_this_process(job)
    else:
        in_processes(job, execution.workers or 1)


def _check_folder(out: Path) -> None:
    """Raise a SpikeflipError if ``out`` holds anything but a run, or is in use."""
    if out.is_file():
        raise SpikeflipError(f"--out {out} is a file: give a folder that does not exist yet")
    if not out.is_dir():
        return
    ours = {LOCK, LOG, SHARDS}  # what a run that was killed at its very beginning leaves
    others = [path for path in out.iterdir() if path.name not in ours and not path.name.endswith(PARTIAL)]
    if others and not (out / _CONFIG).is_file():
        raise SpikeflipError(f"--out {out} already holds other files: choose another folder, or empty it")
    check_plain(out)
    check_unlocked(out)


def _check_same(out: Path, task: Task) -> None:
    stored = read_json(out / _CONFIG)
    theirs = stored.get("identity")
    # Labels are positions among the classes: where these are others, so are the labels.
    named = {"classes": stored.get("classes")} | (theirs if isinstance(theirs, dict) else {})
    changed = _changes(named, {"classes": list(task.data.classes)} | task.identity)
    if changed:
        raise SpikeflipError(
            f"--out {out} holds a run with other options ({'; '.join(changed)}): give the same, or another folder"
        )


def _changes(theirs: Mapping[str, Any], ours: Mapping[str, Any]) -> list[str]:
    """What two identities differ in, but for what an earlier version did not record."""
    unsaid = {"victim's description"} - theirs.keys()
    return differences(theirs, {name: value for name, value in ours.items() if name not in unsaid})


def _trouble(error: OSError, out: Path) -> str:
    if isinstance(error, FileNotFoundError):
        return f"{error.filename or f'a file in {out}'} was removed during the run: give the same command again"
    return (
        f"{error.filename or out} cannot be written ({error.strerror or error}): see that the disk has room and the "
        "folder can be written to, then give the same command again"
    )


class _LogFile(logging.FileHandler):
    """A log that is written where it can be: what keeps it from that also ends the run, in a sentence of its own."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's name
        pass


@contextmanager
def _logged(out: Path) -> Iterator[None]:
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


def _folders(folder: Path) -> list[Path]:
    return [folder, *(path for path in folder.rglob("*") if path.is_dir())] if folder.exists() else []


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())

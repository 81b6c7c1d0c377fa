"""Attacking a victim into a run folder, shard by shard; a run that was interrupted goes on where it was."""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from spikeflip.errors import SpikeflipError
from spikeflip.report import render_report
from spikeflip.report.folders import is_evaluation
from spikeflip.report.loading import read_facts, read_json
from spikeflip.runs.circumstances import circumstances
from spikeflip.runs.config import AttackConfig, Execution
from spikeflip.runs.finished import SHARDS, Finished, any_left, shard_sha256
from spikeflip.runs.folder import (
    begin_manifest,
    check_free,
    check_plain,
    differences,
    known_to,
    moment,
    write_trouble,
)
from spikeflip.runs.lock import check_unlocked, locked
from spikeflip.runs.merge import DAMAGE, damage_told, merge, recordings_in, summarise
from spikeflip.runs.plan import (
    PLACES,
    Plan,
    Task,
    make_plan,
    open_task,
    pattern_identity,
    pattern_of,
)
from spikeflip.runs.recordings import FOLDER as RECORDINGS
from spikeflip.runs.shard import INPUTS, OUTPUTS, ROWS, TRACE
from spikeflip.runs.sharded import Progress, Shards, check_execution, logged
from spikeflip.runs.victim import load_victim
from spikeflip.writing import make_folder, remove_partial, sync, write_bytes, write_json

_CONFIG, _MANIFEST, _SUMMARY, _PAGE = "config.json", "manifest.json", "summary.json", "report.html"
_WRITTEN = {_CONFIG, _MANIFEST, _SUMMARY, _PAGE, ROWS, TRACE, INPUTS, OUTPUTS}
_RESULTS = (_SUMMARY, _MANIFEST, ROWS, INPUTS)
"""What every finished run holds beside its page."""
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

    A folder with an unfinished run of the same configuration is gone on with, a finished one is left as it is. One of
    which a file was removed since is attacked again. Rows and adversarial inputs come out the same bytes whatever
    ``execution`` says, and however often the run was interrupted.

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
    check_execution(execution)
    _check_folder(out)
    task = open_task(config)
    if (out / _CONFIG).exists():
        _check_same(out, task)
        if is_finished(out, page=page):
            return read_facts(out, "summary")
    plan = make_plan(task)
    with locked(out):
        _check_folder(out, ours=True)  # another process may have begun since the folder was looked at
        if (out / _CONFIG).exists():
            _check_same(out, task)
        else:
            _claim(out, plan)
        with logged(out):
            return _Run(plan, out, progress, page).finish(execution)


def is_finished(out: Path, *, page: bool = True) -> bool:
    """Whether a folder holds a finished run, with its page or, where that is not wanted, with or without."""
    return _has_results(out) and ((out / _PAGE).is_file() or not page) and not any_left(out)


def _has_results(out: Path) -> bool:
    return all((out / name).is_file() for name in _RESULTS) and not _lost_more(out)


def _lost_more(out: Path) -> bool:
    """Whether a file is missing that this finished run held and others do not: trace, outputs or a recording.

    Damage is told by what reads the files; nothing is known of it here.
    """
    try:
        held = [*read_json(out / _MANIFEST).get("files", ()), *recordings_in(out / ROWS)]
        return not all((out / name).is_file() for name in held)
    except (*DAMAGE, OSError, SpikeflipError):
        return False


def is_done(config: AttackConfig, out: Path, checksum: Callable[[AttackConfig], str]) -> bool:
    """Whether a folder holds a finished run of these options, this victim and data of this checksum."""
    if not is_finished(out):
        return False
    stored = read_json(out / _CONFIG)
    options, identity = stored.get("options"), stored.get("identity")
    if not isinstance(options, dict) or not isinstance(identity, dict):
        return False
    if differences(options, known_to(options, config.stored(without=PLACES), AttackConfig)):
        return False
    loaded = load_victim(config)
    ours = {
        "victim's weights": loaded.sha256,
        "victim's description": loaded.description_sha256,
        "data's checksum": checksum(config),
        **pattern_identity(pattern_of(config)),
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
    finished: Finished = field(init=False)
    shards: Shards = field(init=False)

    def __post_init__(self) -> None:
        said = known_to({}, self.plan.task.identity, AttackConfig)  # the same when a later version adds options
        self.finished = Finished(self.out, partial(shard_sha256, self.plan, said))
        self.shards = Shards(self.plan, self.plan.work(), self.finished, self)

    def finish(self, execution: Execution) -> dict[str, Any]:
        """Do what is not done yet."""
        try:
            with self.shards.ending_logged():
                if not _has_results(self.out):
                    (self.out / _SUMMARY).unlink(missing_ok=True)  # what is found without it is not finished
                self._open(execution)
                if not (self.out / _SUMMARY).exists():
                    self.shards.finish(execution)
                    self._merge()
                return self._close()
        finally:
            self._tidy()

    def _tidy(self) -> None:
        """Remove what is half-written, by this process or one that was killed."""
        self.finished.tidy()
        remove_partial(self.out, _WRITTEN)

    def _open(self, execution: Execution) -> None:
        self._tidy()
        make_folder(self.out / SHARDS)
        begin_manifest(self.out / _MANIFEST, self.plan.task.victim.device, execution.model_dump(mode="json"))

    def _merge(self) -> None:
        plan = self.plan
        facts = read_json(self.out / _MANIFEST)
        shards = [self.finished.folder(number) for number in range(plan.shards)]
        with damage_told(self.out):
            merge(shards, self.out, steps=getattr(plan.attack, "most_iterations", 1) * plan.task.config.restarts)
            known = circumstances(plan)
            summary = summarise(self.out / ROWS, goal=plan.goal, kind=plan.task.kind, draws=plan.draws, known=known)
            seconds = self.finished.seconds()
        files = [name for name in (ROWS, INPUTS, OUTPUTS, TRACE) if (self.out / name).exists()]
        now = {"finished": moment(), "seconds": round(seconds, 1), "files": files}
        write_json(self.out / _MANIFEST, facts | now)
        sync([self.out, *_folders(self.out / RECORDINGS)])
        write_json(self.out / _SUMMARY, summary)  # from here on, the shards are not needed any more

    def _close(self) -> dict[str, Any]:
        summary = read_facts(self.out, "summary")
        if self.page:
            write_bytes(self.out / _PAGE, render_report([self.out]).encode())
        sync([self.out])
        self.finished.remove()
        _log.info("finished: %d rows", summary["n"])
        return summary

    def count(self, number: int) -> None:
        """Report a shard as finished in every stage; see :class:`spikeflip.runs.sharded.Tally`."""
        stages = ("attack", "write", "judge") if self.plan.task.data.recordings is not None else ("attack", "judge")
        for stage in stages:
            self.report(number, stage, 1.0)

    def report(self, number: int, stage: str, share: float) -> None:
        """See :class:`spikeflip.runs.sharded.Tally`."""
        rows = self.rows.setdefault(stage, {})
        rows[number] = share * self.plan.size(number)
        done = int(sum(rows.values()))
        if self.progress is not None and self.reported.get(stage) != done:
            self.reported[stage] = done
            self.progress(stage, done, len(self.plan.rows))


def _check_folder(out: Path, *, ours: bool = False) -> None:
    """Raise a SpikeflipError if ``out`` holds anything but a run, or is in use by another process than ``ours``."""
    if not (out / _CONFIG).is_file():
        check_free(out, frozenset({_CONFIG}))
    check_plain(out)
    if not ours:
        check_unlocked(out)


def _claim(out: Path, plan: Plan) -> None:
    """Write down whose the folder is; what a folder holds that does not say so is not touched."""
    try:
        remove_partial(out, {_CONFIG})
        write_json(out / _CONFIG, plan.describe())
    except OSError as error:
        message = f"{write_trouble(error, out)}; 0 of {plan.shards} shards are finished and stay"
        raise SpikeflipError(message) from error


def _check_same(out: Path, task: Task) -> None:
    if is_evaluation(out):
        raise SpikeflipError(f"--out {out} holds an evaluation, and no run of attack: give another folder")
    stored = read_json(out / _CONFIG)
    theirs = stored.get("identity")
    # Labels are positions among the classes: where these are others, so are the labels.
    named = {"classes": stored.get("classes")} | (theirs if isinstance(theirs, dict) else {})
    if not task.batches_matter:
        named.pop("micro_batch", None)  # which earlier versions wrote there
    changed = _changes(named, {"classes": list(task.data.classes)} | task.identity)
    if changed:
        raise SpikeflipError(
            f"--out {out} holds a run with other options ({'; '.join(changed)}): give the same, or another folder"
        )


def _changes(theirs: Mapping[str, Any], ours: Mapping[str, Any]) -> list[str]:
    """What two identities differ in, but for what an earlier version did not record."""
    unsaid = {"victim's description"} - theirs.keys()
    known = known_to(theirs, ours, AttackConfig)
    return differences(theirs, {name: value for name, value in known.items() if name not in unsaid})


def _folders(folder: Path) -> list[Path]:
    return [folder, *(path for path in folder.rglob("*") if path.is_dir())] if folder.exists() else []

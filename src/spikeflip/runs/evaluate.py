"""Evaluating a victim into a folder, shard by shard; an evaluation that was interrupted goes on where it was."""

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import torch
from torch import Tensor

from spikeflip import __version__
from spikeflip.errors import SpikeflipError
from spikeflip.evaluation.findings import Verdict
from spikeflip.evaluation.outcome import Figures, together
from spikeflip.evaluation.suites import Suite, suite_of
from spikeflip.evaluation.threats import threat_of
from spikeflip.evaluation.worst_case import looked_at, verdict_on
from spikeflip.judging.notices import did_not_learn, nothing_right, victim_at_chance
from spikeflip.notices import Notice, as_json
from spikeflip.reading import may_replace
from spikeflip.report.cards import FORMAT, make_card
from spikeflip.report.evaluation import PAGE, render_evaluation
from spikeflip.report.loading import read_json
from spikeflip.runs.circumstances import circumstances
from spikeflip.runs.config import AttackConfig, DataConfig, Execution, VictimConfig
from spikeflip.runs.evaluate_config import EvaluateConfig
from spikeflip.runs.evaluate_shard import FIGURES, EvaluateWork, members_in
from spikeflip.runs.finished import SHARDS, Finished, any_left, shard_sha256
from spikeflip.runs.folder import begin_manifest, check_free, check_plain, differences, moment, write_trouble
from spikeflip.runs.lock import check_unlocked, locked
from spikeflip.runs.merge import damage_told, merge
from spikeflip.runs.plan import PLACES, Plan, Task, make_plan, open_task
from spikeflip.runs.shard import INPUTS, ROWS
from spikeflip.runs.sharded import Progress, Shards, check_execution, logged
from spikeflip.runs.work import Work
from spikeflip.victims import doctor
from spikeflip.writing import make_folder, remove_partial, sync, write_bytes, write_json

SUMMARY = "evaluation.json"
_CONFIG, _MANIFEST = "config.json", "manifest.json"
_WRITTEN = {_CONFIG, _MANIFEST, SUMMARY, ROWS, INPUTS, PAGE}
_RESULTS = (SUMMARY, _MANIFEST, ROWS, INPUTS)
"""What every finished evaluation holds beside its page."""
_log = logging.getLogger(__name__)
_EXAMPLES = 16
"""Inputs on which the victim is examined."""
_OF_ATTACKS = {
    *DataConfig.model_fields,
    *VictimConfig.model_fields,
    *("split", "target", "samples", "micro_batch", "shard_size", "engine", "device", "draws", "seed"),
}


def run_evaluation(
    config: EvaluateConfig,
    out: Path,
    *,
    card: Path | None = None,
    execution: Execution | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Evaluate, and write the folder ``out`` with a page; returns the summary, with the seconds of each attack.

    A folder with an unfinished evaluation of the same configuration is gone on with, a finished one is left as it is.
    One of which a file was removed since is evaluated again. Figures, rows and adversarial inputs come out the same
    bytes whatever ``execution`` says, and however often the evaluation was interrupted.

    Args:
        config: what is evaluated, and how.
        out: the folder.
        card: a file for the result card, too.
        execution: where shards are attacked; in this process when not given.
        progress: called with what is at work, and inputs done of all; parts of the suite count as parts of an input.

    Raises:
        SpikeflipError: an option is wrong, the victim fails a check, ``out`` holds something else or is in use, or the
            evaluation cannot go on; what is finished of it stays.
    """
    execution = execution or Execution()
    check_execution(execution)
    suite = suite_of(config.threat, config.suite)
    _check_card(card, out)
    _check_folder(out)
    task = open_task(AttackConfig(attack="random", **{name: getattr(config, name) for name in _OF_ATTACKS}))
    _check_threat(config, task)
    described = _described(config, suite, task)
    if (out / _CONFIG).exists():
        _check_same(out, described)
    if not is_evaluated(out):
        plan = make_plan(task)
        _check_victim(plan)
        with locked(out):
            _check_folder(out, ours=True)
            if (out / _CONFIG).exists():
                _check_same(out, described)
            else:
                _claim(out, described)
            with logged(out):
                _Run(config, suite, plan, out, described["identity"], progress).finish(execution)
    return _told(out, card, config, described)


def is_evaluated(out: Path) -> bool:
    """Whether the folder has a finished evaluation: figures, inputs and a page, and no shard to do."""
    return _has_results(out) and (out / PAGE).is_file() and not any_left(out)


def _has_results(out: Path) -> bool:
    return all((out / name).is_file() for name in _RESULTS)


@dataclass
class _Run:
    """An evaluation under way in a folder that this process alone writes to."""

    config: EvaluateConfig
    suite: Suite
    plan: Plan
    out: Path
    identity: Mapping[str, Any]
    progress: Progress | None
    done: dict[int, float] = field(default_factory=dict)
    """By shard, the share of its work that is done."""
    seconds: dict[str, float] = field(default_factory=dict)
    """By attack, what it took in finished shards: what a part of the suite is of the whole."""
    finished: Finished = field(init=False)
    shards: Shards = field(init=False)

    def __post_init__(self) -> None:
        self.finished = Finished(self.out, partial(shard_sha256, self.plan, self.identity))
        self.shards = Shards(self.plan, self._work(), self.finished, self)

    def finish(self, execution: Execution) -> None:
        """Do what is not done yet."""
        try:
            with self.shards.ending_logged():
                if not _has_results(self.out):
                    (self.out / SUMMARY).unlink(missing_ok=True)  # what is found without it is not finished
                self._open(execution)
                if not (self.out / SUMMARY).exists():
                    self.shards.finish(execution)
                    self._merge()
                write_bytes(self.out / PAGE, render_evaluation(self.out).encode())
                sync([self.out])
                self.finished.remove()
                _log.info("finished: %d rows", len(self.plan.rows))
        finally:
            self._tidy()

    def report(self, number: int, stage: str, share: float) -> None:
        """See :class:`spikeflip.runs.sharded.Tally`."""
        names = [member.name for member in self.suite.members]
        weights = [self.seconds.get(name, 0.0) for name in names] if any(self.seconds.values()) else [1.0] * len(names)
        at = names.index(stage)
        self._told(number, (sum(weights[:at]) + share * weights[at]) / sum(weights), stage)

    def count(self, number: int) -> None:
        """See :class:`spikeflip.runs.sharded.Tally`."""
        for member in members_in(self.finished.folder(number)):
            self.seconds[member.name] = self.seconds.get(member.name, 0.0) + member.seconds
        self._told(number, 1.0)

    def _told(self, number: int, share: float, stage: str = "") -> None:
        self.done[number] = max(share, self.done.get(number, 0.0))
        if self.progress is not None:
            done = sum(part * self.plan.size(shard) for shard, part in self.done.items())
            self.progress("|".join(filter(None, ("evaluate", stage))), int(done + 1e-9), len(self.plan.rows))

    def _work(self) -> EvaluateWork:
        attack = self.plan.work()
        config = self.config
        return EvaluateWork(
            **{one.name: getattr(attack, one.name) for one in fields(Work)},
            threat=config.threat,
            budget=config.budget,
            suite=self.suite.name,
            every=config.every,
        )

    def _tidy(self) -> None:
        self.finished.tidy()
        remove_partial(self.out, _WRITTEN)

    def _open(self, execution: Execution) -> None:
        self._tidy()
        make_folder(self.out / SHARDS)
        begin_manifest(self.out / _MANIFEST, self.plan.task.victim.device, execution.model_dump(mode="json"))

    def _merge(self) -> None:
        """Write all that was found; its summary last, which says that shards are not needed any more."""
        shards = [self.finished.folder(number) for number in range(self.plan.shards)]
        with damage_told(self.out):
            merge(shards, self.out, steps=1)
            members = together([members_in(folder) for folder in shards])
            rows = _figures_in(self.out / ROWS)
        config = self.config
        found = Figures(
            suite=self.suite.name,
            threat=config.threat,
            budget=config.budget,
            kind=self.plan.task.kind,
            draws=self.plan.draws,
            seed=config.seed,
            every=config.every,
            rows=rows,
            members=members,
            verdict=self._verdict(rows["right"]),
        )
        summary = found.summary() | {"notices": as_json(self._notices(~rows["right"]))}
        seconds = [round(member.pop("seconds"), 2) for member in summary["members"]]
        write_json(
            self.out / _MANIFEST,
            read_json(self.out / _MANIFEST) | {"finished": moment(), "seconds_of_members": seconds},
        )
        sync([self.out])
        write_json(self.out / SUMMARY, summary)

    def _notices(self, wrong: Tensor) -> Iterator[Notice]:
        """What must be known of the data, of the victim, and of how it answers the originals."""
        known = circumstances(self.plan)
        rows = {"already_wrong": wrong, "input": self.plan.rows}
        yield from (*known.data, *known.attack)
        for notice in (did_not_learn(known), nothing_right(rows) or victim_at_chance(rows, known)):
            if notice is not None:
                yield notice

    def _verdict(self, right: Tensor) -> Verdict | None:
        """Of some of the inputs that are right."""
        if not self.config.verdict or self.config.budget == 0:
            return None
        if self.progress is not None:
            self.progress("verdict", 0, 1)
        plan, some = self.plan, looked_at(right, self.plan.rows)
        found = verdict_on(
            plan.task.victim,
            plan.task.data.read(plan.rows[some]).float(),
            plan.labels[some],
            None if plan.targets is None else plan.targets[some],
            threat=self.config.threat,
            budget=self.config.budget,
            seed=self.config.seed,
            micro_batch=self.config.micro_batch,
            samples=plan.samples[some],
            attacked=plan.task.loaded.attacked(plan.task.engine, "float32", None),
        )
        if self.progress is not None:
            self.progress("verdict", 1, 1)
        return found


def _figures_in(path: Path) -> dict[str, Tensor]:
    table = pyarrow.parquet.read_table(path.absolute(), columns=list(FIGURES))
    return {name: torch.from_numpy(table[name].to_numpy(zero_copy_only=False).copy()) for name in FIGURES}


def _check_threat(config: EvaluateConfig, task: Task) -> None:
    """Raise a SpikeflipError if the threat is not one to these inputs."""
    threat = threat_of(config.threat)
    recorded = task.data.recordings is not None
    threat.check(task.kind, config.budget, steps=task.victim.time_steps, recorded=recorded)
    rule = None if task.data.binning is None else task.data.binning.rule
    if threat.name in ("events", "timing") and rule not in (None, "time"):
        raise SpikeflipError(
            f"threat {threat.name} changes recordings, whose bins then move, as the victim's are by {rule}: choose "
            "binary-l0, or a victim with bins of a fixed time"
        )


def _check_victim(plan: Plan) -> None:
    """Raise a SpikeflipError with all that doctor finds, where it finds that the victim cannot be attacked."""
    found = doctor(plan.task.victim, plan.task.data.read(plan.rows[:_EXAMPLES]).float())
    if not found.attackable:
        failed = [verdict for verdict in found.verdicts if found.state(verdict) == "failed"]
        said = "; ".join(f"{verdict.check}: {verdict}" for verdict in failed)
        raise SpikeflipError(f"the victim fails {len(failed)} of the checks of doctor and is not evaluated: {said}")


def _claim(out: Path, described: Mapping[str, Any]) -> None:
    """Write down whose the folder is; what a folder holds that does not say so is not touched."""
    try:
        remove_partial(out, {_CONFIG})
        write_json(out / _CONFIG, described)
    except OSError as error:
        raise SpikeflipError(write_trouble(error, out)) from error


def _described(config: EvaluateConfig, suite: Suite, task: Task) -> dict[str, Any]:
    """What ``config.json`` holds: evaluations that agree in its identity can go on one another."""
    options = config.stored(without={*PLACES, "suite", "micro_batch"})
    return {
        "suite": suite.name,
        "members": [_member_facts(member) for member in suite.members],
        "data": task.data.facts,
        "classes": list(task.data.classes),
        "victim": dict(task.loaded.description),
        "identity": options
        | {
            "suite": suite.name,
            "engine": task.engine,
            "victim's weights": task.loaded.sha256,
            "victim's description": task.loaded.description_sha256,
            "data's checksum": task.data.facts["sha256"],
            "classes": list(task.data.classes),
        },
    }


def _member_facts(member: Any) -> dict[str, Any]:
    return {field.name: value for field in fields(member) if not callable(value := getattr(member, field.name))}


def _check_folder(out: Path, *, ours: bool = False) -> None:
    """Raise a SpikeflipError if ``out`` holds anything but an evaluation, or is in use by another process."""
    if not (out / _CONFIG).is_file():
        check_free(out, frozenset({_CONFIG}))
    check_plain(out)
    if not ours:
        check_unlocked(out)


def _check_same(out: Path, described: dict[str, Any]) -> None:
    theirs = read_json(out / _CONFIG).get("identity")
    if not isinstance(theirs, dict) or "threat" not in theirs:
        raise SpikeflipError(f"--out {out} holds something that is no evaluation: give another folder")
    if changed := differences(theirs, described["identity"]):
        raise SpikeflipError(
            f"--out {out} holds an evaluation with other options ({'; '.join(changed)}): give the same, or another "
            "folder"
        )


def _check_card(card: Path | None, out: Path) -> None:
    if card is None:
        return
    own = out.resolve()
    if card.resolve() in (own, *(own / name for name in _WRITTEN)):
        raise SpikeflipError(f"--card {card} is the place of the evaluation itself: give another, such as card.json")
    if next(path for path in card.absolute().parents if path.exists()).is_file():
        raise SpikeflipError(f"--card {card} lies in a file: give one in a folder")
    if not may_replace(card, FORMAT.encode()):
        raise SpikeflipError(f"--card {card} holds something that is no card: give another file")


def _told(out: Path, card: Path | None, config: EvaluateConfig, described: dict[str, Any]) -> dict[str, Any]:
    """The summary of a finished evaluation with its times; writes its card where one is wanted."""
    summary = read_json(out / SUMMARY)
    if card is not None:
        values = make_card(config.victim.name, described["victim"], described["data"], summary, __version__)
        try:
            make_folder(card.parent)
            write_json(card, values)
        except OSError as error:
            raise SpikeflipError(f"--card {card} cannot be written ({error.strerror}): give another file") from error
    times = read_json(out / _MANIFEST).get("seconds_of_members")
    if isinstance(times, list) and len(times) == len(summary["members"]):
        for member, seconds in zip(summary["members"], times, strict=True):
            member["seconds"] = seconds
    return summary

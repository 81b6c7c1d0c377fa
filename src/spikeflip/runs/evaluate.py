"""Evaluating a victim into a folder, attack by attack; an evaluation that was interrupted goes on where it was."""

import shutil
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from spikeflip import __version__
from spikeflip.attacks import Recorded
from spikeflip.errors import SpikeflipError
from spikeflip.evaluation import Evaluation, evaluate
from spikeflip.evaluation.members import Found
from spikeflip.evaluation.suites import Suite, suite_of
from spikeflip.evaluation.threats import threat_of
from spikeflip.limits import ran_out
from spikeflip.reading import may_replace
from spikeflip.report.cards import FORMAT, make_card
from spikeflip.report.loading import read_json
from spikeflip.runs.config import AttackConfig, DataConfig, VictimConfig
from spikeflip.runs.evaluate_config import EvaluateConfig
from spikeflip.runs.folder import check_free, check_plain, manifest, moment, went_on, write_table, write_trouble
from spikeflip.runs.lock import check_unlocked, locked
from spikeflip.runs.plan import PLACES, Plan, Task, differences, make_plan, open_task
from spikeflip.snn.validation import Kind
from spikeflip.victims.examining.checks import raised
from spikeflip.writing import make_folder, remove_partial, write_bytes, write_json

Progress = Callable[[str, int, int], None]

SUMMARY, ROWS, ADVERSARIALS, MEMBERS = "evaluation.json", "rows.parquet", "adversarials.safetensors", "members"
_CONFIG, _MANIFEST = "config.json", "manifest.json"
_WRITTEN = {_CONFIG, _MANIFEST, SUMMARY, ROWS, ADVERSARIALS}
_OF_ATTACKS = {*DataConfig.model_fields, *VictimConfig.model_fields, "split", "target", "samples", "engine", "device"}
_TENSORS = ("rows", "distance", "within", "adversarials", "forwards", "backwards")


def run_evaluation(
    config: EvaluateConfig, out: Path, *, card: Path | None = None, progress: Progress | None = None
) -> dict[str, Any]:
    """Evaluate, and write the folder ``out``; returns the summary, with the seconds of each attack.

    A folder with an unfinished evaluation of the same configuration is gone on with, a finished one is left as it is.
    Figures, rows and adversarial inputs come out the same bytes, however often the evaluation was interrupted.

    Args:
        config: what is evaluated, and how.
        out: the folder.
        card: a file for the result card, too.
        progress: called with the attack at work, and the samples that it is done with and was given.

    Raises:
        SpikeflipError: an option is wrong, ``out`` holds something else or is in use, or the evaluation cannot go on;
            what is finished of it stays.
    """
    suite = suite_of(config.threat, config.suite)
    _check_card(card)
    _check_folder(out)
    task = open_task(
        AttackConfig(attack="random", **{name: getattr(config, name) for name in _OF_ATTACKS}, seed=config.seed)
    )
    threat_of(config.threat).check(task.kind, config.budget)
    described = _described(config, suite, task)
    if (out / _CONFIG).exists():
        _check_same(out, described)
    if not (out / SUMMARY).is_file():
        plan = make_plan(task)
        with locked(out):
            _check_folder(out, ours=True)
            if (out / _CONFIG).exists():
                _check_same(out, described)
            _finish(config, suite, plan, out, described, progress)
    if (out / MEMBERS).exists():  # of the evaluation that is finished now, or of one that was killed when it was
        with locked(out), suppress(OSError):
            shutil.rmtree(out / MEMBERS)
    return _told(out, card, config, described)


def _finish(
    config: EvaluateConfig,
    suite: Suite,
    plan: Plan,
    out: Path,
    described: dict[str, Any],
    progress: Progress | None,
) -> None:
    """Do what is not done yet in a folder that this process alone writes to."""
    store = _Folder(out / MEMBERS, suite, plan.task.kind)
    try:
        remove_partial(out, _WRITTEN)
        if not (out / _CONFIG).exists():
            write_json(out / _CONFIG, described)
        now = manifest(plan.task.victim.device)
        facts = read_json(out / _MANIFEST) if (out / _MANIFEST).exists() else now | {"started": moment()}
        write_json(out / _MANIFEST, went_on(facts, now))
        make_folder(out / MEMBERS)
        found = _evaluated(config, suite, plan, store, progress)
        _write(found, plan, out)
    except OSError as error:
        raise SpikeflipError(f"{write_trouble(error, out)}; {store.state()}") from error


def _evaluated(
    config: EvaluateConfig, suite: Suite, plan: Plan, store: "_Folder", progress: Progress | None
) -> Evaluation:
    loaded, data = plan.task.loaded, plan.task.data
    recorded = None
    if data.recordings is not None and data.binning is not None:
        recorded = Recorded.of(data.recordings.carried(plan.rows).binned(data.binning))
    numbers = {member.name: number for number, member in enumerate(suite.members, start=1)}

    def staged(name: str, done: int, every: int) -> None:
        if progress is not None:
            progress(f"{numbers[name]}/{len(numbers)} {name}", done, every)

    try:
        return evaluate(
            loaded.victim,
            data.read(plan.rows).float(),
            plan.labels,
            plan.targets,
            threat=config.threat,
            budget=config.budget,
            suite=suite.name,
            every=config.every,
            verdict=config.verdict,
            draws=config.draws,
            seed=config.seed,
            samples=plan.samples,
            micro_batch=config.micro_batch,
            recorded=recorded,
            progress=staged,
            attacked=loaded.attacked(plan.task.engine, "float32", None),
            store=store,
        )
    except Exception as error:
        ours = loaded.is_network and not loaded.defences
        if ours or ran_out(error) or isinstance(error, SpikeflipError | OSError):
            raise
        raise SpikeflipError(f"the victim's code raised an error ({raised(error)}): mend it") from error


def _write(found: Evaluation, plan: Plan, out: Path) -> None:
    """Write all that an evaluation found; its summary last, which says that it is finished."""
    names: list[str] = [name or "" for name in found.broken_by]
    rows = {name: column for name, column in found.rows.items() if name != "by"}
    write_table(out / ROWS, {"input": plan.rows, **rows, "broken_by": names})
    kept = found.adversarials.to(torch.uint8) if found.kind == "spikes" else found.adversarials
    write_bytes(out / ADVERSARIALS, save({"adversarials": kept.contiguous(), "samples": plan.samples}))
    seconds = [round(member.seconds, 2) for member in found.members]
    write_json(out / _MANIFEST, read_json(out / _MANIFEST) | {"finished": moment(), "seconds_of_members": seconds})
    summary = found.summary()
    for member in summary["members"]:
        del member["seconds"]
    write_json(out / SUMMARY, summary)


@dataclass(frozen=True)
class _Folder:
    """Keeps what each member of a suite found in a file of its own."""

    place: Path
    suite: Suite
    kind: Kind

    def load(self, number: int) -> Found | None:
        """See :class:`spikeflip.evaluation.worst_case.Store`; what is damaged is not there."""
        path = self._path(number)
        if not path.is_file():
            return None
        try:
            with safe_open(path, "pt") as file:
                tensors = {name: file.get_tensor(name) for name in _TENSORS}
                facts = file.metadata() or {}
            seconds = float(facts["seconds"])
        except (SafetensorError, KeyError, ValueError, OSError):
            return None
        tensors["adversarials"] = tensors["adversarials"].float() if self.kind == "spikes" else tensors["adversarials"]
        return Found(**tensors, seconds=seconds, left_out=facts.get("left_out"))

    def keep(self, number: int, found: Found) -> None:
        """See :class:`spikeflip.evaluation.worst_case.Store`."""
        tensors: dict[str, Tensor] = {name: getattr(found, name).contiguous() for name in _TENSORS}
        if self.kind == "spikes":
            tensors["adversarials"] = tensors["adversarials"].to(torch.uint8)
        facts = {"seconds": repr(found.seconds)} | ({} if found.left_out is None else {"left_out": found.left_out})
        write_bytes(self._path(number), save(tensors, facts))

    def state(self) -> str:
        """How far it is, in words."""
        done = sum(self._path(number).is_file() for number in range(len(self.suite.members)))
        return f"{done} of {len(self.suite.members)} attacks are finished and stay"

    def _path(self, number: int) -> Path:
        return self.place / f"{number:02d}.safetensors"


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


def _check_card(card: Path | None) -> None:
    if card is None:
        return
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

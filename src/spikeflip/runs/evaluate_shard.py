"""A shard of an evaluation: the worst case of its inputs, and what each attack of the suite did for it."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from spikeflip.evaluation import Evaluation, MemberResult, evaluate
from spikeflip.report.loading import read_json
from spikeflip.runs.folder import write_table
from spikeflip.runs.shard import INPUTS, MEMBERS, ROWS, save_inputs
from spikeflip.runs.victim import LoadedVictim
from spikeflip.runs.work import Report, Shard, Work, Worker
from spikeflip.snn.network import ReluNetwork, SpikingNetwork
from spikeflip.victims import Victim
from spikeflip.writing import write_json

FIGURES = ("input", "target", "right", "own", "limit", "broken", "distance", "by_attack")
"""Columns of the rows that figures are made of."""


@dataclass(frozen=True, kw_only=True)
class EvaluateWork(Work):
    """A suite on every shard."""

    threat: str
    budget: float
    suite: str
    every: bool

    def worker(self, loaded: LoadedVictim | None = None) -> "EvaluateWorker":
        """See :class:`spikeflip.runs.work.Work`."""
        return EvaluateWorker(loaded or self.load(), self)


@dataclass
class EvaluateWorker(Worker):
    """A victim in this process, for which one shard after the other is evaluated."""

    work: EvaluateWork

    def attack_once(self, shard: Shard, folder: Path, report: Report) -> None:
        """See :class:`spikeflip.runs.work.Worker`."""
        work = self.work
        inputs, labels, targets, samples = shard.tensors
        found = evaluate(
            self.loaded.victim,
            inputs,
            labels,
            targets,
            threat=work.threat,
            budget=work.budget,
            suite=work.suite,
            every=work.every,
            draws=work.draws,
            seed=work.seed,
            samples=samples,
            micro_batch=self.micro_batch,
            recorded=shard.binned(work.binning)[1],
            progress=report,
            attacked=self.loaded.attacked(work.engine, "float32", None),
            twin=_twin(self.loaded),
        )
        save_inputs(folder / INPUTS, self.loaded.victim, inputs, found.adversarials, samples)
        write_table(folder / ROWS, _columns(found, shard))
        write_json(folder / MEMBERS, {"members": [asdict(member) for member in found.members]})


def members_in(folder: Path) -> tuple[MemberResult, ...]:
    """What each attack did for a shard; a TypeError or KeyError for a file that is none of a shard's."""
    return tuple(MemberResult(**member) for member in read_json(folder / MEMBERS)["members"])


def _twin(loaded: LoadedVictim) -> Victim | None:
    """The ReLU twin of the network behind the defences, where there is one."""
    return ReluNetwork.twin_of(loaded.plain) if isinstance(loaded.plain, SpikingNetwork) else None


def _columns(found: Evaluation, shard: Shard) -> Mapping[str, Any]:
    named: list[str] = [name or "" for name in found.broken_by]
    rows: dict[str, Tensor] = {name: column for name, column in found.rows.items() if name != "by"}
    return {"input": torch.tensor(shard.inputs), **rows, "broken_by": named}

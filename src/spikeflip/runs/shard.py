"""A shard of an attack: attacked, judged, and written into a folder."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load, save
from torch import Tensor

from spikeflip.attacks import AttackResult, Verified
from spikeflip.attacks.metrics import METRICS
from spikeflip.interop import EVERY_ATTACK
from spikeflip.judging.judgement import judge, judged_together, sizes
from spikeflip.runs.folder import write_table
from spikeflip.runs.recordings import Written, write_adversarials
from spikeflip.runs.victim import LoadedVictim
from spikeflip.runs.work import Report, Shard, Work, Worker
from spikeflip.snn.engines.choose import Precision
from spikeflip.snn.surrogate import Surrogate
from spikeflip.snn.validation import kind_of
from spikeflip.victims import Victim
from spikeflip.writing import write_bytes

ROWS, TRACE, INPUTS = "rows.parquet", "trace.parquet", "adversarials.safetensors"
OUTPUTS = "outputs.safetensors"
"""What the output layer fires at each step, where the victim tells it."""
MEMBERS = "members.json"
"""Of a shard of an evaluation: what each attack of the suite did."""
_EVENTS = frozenset(metric.name for metric in METRICS.values() if metric.on != "all")
LATER_COLUMNS = _EVENTS | {"silent"}
"""Columns of rows that runs of earlier versions do not have."""


@dataclass(frozen=True, kw_only=True)
class AttackWork(Work):
    """An attack of every shard."""

    attack: str
    settings: Mapping[str, Any]
    precision: Precision
    surrogate: Surrogate | None
    """In the attack's gradients; the victim's own where None."""
    confidence: float | None
    restarts: int
    reduce: bool | None
    trace: bool

    def worker(self, loaded: LoadedVictim | None = None) -> "AttackWorker":
        """See :class:`spikeflip.runs.work.Work`."""
        return AttackWorker(loaded or self.load(), self)


@dataclass
class AttackWorker(Worker):
    """A victim in this process, which attacks one shard after the other, and judges what comes of it."""

    work: AttackWork

    def attack_once(self, shard: Shard, folder: Path, report: Report) -> None:
        """See :class:`spikeflip.runs.work.Worker`."""
        work, victim = self.work, self.loaded.victim
        inputs, labels, targets, samples = shard.tensors
        attack = EVERY_ATTACK[work.attack].settings(**work.settings)
        binned, recorded = shard.binned(work.binning)
        result = attack(
            # Judging stays on the victim itself.
            self.loaded.attacked(work.engine, work.precision, work.surrogate),
            inputs,
            labels,
            targets,
            seed=work.seed,
            samples=samples,
            micro_batch=self.micro_batch,
            progress=_stage(report, "attack"),
            trace=work.trace,
            recorded=recorded,
            stop=None if work.confidence is None else Verified(work.confidence),
            restarts=work.restarts,
            reduce=work.reduce,
        )
        written = None
        if shard.recordings is not None and binned is not None:
            written = write_adversarials(
                folder,
                shard.recordings.clips,
                binned,
                torch.tensor(shard.clips),
                targets,
                result.adversarials,
                seed=work.seed,
                samples=samples,
                moves=getattr(attack, "event_moves", None),
                progress=_stage(report, "write"),
            )
        final = result.adversarials if written is None else written.frames
        path = folder / INPUTS
        save_inputs(path, victim, inputs, final, samples)
        judgement = judge(
            victim,
            inputs,
            load(path.read_bytes())["adversarials"].to(inputs.dtype),
            labels,
            targets,
            result,
            draws=work.draws,
            seed=work.seed,
            samples=samples,
            budget=getattr(attack, "budget", None),
            recorded=recorded,
            micro_batch=judged_together(self.micro_batch),
            progress=_stage(report, "judge"),
        )
        if judgement.outputs is not None:
            write_bytes(folder / OUTPUTS, save({"outputs": judgement.outputs, "samples": samples}))
        rows = {"input": torch.tensor(shard.inputs), **judgement.rows}
        if written is not None:
            # In the bins of the original, which its changed events need not give again.
            measured = sizes(inputs, written.in_same_bins.float(), recorded)
            rows |= {name: measured[name] for name in _EVENTS}
        rows["lost_in_judging"] = result.success & ~judgement.rows["success"]
        write_table(folder / ROWS, rows | ({} if written is None else _of_files(written, result)))
        if result.trace is not None:
            write_table(folder / TRACE, _long(result, samples))


def save_inputs(path: Path, victim: Victim, inputs: Tensor, adversarials: Tensor, samples: Tensor) -> None:
    """Write inputs before and after with their ids, spikes a byte each."""
    spikes = kind_of(inputs, victim.input_shape, victim.coding) == "spikes"
    both = {"originals": inputs, "adversarials": adversarials}
    tensors = {name: (value.to(torch.uint8) if spikes else value).cpu().contiguous() for name, value in both.items()}
    write_bytes(path, save(tensors | {"samples": samples}))


def _of_files(written: Written, result: AttackResult) -> dict[str, Tensor | list[str]]:
    """The columns that only recordings have: their files, counts of events, and whether a file is what was attacked."""
    exact = (written.frames == result.adversarials.cpu().to(torch.uint8)).flatten(1).all(1)
    return {**written.counts, "file_exact": exact, "file": written.files}


def _long(result: AttackResult, samples: Tensor) -> dict[str, Tensor]:
    """A trace as one row a sample and iteration that was run."""
    assert result.trace is not None
    sample, iteration = (result.trace.mover >= 0).nonzero(as_tuple=True)
    return {
        "sample": samples[sample],
        "iteration": iteration,
        "penultimate_spikes": result.trace.penultimate_spikes[sample, iteration],
        "rule": result.trace.mover[sample, iteration],
    }


def _stage(report: Report, name: str) -> Callable[[int, int], None]:
    return lambda done, every: report(name, done, every)

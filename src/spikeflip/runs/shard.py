"""A shard of a run, some (input, target) rows, and the worker that attacks and judges it into a folder."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load, save
from torch import Tensor

from spikeflip.attacks import AttackResult, Recorded, Verified
from spikeflip.attacks.metrics import METRICS
from spikeflip.data import Binning
from spikeflip.errors import NoMemoryError, SpikeflipError
from spikeflip.interop import EVERY_ATTACK
from spikeflip.judging import judge
from spikeflip.judging.judgement import sizes
from spikeflip.limits import ran_out
from spikeflip.runs.config import VictimConfig
from spikeflip.runs.folder import write_table
from spikeflip.runs.recordings import Carried, Written, write_adversarials
from spikeflip.runs.victim import LoadedVictim, load_sent
from spikeflip.snn.engines.choose import EngineName, Precision
from spikeflip.snn.surrogate import Surrogate
from spikeflip.snn.validation import kind_of
from spikeflip.victims import Victim
from spikeflip.victims.examining.checks import raised
from spikeflip.writing import write_bytes

ROWS, TRACE, INPUTS = "rows.parquet", "trace.parquet", "adversarials.safetensors"
OUTPUTS = "outputs.safetensors"
"""What the output layer fires at each step, where the victim tells it."""
_EVENTS = frozenset(metric.name for metric in METRICS.values() if metric.on != "all")
LATER_COLUMNS = _EVENTS | {"silent"}
"""Columns of rows that runs of earlier versions do not have."""

Report = Callable[[str, int, int], None]
"""Called with the name of the stage, and what is done of what in this shard."""

_JUDGED_AT_A_TIME = 64


@dataclass(frozen=True)
class Shard:
    """Some rows of a run, one an input and target, with all that attacking them needs beside the victim."""

    number: int
    inputs: NDArray[np.int64]
    """``(n,)`` positions in the data."""
    values: NDArray[Any]
    """``(n, ...)``, the inputs themselves."""
    labels: NDArray[np.int64]
    targets: NDArray[np.int64] | None
    samples: NDArray[np.int64]
    """``(n,)`` ids that name the random streams."""
    recordings: Carried | None
    """What the inputs were binned from."""
    clips: NDArray[np.int64]
    """``(n,)`` positions in ``recordings``."""


@dataclass(frozen=True)
class Work:
    """What is done to every shard: plain values, which any process can be sent."""

    victim: VictimConfig
    files: Mapping[str, NDArray[np.uint8]]
    """The victim's files by name; none for one that is made by code."""
    expected: tuple[str, str]
    """Checksums of the victim's weights and of all else that is known of it."""
    attack: str
    settings: Mapping[str, Any]
    engine: EngineName
    precision: Precision
    surrogate: Surrogate | None
    """In the attack's gradients; the victim's own where None."""
    device: str
    confidence: float | None
    restarts: int
    reduce: bool | None
    draws: int
    seed: int
    micro_batch: int
    trace: bool
    binning: Binning | None


@dataclass
class Worker:
    """A victim in this process, which attacks one shard after the other."""

    work: Work
    loaded: LoadedVictim
    notes: list[str] = field(default_factory=list)
    """What the user should know, one sentence each."""
    _halved: bool = False

    @classmethod
    def of(cls, work: Work) -> "Worker":
        """A worker with a victim of its own, made of what it was sent."""
        return cls(work, load_sent(work.victim, work.files, work.device, expected=work.expected))

    def attack(self, shard: Shard, folder: Path, report: Report) -> float:
        """Attack a shard, write what comes of it into ``folder``, and judge that; returns the seconds it took.

        Where memory ends, the shard is begun again once with half the micro-batch, which then stays.
        """
        started = time.monotonic()
        try:
            self._attack(shard, folder, report)
        except Exception as error:
            self._told(error)
        else:
            return time.monotonic() - started
        self._halved = True
        self.notes.append(
            f"memory ran out in shard {shard.number}: it goes on with half the micro-batch, {self._micro_batch}"
        )
        if self.loaded.victim.device.type == "cuda":
            torch.cuda.empty_cache()
        return self.attack(shard, folder, report)

    def _told(self, error: Exception) -> None:
        """Raise what a user can do about an error; return where half the micro-batch may do."""
        if ran_out(error) == "memory":
            if self._halved or self._micro_batch == 1:
                raise NoMemoryError(
                    f"memory ran out at a micro-batch of {self._micro_batch}: give a smaller --micro-batch, or a "
                    "device with more memory"
                ) from error
            return
        # A recording that cannot be written is the folder's failure, not a mistake in what was asked.
        cause = error.__cause__ if isinstance(error, SpikeflipError) and "cannot be written" in str(error) else None
        if isinstance(cause, OSError):
            raise cause from None
        ours = self.loaded.is_network and not self.loaded.defences
        if ours or ran_out(error) or isinstance(error, SpikeflipError | OSError):
            raise error
        raise SpikeflipError(f"the victim's code raised an error ({raised(error)}): mend it") from error

    @property
    def _micro_batch(self) -> int:
        return max(1, self.work.micro_batch // 2) if self._halved else self.work.micro_batch

    def _attack(self, shard: Shard, folder: Path, report: Report) -> None:
        work, victim = self.work, self.loaded.victim
        inputs = torch.tensor(shard.values).float()
        labels, samples = torch.tensor(shard.labels), torch.tensor(shard.samples)
        targets = None if shard.targets is None else torch.tensor(shard.targets)
        attack = EVERY_ATTACK[work.attack].settings(**work.settings)
        binned = recorded = None
        if shard.recordings is not None and work.binning is not None:
            binned = shard.recordings.binned(work.binning)
            recorded = Recorded.of([binned[clip] for clip in shard.clips])
        result = attack(
            # Judging stays on the victim itself.
            self.loaded.attacked(work.engine, work.precision, work.surrogate),
            inputs,
            labels,
            targets,
            seed=work.seed,
            samples=samples,
            micro_batch=self._micro_batch,
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
        _save_inputs(path, victim, inputs, final, samples)
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
            micro_batch=_JUDGED_AT_A_TIME // 2 if self._halved else _JUDGED_AT_A_TIME,
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


def _save_inputs(path: Path, victim: Victim, inputs: Tensor, adversarials: Tensor, samples: Tensor) -> None:
    spikes = kind_of(inputs, victim.input_shape) == "spikes"
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

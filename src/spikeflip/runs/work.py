"""What is done to a shard of a run, some (input, target) rows, and the worker that does it into a folder."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from spikeflip.attacks import Recorded
from spikeflip.data import Binned, Binning
from spikeflip.errors import NoMemoryError, SpikeflipError
from spikeflip.limits import ran_out
from spikeflip.runs.config import VictimConfig
from spikeflip.runs.recordings import Carried
from spikeflip.runs.victim import LoadedVictim, load_sent
from spikeflip.snn.engines.choose import EngineName
from spikeflip.victims.examining.checks import raised

Report = Callable[[str, int, int], None]
"""Called with the name of the stage, and what is done of what in this shard."""


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

    @property
    def tensors(self) -> tuple[Tensor, Tensor, Tensor | None, Tensor]:
        """Inputs, labels, targets and samples."""
        targets = None if self.targets is None else torch.tensor(self.targets)
        return torch.tensor(self.values).float(), torch.tensor(self.labels), targets, torch.tensor(self.samples)

    def binned(self, binning: Binning | None) -> tuple[list[Binned] | None, Recorded | None]:
        """The recordings in bins, and what they say of each row; None where there are none."""
        if self.recordings is None or binning is None:
            return None, None
        binned = self.recordings.binned(binning)
        return binned, Recorded.of([binned[clip] for clip in self.clips])


@dataclass(frozen=True, kw_only=True)
class Work:
    """What is done to every shard: plain values, which any process can be sent."""

    victim: VictimConfig
    files: Mapping[str, NDArray[np.uint8]]
    """The victim's files by name; none for one that is made by code."""
    expected: tuple[str, str]
    """Checksums of the victim's weights and of all else that is known of it."""
    engine: EngineName
    device: str
    draws: int
    seed: int
    micro_batch: int
    binning: Binning | None

    def worker(self, loaded: LoadedVictim | None = None) -> "Worker":
        """Who does it, to the victim given, or to one of its own that is made of what was sent."""
        raise NotImplementedError

    def load(self) -> LoadedVictim:
        """The victim, of what was sent."""
        return load_sent(self.victim, self.files, self.device, expected=self.expected)


@dataclass
class Worker:
    """A victim in this process, which is attacked with one shard after the other; ``work`` says how."""

    loaded: LoadedVictim
    work: Work
    notes: list[str] = field(default_factory=list)
    """What the user should know, one sentence each."""
    halved: bool = False

    def attack(self, shard: Shard, folder: Path, report: Report) -> float:
        """Attack a shard, write what comes of it into ``folder``, and judge that; returns the seconds it took.

        Where memory ends, the shard is begun again once with half the micro-batch, which then stays.
        """
        started = time.monotonic()
        try:
            self.attack_once(shard, folder, report)
        except Exception as error:
            self._told(error)
        else:
            return time.monotonic() - started
        self.halved = True
        self.notes.append(
            f"memory ran out in shard {shard.number}: it goes on with half the micro-batch, {self.micro_batch}"
        )
        if self.loaded.victim.device.type == "cuda":
            torch.cuda.empty_cache()
        return self.attack(shard, folder, report)

    def _told(self, error: Exception) -> None:
        """Raise what a user can do about an error; return where half the micro-batch may do."""
        if ran_out(error) == "memory":
            if self.halved or self.micro_batch == 1:
                raise NoMemoryError(
                    f"memory ran out at a micro-batch of {self.micro_batch}: give a smaller --micro-batch, or a "
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
    def micro_batch(self) -> int:
        """Samples in memory at a time."""
        return max(1, self.work.micro_batch // 2) if self.halved else self.work.micro_batch

    def attack_once(self, shard: Shard, folder: Path, report: Report) -> None:
        """Attack a shard in the micro-batch that there is memory for."""
        raise NotImplementedError

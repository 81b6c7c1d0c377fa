"""One member of a suite at work: what it finds, judged on the untouched victim."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from typing import Any

import torch
from torch import Tensor

from spikeflip.attacks import ATTACKS, Last, Recorded, Smallest, Verified
from spikeflip.attacks.iterated import Options
from spikeflip.errors import NoMemoryError, NotFiniteError, SpikeflipError
from spikeflip.evaluation.suites import Fit, Member
from spikeflip.evaluation.threats import Threat
from spikeflip.judging.judgement import judge, judged_together
from spikeflip.victims import Victim

Progress = Callable[[str, int, int], None]
"""Called with what is at work, and the samples done and in all."""

MOST_FOOLED = 0.5
"""The share of encodings above which they count as fooled."""


@dataclass(frozen=True)
class Samples:
    """n inputs with all that attacking them needs."""

    inputs: Tensor
    labels: Tensor
    targets: Tensor | None
    ids: Tensor
    """``(n,)`` int64, which name the random streams."""
    limits: Tensor
    """``(n,)`` float64, the largest distance allowed."""
    recorded: Recorded | None = None

    def rows(self, rows: Tensor) -> "Samples":
        """Some of them."""
        return Samples(
            self.inputs[rows.to(self.inputs.device)],
            self.labels[rows],
            None if self.targets is None else self.targets[rows],
            self.ids[rows],
            self.limits[rows],
            None if self.recorded is None else self.recorded.rows(rows),
        )


@dataclass(frozen=True)
class Conditions:
    """How all members of a suite are run."""

    victim: Victim
    """Which judges."""
    attacked: Victim
    """The same, as attacks meet it; it may run on another engine."""
    threat: Threat
    budget: float
    draws: int
    seed: int
    micro_batch: int
    twin: Victim | None = None
    """The victim's ReLU twin, where there is one."""

    def options(self, member: Member, attack: Any, samples: "Samples") -> Options:
        """What an attack of the suite is called with."""
        options: Options = {"seed": self.seed, "samples": samples.ids, "micro_batch": self.micro_batch}
        if samples.recorded is not None:
            options["recorded"] = samples.recorded
        if member.reduce is not None:
            options["reduce"] = member.reduce
        if member.on == "twin":
            options["stop"] = Last()
        elif member.attack in ATTACKS and self.threat.kind == "images" and self.victim.coding == "rate":
            options["stop"] = Verified(MOST_FOOLED)
        elif isinstance(getattr(attack, "best", None), Smallest):
            options["stop"] = Smallest(self.threat.metric)
        return options

    def fooled(self, samples: Samples, adversarials: Tensor) -> tuple[Tensor, Tensor]:
        """Whether most encodings of the adversarials fool, and whether the originals were right at first, ``(n,)``."""
        rows = judge(
            self.victim,
            samples.inputs,
            adversarials,
            samples.labels,
            samples.targets,
            draws=self.draws,
            seed=self.seed,
            samples=samples.ids,
            micro_batch=judged_together(self.micro_batch),
        ).rows
        return rows["verified"] > MOST_FOOLED, ~rows["already_wrong"]


@dataclass(frozen=True)
class Found:
    """What a member made of the samples that it was given."""

    rows: Tensor
    """``(m,)`` int64, which they are of all."""
    distance: Tensor
    """``(m,)`` float64 of those that fool the victim, within the budget or not; infinite for the others."""
    within: Tensor
    """``(m,)`` bool: fooled within the budget."""
    adversarials: Tensor
    """``(k, ...)``, of those within."""
    forwards: Tensor
    """``(m,)`` int64, passes of the attack."""
    backwards: Tensor
    seconds: float = 0.0
    left_out: str | None = None
    """Why it was not run, or not on all of them."""

    @classmethod
    def nothing(cls, inputs: Tensor, left_out: str | None = None) -> "Found":
        """Of no sample."""
        none = torch.empty(0, dtype=torch.int64)
        return cls(none, none.double(), none.bool(), inputs[:0].cpu(), none, none, left_out=left_out)


def run_member(
    member: Member, samples: Samples, rows: Tensor, how: Conditions, progress: Progress | None = None
) -> Found:
    """Attack the samples ``rows`` ``(m,)``, and judge what comes of it.

    What an attack gives back is drawn into the budget and judged, whether the attack calls it a success or not. A
    member that cannot attack such a victim, or whose library is not installed, is left out, with its reason; so are
    single samples whose gradient is not finite, or those that share a shard with them would be out of its reach.
    """
    if member.on == "twin" and how.twin is None:
        return Found.nothing(samples.inputs, left_out="the victim has no ReLU twin")
    begun, left_out = time.monotonic(), None
    while len(rows):
        some = samples.rows(rows)
        try:
            adversarials, forwards, backwards = _attacked(member, some, how, progress)
            break
        except NoMemoryError:
            raise
        except NotFiniteError as error:
            left_out = str(error)
            rows = rows[~torch.isin(some.ids, torch.tensor(error.samples))]
        except SpikeflipError as error:
            return Found.nothing(samples.inputs, left_out=str(error))
    else:
        return Found.nothing(samples.inputs, left_out)
    adversarials = how.threat.keep(some.inputs, adversarials, some.limits)
    fooled, _ = how.fooled(some, adversarials)
    distance = how.threat.distances(some.inputs, adversarials, some.recorded)
    within = fooled & how.threat.within(distance, some.limits)
    distance = torch.where(within, distance.minimum(some.limits), distance)
    return Found(
        rows,
        torch.where(fooled, distance, torch.inf),
        within,
        adversarials[within.to(adversarials.device)].cpu(),
        forwards,
        backwards,
        time.monotonic() - begun,
        left_out,
    )


def _events_a_spike(samples: Samples) -> float:
    """How many events a spike of these samples stands for, on average."""
    more = 0.0 if samples.recorded is None else float(samples.recorded.more.sum())
    return 1 + more / max(1.0, float(samples.inputs.ne(0).sum()))


def _attacked(
    member: Member, samples: Samples, how: Conditions, progress: Progress | None
) -> tuple[Tensor, Tensor, Tensor]:
    """The adversarials of all samples, and the passes that they took."""
    n = len(samples.ids)
    # Of the twin, whose sums round otherwise in a batch, too: nothing may depend on which samples share a shard.
    alone = member.exact or member.on == "twin"
    parts = torch.arange(n).split(1 if alone else n)
    found = []
    attacked = how.twin if member.on == "twin" and how.twin is not None else how.attacked
    for done, part in enumerate(parts):
        some = samples.rows(part) if alone else samples
        budget = how.budget
        if member.exact:
            budget = float(some.limits[0]) / float(some.inputs.ne(0).sum())
        fit = Fit(budget, prod(some.inputs.shape[1:]), float(some.limits.max()), _events_a_spike(some))
        attack = member.made(fit)
        options = how.options(member, attack, some)
        if progress is not None:
            options["progress"] = _stage(progress, member.name, done, n if member.exact else None)
        found.append(attack(attacked, some.inputs, some.labels, some.targets, **options))
    whole = [torch.cat([getattr(one, name) for one in found]) for name in ("adversarials", "forwards", "backwards")]
    return whole[0], whole[1], whole[2]


def _stage(progress: Progress, name: str, before: int, every: int | None) -> Callable[[int, int], None]:
    return lambda done, of: progress(name, before + done, every or of)

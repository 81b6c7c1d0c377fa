"""What the settings of all attacks have in common."""

from abc import ABC, abstractmethod
from dataclasses import Field, dataclass, replace
from typing import Any, ClassVar, Protocol, TypedDict, Unpack

import torch
from torch import Tensor

from spikeflip.attacks import loop
from spikeflip.attacks.budget import Budget
from spikeflip.attacks.loop import Progress
from spikeflip.attacks.result import AttackResult
from spikeflip.errors import SpikeflipError
from spikeflip.notices import Notice
from spikeflip.snn.inputs import Kind, check_tensor
from spikeflip.victims import Victim
from spikeflip.victims.victim import check_victim, takes_counts


class Options(TypedDict, total=False):
    """What every attack can be called with beside victim, inputs and classes; see :func:`spikeflip.attacks.run`."""

    seed: int
    samples: Tensor | None
    micro_batch: int
    progress: Progress | None
    trace: bool


class Attack(Protocol):
    """The settings of an attack, a frozen dataclass; called with a victim and inputs, it attacks."""

    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]

    def __init__(self, **settings: Any) -> None: ...

    def __call__(
        self,
        victim: Victim,
        inputs: Tensor,
        labels: Tensor,
        targets: Tensor | None = None,
        **options: Unpack[Options],
    ) -> AttackResult:
        """Attack inputs of true classes ``labels``, towards ``targets`` where given."""
        ...


@dataclass(frozen=True)
class Iterated(ABC):
    """The settings of an attack that is an update rule of the loop.

    Args:
        steps: most iterations (the paper's Iter).
    """

    only: ClassVar[Kind | None] = None
    """The kind of inputs that the rule is defined on, where it is one."""

    counts: ClassVar[bool] = False
    """Whether the rule is defined on counts of events too."""

    steps: int = 25

    @torch.inference_mode(False)
    def __call__(
        self,
        victim: Victim,
        inputs: Tensor,
        labels: Tensor,
        targets: Tensor | None = None,
        **options: Unpack[Options],
    ) -> AttackResult:
        """Attack; the arguments are those of :func:`spikeflip.attacks.loop.run`."""
        check_victim(victim)
        check_tensor(inputs)
        rule = self._rule(victim, inputs)
        budget: Budget | None = getattr(self, "budget", None)
        result = loop.run(
            victim,
            inputs,
            labels,
            targets,
            rule,
            steps=self.steps,
            budget=budget,
            only=self.only,
            counts=self.counts and takes_counts(victim),
            **options,
        )
        return replace(result, notices=self._notices(victim))

    @abstractmethod
    def _rule(self, victim: Victim, inputs: Tensor) -> loop.Rule:
        """The update rule; a SpikeflipError where it is not defined on the victim or the inputs."""

    def _notices(self, victim: Victim) -> tuple[Notice, ...]:
        """What was done otherwise than a reader of the settings would think, on this victim."""
        return ()


def check_positive(**values: float) -> None:
    """Raise a SpikeflipError unless every value is a positive number."""
    for name, value in values.items():
        if not 0 < value < float("inf"):
            raise SpikeflipError(f"{name} is {value}: give a positive number, such as 0.1")


def check_count(**values: int | None) -> None:
    """Raise a SpikeflipError unless every value that is given is at least 1."""
    for name, value in values.items():
        if value is not None and value < 1:
            raise SpikeflipError(f"{name} is {value}: give at least 1, or leave it out")


def as_budget(budget: Budget | float | None) -> Budget | None:
    """A budget as it is, or one of ``mse`` from a number."""
    return Budget(budget) if isinstance(budget, int | float) else budget

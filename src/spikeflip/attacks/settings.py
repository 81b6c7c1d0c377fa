"""What the settings of all attacks have in common."""

from abc import ABC, abstractmethod
from dataclasses import Field, dataclass
from typing import Any, ClassVar, Protocol, TypedDict, Unpack

from torch import Tensor

from spikeflip.attacks import loop
from spikeflip.attacks.budget import Budget
from spikeflip.attacks.loop import Progress
from spikeflip.attacks.result import AttackResult
from spikeflip.attacks.stop import Stop
from spikeflip.errors import SpikeflipError
from spikeflip.snn.gradients import GradientRequest
from spikeflip.snn.inputs import Kind
from spikeflip.victims import Victim


class Options(TypedDict, total=False):
    """What every attack can be called with beside victim, inputs and classes; see :func:`spikeflip.attacks.run`."""

    stop: Stop | None
    restarts: int
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

    steps: int = 25

    def __call__(
        self,
        victim: Victim,
        inputs: Tensor,
        labels: Tensor,
        targets: Tensor | None = None,
        **options: Unpack[Options],
    ) -> AttackResult:
        """Attack; the arguments are those of :func:`spikeflip.attacks.loop.run`."""
        rule = self._rule(victim, inputs)
        budget: Budget | None = getattr(self, "budget", None)
        return loop.run(
            victim,
            inputs,
            labels,
            targets,
            rule,
            steps=self.steps,
            budget=budget,
            asks=self.asks,
            only=self.only,
            **options,
        )

    @property
    def asks(self) -> GradientRequest | None:
        """What gradients the rule asks for; None where they are the victim's own, or it asks for none."""
        return None

    @abstractmethod
    def _rule(self, victim: Victim, inputs: Tensor) -> loop.Rule:
        """The update rule; a SpikeflipError where it is not defined on the victim or the inputs."""


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

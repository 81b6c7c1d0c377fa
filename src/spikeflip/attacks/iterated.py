"""What the settings of all attacks have in common."""

from collections.abc import Iterable
from dataclasses import Field, dataclass, fields, replace
from typing import Any, ClassVar, Literal, Protocol, TypedDict, Unpack

import torch
from torch import Tensor

from spikeflip.attacks import loop
from spikeflip.attacks.budget import Budget
from spikeflip.attacks.loop import Progress
from spikeflip.attacks.metrics import Recorded
from spikeflip.attacks.options import check_options, option
from spikeflip.attacks.reduce import Units, each_flip
from spikeflip.attacks.result import AttackResult
from spikeflip.attacks.step import Move, Rule, Step
from spikeflip.attacks.stop import Stop
from spikeflip.errors import SpikeflipError, choose_from
from spikeflip.notices import Notice
from spikeflip.snn.gradients import GradientRequest
from spikeflip.snn.losses import Loss, check_loss
from spikeflip.snn.validation import Kind, check_tensor
from spikeflip.victims import Victim
from spikeflip.victims.victim import check_victim, takes_counts


class Options(TypedDict, total=False):
    """What every attack can be called with beside victim, inputs and classes; see :func:`spikeflip.attacks.run`."""

    stop: Stop | None
    restarts: int
    reduce: bool | None
    seed: int
    samples: Tensor | None
    micro_batch: int
    progress: Progress | None
    trace: bool
    recorded: Recorded | None


class Attack(Protocol):
    """The settings of an attack, a frozen dataclass; called with a victim and inputs, it attacks."""

    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]
    only: ClassVar[Kind | None]
    goals: ClassVar[tuple[str, ...]]
    alone: ClassVar[bool]
    follows_gradient: ClassVar[bool]
    budget_in: ClassVar[str]
    summary: ClassVar[str]
    source: ClassVar[str]

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


class Described:
    """What every attack says of itself."""

    only: ClassVar[Kind | None] = None
    """The kind of inputs that it is defined on, where it is one."""
    goals: ClassVar[tuple[str, ...]] = ("untargeted", "targeted")
    """What it can aim at."""
    alone: ClassVar[bool] = True
    """Whether a sample's result depends on no other sample."""
    follows_gradient: ClassVar[bool] = True
    """Whether it asks the victim for gradients, through the surrogate of its neurons."""
    summary: ClassVar[str]
    """What it does, in one line."""
    source: ClassVar[str]
    """Whose it is."""
    budget_in: ClassVar[str] = "mse"
    """The metric of a budget that is given as a number."""

    @property
    def event_moves(self) -> Literal["fewest", "nearest"] | None:
        """How events go with spikes that changed their time bin alone; they are removed and added where None."""
        return None


@dataclass(frozen=True, kw_only=True)
class Iterated(Described):
    """The settings of an attack that is an update rule of the loop.

    Args:
        steps: most iterations (the paper's Iter).

    Raises:
        SpikeflipError: a setting is out of range.
    """

    steps: int = option(25, ge=1, le=1_000_000)

    counts: ClassVar[bool] = False
    """Whether the rule is defined on counts of events too."""
    reduces: ClassVar[bool] = False
    """Whether flips that are not needed are undone where nothing else is asked for."""
    same_in_all: ClassVar[bool] = False
    """Whether it does the same to every input, of which nothing can be undone in one alone."""
    units: ClassVar[Units] = each_flip
    """What the reduction undoes together."""
    decisions_only: ClassVar[bool] = False
    """Whether it looks at nothing but what the victim says."""
    bounds_path: ClassVar[bool] = True
    """Whether a budget ends a sample on the way; else it bounds the success alone."""

    def __post_init__(self) -> None:
        check_options(self)
        budget: Budget | None = getattr(self, "budget", None)
        if budget is not None and not isinstance(budget, Budget):
            raise SpikeflipError(f"budget is {budget!r:.80}: give a Budget, such as Budget(0.08, 'mse')")
        if budget is not None and self.event_moves is None:
            budget.check_flips()

    @property
    def iterations(self) -> int:
        """Iterations of the loop after each start."""
        return self.steps

    @property
    def most_iterations(self) -> int:
        """Iterations that a sample can have in all, for each time that it begins."""
        return self.iterations

    @property
    def best(self) -> Stop | None:
        """When a sample is done where nothing else is asked for; at its first success if None."""
        return None

    @property
    def bound(self) -> Budget | None:
        """The budget that the loop holds on the way; None where the rule keeps to its own, or there is none."""
        budget: Budget | None = getattr(self, "budget", None)
        return budget if self.bounds_path else None

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
        self._check_names(options.keys())
        check_victim(victim)
        check_tensor(inputs)
        rule = self.prepare(victim, inputs)
        options["stop"] = options.get("stop") or self.best
        if options.get("reduce") is None:
            options["reduce"] = self.reduces
        if options["reduce"] and self.same_in_all:
            raise SpikeflipError(
                "reduce undoes other flips in each input, and this attack does the same to all: leave it out"
            )
        budget: Budget | None = None if self.bounds_path else getattr(self, "budget", None)
        if budget is not None:
            budget.check("spikes", recorded=options.get("recorded") is not None)
        result = loop.run(
            victim,
            inputs,
            labels,
            targets,
            rule,
            steps=self.iterations,
            budget=self.bound,
            asks=self.asks(victim),
            only=self.only,
            counts=self.counts and takes_counts(victim),
            units=type(self).units,
            decisions_only=self.decisions_only,
            **options,
        )
        if budget is not None:
            budget.hold(result, inputs, labels, options.get("recorded"))
        return replace(result, notices=self._notices(victim))

    def asks(self, victim: Victim) -> GradientRequest | None:
        """What gradients the rule asks for; None where they are the victim's own, or it asks for none."""
        return None

    def prepare(self, victim: Victim, inputs: Tensor) -> Rule:
        """The update rule; a SpikeflipError where it is not defined on the victim or the inputs."""
        loss: Loss | None = getattr(self, "loss", None)
        if loss is not None:
            check_loss(loss, victim.classes)
        return self.update

    def update(self, step: Step) -> Move:
        """The next inputs of the samples under way."""
        raise NotImplementedError

    def _check_names(self, given: Iterable[str]) -> None:
        settings, known = [one.name for one in fields(self)], Options.__annotations__
        for name in given:
            if name in settings:
                raise TypeError(f"{name} is a setting of {type(self).__name__}: give it when that is made")
            if name not in known:
                raise TypeError(f"there is no argument {name!r}: {choose_from(name, [*settings, *known])}")

    def _notices(self, victim: Victim) -> tuple[Notice, ...]:
        """What was done otherwise than a reader of the settings would think, on this victim."""
        return ()


def as_budget(budget: Budget | float | None) -> Budget | None:
    """A budget as it is, or one of ``mse`` from a number."""
    return budget if isinstance(budget, Budget) or budget is None else Budget(budget)

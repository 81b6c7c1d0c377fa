"""What an attack returns."""

from dataclasses import dataclass
from enum import IntEnum

import torch
from torch import Tensor

from spikeflip.notices import Notice
from spikeflip.showing import Shown
from spikeflip.snn.gradients import InputGradient


class Vanishing(IntEnum):
    """Why the input gradient of an iteration was zero everywhere."""

    NONE = 0
    """It was not."""
    LOSS = 1
    """The loss was at its minimum: it asked for no change."""
    OUTPUT = 2
    """No output neuron lay inside its surrogate window."""
    DEEPER = 3
    """It died in a layer below the output."""


@dataclass(frozen=True)
class Trace:
    """The course of an attack: one entry a sample and iteration."""

    NOT_RUN = -1
    UNMOVED = 0
    CONVERTER = 1
    FLIPPER = 2
    SIGN = 3
    SEARCH = 4
    NOISE = 5
    PATTERN = 6

    penultimate_spikes: Tensor
    """``(N, steps)`` int32: spikes of the penultimate layer in the generating pass; -1 where there was none."""
    mover: Tensor
    """``(N, steps)`` int8: what moved the sample, one of the constants above."""


@dataclass(frozen=True, repr=False)
class AttackResult(Shown):
    """One entry a sample, in the order of the call; everything but the adversarials is on the CPU."""

    adversarials: Tensor
    """Same shape, dtype and device as the input, for every sample, also where the attack failed."""
    success: Tensor
    """``(N,)`` bool: the wanted class (untargeted: a wrong one) fired alone the most, on the untouched victim."""
    already_wrong: Tensor
    """``(N,)`` bool: the original was not classified as its label; not attacked, and no success."""
    prediction: Tensor
    """``(N,)`` int64: the class of the last judging pass, -1 for a tie."""
    steps: Tensor
    """``(N,)`` int64: updates made."""
    vanished: Tensor
    """``(N,)`` int64: iterations whose input gradient was zero everywhere."""
    first_vanishing: Tensor
    """``(N,)`` int8: a :class:`Vanishing`, of the first iteration."""
    over_budget: Tensor
    """``(N,)`` bool: the attack failed by reaching its budget."""
    forwards: Tensor
    """``(N,)`` int64: passes that the attack asks for, those of a search and of a substitute included.

    A wrapped model runs once more for a gradient at another threshold, or by an estimator, than its own.
    """
    backwards: Tensor
    """``(N,)`` int64: backward passes that went below the output layer, the victim's or a substitute's."""
    trace: Trace | None
    moments: Tensor | None = None
    """``(N,)`` int64: where in a sample's random streams the encoding lies that decided on its adversarial; ``steps``
    where it is not given."""
    notices: tuple[Notice, ...] = ()
    """What was done otherwise than the settings say to a reader; :func:`spikeflip.judge` repeats them."""

    def _shown(self) -> tuple[str, dict[str, str], list[str]]:
        n, attacked, won = len(self.success), ~self.already_wrong, self.success
        count, fooled = int(attacked.sum()), int(won.sum())
        rows = {
            "fooled": f"{fooled:,} of {count:,} attacked{f' ({fooled / count:.1%})' if count else ''}, not yet judged",
            "wrong from the start": f"{n - count:,}",
            "adversarials": f"{tuple(self.adversarials.shape)}, {self.adversarials.device}",
        }
        if fooled:
            passes = (self.forwards + self.backwards)[won].double().mean()
            rows["of a success, on average"] = f"{self.steps[won].double().mean():.1f} steps, {passes:.1f} passes"
        if count:
            gone = int((self.first_vanishing[attacked] != Vanishing.NONE).sum())
            rows["no gradient in the first step"] = f"{gone:,}"
        if over := int(self.over_budget.sum()):
            rows["stopped by the budget"] = f"{over:,}"
        return f"AttackResult of {n:,} inputs", rows, [notice.text for notice in self.notices]

    @classmethod
    def blank(cls, inputs: Tensor, traced_steps: int | None) -> "AttackResult":
        """A result in which nothing has happened yet."""
        n = len(inputs)

        def no() -> Tensor:
            return torch.zeros(n, dtype=torch.bool)

        def zero() -> Tensor:
            return torch.zeros(n, dtype=torch.int64)

        trace = None
        if traced_steps is not None:
            trace = Trace(
                torch.full((n, traced_steps), -1, dtype=torch.int32),
                torch.full((n, traced_steps), Trace.NOT_RUN, dtype=torch.int8),
            )
        return cls(
            adversarials=inputs.clone(),
            success=no(),
            already_wrong=no(),
            prediction=torch.full((n,), -1),
            steps=zero(),
            vanished=zero(),
            first_vanishing=torch.zeros(n, dtype=torch.int8),
            over_budget=no(),
            forwards=zero(),
            backwards=zero(),
            trace=trace,
            moments=zero(),
        )

    def record(
        self,
        index: Tensor,
        iteration: Tensor,
        gradient: InputGradient | None,
        vanished: Tensor,
        mover: Tensor,
        over: Tensor,
    ) -> None:
        """Note one iteration of the samples ``index`` ``(n,)``; ``gradient`` is the victim's, if it was asked."""
        vanished = vanished.cpu()
        self.vanished[index] += vanished.long()
        self.over_budget[index] = over.cpu()
        first = iteration == 0
        cause = torch.full(index.shape, Vanishing.DEEPER, dtype=torch.int8)
        if gradient is not None:
            self.backwards[index] += (~gradient.output_zero).long().cpu()
            cause[gradient.output_zero.cpu()] = Vanishing.OUTPUT
            cause[gradient.loss_zero.cpu()] = Vanishing.LOSS
        cause[~vanished] = Vanishing.NONE
        self.first_vanishing[index[first]] = cause[first]
        if self.trace is not None:
            if gradient is not None:
                self.trace.penultimate_spikes[index, iteration] = gradient.penultimate_spikes.to("cpu", torch.int32)
            self.trace.mover[index, iteration] = mover.to("cpu", torch.int8)

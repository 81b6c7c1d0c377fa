"""How much an attack may change."""

from dataclasses import dataclass
from numbers import Real

import torch
from torch import Tensor

from spikeflip.attacks.metrics import METRICS, Change, Recorded, metric
from spikeflip.attacks.result import AttackResult
from spikeflip.errors import SpikeflipError
from spikeflip.snn.validation import Kind


@dataclass(frozen=True)
class Budget:
    """A bound on the perturbation of a sample.

    Args:
        limit: in units of the metric; 0 leaves every input as it is.
        metric: ``"linf"`` keeps an image within ``limit`` of the original by projection. With any other metric of
            :mod:`spikeflip.attacks.metrics` a sample that reaches the limit has failed (Algorithm 1) and keeps its last
            state below it.

    Raises:
        SpikeflipError: the metric is unknown or the limit is below 0.
    """

    limit: float
    metric: str = "mse"

    def __post_init__(self) -> None:
        metric(self.metric, "budget metric")
        if not isinstance(self.limit, Real) or not self.limit >= 0:
            raise SpikeflipError(
                f"budget is {self.limit!r:.80} in {self.metric}: give a limit, such as 0.08, or 0 for no change"
            )

    def check(self, kind: Kind, *, recorded: bool = False) -> None:
        """Raise a SpikeflipError if the metric says nothing about inputs of this kind."""
        if self.metric == "linf" and kind == "spikes":
            raise SpikeflipError("a linf budget bounds nothing on spikes, where every flip is 1: use mse or l0")
        METRICS[self.metric].check(kind, recorded=recorded)

    def check_flips(self) -> None:
        """Raise a SpikeflipError if it bounds spikes that move alone, and leaves free what appears or goes."""
        if METRICS[self.metric].of_moves:
            raise SpikeflipError(
                f"a budget in {self.metric} bounds spikes that move, and this attack adds and removes: use l0 or mse"
            )

    def project(self, inputs: Tensor, originals: Tensor) -> Tensor:
        """The nearest inputs within the budget, where that is how it binds; else the inputs as they are."""
        if self.metric != "linf":
            return inputs
        return torch.minimum(torch.maximum(inputs, originals - self.limit), originals + self.limit)

    def exceeded(self, change: Change) -> Tensor:
        """``(N,)`` bool: the samples that have reached the limit and so have failed."""
        if self.metric == "linf":
            inputs = change.adversarials
            return torch.zeros(len(inputs), dtype=torch.bool, device=inputs.device)
        return METRICS[self.metric](change) >= self.limit

    def hold(self, result: AttackResult, inputs: Tensor, labels: Tensor, recorded: Recorded | None = None) -> None:
        """Give back the originals of what has reached the limit, which is no success then.

        Args:
            result: of an attack that has looked at no budget on its way.
            inputs, labels: that were attacked, and their true classes.
            recorded: of the recordings behind the inputs.
        """
        adversarials, originals = result.adversarials, inputs.detach().to(result.adversarials)
        exceeded = self.exceeded(Change(originals.float(), adversarials.float(), recorded))
        over = exceeded.cpu() & ~result.already_wrong
        on_device = over.to(adversarials.device)
        adversarials[on_device] = originals[on_device]
        result.success[over] = False
        result.over_budget[over] = True
        result.prediction[over] = labels.cpu()[over]

"""An attack and an estimator as CONTRIBUTING.md says that they are made."""

from dataclasses import dataclass
from typing import ClassVar

import torch

from spikeflip.attacks import Trace, loop
from spikeflip.attacks.bim import sign_step
from spikeflip.attacks.iterated import Iterated
from spikeflip.attacks.options import option
from spikeflip.snn.gradients import Estimator, GradientRequest


@dataclass(frozen=True)
class StraightThrough(Estimator):
    """Every spike passes the whole gradient on."""

    def slope(self, layer):
        return torch.ones_like(layer.potential)


@dataclass(frozen=True, kw_only=True)
class Momentum(Iterated):
    """Steps along the sign of a moving average of the gradient.

    Args:
        decay: share of the average that is kept from one iteration to the next.
    """

    only: ClassVar = "images"
    summary: ClassVar = "steps along the sign of an average of the gradients so far"
    source: ClassVar = "Dong et al., CVPR 2018"

    decay: float = option(0.9, ge=0, le=1)

    def update(self, step):
        gradient = step.gradient("mse", GradientRequest(estimator=StraightThrough()))
        average = self.decay * step.memory.recall("average", gradient.values) + gradient.values
        step.memory.keep("average", average)
        moved = sign_step(step.inputs, average.mean(1), 0.1)
        return loop.Move(moved, torch.full((len(moved),), Trace.SIGN, dtype=torch.int8), gradient)

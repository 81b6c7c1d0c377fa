"""What attacks have in common that raise the firing threshold of the penultimate layer while they make gradients."""

from dataclasses import dataclass, replace
from typing import Literal

from torch import Tensor

from spikeflip.attacks.following import GradientAttack
from spikeflip.attacks.options import option
from spikeflip.attacks.step import Rule
from spikeflip.notices import Notice
from spikeflip.snn.gradients import GradientRequest
from spikeflip.victims import Victim

THRESHOLD = 1.0
"""At which the penultimate layer fires while generating, where nothing else is asked for."""

OWN_THRESHOLD = Notice(
    "own-threshold",
    "the victim has no penultimate threshold that can be tuned: gradients were taken at its own, where more of them "
    "may vanish",
)


@dataclass(frozen=True, kw_only=True)
class TunedAttack(GradientAttack):
    """The settings of an attack that follows the gradient of a network tuned for it.

    Args:
        threshold: firing threshold of the penultimate layer while generating (Sec. V-B); None leaves the victim's own.
            ``"auto"`` is 1.0, and the victim's own where there is none to tune, which the result's notices say.

    Raises:
        SpikeflipError: a setting is out of range.

    Source: L. Liang et al., IEEE TNNLS 2021.
    """

    threshold: float | Literal["auto"] | None = option("auto", gt=0)

    def prepare(self, victim: Victim, inputs: Tensor) -> Rule:
        """See :class:`spikeflip.attacks.iterated.Iterated`."""
        super().prepare(victim, inputs)
        return replace(self, threshold=self._threshold(victim)).update

    def asks(self, victim: Victim) -> GradientRequest:
        """See :class:`spikeflip.attacks.iterated.Iterated`."""
        return replace(self, threshold=self._threshold(victim)).request

    @property
    def request(self) -> GradientRequest:
        """See :class:`spikeflip.attacks.following.GradientAttack`."""
        assert self.threshold != "auto"
        return replace(super().request, penultimate_threshold=self.threshold)

    def _threshold(self, victim: Victim) -> float | None:
        if self.threshold != "auto":
            return self.threshold
        return None if victim.penultimate_threshold is None else THRESHOLD

    def _notices(self, victim: Victim) -> tuple[Notice, ...]:
        own = self.threshold == "auto" and victim.penultimate_threshold is None
        return (OWN_THRESHOLD,) * own

"""A victim as a module that says what an attack of another library asked of it."""

import torch
from torch import Tensor

from spikeflip.attacks.result import Vanishing
from spikeflip.interop.module import VictimModule
from spikeflip.snn.gradients import BPTT, GradientRequest, InputGradient
from spikeflip.snn.validation import Kind
from spikeflip.victims import Victim

_EDGE = 1e-6
"""Far less than one spike in any number of time steps and encodings, and more than what rounds a sum of rates."""


class CountedModule(VictimModule):
    """A :class:`spikeflip.interop.VictimModule` for one batch, whose answers are a function of the image alone.

    Libraries give a tie to the first class, here it is no class's. So the true class is a little ahead, and the wanted
    one a little behind: what they tie for is no success for the library either.

    Args:
        victim: the model.
        classes: ``(n,)`` int64, the true classes of the batch; the wanted ones if ``targeted``.
        targeted: whether they are.
        lead: by how much more the true class is ahead, or the wanted one behind, in units of scores.
        seed: of the encodings.
        draws: encodings of an image, the same in all calls and for all images.
        output_window: surrogate width of the output layer in gradients; the victim's own if None.
        micro_batch: encodings in memory at a time.
    """

    def __init__(
        self,
        victim: Victim,
        classes: Tensor,
        *,
        targeted: bool,
        lead: float,
        seed: int,
        draws: int,
        output_window: float | None,
        micro_batch: int,
    ) -> None:
        asks = GradientRequest(None, BPTT(output_window=output_window))
        super().__init__(
            victim, seed=seed, draws=draws, fresh=False, asks=asks, binarise=False, micro_batch=micro_batch
        )
        n = len(classes)
        self.edge = lead + _EDGE
        self.handicap = torch.zeros(n, victim.classes)
        self.handicap[torch.arange(n), classes.cpu()] = -self.edge if targeted else self.edge
        self.scored = self.differentiated = self.forwards = 0
        """Calls for scores and for gradients, and forward passes an image in both."""
        self.backwards, self.vanished = (torch.zeros(n, dtype=torch.int64) for _ in range(2))
        self.first_vanishing = torch.zeros(n, dtype=torch.int8)
        self._asked, self._near = (torch.zeros(n, dtype=torch.bool) for _ in range(2))

    @property
    def steps(self) -> int:
        """Gradients that the attack asked for; scores, where it asked for no gradient."""
        return self.differentiated or self.scored

    def scores_of(self, inputs: Tensor, kind: Kind, call: int) -> Tensor:
        """See :class:`spikeflip.interop.VictimModule`."""
        self.scored += 1
        self.forwards += self._draws_of(kind)
        scores = super().scores_of(inputs, kind, call)
        # A library that sets samples aside asks for fewer, and does not say which.
        return scores + self.handicap.to(scores) if len(scores) == len(self.handicap) else scores

    def gradient_of(self, inputs: Tensor, kind: Kind, call: int, scores: Tensor) -> Tensor:
        """See :class:`spikeflip.interop.VictimModule`."""
        self._asked.zero_()
        self._near.zero_()
        gradient = super().gradient_of(inputs, kind, call, scores)
        self.forwards += self._draws_of(kind)
        lost = self._asked[: len(inputs)] & ~gradient.flatten(1).any(1).cpu()
        rows = lost.nonzero().squeeze(1)
        self.vanished[rows] += 1
        if self.differentiated == 0:
            cause = torch.where(self._near[rows], int(Vanishing.DEEPER), int(Vanishing.OUTPUT))
            self.first_vanishing[rows] = cause.to(torch.int8)
        self.differentiated += 1
        return gradient

    def noted(self, rows: Tensor, found: InputGradient) -> None:
        """See :class:`spikeflip.interop.VictimModule`."""
        near = ~found.output_zero.cpu()
        self._asked[rows] |= ~found.loss_zero.cpu()
        self._near[rows] |= near
        self.backwards[rows] += near.long()

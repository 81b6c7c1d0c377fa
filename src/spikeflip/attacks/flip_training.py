"""Adversarial training on spikes: every update learns from recordings in which the worst cells were flipped."""

from dataclasses import dataclass

import torch
from torch import Tensor

from spikeflip.attacks.adversarial_training import check_inner, grown
from spikeflip.errors import SpikeflipError
from spikeflip.snn.losses import score_gradient
from spikeflip.snn.perturbing import Batch
from spikeflip.victims import Victim

_ROUNDING = 1e-9
"""Of a share times a number of events, which would be whole: 0.29 of 100 are 29."""


@dataclass(frozen=True)
class FlipTraining:
    """The inner maximisation of adversarial training on spikes; give it to ``train`` as ``perturb``.

    Each update is made on recordings in which spikes were added and removed: the cells whose flip raises the
    cross-entropy of the current weights most, by the gradient. All samples are attacked, in all steps, and learned from
    as the last step leaves them.

    Args:
        share: of a sample's own events, in [0, 1]; no more cells than this are flipped, rounded down.
        steps: of the gradient in each update. Each flips its part of them, and none is flipped twice.
        warm_up: share of the updates over which the number of flips grows linearly, so that random weights learn the
            classes first.

    Raises:
        SpikeflipError: a value is out of range.

    Source: A. Madry et al., Towards Deep Learning Models Resistant to Adversarial Attacks, ICLR 2018, with flips in the
    place of steps within a ball.

    >>> hardening = FlipTraining(0.1, steps=2, warm_up=0.5)
    >>> hardening.flips(torch.tensor([9, 40]), update=2, updates=8).tolist()
    [0, 2]
    >>> hardening.flips(torch.tensor([9, 40]), update=8, updates=8).tolist()
    [0, 4]
    """

    share: float
    steps: int = 3
    warm_up: float = 0.3

    def __post_init__(self) -> None:
        if not 0 <= self.share <= 1:
            raise SpikeflipError(f"share is {self.share}: give a share of the events in [0, 1], such as 0.02")
        check_inner(self.steps, self.warm_up)

    @property
    def is_idle(self) -> bool:
        """Whether nothing is ever changed."""
        return self.share == 0

    def flips(self, events: Tensor, update: int, updates: int) -> Tensor:
        """The most flips of samples with so many events ``(n,)`` in an update, counted from 1."""
        return most_flips(events, self.share * grown(self.warm_up, update, updates))

    def __call__(self, batch: Batch) -> Tensor:
        """The attacked spikes ``(n, T, *input)`` of a batch of spikes."""
        if batch.kind == "images":
            raise SpikeflipError("the inputs are images, and FlipTraining flips spikes: give AdversarialTraining")
        limits = self.flips(events_of(batch.inputs), batch.update, batch.settings.updates)
        return flip_most(batch.network, batch.inputs, batch.labels, limits, steps=self.steps)


def events_of(spikes: Tensor) -> Tensor:
    """How many cells of each sample ``(n, ...)`` hold a spike, ``(n,)`` int64."""
    return (spikes != 0).flatten(1).sum(1)


def most_flips(events: Tensor, share: float) -> Tensor:
    """A share of numbers of events ``(n,)``, rounded down, ``(n,)`` int64."""
    return (share * events.double() + _ROUNDING).floor().long()


def flip_most(victim: Victim, spikes: Tensor, labels: Tensor, limits: Tensor, *, steps: int) -> Tensor:
    """Flip the cells that raise the cross-entropy most: no sample is left out, and none stops before the last step.

    The gain of a cell is its gradient times ``1 - 2 x``. Only cells with a gain are flipped: where the gradient
    vanishes the sample stays as it is, and later steps make up for it.

    Args:
        victim: whose loss is raised.
        spikes: ``(n, T, *input)``, exactly 0 or 1.
        labels: true classes ``(n,)`` int64, on the victim's device.
        limits: the most flips of each sample ``(n,)`` int64.
        steps: after the s-th at most ``limits * s // steps`` cells are flipped.

    Returns:
        ``(n, T, *input)`` float32, on the victim's device.
    """
    found, limits = spikes.to(victim.device, torch.float32), limits.to(victim.device)
    flipped = torch.zeros_like(found, dtype=torch.bool)
    for step in range(1, steps + 1):
        left = limits * step // steps - flipped.flatten(1).sum(1)
        if not (most := int(left.amax())):
            continue
        probe = victim.probe(found)
        gradient = probe.input_gradient(lambda scores, rows: score_gradient("ce", scores, labels[rows])[1])
        gain = (gradient.values * (1 - 2 * found)).masked_fill(flipped, 0).flatten(1)
        largest, places = gain.topk(min(most, gain.shape[1]), 1)
        taken = (largest > 0) & (torch.arange(largest.shape[1], device=gain.device) < left.unsqueeze(1))
        now = torch.zeros_like(gain, dtype=torch.bool).scatter_(1, places, taken).view_as(found)
        found, flipped = torch.where(now, 1 - found, found), flipped | now
    return found

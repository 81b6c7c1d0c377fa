"""Where the probes of a masking verdict may go: balls around images, and numbers of flips."""

from dataclasses import dataclass
from math import prod, sqrt
from typing import Literal, Protocol

import torch
from torch import Tensor

from spikeflip.attacks.budget import Budget
from spikeflip.attacks.dense import direction, project
from spikeflip.attacks.flip_training import events_of, most_flips
from spikeflip.attacks.flips import flipped, gains, unit
from spikeflip.errors import SpikeflipError
from spikeflip.snn.architecture import Shape
from spikeflip.snn.validation import Kind

Threat = Literal["binary-l0", "image-linf", "image-mse"]
KINDS: dict[str, Kind] = {"binary-l0": "spikes", "image-linf": "images", "image-mse": "images"}
"""What each threat changes."""
_PULL = 0.9
"""Share of the gradients before that a step on spikes keeps."""


class Region(Protocol):
    """Where inputs may be moved to."""

    def step(
        self, inputs: Tensor, originals: Tensor, gradient: Tensor, pull: Tensor, done: float, steps: int
    ) -> Tensor:
        """The next inputs ``(n, ...)`` along a gradient; all of the region's size where ``steps`` is 1.

        Args:
            inputs: as they are.
            originals: as they were.
            gradient: towards the goal.
            pull: what the region keeps of the gradients so far, changed in place.
            done: share of the steps that are made, in [0, 1).
            steps: of the whole walk.
        """
        ...

    def propose(self, inputs: Tensor, originals: Tensor, numbers: Tensor, done: float) -> Tensor:
        """Other inputs ``(n, ...)`` near these, without a gradient, from numbers in [0, 1) ``(n, 1 + size)``."""
        ...


@dataclass(frozen=True)
class Ball:
    """Images within a distance of the original."""

    budget: Budget

    def step(
        self, inputs: Tensor, originals: Tensor, gradient: Tensor, pull: Tensor, done: float, steps: int
    ) -> Tensor:
        """See :class:`Region`; that of projected gradient descent."""
        size = self.budget.limit * min(1.0, 2.5 / steps)
        return project(inputs + size * direction(gradient, self.budget.metric), originals, self.budget)

    def propose(self, inputs: Tensor, originals: Tensor, numbers: Tensor, done: float) -> Tensor:
        """See :class:`Region`; a window of the image goes to one corner of the ball, as in the Square attack."""
        side = inputs[0].numel() if inputs.ndim < 3 else inputs.shape[-1]
        shares = numbers[:, 1:].view_as(inputs)
        width = max(1, round(side * sqrt(0.3) * 0.5 ** (4 * done)))
        signs = torch.where(shares < 0.5, -1.0, 1.0)
        begins = (numbers[:, :1] * inputs[0].numel()).long()
        inside = _windows(inputs, begins, width)
        reach = self.budget.limit if self.budget.metric == "linf" else self.budget.limit * 2 / width
        one_sign = signs.flatten(1)[:, :1].view(-1, *[1] * (inputs.ndim - 1)).expand_as(signs)
        base = originals if self.budget.metric == "linf" else inputs
        return project(torch.where(inside, base + reach * one_sign, inputs), originals, self.budget)


def _windows(like: Tensor, begins: Tensor, width: int) -> Tensor:
    """A square window of each image ``(n, ...)`` that begins at a cell ``(n, 1)``, over all channels, as a mask."""
    places = torch.arange(like[0].numel(), device=like.device)
    if like.ndim < 4:
        return ((places - begins) % len(places) < width).view_as(like)
    rows, columns = like.shape[-2:]
    y, x = places // columns % rows, places % columns
    down, right = (y - begins // columns % rows) % rows, (x - begins % columns) % columns
    return ((down < width) & (right < width)).view_as(like)


def _smallest(keys: Tensor, counts: Tensor) -> Tensor:
    """A mask of the cells with the ``counts`` ``(n,)`` smallest of the keys ``(n, cells)``."""
    most = int(counts.max())
    places = keys.topk(most, dim=1, largest=False).indices
    chosen = torch.arange(most, device=keys.device) < counts.unsqueeze(1)
    return torch.zeros_like(keys, dtype=torch.bool).scatter_(1, places, chosen)


@dataclass(frozen=True)
class Flips:
    """Spikes of which some cells are flipped: a share of the sample's own spikes, rounded down.

    With ``grows`` more and more, in the end as many as there are cells.
    """

    share: float
    grows: bool = False

    def _counts(self, originals: Tensor, done: float) -> Tensor:
        """How many each may have, ``(n,)``."""
        most = most_flips(events_of(originals), self.share)
        if not self.grows:
            return most
        cells = originals[0].numel()
        first = most.clamp(min=1).double()
        return (first * (cells / first) ** done).ceil().long().clamp(max=cells)

    def step(
        self, inputs: Tensor, originals: Tensor, gradient: Tensor, pull: Tensor, done: float, steps: int
    ) -> Tensor:
        """See :class:`Region`; the flips that the gradients so far ask for most."""
        pull.mul_(_PULL).add_(unit(gradient.flatten(1)).view_as(gradient))
        gain = gains(pull, originals)
        keys = torch.where(gain > 0, -gain, torch.inf)
        count = (gain > 0).sum(1).minimum(self._counts(originals, done + 1 / steps))
        return flipped(originals, _smallest(keys, count))

    def propose(self, inputs: Tensor, originals: Tensor, numbers: Tensor, done: float) -> Tensor:
        """See :class:`Region`; some of the flips are undone and as many others made, as in Sparse-RS."""
        mask = (inputs != originals).flatten(1)
        keys = numbers[:, 1:]
        near = keys.where(originals.flatten(1) == 0, keys / 8)  # flips of spikes change most
        if not bool(mask.any()):
            return flipped(originals, _smallest(near, self._counts(originals, 1.0)))
        sizes = mask.sum(1)
        swaps = (sizes * 0.3 * 0.5 ** (1 + 4 * done)).long().clamp(min=1).minimum(sizes)
        out = _smallest(torch.where(mask, keys, torch.inf), swaps)
        into = _smallest(torch.where(mask, torch.inf, near), swaps)
        return flipped(originals, (mask & ~out) | into)


def regions(threat: Threat, budget: float, shape: Shape) -> tuple[Region, Region]:
    """Where a threat may go with a budget, and where without one.

    Raises:
        SpikeflipError: the threat is not known, or the budget leaves nothing to change.
    """
    if threat not in KINDS:
        raise SpikeflipError(f"threat is {threat!r}: choose from {', '.join(KINDS)}")
    if not 0 < budget <= 1:
        raise SpikeflipError(f"budget is {budget}, with which no attack can be tried: give a number from 0 to 1, not 0")
    if threat == "binary-l0":
        return Flips(budget), Flips(budget, grows=True)
    whole = Ball(Budget(1.0, "linf"))
    if threat == "image-linf":
        return Ball(Budget(budget, "linf")), whole
    return Ball(Budget(sqrt(budget * prod(shape)), "l2")), whole

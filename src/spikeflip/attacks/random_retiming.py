"""Random retiming: the control of attacks that move spikes in time, and the jitter of a camera's clock."""

from dataclasses import dataclass
from typing import ClassVar, Literal, Unpack

import torch
from torch import Tensor

from spikeflip.attacks.iterated import Iterated, Options
from spikeflip.attacks.metrics import Change
from spikeflip.attacks.moves import Moving
from spikeflip.attacks.options import option
from spikeflip.attacks.random_flips import flips_of
from spikeflip.attacks.reduce import Units, each_move
from spikeflip.attacks.result import AttackResult, Trace
from spikeflip.attacks.step import Move, Step
from spikeflip.snn.validation import Kind
from spikeflip.victims import Victim


@dataclass(frozen=True, kw_only=True)
class RandomRetiming(Iterated):
    """The settings of random retiming; call it with a victim and spikes, or use :func:`random_retiming`.

    Args:
        steps: most tries, each from the original.
        share: of the sample's spikes that are moved; 1 moves all that have a free bin.
        window: most time bins that a spike is moved; any number when None.

    Raises:
        SpikeflipError: a setting is out of range.
    """

    only: ClassVar[Kind | None] = "spikes"
    summary: ClassVar = "control: random moves in time of a given share of the spikes, each try from the original"
    source: ClassVar = "a control, from no paper"
    follows_gradient: ClassVar = False
    units: ClassVar[Units] = each_move

    share: float = option(0.02, gt=0, le=1)
    window: int | None = option(None, ge=1)

    @property
    def event_moves(self) -> Literal["fewest", "nearest"] | None:
        """See :class:`spikeflip.attacks.iterated.Described`."""
        return "fewest" if self.window is None else "nearest"

    def update(self, step: Step) -> Move:
        """See :class:`spikeflip.attacks.iterated.Iterated`."""
        originals = step.originals
        numbers = step.uniform("noise", originals.shape[1:]).double()
        # Spikes go in random order, and each to the free bin of largest number, as no number is worth a place in it.
        worth = torch.where(originals > 0, numbers - 2, numbers * 1e-9)
        window = originals.shape[1] if self.window is None else self.window
        moved, count = Moving(Change(originals, originals), worth, window).best(flips_of(originals, self.share))
        return Move(moved, torch.full((len(moved),), Trace.NOISE, dtype=torch.int8), stuck=count == 0)


def random_retiming(
    victim: Victim,
    inputs: Tensor,
    labels: Tensor,
    targets: Tensor | None = None,
    *,
    steps: int = 25,
    share: float = 0.02,
    window: int | None = None,
    **options: Unpack[Options],
) -> AttackResult:
    """Move as many spikes in time at random as another attack moves by choice: its control.

    With ``share=1`` and a window of D it is the jitter of a clock: every spike moves by up to D bins.

    Args:
        victim: the model under attack.
        inputs: spikes ``(N, T, *input)`` of exactly 0 and 1.
        labels: true classes ``(N,)`` int64.
        targets: wanted classes ``(N,)`` int64; untargeted when not given.
        steps, share, window: see :class:`RandomRetiming`.
        options: as for :func:`scg`.

    Returns:
        An :class:`AttackResult`. One forward pass a try, and one of the original; no backward pass.

    Raises:
        SpikeflipError: an argument is out of range, or the inputs are images.

    >>> from spikeflip import SpikingNetwork
    >>> network = SpikingNetwork("16FC-3FC", (20,), time_steps=6, seed=1)
    >>> spikes = (torch.arange(240).reshape(2, 6, 20) % 3 == 0).float()
    >>> result = random_retiming(network, spikes, network.scores(spikes).argmax(1), share=0.5)
    >>> torch.equal(result.adversarials.sum(1), spikes.sum(1))
    True
    """
    return RandomRetiming(steps=steps, share=share, window=window)(victim, inputs, labels, targets, **options)

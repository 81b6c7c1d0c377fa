"""Random flips of a given number: the control of attacks on spikes, and where those begin that know no gradient."""

from dataclasses import dataclass
from typing import ClassVar, Unpack

import torch
from torch import Tensor

from spikeflip.attacks.flips import flipped
from spikeflip.attacks.iterated import Iterated, Options
from spikeflip.attacks.options import option
from spikeflip.attacks.result import AttackResult, Trace
from spikeflip.attacks.step import Move, Step
from spikeflip.snn.validation import Kind
from spikeflip.victims import Victim


def flips_of(spikes: Tensor, share: float) -> Tensor:
    """A share of the spikes of each sample as a number of flips, ``(n,)``: rounded, at least one.

    >>> flips_of(torch.tensor([[1.0] * 8 + [0] * 8, [0] * 16]), 0.3).tolist()
    [2, 1]
    """
    return (share * spikes.flatten(1).sum(1, dtype=torch.float64)).round().long().clamp(min=1)


def first_of(keys: Tensor, count: Tensor) -> Tensor:
    """A mask of the cells with the ``count`` ``(n,)`` smallest of the keys ``(n, cells)``.

    >>> first_of(torch.tensor([[0.3, 0.1, 0.2]]), torch.tensor([2])).tolist()
    [[False, True, True]]
    """
    order = keys.argsort(dim=1, stable=True)
    inside = torch.arange(keys.shape[1], device=keys.device) < count.to(keys.device).unsqueeze(1)
    return torch.zeros_like(inside).scatter(1, order, inside)


@dataclass(frozen=True, kw_only=True)
class RandomFlips(Iterated):
    """The settings of the control on spikes; call it with a victim and spikes, or use :func:`random_flips`.

    Args:
        steps: most tries, each from the original.
        share: of flips, relative to the spikes of the sample.

    Raises:
        SpikeflipError: a setting is out of range.
    """

    only: ClassVar[Kind | None] = "spikes"
    summary: ClassVar = "control: random flips of a given number, each try from the original"
    source: ClassVar = "a control, from no paper"
    follows_gradient: ClassVar = False

    share: float = option(0.02, gt=0, le=1000)

    def update(self, step: Step) -> Move:
        """See :class:`spikeflip.attacks.iterated.Iterated`."""
        keys = step.uniform("noise", (step.originals[0].numel(),))
        moved = flipped(step.originals, first_of(keys, flips_of(step.originals, self.share)))
        return Move(moved, torch.full((len(moved),), Trace.NOISE, dtype=torch.int8))


def random_flips(
    victim: Victim,
    inputs: Tensor,
    labels: Tensor,
    targets: Tensor | None = None,
    *,
    steps: int = 25,
    share: float = 0.02,
    **options: Unpack[Options],
) -> AttackResult:
    """Flip as many cells at random as another attack flips by choice: its control.

    Args:
        victim: the model under attack.
        inputs: spikes ``(N, T, *input)`` of exactly 0 and 1.
        labels: true classes ``(N,)`` int64.
        targets: wanted classes ``(N,)`` int64; untargeted when not given.
        steps, share: see :class:`RandomFlips`.
        options: as for :func:`scg`.

    Returns:
        An :class:`AttackResult`. One forward pass a try, and one of the original; no backward pass.

    Raises:
        SpikeflipError: an argument is out of range, or the inputs are images.

    >>> from spikeflip import SpikingNetwork
    >>> network = SpikingNetwork("16FC-3FC", (20,), time_steps=6, seed=1)
    >>> spikes = (torch.arange(240).reshape(2, 6, 20) % 3 == 0).float()
    >>> random_flips(network, spikes, network.scores(spikes).argmax(1)).backwards.tolist()
    [0, 0]
    """
    return RandomFlips(steps=steps, share=share)(victim, inputs, labels, targets, **options)

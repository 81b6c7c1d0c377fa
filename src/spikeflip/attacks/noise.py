"""Random noise of a given size, without any gradient: what a perturbation does that aims at nothing."""

from dataclasses import dataclass
from math import sqrt
from typing import ClassVar, Unpack

import torch
from torch import Tensor

from spikeflip.attacks.iterated import Iterated, Options
from spikeflip.attacks.options import option
from spikeflip.attacks.result import AttackResult, Trace
from spikeflip.attacks.scg import restricted_spike_flipper
from spikeflip.attacks.step import Move, Step
from spikeflip.victims import Victim


@dataclass(frozen=True, kw_only=True)
class Noise(Iterated):
    """The settings of the random control; call it with a victim and inputs, or use :func:`noise`.

    Args:
        steps: most tries, each from the original.
        strength: expected ``mse`` of a try, in (0, 1]: the probability that a spike cell flips, or the variance of the
            uniform noise on a pixel before it is clipped to [0, 1].

    Raises:
        SpikeflipError: a setting is out of range.
    """

    summary: ClassVar = "control: random flips or noise of a given mse, each try from the original"
    source: ClassVar = "a control, from no paper"
    follows_gradient: ClassVar = False

    strength: float = option(0.03, gt=0, le=1)

    def update(self, step: Step) -> Move:
        """See :class:`spikeflip.attacks.iterated.Iterated`."""
        originals = step.originals
        numbers = step.uniform("noise", originals.shape[1:])
        if originals.ndim == step.spikes.ndim:
            moved = originals + restricted_spike_flipper(originals, self.strength, numbers)
        else:
            # Uniform on [-a, a] has variance a^2 / 3.
            half_width = sqrt(3 * self.strength)
            moved = (originals + half_width * (2 * numbers - 1)).clamp(0, 1)
        return Move(moved, torch.full((len(moved),), Trace.NOISE, dtype=torch.int8))


def noise(
    victim: Victim,
    inputs: Tensor,
    labels: Tensor,
    targets: Tensor | None = None,
    *,
    steps: int = 25,
    strength: float = 0.03,
    **options: Unpack[Options],
) -> AttackResult:
    """Try random perturbations of one size until one fools the victim: the control for all attacks.

    Args:
        victim: the model under attack.
        inputs: spikes ``(N, T, *input)`` of exactly 0 and 1, or images ``(N, *input)`` in [0, 1].
        labels: true classes ``(N,)`` int64.
        targets: wanted classes ``(N,)`` int64; untargeted when not given.
        steps, strength: see :class:`Noise`.
        options: as for :func:`scg`.

    Returns:
        An :class:`AttackResult`. One forward pass a try, and one of the original; no backward pass; nothing vanishes.

    Raises:
        SpikeflipError: an argument is out of range.

    >>> from spikeflip import SpikingNetwork
    >>> network = SpikingNetwork("16FC-3FC", (20,), time_steps=6, seed=1)
    >>> spikes = (torch.arange(240).reshape(2, 6, 20) % 3 == 0).float()
    >>> noise(network, spikes, network.scores(spikes).argmax(1)).backwards.tolist()
    [0, 0]
    """
    return Noise(steps=steps, strength=strength)(victim, inputs, labels, targets, **options)

"""sigma-zero on flips: descent on the margin and on the number of flips at once."""

from dataclasses import dataclass
from typing import ClassVar, Literal, Unpack

import torch
from torch import Tensor

from spikeflip.attacks.budget import Budget
from spikeflip.attacks.flips import WIDE, GoesOn, adam, annealed, flipped, gains, unit
from spikeflip.attacks.iterated import Options, as_budget
from spikeflip.attacks.options import option
from spikeflip.attacks.result import AttackResult, Trace
from spikeflip.attacks.step import Move, Step
from spikeflip.attacks.tuned import TunedAttack
from spikeflip.snn.losses import Loss
from spikeflip.victims import Victim

_FIRST_LEAST, _LEAST_BY = 0.3, 0.01
"""Strength below which a flip is dropped at first, and by how much that moves in a step, times the rate."""


@dataclass(frozen=True, kw_only=True)
class SigmaZero(GoesOn, TunedAttack):
    """The settings of sigma-zero on flips; call it with a victim and spikes, or use :func:`sigma_zero`.

    Args:
        sigma: how sharply a strength counts as a flip, ``f² / (f² + sigma)``.
        rate: of the descent in the first step; it falls to a tenth of it.
        budget: most perturbation of a success; unbounded when None.

    Raises:
        SpikeflipError: a setting is out of range.
    """

    summary: ClassVar = "sigma-zero on strengths of flips: descent on the margin and on the number of flips at once"
    source: ClassVar = "Cinà et al., ICLR 2025, on images; on flips our own"

    steps: int = option(100, ge=1, le=1_000_000)
    loss: Loss = "margin"
    output_window: float | None = option(WIDE, gt=0)
    sigma: float = option(1e-3, gt=0)
    rate: float = option(1.0, gt=0)
    budget: Budget | None = None

    def update(self, step: Step) -> Move:
        """See :class:`spikeflip.attacks.iterated.Iterated`."""
        found = self.follow(step)
        gain = gains(found.values, step.originals)
        success = step.success.to(gain.device)
        strength = step.memory.recall("strength", gain)
        least = step.memory.recall("least", gain[:, 0], initial=_FIRST_LEAST)
        count = 2 * self.sigma * strength / (strength.square() + self.sigma).square() / gain.shape[1]
        downhill = unit(count - gain.masked_fill(success.unsqueeze(1), 0))
        rate = annealed(step, self.steps, self.rate, self.rate / 10)
        strength = (strength - rate * adam(step.memory, downhill, step.iterations)).clamp(0, 1)
        least = (least + torch.where(success, _LEAST_BY, -_LEAST_BY) * rate.squeeze(1)).clamp(0, 1)
        strength = strength.masked_fill(strength < least.unsqueeze(1), 0)
        step.memory.keep("strength", strength)
        step.memory.keep("least", least)
        mover = torch.full((len(gain),), Trace.SIGN, dtype=torch.int8)
        return Move(flipped(step.originals, strength >= 0.5), mover, found, ~found.values.flatten(1).any(1))


def sigma_zero(
    victim: Victim,
    inputs: Tensor,
    labels: Tensor,
    targets: Tensor | None = None,
    *,
    steps: int = 100,
    sigma: float = 1e-3,
    rate: float = 1.0,
    threshold: float | Literal["auto"] | None = "auto",
    loss: Loss = "margin",
    gradient: str = "bptt",
    encodings: int = 1,
    output_window: float | None = WIDE,
    budget: Budget | float | None = None,
    **options: Unpack[Options],
) -> AttackResult:
    """Attack spikes with few flips: every cell has a strength in [0, 1], and one of a half or more flips it.

    The gradient at the flipped spikes is passed straight through to the strengths; that of a success asks for fewer
    flips alone. All steps are made, the success of fewest flips is kept, and its flips are undone until no single one
    can be.

    Args:
        victim: the model under attack.
        inputs: spikes ``(N, T, *input)`` of exactly 0 and 1.
        labels: true classes ``(N,)`` int64.
        targets: wanted classes ``(N,)`` int64; untargeted when not given.
        steps, sigma, rate, threshold, loss, gradient, encodings, output_window: see :class:`SigmaZero`.
        budget: a :class:`Budget`, or a number that bounds ``mse``, of the success after the reduction.
        options: as for :func:`scg`.

    Returns:
        An :class:`AttackResult`. A forward and a backward pass a step, and those of the reduction.

    Raises:
        SpikeflipError: an argument is out of range, or the inputs are images.

    Source: A. E. Cinà et al., sigma-zero: Gradient-based Optimization of l0-norm Adversarial Examples, ICLR 2025, with
    its defaults. Strengths of flips, in the place of changes of pixels, are not in it.

    >>> from spikeflip import SpikingNetwork
    >>> network = SpikingNetwork("16FC-3FC", (20,), time_steps=6, seed=1)
    >>> spikes = (torch.arange(240).reshape(2, 6, 20) % 3 == 0).float()
    >>> result = sigma_zero(network, spikes, network.scores(spikes).argmax(1), steps=5)
    >>> result.adversarials.unique().tolist()
    [0.0, 1.0]
    """
    attack = SigmaZero(
        steps=steps,
        sigma=sigma,
        rate=rate,
        threshold=threshold,
        loss=loss,
        gradient=gradient,
        encodings=encodings,
        output_window=output_window,
        budget=as_budget(budget),
    )
    return attack(victim, inputs, labels, targets, **options)

"""SpikeFool: as many flips at a time as a linear view of the victim says are needed."""

from dataclasses import dataclass
from typing import ClassVar, Literal, Unpack

import torch
from torch import Tensor

from spikeflip.attacks.budget import Budget
from spikeflip.attacks.flips import WIDE, FewestFlips, changed, flipped, gains
from spikeflip.attacks.iterated import Options, as_budget
from spikeflip.attacks.options import option
from spikeflip.attacks.result import AttackResult, Trace
from spikeflip.attacks.step import Move, Rule, Step
from spikeflip.attacks.tuned import TunedAttack
from spikeflip.errors import SpikeflipError
from spikeflip.snn.losses import Loss
from spikeflip.victims import Victim


@dataclass(frozen=True, kw_only=True)
class SpikeFool(FewestFlips, TunedAttack):
    """The settings of SpikeFool; call it with a victim and spikes, or use :func:`spikefool`.

    Args:
        reach: how far the flips of an iteration go, in units of the way to the boundary that a linear view shows (the
            paper's lambda).
        rivals: classes of highest score that are looked at in each iteration, a backward pass each; towards a target it
            is the one.
        budget: most perturbation of a success; unbounded when None.

    Raises:
        SpikeflipError: a setting is out of range.
    """

    summary: ClassVar = "SpikeFool: flips of largest gradient until a linear view of the victim crosses its boundary"
    source: ClassVar = "Büchel et al., Front. Neurosci. 2022"

    steps: int = option(50, ge=1, le=1_000_000)
    loss: ClassVar[Loss] = "margin"  # type: ignore[misc]  # no setting of this one
    output_window: float | None = option(WIDE, gt=0)
    reach: float = option(2.0, gt=0)
    rivals: int = option(3, ge=1)
    budget: Budget | None = None

    def prepare(self, victim: Victim, inputs: Tensor) -> Rule:
        """See :class:`spikeflip.attacks.iterated.Iterated`."""
        if victim.classes < 2:
            raise SpikeflipError("spikefool goes to where two classes are alike, and the victim has one: give two")
        return super().prepare(victim, inputs)

    def update(self, step: Step) -> Move:
        """See :class:`spikeflip.attacks.iterated.Iterated`."""
        looked_at = 1 if step.targeted else min(self.rivals, step.judged.shape[1] - 1)
        judged, ways = step.judged, []
        for rival in range(looked_at):
            difference = _Difference(rival)
            found = step.gradient(difference, self.request)
            gap = -step.towards_goal(difference(judged, step.classes)).to(found.values)
            ways.append((found, gap, gap / found.values.flatten(1).norm(dim=1)))
        nearest = torch.stack([distance for *_, distance in ways]).nan_to_num(torch.inf).argmin(0)
        rows = torch.arange(len(nearest), device=nearest.device)
        gap = torch.stack([gap for _, gap, _ in ways])[nearest, rows]
        gradient = torch.stack([found.values for found, *_ in ways])[nearest, rows]
        vanished = ~gradient.flatten(1).any(1)
        mask = _crossing(gains(gradient, step.inputs).masked_fill(changed(step), 0), self.reach * gap)
        mover = torch.full((len(mask),), Trace.SIGN, dtype=torch.int8)
        moved = flipped(step.inputs, mask)
        return Move(moved, mover, ways[0][0], vanished, stuck=~mask.any(1), backwards=looked_at - 1)


@dataclass(frozen=True)
class _Difference:
    """How far the rival-th highest other score, from 0, is above that of a class; a loss."""

    rival: int

    def __call__(self, scores: Tensor, classes: Tensor) -> Tensor:
        own = torch.zeros_like(scores, dtype=torch.bool).scatter(1, classes.unsqueeze(1), True)
        others = scores.masked_fill(own, -torch.inf).sort(dim=1, descending=True, stable=True).values
        return others[:, self.rival] - scores[own]


def _crossing(gain: Tensor, gap: Tensor) -> Tensor:
    """The fewest cells ``(n, cells)``, those of largest gain, whose gains sum to more than the gap; none below 0."""
    ordered, cells = gain.sort(dim=1, descending=True, stable=True)
    before = ordered.cumsum(1) - ordered
    needed = (before <= gap.unsqueeze(1)) & (ordered > 0)
    return torch.zeros_like(needed).scatter(1, cells, needed)


def spikefool(
    victim: Victim,
    inputs: Tensor,
    labels: Tensor,
    targets: Tensor | None = None,
    *,
    steps: int = 50,
    reach: float = 2.0,
    rivals: int = 3,
    threshold: float | Literal["auto"] | None = "auto",
    gradient: str = "bptt",
    encodings: int = 1,
    output_window: float | None = WIDE,
    budget: Budget | float | None = None,
    **options: Unpack[Options],
) -> AttackResult:
    """Attack spikes with the flips that a linear view of the victim needs, again and again until it is fooled.

    After a success, flips are undone until no single one can be; ``reduce=False`` leaves them.

    Args:
        victim: the model under attack.
        inputs: spikes ``(N, T, *input)`` of exactly 0 and 1.
        labels: true classes ``(N,)`` int64.
        targets: wanted classes ``(N,)`` int64; untargeted when not given.
        steps, reach, rivals, threshold, gradient, encodings, output_window: see :class:`SpikeFool`.
        budget: a :class:`Budget`, or a number that bounds ``mse``, of the success after the reduction.
        options: as for :func:`scg`.

    Returns:
        An :class:`AttackResult`. One forward pass and ``rivals`` backward passes a step.

    Raises:
        SpikeflipError: an argument is out of range, or the inputs are images.

    Source: J. Büchel, G. Lenz, Y. Hu, S. Sheik and M. Sorbaro, Adversarial Attacks on Spiking Convolutional Neural
    Networks for Event-Based Vision, Front. Neurosci. 2022. There, the linear view is taken at the end of an inner loop
    of steps between spikes; here at the spikes themselves, as the event engine knows no others. The reduction is not in
    it.

    >>> from spikeflip import SpikingNetwork
    >>> network = SpikingNetwork("16FC-3FC", (20,), time_steps=6, seed=1)
    >>> spikes = (torch.arange(240).reshape(2, 6, 20) % 3 == 0).float()
    >>> result = spikefool(network, spikes, network.scores(spikes).argmax(1), steps=5)
    >>> result.adversarials.unique().tolist()
    [0.0, 1.0]
    """
    attack = SpikeFool(
        steps=steps,
        reach=reach,
        rivals=rivals,
        threshold=threshold,
        gradient=gradient,
        encodings=encodings,
        output_window=output_window,
        budget=as_budget(budget),
    )
    return attack(victim, inputs, labels, targets, **options)

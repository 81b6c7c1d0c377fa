"""SDA: the sparse dynamic attack, which tries the most promising flips alone and keeps those that help."""

from dataclasses import dataclass
from math import prod
from typing import ClassVar, Literal, Unpack

import torch
from torch import Tensor

from spikeflip.attacks.budget import Budget
from spikeflip.attacks.flips import WIDE, FewestFlips, changed, gains, measured, rescored
from spikeflip.attacks.iterated import Options, as_budget
from spikeflip.attacks.options import option
from spikeflip.attacks.result import AttackResult, Trace
from spikeflip.attacks.step import Move, Rule, Step
from spikeflip.attacks.tuned import TunedAttack
from spikeflip.errors import SpikeflipError
from spikeflip.snn.losses import Loss
from spikeflip.snn.rescoring import scored
from spikeflip.victims import Victim


@dataclass(frozen=True, kw_only=True)
class SDA(FewestFlips, TunedAttack):
    """The settings of the sparse dynamic attack; call it with a victim and spikes, or use :func:`sda`.

    Args:
        candidates: flips that are tried alone in the first iteration; in the n-th n times as many.
        budget: most perturbation of a success; unbounded when None.

    Raises:
        SpikeflipError: a setting is out of range.
    """

    summary: ClassVar = "sparse dynamic attack: the flips of largest gradient, each tried alone, then undone if spare"
    source: ClassVar = "Lun et al., CVPR 2025"

    steps: int = option(100, ge=1, le=1_000_000)
    loss: Loss = "margin"
    output_window: float | None = option(WIDE, gt=0)
    candidates: int = option(10, ge=1)
    budget: Budget | None = None

    def prepare(self, victim: Victim, inputs: Tensor) -> Rule:
        """See :class:`spikeflip.attacks.iterated.Iterated`."""
        cells = prod(inputs.shape[1:])
        if self.candidates > cells:
            raise SpikeflipError(f"candidates is {self.candidates}, and an input has {cells} cells: give at most that")
        return super().prepare(victim, inputs)

    def update(self, step: Step) -> Move:
        """See :class:`spikeflip.attacks.iterated.Iterated`."""
        gradient = self.follow(step)
        vanished = ~gradient.values.flatten(1).any(1)
        order = _promising(step, gradient.values)
        counts = (self.candidates * (step.iterations + 1)).clamp(max=order.shape[1])
        tried = torch.arange(int(counts.max())) < counts.unsqueeze(1)
        rows, ranks = tried.nonzero(as_tuple=True)
        cells = order[rows, ranks]
        now = measured(step, self.loss, step.judged.cpu(), torch.arange(len(order)))
        found = measured(step, self.loss, scored(rescored(step), rows, cells.unsqueeze(1)), rows)
        kept = found >= now[rows]
        flat = step.inputs.flatten(1).clone()
        places = rows[kept].to(flat.device), cells[kept].to(flat.device)
        flat[places] = 1 - flat[places]
        mover = torch.full((len(order),), Trace.SEARCH, dtype=torch.int8)
        return Move(flat.view_as(step.inputs), mover, gradient, vanished, forwards=counts)


def _promising(step: Step, gradient: Tensor) -> Tensor:
    """The cells of each sample, ``(n, cells)``, those first whose flip gives most to first order.

    Those that give nothing come behind in random order, those that were chosen before at the end.
    """
    gain = gains(gradient, step.inputs)
    last_resort = step.uniform("search", (gain.shape[1],)).to(gain) - 2
    score = torch.where(gain > 0, gain, last_resort)
    return torch.where(changed(step), -torch.inf, score).argsort(dim=1, descending=True, stable=True).cpu()


def sda(
    victim: Victim,
    inputs: Tensor,
    labels: Tensor,
    targets: Tensor | None = None,
    *,
    steps: int = 100,
    candidates: int = 10,
    threshold: float | Literal["auto"] | None = "auto",
    loss: Loss = "margin",
    gradient: str = "bptt",
    encodings: int = 1,
    output_window: float | None = WIDE,
    budget: Budget | float | None = None,
    **options: Unpack[Options],
) -> AttackResult:
    """Attack spikes with few flips: those of largest gradient are tried alone, and all that do no harm are kept.

    After a success, flips are undone until no single one can be; ``reduce=False`` leaves them.

    Args:
        victim: the model under attack.
        inputs: spikes ``(N, T, *input)`` of exactly 0 and 1.
        labels: true classes ``(N,)`` int64.
        targets: wanted classes ``(N,)`` int64; untargeted when not given.
        steps, candidates, threshold, loss, gradient, encodings, output_window: see :class:`SDA`.
        budget: a :class:`Budget`, or a number that bounds ``mse``, of the success after the reduction.
        options: as for :func:`scg`.

    Returns:
        An :class:`AttackResult`. A forward pass a candidate, one a step that judges, and a backward pass a step.

    Raises:
        SpikeflipError: an argument is out of range, or the inputs are images.

    Source: L. Lun et al., Towards Effective and Sparse Adversarial Attack on Spiking Neural Networks via Breaking
    Invisible Surrogate Gradients, CVPR 2025. As there, flips that change nothing are kept, and candidates that the
    gradient does not name are random. It takes 500 steps, and the victim's own penultimate threshold; its reduction is
    one bisection, where ours goes on until no single flip can be undone.

    >>> from spikeflip import SpikingNetwork
    >>> network = SpikingNetwork("16FC-3FC", (20,), time_steps=6, seed=1)
    >>> spikes = (torch.arange(240).reshape(2, 6, 20) % 3 == 0).float()
    >>> result = sda(network, spikes, network.scores(spikes).argmax(1), steps=5)
    >>> result.adversarials.unique().tolist()
    [0.0, 1.0]
    """
    attack = SDA(
        steps=steps, candidates=candidates, threshold=threshold, loss=loss, gradient=gradient, encodings=encodings,
        output_window=output_window, budget=as_budget(budget),
    )  # fmt: skip
    return attack(victim, inputs, labels, targets, **options)

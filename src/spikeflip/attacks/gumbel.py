"""Gumbel on cells: a probability of flipping for every cell, learned through draws.

An event is on one of the two channels of its pixel, so this is the attack on raw events with two indicators, ON and
OFF, each passed straight through with its own sign: removing, adding and turning an event are flips of cells. How many
events a cell holds is nothing that a victim of binary frames could see.
"""

import math
from dataclasses import dataclass
from typing import ClassVar, Literal, Unpack

import torch
from torch import Tensor

from spikeflip.attacks.budget import Budget
from spikeflip.attacks.cells import near
from spikeflip.attacks.flips import WIDE, GoesOn, adam, annealed, flipped, gains, unit
from spikeflip.attacks.iterated import Options, as_budget
from spikeflip.attacks.options import option
from spikeflip.attacks.result import AttackResult, Trace
from spikeflip.attacks.step import Move, Step
from spikeflip.attacks.tuned import TunedAttack
from spikeflip.snn.losses import Loss
from spikeflip.victims import Victim

_WARMEST, _COLDEST = 2.0, 0.1
"""Temperatures of the first and of the last step."""


@dataclass(frozen=True, kw_only=True)
class GumbelFlips(GoesOn, TunedAttack):
    """The settings of the Gumbel attack on cells; call it with a victim and spikes, or use :func:`gumbel_flips`.

    Args:
        stay: probability that a cell stays as it is, at first, in (0.5, 1).
        rate: of Adam, on the logarithm of a cell's odds.
        cost: weight of the expected number of flips beside a gradient whose largest element is 1.
        near: most steps in time, place and polarity that a cell may lie from a spike to be flipped; any when None.
        budget: most perturbation of a success; unbounded when None.

    Raises:
        SpikeflipError: a setting is out of range.
    """

    summary: ClassVar = "Gumbel: a probability of flipping for each cell, learned through draws and judged without them"
    source: ClassVar = "Yao et al., ECCV 2024, on raw events; on cells our own"

    steps: int = option(100, ge=1, le=1_000_000)
    loss: Loss = "ce"
    output_window: float | None = option(WIDE, gt=0)
    stay: float = option(0.99, ge=0.51, le=0.999999)
    rate: float = option(0.2, gt=0)
    cost: float = option(0.0, ge=0)
    near: int | None = option(None, ge=0)
    budget: Budget | None = None

    def update(self, step: Step) -> Move:
        """See :class:`spikeflip.attacks.iterated.Iterated`."""
        originals = step.originals
        flat = originals.flatten(1)
        # A flip and a stay have one Gumbel number each; only their difference counts, which is logistic.
        odds = step.memory.recall("odds", flat, initial=math.log(1 / self.stay - 1))
        if self.near is not None:
            odds = odds.masked_fill(~near(originals, self.near), -torch.inf)
        numbers = step.uniform("noise", flat.shape[1:]).to(flat).clamp(1e-7, 1 - 1e-7)
        drawn = odds + torch.logit(numbers)
        soft = torch.sigmoid(drawn / annealed(step, self.steps, _WARMEST, _COLDEST))
        found = step.gradient(self.loss, self.request, at=flipped(originals, drawn > 0))
        probability = torch.sigmoid(odds)
        price = self.cost * probability * (1 - probability)
        downhill = price - unit(gains(found.values, originals) * soft * (1 - soft))
        odds = odds - self.rate * adam(step.memory, downhill, step.iterations)
        step.memory.keep("odds", odds)
        mover = torch.full((len(flat),), Trace.SIGN, dtype=torch.int8)
        vanished = ~found.values.flatten(1).any(1)
        return Move(flipped(originals, odds > 0), mover, found, vanished, forwards=1)


def gumbel_flips(
    victim: Victim,
    inputs: Tensor,
    labels: Tensor,
    targets: Tensor | None = None,
    *,
    steps: int = 100,
    stay: float = 0.99,
    rate: float = 0.2,
    cost: float = 0.0,
    near: int | None = None,
    threshold: float | Literal["auto"] | None = "auto",
    loss: Loss = "ce",
    gradient: str = "bptt",
    encodings: int = 1,
    output_window: float | None = WIDE,
    budget: Budget | float | None = None,
    **options: Unpack[Options],
) -> AttackResult:
    """Attack spikes by learning with what probability each cell is flipped.

    Each step draws flips, takes the gradient there, and passes it to the odds through the Gumbel softmax, with the sign
    of the flip. What is judged is without draws: the cells that more likely flip than stay. All steps are made, the
    success of fewest flips is kept, and its flips are undone until no single one can be.

    Args:
        victim: the model under attack.
        inputs: spikes ``(N, T, *input)`` of exactly 0 and 1.
        labels: true classes ``(N,)`` int64.
        targets: wanted classes ``(N,)`` int64; untargeted when not given.
        steps, stay, rate, cost, near, threshold, loss, gradient, encodings, output_window: see :class:`GumbelFlips`.
        budget: a :class:`Budget`, or a number that bounds ``mse``, of the success after the reduction.
        options: as for :func:`scg`.

    Returns:
        An :class:`AttackResult`. Two forward passes and a backward pass a step, and those of the reduction.

    Raises:
        SpikeflipError: an argument is out of range, or the inputs are images.

    Source: Y. Yao, X. Zhao and B. Gu, Exploring Vulnerabilities in Spiking Neural Networks: Direct Adversarial Attacks
    on Raw Event Data, ECCV 2024, whose temperatures these are. It works on events, with logits that begin at 0 and 1,
    a rate of 1, and any draw as a success.

    >>> from spikeflip import SpikingNetwork
    >>> network = SpikingNetwork("16FC-3FC", (20,), time_steps=6, seed=1)
    >>> spikes = (torch.arange(240).reshape(2, 6, 20) % 3 == 0).float()
    >>> result = gumbel_flips(network, spikes, network.scores(spikes).argmax(1), steps=5)
    >>> result.adversarials.unique().tolist()
    [0.0, 1.0]
    """
    attack = GumbelFlips(
        steps=steps,
        stay=stay,
        rate=rate,
        cost=cost,
        near=near,
        threshold=threshold,
        loss=loss,
        gradient=gradient,
        encodings=encodings,
        output_window=output_window,
        budget=as_budget(budget),
    )
    return attack(victim, inputs, labels, targets, **options)

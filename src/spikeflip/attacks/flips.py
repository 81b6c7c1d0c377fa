"""What attacks on binary spikes that look for the fewest flips have in common."""

import math
from typing import ClassVar

import torch
from torch import Tensor

from spikeflip.attacks.budget import Budget
from spikeflip.attacks.step import Step
from spikeflip.attacks.stop import Smallest, Stop
from spikeflip.snn.coding import reached, winner
from spikeflip.snn.losses import Loss, resolve
from spikeflip.snn.memory import Memory
from spikeflip.snn.rescoring import Rescoring, rescoring
from spikeflip.snn.validation import Kind

WIDE = 1.0
"""Surrogate width of the output layer, in units of potential, at which few gradients vanish there."""


class FewestFlips:
    """Makes an attack one on spikes whose successes are reduced, and bounded after that; the first of its bases."""

    only: ClassVar[Kind | None] = "spikes"
    reduces: ClassVar[bool] = True
    bounds_path: ClassVar[bool] = False


class GoesOn(FewestFlips):
    """The same of an attack that goes on after a success, towards a smaller one."""

    budget: Budget | None

    @property
    def best(self) -> Stop:
        """All steps, and the success that changes least by the budget's metric; without one, that of fewest flips."""
        return Smallest("l0" if self.budget is None else self.budget.metric)


def gains(gradient: Tensor, spikes: Tensor) -> Tensor:
    """How much each flip gives in the direction of a gradient, to first order.

    Args:
        gradient: ``(n, T, *input)``.
        spikes: of 0 and 1, of the same shape.

    Returns:
        ``(n, cells)``.

    >>> gains(torch.tensor([[0.5, 0.5, -0.5]]), torch.tensor([[0.0, 1, 1]])).tolist()
    [[0.5, -0.5, 0.5]]
    """
    return (gradient * (1 - 2 * spikes)).flatten(1)


def flipped(spikes: Tensor, mask: Tensor) -> Tensor:
    """Spikes ``(n, ...)`` with the cells of ``mask``, bool of ``(n, cells)``, flipped."""
    return torch.where(mask.view_as(spikes), 1 - spikes, spikes)


def changed(step: Step) -> Tensor:
    """Which cells of a step's inputs are flipped, ``(n, cells)`` bool."""
    return (step.inputs != step.originals).flatten(1)


def rescored(step: Step) -> Rescoring:
    """Scores of a step's inputs with a few more cells flipped."""
    return rescoring(step.victim, step.inputs, step.micro_batch)


def measured(step: Step, loss: Loss, scores: Tensor, rows: Tensor) -> Tensor:
    """Losses ``(m,)`` of scores ``(m, K)`` of the samples ``rows`` ``(m,)``: the larger, the nearer to the goal."""
    return step.towards_goal(resolve(loss)(scores, step.classes.to(scores.device)[rows.to(scores.device)]))


def won(step: Step, scores: Tensor, rows: Tensor) -> Tensor:
    """Whether scores ``(m, K)`` of the samples ``rows`` ``(m,)`` reach the goal, ``(m,)`` bool."""
    return reached(winner(scores), step.classes.to(scores.device)[rows.to(scores.device)], targeted=step.targeted)


def annealed(step: Step, steps: int, first: float, last: float) -> Tensor:
    """A number that falls from ``first`` to ``last`` over the steps along half a cosine: ``(n, 1)``, on the device."""
    done = step.iterations.to(step.inputs).unsqueeze(1) / steps
    return last + (first - last) / 2 * (1 + torch.cos(math.pi * done))


def adam(memory: Memory, downhill: Tensor, iterations: Tensor) -> Tensor:
    """The direction of a step of Adam, ``(n, cells)``, each sample at its own iteration ``(n,)``, from 0.

    Source: D. Kingma and J. Ba, Adam: A Method for Stochastic Optimization, ICLR 2015, with its defaults.
    """
    mean = 0.9 * memory.recall("mean", downhill) + 0.1 * downhill
    square = 0.999 * memory.recall("square", downhill) + 0.001 * downhill.square()
    memory.keep("mean", mean)
    memory.keep("square", square)
    number = iterations.to(downhill).unsqueeze(1) + 1
    return mean / (1 - 0.9**number) / ((square / (1 - 0.999**number)).sqrt() + 1e-8)


def unit(gradient: Tensor) -> Tensor:
    """A gradient ``(n, cells)`` by its largest element; zero where it is zero."""
    largest = gradient.abs().amax(1, keepdim=True)
    return gradient / torch.where(largest > 0, largest, 1)

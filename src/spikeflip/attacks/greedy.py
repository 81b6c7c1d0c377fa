"""Trial and error: change one block of pixels or one spike, see what the victim says, keep the best.

No gradient is asked for; every candidate costs a forward pass.
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from typing import ClassVar, Unpack

import torch
from torch import Tensor

from spikeflip.attacks.budget import Budget
from spikeflip.attacks.iterated import Iterated, Options, as_budget
from spikeflip.attacks.options import option
from spikeflip.attacks.result import AttackResult, Trace
from spikeflip.attacks.step import Move, Step
from spikeflip.snn.losses import Loss, resolve
from spikeflip.snn.validation import Kind
from spikeflip.victims import Victim

_Try = Callable[[Tensor, Tensor], Tensor]
"""Makes the candidates ``moves`` ``(m,)`` int64 of the samples ``rows`` ``(m,)``: inputs ``(m, ...)``."""


def blocks(input_shape: tuple[int, ...], side: int) -> Tensor:
    """Number the blocks of an image: ``(*input_shape)`` int64, equal in the pixels of one block.

    A block is ``side`` pixels in each of the last two axes, smaller at the far edges, and takes all channels; inputs of
    one axis are cut into runs of ``side``.

    >>> blocks((1, 3, 4), 2)[0].tolist()
    [[0, 0, 1, 1], [0, 0, 1, 1], [2, 2, 3, 3]]
    """
    number = torch.zeros((), dtype=torch.int64)
    for length in input_shape[-2:]:
        number = number.unsqueeze(-1) * -(-length // side) + torch.arange(length) // side
    return number.expand(input_shape)


def _chosen(step: Step, space: int, candidates: int | None) -> Tensor:
    """Which of ``space`` places each sample tries, in a random order of its own: ``(n, candidates)`` int64."""
    return step.uniform("search", (space,)).cpu().argsort(dim=1, stable=True)[:, :candidates]


def _search(step: Step, moves: Tensor, make: _Try, loss: Loss, *, exhaustive: bool) -> Move:
    """Try ``moves`` ``(n, m)`` and keep each sample's best, unless all of them lead away from the goal.

    The first of equals is taken: output rates are coarse, and a search that waits for a gain would often not begin.
    """
    measure, device, each = resolve(loss), step.inputs.device, moves.shape[1]
    now = step.towards_goal(measure(step.judged, step.classes))
    values = torch.empty(moves.numel(), dtype=now.dtype, device=device)
    for pairs in torch.arange(moves.numel()).split(step.micro_batch):
        rows = (pairs // each).to(device)
        tried = make(moves.flatten()[pairs].to(device), rows)
        values[pairs.to(device)] = step.towards_goal(measure(step.scores(tried, rows), step.classes[rows]))
    best, place = values.view_as(moves).max(1)
    rows = torch.arange(len(moves), device=device)
    kept = best >= now
    moved = step.inputs.clone()
    moved[kept] = make(moves.to(device)[rows, place][kept], rows[kept])
    # Where everything was tried in vain, trying it again is of no use.
    mover = torch.where(kept, Trace.SEARCH, Trace.UNMOVED if exhaustive else Trace.SEARCH)
    return Move(moved, mover, stuck=~kept if exhaustive else None, forwards=each)


@dataclass(frozen=True, kw_only=True)
class GreedyPixels(Iterated):
    """The settings of trial and error on images; call it with a victim and images, or use :func:`greedy_pixels`.

    Args:
        steps: most iterations (the paper's Iter), each of which changes one block.
        unit: by which the pixels of a block are raised or lowered, in intensity.
        block: side of a block in pixels; see :func:`blocks`.
        candidates: blocks tried in an iteration, chosen at random; all of them (the paper's N) when None.
        loss: ``"mse"``, ``"ce"`` or a function of scores ``(n, K)`` and classes ``(n,)``.
        budget: most perturbation a sample; unbounded when None.

    Raises:
        SpikeflipError: a setting is out of range.
    """

    only: ClassVar[Kind | None] = "images"
    summary: ClassVar = "trial and error: the block of pixels that moves the loss most, two forward passes a candidate"
    source: ClassVar = "Marchisio et al., 2019"
    follows_gradient: ClassVar = False

    unit: float = option(0.25, gt=0)
    block: int = option(2, ge=1)
    candidates: int | None = option(None, ge=1)
    loss: Loss = "mse"
    budget: Budget | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        resolve(self.loss)

    def update(self, step: Step) -> Move:
        """See :class:`spikeflip.attacks.iterated.Iterated`."""
        number = blocks(tuple(step.inputs.shape[1:]), self.block).to(step.inputs.device)
        space = int(number.max()) + 1
        chosen = _chosen(step, space, self.candidates)
        moves = torch.stack([chosen, chosen + space], dim=2).flatten(1)  # up, then down
        originals = step.originals

        def make(moves: Tensor, rows: Tensor) -> Tensor:
            place, down = moves % space, moves >= space
            units = torch.where(down, -self.unit, self.unit).to(step.inputs.dtype)
            inside = number == place.reshape(-1, *[1] * number.ndim)
            moved = (step.inputs[rows] + inside * units.reshape(-1, *[1] * number.ndim)).clamp(0, 1)
            return moved if self.budget is None else self.budget.project(moved, originals[rows])

        return _search(step, moves, make, self.loss, exhaustive=chosen.shape[1] == space)


@dataclass(frozen=True, kw_only=True)
class GreedyFlips(Iterated):
    """The settings of trial and error on spikes; call it with a victim and spikes, or use :func:`greedy_flips`.

    Args:
        steps: most iterations (the paper's Iter), each of which flips one cell.
        candidates: cells tried in an iteration, chosen at random; all of them (the paper's N) when None.
        loss: ``"mse"``, ``"ce"`` or a function of scores ``(n, K)`` and classes ``(n,)``.
        budget: most perturbation a sample; unbounded when None.

    Raises:
        SpikeflipError: a setting is out of range.
    """

    only: ClassVar[Kind | None] = "spikes"
    summary: ClassVar = "trial and error: the spike whose flip moves the loss most, one forward pass a candidate"
    source: ClassVar = "Bagheri et al., SPAWC 2018"
    follows_gradient: ClassVar = False

    candidates: int | None = option(None, ge=1)
    loss: Loss = "mse"
    budget: Budget | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        resolve(self.loss)

    def update(self, step: Step) -> Move:
        """See :class:`spikeflip.attacks.iterated.Iterated`."""
        space = prod(step.inputs.shape[1:])
        moves = _chosen(step, space, self.candidates)

        def make(moves: Tensor, rows: Tensor) -> Tensor:
            flipped = step.inputs[rows].flatten(1)
            every = torch.arange(len(rows), device=rows.device)
            flipped[every, moves] = 1 - flipped[every, moves]
            return flipped.reshape(-1, *step.inputs.shape[1:])

        return _search(step, moves, make, self.loss, exhaustive=moves.shape[1] == space)


def greedy_pixels(
    victim: Victim,
    inputs: Tensor,
    labels: Tensor,
    targets: Tensor | None = None,
    *,
    steps: int = 25,
    unit: float = 0.25,
    block: int = 2,
    candidates: int | None = None,
    loss: Loss = "mse",
    budget: Budget | float | None = None,
    **options: Unpack[Options],
) -> AttackResult:
    """Attack images by trial and error: raise or lower the block of pixels that moves the loss most towards the goal.

    Args:
        victim: the model under attack.
        inputs: images ``(N, *input)`` in [0, 1].
        labels: true classes ``(N,)`` int64.
        targets: wanted classes ``(N,)`` int64; untargeted when not given.
        steps, unit, block, candidates, loss: see :class:`GreedyPixels`.
        budget: a :class:`Budget`, or a number that bounds ``mse``.
        options: ``seed``, ``samples``, ``micro_batch``, ``progress`` and ``trace``, as for :func:`scg`.

    Returns:
        An :class:`AttackResult`. Two forward passes a candidate, and one a step that judges; no backward pass.

    Raises:
        SpikeflipError: an argument is out of range, or the inputs are spikes.

    Source: A. Marchisio et al., Is Spiking Secure? A Comparative Study on the Security Vulnerabilities of Spiking and
    Deep Neural Networks, 2019 (arXiv:1902.01147), as Liang et al. (2021, Sec. III-B, Table I) describe it. The
    candidates of an iteration are encoded with the random numbers of its judging pass, so that they differ by their
    pixels only; the next judging pass is a fresh encoding.

    >>> from spikeflip import SpikingNetwork
    >>> network = SpikingNetwork("16FC-3FC", (20,), time_steps=6, seed=1)
    >>> images = torch.linspace(0, 1, 40).reshape(2, 20)
    >>> result = greedy_pixels(network, images, torch.tensor([0, 1]), steps=3, candidates=4)
    >>> bool(((result.adversarials != images).sum(1) <= 3 * 2).all())
    True
    """
    attack = GreedyPixels(
        steps=steps, unit=unit, block=block, candidates=candidates, loss=loss, budget=as_budget(budget)
    )
    return attack(victim, inputs, labels, targets, **options)


def greedy_flips(
    victim: Victim,
    inputs: Tensor,
    labels: Tensor,
    targets: Tensor | None = None,
    *,
    steps: int = 25,
    candidates: int | None = None,
    loss: Loss = "mse",
    budget: Budget | float | None = None,
    **options: Unpack[Options],
) -> AttackResult:
    """Attack spikes by trial and error: flip the one cell that moves the loss most towards the goal.

    Args:
        victim: the model under attack.
        inputs: spikes ``(N, T, *input)`` of exactly 0 and 1.
        labels: true classes ``(N,)`` int64.
        targets: wanted classes ``(N,)`` int64; untargeted when not given.
        steps, candidates, loss: see :class:`GreedyFlips`.
        budget: a :class:`Budget`, or a number that bounds ``mse``.
        options: ``seed``, ``samples``, ``micro_batch``, ``progress`` and ``trace``, as for :func:`scg`.

    Returns:
        An :class:`AttackResult`. One forward pass a candidate, and one a step that judges; no backward pass.

    Raises:
        SpikeflipError: an argument is out of range, or the inputs are images.

    Source: A. Bagheri et al., Adversarial Training for Probabilistic Spiking Neural Networks, SPAWC 2018, as Liang et
    al. (2021, Sec. III-B, Table I) describe it; there on networks with a likelihood, here on the loss of output rates.
    Ties, which rates make common, go to the candidate that the sample's random order has first.

    >>> from spikeflip import SpikingNetwork
    >>> network = SpikingNetwork("16FC-3FC", (20,), time_steps=6, seed=1)
    >>> spikes = (torch.arange(240).reshape(2, 6, 20) % 3 == 0).float()
    >>> result = greedy_flips(network, spikes, network.scores(spikes).argmax(1), steps=3, candidates=8)
    >>> bool(((result.adversarials != spikes).flatten(1).sum(1) <= 3).all())
    True
    """
    attack = GreedyFlips(steps=steps, candidates=candidates, loss=loss, budget=as_budget(budget))
    return attack(victim, inputs, labels, targets, **options)

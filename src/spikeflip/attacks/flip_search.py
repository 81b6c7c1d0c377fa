"""Flip search: few flips by what the victim says, and nothing else."""

import math
from dataclasses import dataclass
from typing import ClassVar, Unpack

import torch
from torch import Tensor

from spikeflip.attacks.budget import Budget
from spikeflip.attacks.cells import Neighbours, flip, listed
from spikeflip.attacks.flips import GoesOn, changed, flipped, rescored, won
from spikeflip.attacks.iterated import Iterated, Options, as_budget
from spikeflip.attacks.options import option
from spikeflip.attacks.random_flips import flips_of
from spikeflip.attacks.result import AttackResult, Trace
from spikeflip.attacks.step import Move, Step
from spikeflip.victims import Victim

_PATIENCE = 2
"""Blocks in a row that cannot be undone before a block is halved."""


@dataclass(frozen=True, kw_only=True)
class FlipSearch(GoesOn, Iterated):
    """The settings of the flip search; call it with a victim and spikes, or use :func:`flip_search`.

    Args:
        steps: most iterations: one query each until there is a success, ``queries`` each from then on.
        queries: of an iteration.
        share: of random flips in the first iteration, relative to the spikes of the sample.
        growth: by which the flips grow from one failure to the next, until all cells are flipped; then from the first
            number again.
        budget: most perturbation of a success; unbounded when None.

    Raises:
        SpikeflipError: a setting is out of range.
    """

    decisions_only: ClassVar[bool] = True
    summary: ClassVar = "flip search: random flips until one set fools, then fewer and fewer, by decisions alone"
    source: ClassVar = "our own, after SCAR of Büchel et al., Front. Neurosci. 2022"
    follows_gradient: ClassVar = False

    steps: int = option(60, ge=1, le=1_000_000)
    queries: int = option(50, ge=1, le=10_000)
    share: float = option(0.01, gt=0, le=1000)
    growth: float = option(1.25, gt=1, le=1000)
    budget: Budget | None = None

    def update(self, step: Step) -> Move:
        """See :class:`spikeflip.attacks.iterated.Iterated`."""
        mask, near = changed(step).cpu(), Neighbours.of(step.originals)
        fooled = step.success.cpu()
        queries = torch.zeros(len(mask), dtype=torch.int64)
        if not bool(fooled.all()):
            keys = step.uniform("start", (mask.shape[1],)).cpu()
            mask[~fooled] = near.first(keys, self._tried(step))[~fooled]
        if bool(fooled.any()):
            self._shrink(step, fooled.nonzero().squeeze(1), mask, near, queries)
        mover = torch.full((len(mask),), Trace.SEARCH, dtype=torch.int8)
        moved = flipped(step.originals, mask.to(step.inputs.device))
        smallest = (fooled & (mask.sum(1) == 1)).to(moved.device)
        return Move(moved, mover, stuck=smallest, forwards=queries)

    def _tried(self, step: Step) -> Tensor:
        """How many flips each sample has next: after all cells the first number again, of other cells."""
        first, cells = self.share * flips_of(step.originals, 1).cpu().double(), step.originals[0].numel()
        failures = (torch.log(cells / first) / math.log(self.growth)).ceil().clamp(min=0)
        grown = first * self.growth ** (step.iterations % (failures + 1))
        return grown.clamp(1, cells).long()

    def _shrink(self, step: Step, live: Tensor, mask: Tensor, near: Neighbours, queries: Tensor) -> None:
        """Make the sets ``mask`` of the samples ``live`` smaller, by blocks and by swaps of two for one in turn."""
        held = rescored(step)
        numbers = step.uniform("search", (self.queries, 4)).cpu()
        block = step.memory.recall("block", torch.zeros(len(mask), dtype=torch.int64), initial=2**40)
        failures = step.memory.recall("failures", torch.zeros(len(mask), dtype=torch.int64))
        for query in range(self.queries):
            live = live[mask[live].sum(1) > 1]
            if not len(live):
                break
            table, sizes = listed(mask[live])
            size = block[live].minimum(sizes // 2).clamp(min=1)
            swap = torch.full_like(size, query % 2, dtype=torch.bool) & (sizes > 2)
            undone = torch.where(swap, 2, size)
            places = torch.arange(int(undone.max()))
            begin = (numbers[live, query, :1] * sizes.unsqueeze(1)).long()
            out = table.gather(1, (begin + places) % sizes.unsqueeze(1))
            out = out.masked_fill(places >= undone.unsqueeze(1), -1)
            into = near.drawn(numbers[live, query, 1:3].unsqueeze(1), live)
            into = into.masked_fill(~swap.unsqueeze(1) | mask[live.unsqueeze(1), into], -1)
            flips = torch.cat([out, into], 1)
            kept = won(step, held.scores(live, flips).cpu(), live)
            queries[live] += 1
            held.flip(live[kept], flips[kept])
            flip(mask, live[kept], flips[kept])
            lost = torch.where(kept, 0, failures[live] + 1)
            failures[live] = torch.where(swap, failures[live], lost % _PATIENCE)
            halved = ~swap & ~kept & (lost == _PATIENCE)
            block[live] = torch.where(swap, block[live], torch.where(halved, size // 2, size).clamp(min=1))
        step.memory.keep("block", block)
        step.memory.keep("failures", failures)


def flip_search(
    victim: Victim,
    inputs: Tensor,
    labels: Tensor,
    targets: Tensor | None = None,
    *,
    steps: int = 60,
    queries: int = 50,
    share: float = 0.01,
    growth: float = 1.25,
    budget: Budget | float | None = None,
    **options: Unpack[Options],
) -> AttackResult:
    """Attack spikes by decisions alone: neither gradients nor scores are looked at.

    Random flips, half of them near spikes, grow in number until a set of them fools the victim. Then blocks of them are
    undone, half as large where that fails, and two are swapped for another one; what still fools is kept. At last flips
    are undone one by one until no single one can be.

    Args:
        victim: the model under attack.
        inputs: spikes ``(N, T, *input)`` of exactly 0 and 1.
        labels: true classes ``(N,)`` int64.
        targets: wanted classes ``(N,)`` int64; untargeted when not given. Few are found by chance.
        steps, queries, share, growth: see :class:`FlipSearch`.
        budget: a :class:`Budget`, or a number that bounds ``mse``, of the success after the reduction.
        options: as for :func:`scg`.

    Returns:
        An :class:`AttackResult`, whose ``forwards`` are the queries, those of the reduction included.

    Raises:
        SpikeflipError: an argument is out of range, or the inputs are images.

    Source: our own; that cells are drawn near spikes is the idea of SCAR (J. Büchel et al., Front. Neurosci. 2022).

    >>> from spikeflip import SpikingNetwork
    >>> network = SpikingNetwork("16FC-3FC", (20,), time_steps=6, seed=1)
    >>> spikes = (torch.arange(240).reshape(2, 6, 20) % 3 == 0).float()
    >>> flip_search(network, spikes, network.scores(spikes).argmax(1), steps=5).backwards.tolist()
    [0, 0]
    """
    attack = FlipSearch(steps=steps, queries=queries, share=share, growth=growth, budget=as_budget(budget))
    return attack(victim, inputs, labels, targets, **options)

"""Sparse-RS on cells: random search over sets of flips of one size, by the victim's scores alone."""

from dataclasses import dataclass
from typing import ClassVar, Unpack

import torch
from torch import Tensor

from spikeflip.attacks.budget import Budget
from spikeflip.attacks.cells import Neighbours, flip, listed, repeated
from spikeflip.attacks.flips import FewestFlips, changed, flipped, measured, rescored, won
from spikeflip.attacks.iterated import Iterated, Options, as_budget
from spikeflip.attacks.options import option
from spikeflip.attacks.random_flips import flips_of
from spikeflip.attacks.result import AttackResult, Trace
from spikeflip.attacks.step import Move, Step
from spikeflip.snn.losses import Loss, resolve
from spikeflip.victims import Victim

_MOST_SWAPS = 32
_SHARE = 0.3
_SCHEDULE = (
    (0.8, 20), (0.6, 15), (0.4, 12), (0.2, 10), (0.1, 8), (0.05, 6), (0.02, 5), (0.005, 4), (0, 2),
)  # fmt: skip
"""From which share of all queries on the share of swapped flips is divided by what."""


def swapped_share(done: float) -> float:
    """The share of the flips that a query swaps, after this share of all queries.

    >>> [swapped_share(done) for done in (0, 0.3, 1)]
    [0.15, 0.03, 0.015]
    """
    return _SHARE / next(by for begin, by in _SCHEDULE if done >= begin)


@dataclass(frozen=True, kw_only=True)
class SparseRS(FewestFlips, Iterated):
    """The settings of Sparse-RS on cells; call it with a victim and spikes, or use :func:`sparse_rs`.

    Args:
        steps: most iterations; the first draws a set of flips, each other makes ``queries``.
        queries: of an iteration, until one succeeds.
        share: of flips, relative to the spikes of the sample.
        loss: ``"mse"``, ``"ce"``, ``"margin"``, ``"dlr"`` or a function of scores ``(n, K)`` and classes ``(n,)``.
        budget: most perturbation of a success; unbounded when None.

    Raises:
        SpikeflipError: a setting is out of range.
    """

    summary: ClassVar = "Sparse-RS: random search over sets of flips of one size, by scores alone"
    source: ClassVar = "Croce et al., AAAI 2022, on pixels; on cells our own"
    follows_gradient: ClassVar = False

    steps: int = option(41, ge=1, le=1_000_000)
    queries: int = option(50, ge=1, le=10_000)
    share: float = option(0.25, gt=0, le=1000)
    loss: Loss = "margin"
    budget: Budget | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        resolve(self.loss)

    def update(self, step: Step) -> Move:
        """See :class:`spikeflip.attacks.iterated.Iterated`."""
        mask, near = changed(step).cpu(), Neighbours.of(step.originals)
        begins = step.iterations == 0
        if bool(begins.any()):
            keys = step.uniform("start", (mask.shape[1],)).cpu()
            mask[begins] = near.first(keys, flips_of(step.originals, self.share).cpu())[begins]
        queries = torch.zeros(len(mask), dtype=torch.int64)
        if not bool(begins.all()):
            self._search(step, (~begins).nonzero().squeeze(1), mask, near, queries)
        mover = torch.full((len(mask),), Trace.SEARCH, dtype=torch.int8)
        return Move(flipped(step.originals, mask.to(step.inputs.device)), mover, forwards=queries)

    def _search(self, step: Step, live: Tensor, mask: Tensor, near: Neighbours, queries: Tensor) -> None:
        """Change the sets ``mask`` of the samples ``live`` for better ones; counts their queries."""
        every = torch.arange(len(mask))
        best = measured(step, self.loss, step.judged.cpu(), every)
        numbers = step.uniform("search", (self.queries, _MOST_SWAPS, 3)).cpu()
        held = rescored(step)
        for query in range(self.queries):
            flips = self._proposed(step, live, mask, near, numbers[live, query], query)
            scores = held.scores(live, flips).cpu()
            queries[live] += 1
            found = measured(step, self.loss, scores, live)
            kept = found >= best[live]
            rows = live[kept]
            best[rows] = found[kept]
            held.flip(rows, flips[kept])
            flip(mask, rows, flips[kept])
            live = live[~won(step, scores, live)]
            if not len(live):
                return

    def _proposed(
        self, step: Step, rows: Tensor, mask: Tensor, near: Neighbours, numbers: Tensor, query: int
    ) -> Tensor:
        """Which cells of each sample's set go and which come in their place, ``(m, 2 swaps)``."""
        table, sizes = listed(mask[rows])
        all_queries = max(1, (self.steps - 1) * self.queries)
        done = ((step.iterations[rows] - 1).double() * self.queries + query) / all_queries
        shares = torch.tensor([swapped_share(share) for share in done.tolist()])
        swaps = (shares * sizes).long().clamp(1, _MOST_SWAPS)
        out = table.gather(1, (numbers[..., 0] * sizes.unsqueeze(1)).long().clamp(max=table.shape[1] - 1))
        into = near.drawn(numbers[..., 1:], rows)
        none = torch.arange(_MOST_SWAPS) >= swaps.unsqueeze(1)
        none |= repeated(out) | repeated(into) | mask[rows.unsqueeze(1), into]
        return torch.cat([out, into], 1).masked_fill(none.repeat(1, 2), -1)


def sparse_rs(
    victim: Victim,
    inputs: Tensor,
    labels: Tensor,
    targets: Tensor | None = None,
    *,
    steps: int = 41,
    queries: int = 50,
    share: float = 0.25,
    loss: Loss = "margin",
    budget: Budget | float | None = None,
    **options: Unpack[Options],
) -> AttackResult:
    """Attack spikes by random search: of a set of flips some are swapped for others, and what is no worse is kept.

    No gradient is asked for, only scores. A success is reduced until no single flip can be undone; ``reduce=False``
    leaves it as it is.

    Args:
        victim: the model under attack.
        inputs: spikes ``(N, T, *input)`` of exactly 0 and 1.
        labels: true classes ``(N,)`` int64.
        targets: wanted classes ``(N,)`` int64; untargeted when not given.
        steps, queries, share, loss: see :class:`SparseRS`.
        budget: a :class:`Budget`, or a number that bounds ``mse``, of the success after the reduction.
        options: as for :func:`scg`.

    Returns:
        An :class:`AttackResult`, whose ``forwards`` are the queries, those of the reduction included.

    Raises:
        SpikeflipError: an argument is out of range, or the inputs are images.

    Source: F. Croce et al., Sparse-RS: a Versatile Framework for Query-Efficient Sparse Black-Box Adversarial Attacks,
    AAAI 2022, whose schedule of swaps this is, at 2,000 queries in the place of 10,000. That half of the cells are
    drawn near spikes is the idea of SCAR (J. Büchel et al., Front. Neurosci. 2022).

    >>> from spikeflip import SpikingNetwork
    >>> network = SpikingNetwork("16FC-3FC", (20,), time_steps=6, seed=1)
    >>> spikes = (torch.arange(240).reshape(2, 6, 20) % 3 == 0).float()
    >>> sparse_rs(network, spikes, network.scores(spikes).argmax(1), steps=5).backwards.tolist()
    [0, 0]
    """
    attack = SparseRS(steps=steps, queries=queries, share=share, loss=loss, budget=as_budget(budget))
    return attack(victim, inputs, labels, targets, **options)

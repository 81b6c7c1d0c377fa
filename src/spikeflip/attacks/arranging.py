"""The best arrangement of the spikes of a line, each within a window around where it was."""

import torch
from torch import Tensor

_IMPOSSIBLE = float("-inf")


def arranged(originals: Tensor, worth: Tensor, window: int) -> Tensor:
    """The spikes of every line where they are worth most in all, none farther than ``window`` bins from its origin.

    The k-th spike of a line is its k-th at first. Bin by bin, what counts is how many spikes the line is ahead of its
    original: from ``-window`` to ``window``, so the best of all arrangements is found in ``T (2 window + 1)`` steps.

    Args:
        originals: spikes ``(n, T, lines)`` of 0 and 1.
        worth: of a spike in each cell, of the same shape.
        window: bins, from 1.

    Returns:
        ``(n, T, lines)``. Of equal arrangements one in which spikes come late.

    >>> arranged(torch.tensor([[[1.0], [1], [0], [0]]]), torch.tensor([[[0.0], [5], [7], [9]]]), 1).flatten().tolist()
    [0.0, 1.0, 1.0, 0.0]
    """
    n, steps, lines = originals.shape
    passed = originals.long().cumsum(1)
    best = worth.new_full((n, 2 * window + 1, lines), _IMPOSSIBLE)
    best[:, window] = 0
    nowhere = best.new_full((n, 1, lines), _IMPOSSIBLE)
    ahead = torch.arange(-window, window + 1, device=worth.device).view(1, -1, 1)
    fires = []
    for t in range(steps):
        was = originals[:, t : t + 1] > 0
        silent = torch.where(was, torch.cat([best[:, 1:], nowhere], 1), best)
        firing = torch.where(was, best, torch.cat([nowhere, best[:, :-1]], 1)) + worth[:, t : t + 1]
        fires.append(firing > silent)
        # A spike may be here that was up to a window later, and none be missing that was a window earlier.
        fewest = passed[:, t - window : t - window + 1] if t >= window else torch.zeros_like(passed[:, :1])
        most = passed[:, min(t + window, steps - 1), None]
        now = passed[:, t : t + 1]
        inside = (ahead >= fewest - now) & (ahead <= most - now)
        best = torch.where(inside, torch.maximum(firing, silent), _IMPOSSIBLE)
    return _traced(fires, originals, window)


def _traced(fires: list[Tensor], originals: Tensor, window: int) -> Tensor:
    """The arrangement ``(n, T, lines)`` that ends with no spike ahead; ``fires`` is ``(n, ahead, lines)`` by bin."""
    after = torch.empty_like(originals)
    state = torch.full_like(originals[:, :1], window, dtype=torch.int64)
    for t in reversed(range(len(fires))):
        after[:, t : t + 1] = fires[t].gather(1, state)
        state = state - (after[:, t : t + 1] - originals[:, t : t + 1]).long()
    return after


def dearest_lines(originals: Tensor, moved: Tensor, worth: Tensor, most: Tensor) -> Tensor:
    """The spikes of those lines moved alone that give most a moved spike, until so many are in all.

    Args:
        originals, moved: spikes ``(n, T, lines)``, as many in each line of both.
        worth: of a spike in each cell.
        most: moved spikes of each sample, ``(n,)``; the last line may go beyond.

    Returns:
        ``(n, T, lines)``.
    """
    count = (originals != moved).sum(1) // 2
    gain = ((moved - originals) * worth).sum(1) / count.clamp(min=1)
    order = gain.masked_fill(count == 0, _IMPOSSIBLE).argsort(dim=1, descending=True, stable=True)
    kept = torch.zeros_like(count, dtype=torch.bool)
    moves = count.gather(1, order)
    kept.scatter_(1, order, moves.cumsum(1) - moves < most.unsqueeze(1))
    return torch.where(kept.unsqueeze(1), moved, originals)

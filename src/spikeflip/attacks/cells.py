"""Sets of flips, and cells near spikes: what searches without gradients keep and draw from."""

from dataclasses import dataclass

import torch
from torch import Tensor

from spikeflip.attacks.random_flips import first_of


def listed(mask: Tensor) -> tuple[Tensor, Tensor]:
    """The cells of each sample's set in order, padded with -1, and how many they are.

    >>> listed(torch.tensor([[True, False, True], [False, True, False]]))
    (tensor([[ 0,  2],
            [ 1, -1]]), tensor([2, 1]))
    """
    rows, cells = mask.nonzero(as_tuple=True)
    sizes = rows.bincount(minlength=len(mask))
    table = torch.full((len(mask), int(sizes.max()) if len(rows) else 1), -1, device=mask.device)
    table[rows, torch.arange(len(rows), device=mask.device) - (sizes.cumsum(0) - sizes)[rows]] = cells
    return table, sizes


def repeated(cells: Tensor) -> Tensor:
    """Which cells of a row ``(m, k)`` stand further left in it already.

    >>> repeated(torch.tensor([[4, 5, 4]])).tolist()
    [[False, False, True]]
    """
    return (cells.unsqueeze(2) == cells.unsqueeze(1)).tril(-1).any(2)


def flip(mask: Tensor, rows: Tensor, cells: Tensor) -> None:
    """Put cells ``(m, k)`` into the sets of the samples ``rows``, or take them out; -1 is none."""
    which, place = (cells >= 0).nonzero(as_tuple=True)
    at = rows[which], cells[which, place]
    mask[at] = ~mask[at]


def near(spikes: Tensor, reach: int) -> Tensor:
    """The cells at most ``reach`` steps from a spike of their sample, time, place and polarity counted alike.

    Args:
        spikes: ``(n, T, *input)``.
        reach: how many steps; 0 are the spikes themselves.

    Returns:
        ``(n, cells)`` bool.

    >>> near(torch.tensor([[[0.0, 0, 0, 1]]]), 2)
    tensor([[False,  True,  True,  True]])
    """
    found = spikes != 0
    for _ in range(reach):
        further = found.clone()
        for axis in range(1, spikes.ndim):
            rest = spikes.shape[axis] - 1
            further.narrow(axis, 0, rest).logical_or_(found.narrow(axis, 1, rest))
            further.narrow(axis, 1, rest).logical_or_(found.narrow(axis, 0, rest))
        found = further
    return found.flatten(1)


@dataclass(frozen=True)
class Neighbours:
    """The cells that hold a spike or are next to one along any axis, time included, of n samples.

    Args:
        mask: ``(n, cells)`` bool.
        table, sizes: the same as lists; see :func:`listed`.
    """

    mask: Tensor
    table: Tensor
    sizes: Tensor

    @classmethod
    def of(cls, spikes: Tensor) -> "Neighbours":
        """Those of spikes ``(n, T, *input)``.

        >>> Neighbours.of(torch.tensor([[[0.0, 0, 0, 1]]])).table.tolist()
        [[2, 3]]
        """
        mask = near(spikes.cpu(), 1)
        return cls(mask, *listed(mask))

    def first(self, keys: Tensor, count: Tensor) -> Tensor:
        """Sets of ``count`` ``(n,)`` cells, half of them near spikes: a mask ``(n, cells)``.

        Args:
            keys: uniform in [0, 1), ``(n, cells)``.
            count: of each sample.
        """
        some = first_of(torch.where(self.mask, keys, 2), (count // 2).minimum(self.sizes))
        return first_of(torch.where(some, -1, keys), count)

    def drawn(self, numbers: Tensor, rows: Tensor) -> Tensor:
        """Cells ``(m, k)`` of the samples ``rows`` ``(m,)``, half of them near spikes.

        Args:
            numbers: uniform in [0, 1), ``(m, k, 2)``.
            rows: whose numbers they are.
        """
        which, place = numbers.double().unbind(2)
        sizes = self.sizes[rows].unsqueeze(1)
        neighbour = self.table[rows].gather(1, (place * sizes).long().clamp(max=self.table.shape[1] - 1))
        return torch.where((which < 0.5) & (sizes > 0), neighbour, (place * self.mask.shape[1]).long())

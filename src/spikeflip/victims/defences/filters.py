"""Event filters as defences: what a sensor's driver would throw away never reaches the victim."""

from numbers import Integral

import torch
import torch.nn.functional as F
from torch import Tensor

from spikeflip.errors import SpikeflipError
from spikeflip.snn.validation import check_counts
from spikeflip.victims.defences.on_spikes import OnSpikes
from spikeflip.victims.victim import Victim

LARGEST_REACH = 64
"""Of a filter, in cells and in time bins; counting takes time in proportion."""


class _OfNeighbours(OnSpikes):
    """Spikes stay or go by what fires around them. It goes back straight through.

    The exact derivative sees no spike alone, and so none of those that an attack adds side by side, which keep one
    another.
    """

    def __init__(self, victim: Victim) -> None:
        super().__init__(victim)
        if len(victim.input_shape) not in (1, 3):
            raise SpikeflipError(
                f"{type(self).__name__} looks at neighbouring pixels, and the victim's inputs have the shape "
                f"{victim.input_shape}: choose a victim of inputs (C, H, W) or (F,)"
            )

    def backward(self, spikes: Tensor, gradient: Tensor) -> Tensor:
        """The straight-through estimator."""
        return gradient


class BackgroundActivityFilter(_OfNeighbours):
    """A spike stays only where a neighbouring pixel has fired shortly before, or in the same bin.

    Neighbours are the pixels around it, the diagonal ones too, of either polarity; the pixel itself is none. Lone
    spikes, such as a sensor's noise or few flips in empty places, are dropped.

    Args:
        victim: what is defended; its inputs are ``(C, H, W)``, or ``(F,)`` in a row.
        bins: how many time bins before its own still support a spike, from 0 to 64.

    Raises:
        SpikeflipError: a value is out of range, or the victim's inputs have no neighbours.

    Source: T. Delbruck, Frame-free dynamic digital vision, 2008. There the support lasts a time; here whole bins.

    >>> from spikeflip import SpikingNetwork
    >>> spikes = torch.tensor([[[1.0, 1, 0, 0, 0], [0, 0, 0, 0, 1]]])
    >>> BackgroundActivityFilter(SpikingNetwork("4FC-3FC", (5,))).transform(spikes).tolist()
    [[[1.0, 1.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0, 0.0]]]
    """

    def __init__(self, victim: Victim, bins: int = 1) -> None:
        super().__init__(victim)
        _check_reach(bins=bins)
        self.bins = bins

    def transform(self, spikes: Tensor) -> Tensor:
        """See :class:`spikeflip.Defence`."""
        maps = _maps(spikes)
        own_pixel = _around(maps, cells=0, before=self.bins, after=0)
        others = _around(maps, cells=1, before=self.bins, after=0) - own_pixel
        return spikes * _as(others > 0, spikes)


class DensityFilter(_OfNeighbours):
    """A spike stays only among enough others: in its pixel and those around it, in its time bin and those next to it.

    Args:
        victim: what is defended; its inputs are ``(C, H, W)``, or ``(F,)`` in a row.
        least: how many other spikes there must be, of either polarity; at least 1.
        cells: how far around counts, in pixels, from 1 to 64.
        bins: how many time bins before and after its own count, from 0 to 64.

    Raises:
        SpikeflipError: a value is out of range, or the victim's inputs have no neighbours.

    Source: Y. Feng et al., Event density based denoising method for dynamic vision sensor, Applied Sciences 2020; its
    first, coarse stage.

    >>> from spikeflip import SpikingNetwork
    >>> spikes = torch.tensor([[[1.0, 1, 1, 0, 1], [0, 0, 0, 0, 1]]])
    >>> DensityFilter(SpikingNetwork("4FC-3FC", (5,)), least=2).transform(spikes).tolist()
    [[[0.0, 1.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0, 0.0]]]
    """

    def __init__(self, victim: Victim, least: int = 3, cells: int = 1, bins: int = 1) -> None:
        super().__init__(victim)
        check_counts(least=least, cells=cells)
        _check_reach(cells=cells, bins=bins)
        self.least, self.cells, self.bins = least, cells, bins

    def transform(self, spikes: Tensor) -> Tensor:
        """See :class:`spikeflip.Defence`."""
        maps = _maps(spikes)
        # The spike that is judged is counted with the others of its pixel, and is none of them.
        others = _as(_around(maps, self.cells, before=self.bins, after=self.bins), spikes) - (spikes > 0).to(spikes)
        return spikes * (others >= self.least)


class MedianFilter(OnSpikes):
    """The victim sees the median of each cell over a few time bins: a cell fires where most of the bins around do.

    At both ends the first and last bins are repeated. Flips of a single bin vanish, and so does a movement that passes
    a cell within one bin. Gradients go back to the bin that is the median.

    Args:
        victim: what is defended.
        bins: of a median; an odd number from 3 to 63.

    Raises:
        SpikeflipError: the number is even or out of range.

    Source: J. W. Tukey, Exploratory Data Analysis, 1977.

    >>> from spikeflip import SpikingNetwork
    >>> spikes = torch.tensor([[[1.0], [0], [1], [1], [0], [0], [1], [0]]])
    >>> MedianFilter(SpikingNetwork("4FC-3FC", (1,))).transform(spikes).flatten().tolist()
    [1.0, 1.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0]
    """

    def __init__(self, victim: Victim, bins: int = 3) -> None:
        super().__init__(victim)
        _check_reach(bins=bins)
        if bins < 3 or bins % 2 == 0:
            raise SpikeflipError(f"bins is {bins}: give an odd number from 3, such as 3")
        self.bins = bins

    def transform(self, spikes: Tensor) -> Tensor:
        """See :class:`spikeflip.Defence`."""
        more = (self.bins // 2, *spikes.shape[2:])
        first, last = (end.expand(-1, *more) for end in (spikes[:, :1], spikes[:, -1:]))
        return torch.cat([first, spikes, last], 1).unfold(1, self.bins, 1).median(-1).values


def _check_reach(**reaches: int) -> None:
    for name, value in reaches.items():
        if not isinstance(value, Integral) or not 0 <= value <= LARGEST_REACH:
            raise SpikeflipError(f"{name} is {value}: give a whole number from 0 to {LARGEST_REACH}")


def _maps(spikes: Tensor) -> Tensor:
    """How many polarities fire at each pixel, ``(N, T, H, W)``; of inputs in a row ``(N, T, 1, F)``."""
    fired = (spikes > 0).to(spikes)
    return fired.unsqueeze(2) if fired.ndim == 3 else fired.sum(2)


def _as(of_pixels: Tensor, spikes: Tensor) -> Tensor:
    """Something of each pixel for each cell of ``spikes``: both polarities of a pixel have the same."""
    return of_pixels.squeeze(2) if spikes.ndim == 3 else of_pixels.unsqueeze(2)


def _around(maps: Tensor, cells: int, *, before: int, after: int) -> Tensor:
    """The sums of ``maps`` over the box around each pixel and time bin, itself included; exact, they are counts."""
    long, wide = before + after + 1, 2 * cells + 1
    padded = F.pad(maps.unsqueeze(1), (cells, cells, cells, cells, before, after))
    return F.avg_pool3d(padded, (long, wide, wide), stride=1, divisor_override=1).squeeze(1)

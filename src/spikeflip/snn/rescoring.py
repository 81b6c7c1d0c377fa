"""Scores of spikes of which a few cells are flipped, for attacks that try many single flips.

A flip reaches few neurons: those around it, and of them only what follows from the spikes that change. On the event
engine nothing else runs (:mod:`spikeflip.snn.engines.event_rescoring`); any other victim sees the flipped spikes whole.
"""

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from spikeflip.snn.network import SpikingNetwork

_AT_A_TIME = 4096
"""Candidates."""


class Scored(Protocol):
    """What is asked of a victim here."""

    @property
    def classes(self) -> int:
        """K, the number of classes."""
        ...

    def scores(self, spikes: Tensor) -> Tensor:
        """Scores ``(N, K)`` of spikes ``(N, T, *input)``."""
        ...


class Rescoring(Protocol):
    """Scores of spikes with a few cells flipped."""

    def scores(self, rows: Tensor, cells: Tensor) -> Tensor:
        """What the victim says of samples with some of their cells flipped; the held spikes stay as they are.

        Args:
            rows: ``(m,)`` int64, of which sample.
            cells: ``(m, k)`` int64, flat places in ``(T, *input)``, -1 for none. A cell that is given twice is flipped
                twice, so stays.

        Returns:
            ``(m, K)``, as ``victim.scores`` of the flipped spikes.

        Raises:
            ValueError: a row or a cell is out of range.
        """
        ...

    def flip(self, rows: Tensor, cells: Tensor) -> None:
        """Flip for good: what is held from now on.

        Args:
            rows: as for :meth:`scores`, none twice.
            cells: as for :meth:`scores`.

        Raises:
            ValueError: a row or a cell is out of range, or a row is given twice.
        """
        ...


@dataclass
class DenseRescoring:
    """Of any victim: flips copies of the spikes and asks for their scores.

    Args:
        victim: what is asked.
        spikes: ``(N, T, *input)`` of 0 and 1; what is held is a copy.
        micro_batch: how many flipped copies are made and run at a time.
    """

    victim: Scored
    spikes: Tensor
    micro_batch: int

    def __post_init__(self) -> None:
        self.spikes = self.spikes.detach().clone(memory_format=torch.contiguous_format)

    def scores(self, rows: Tensor, cells: Tensor) -> Tensor:
        """As :meth:`Rescoring.scores`."""
        self._check(rows, cells)
        parts = [
            self.victim.scores(self._flipped(some, places))
            for some, places in zip(rows.split(self.micro_batch), cells.split(self.micro_batch), strict=True)
            if len(some)
        ]
        return torch.cat(parts) if parts else self.spikes.new_empty((0, self.victim.classes), dtype=torch.float32)

    def flip(self, rows: Tensor, cells: Tensor) -> None:
        """As :meth:`Rescoring.flip`."""
        self._check(rows, cells)
        if len(rows.unique()) < len(rows):
            raise ValueError("no sample may be flipped twice at a time")
        self.spikes[rows.to(self.spikes.device)] = self._flipped(rows, cells)

    def _flipped(self, rows: Tensor, cells: Tensor) -> Tensor:
        rows, cells = rows.to(self.spikes.device), cells.to(self.spikes.device)
        spikes = self.spikes[rows]
        flat = spikes.flatten(1)
        times = torch.zeros_like(flat, dtype=torch.uint8).scatter_add(1, cells.clamp(min=0), cells.ge(0).byte())
        return torch.where(times % 2 == 1, (flat == 0).to(flat), flat).view(spikes.shape)

    def _check(self, rows: Tensor, cells: Tensor) -> None:
        if rows.ndim != 1 or cells.ndim != 2 or len(rows) != len(cells):
            raise ValueError(f"rows {tuple(rows.shape)} and cells {tuple(cells.shape)} must be (m,) and (m, k)")
        if bool(((rows < 0) | (rows >= len(self.spikes))).any()):
            raise ValueError("a row must be one of the samples")
        if bool(((cells < -1) | (cells >= self.spikes[0:1].numel())).any()):
            raise ValueError("a cell must be one of the input's, or -1 for none")


def rescoring(victim: Scored, spikes: Tensor, micro_batch: int) -> Rescoring:
    """The fastest rescoring of a victim: compiled for a spiking network on the event engine, else dense.

    Args:
        victim: with its weights as they are now.
        spikes: ``(N, T, *input)`` of 0 and 1, of which a copy is held.
        micro_batch: how many copies the dense one runs at a time.

    >>> network = SpikingNetwork("4C3-AP2-10FC", (1, 8, 8), time_steps=5)
    >>> held = rescoring(network.on("event"), torch.zeros(2, 5, 1, 8, 8), micro_batch=16)
    >>> held.scores(torch.tensor([0, 1, 1]), torch.tensor([[3, 7], [3, -1], [-1, -1]])).shape
    torch.Size([3, 10])
    """
    # Alone: what stands in front of a network, or is derived from it, may answer otherwise.
    own = victim.rescoring(spikes) if type(victim) is SpikingNetwork else None
    return own or DenseRescoring(victim, spikes, micro_batch)


def scored(held: Rescoring, rows: Tensor, cells: Tensor) -> Tensor:
    """The scores ``(m, K)`` of many candidates, on the CPU, some of them at a time; see :meth:`Rescoring.scores`."""
    parts = zip(rows.split(_AT_A_TIME), cells.split(_AT_A_TIME), strict=True)
    return torch.cat([held.scores(some, places).cpu() for some, places in parts])

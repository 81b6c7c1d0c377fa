"""Scores of spikes with a few cells flipped."""

from typing import Any, Protocol

import torch
from torch import Tensor


class Rescoring(Protocol):
    def scores(self, rows: Tensor, cells: Tensor) -> Tensor: ...
    def flip(self, rows: Tensor, cells: Tensor) -> None: ...


class DenseRescoring:
    def __init__(self, victim: Any, spikes: Tensor, micro_batch: int) -> None:
        self.victim, self.spikes, self.micro_batch = victim, spikes.clone(), micro_batch

    def scores(self, rows: Tensor, cells: Tensor) -> Tensor:
        found = []
        if not len(rows):
            return torch.empty(0, self.victim.classes)
        for part, flips in zip(rows.split(self.micro_batch), cells.split(self.micro_batch), strict=True):
            found.append(self.victim.scores(_flipped(self.spikes[part.to(self.spikes.device)], flips)))
        return torch.cat(found) if found else torch.empty(0, self.victim.classes)

    def flip(self, rows: Tensor, cells: Tensor) -> None:
        rows = rows.to(self.spikes.device)
        self.spikes[rows] = _flipped(self.spikes[rows], cells)


def _flipped(spikes: Tensor, cells: Tensor) -> Tensor:
    flat = spikes.flatten(1)
    cells = cells.to(flat.device)
    rows, places = (cells >= 0).nonzero(as_tuple=True)
    flat = flat.clone()
    at = cells[rows, places]
    flat[rows, at] = 1 - flat[rows, at]
    return flat.view_as(spikes)


def rescoring(victim: Any, spikes: Tensor, micro_batch: int) -> Rescoring:
    return DenseRescoring(victim, spikes, micro_batch)


_AT_A_TIME = 4096


def scored(held: Rescoring, rows: Tensor, cells: Tensor) -> Tensor:
    """The scores ``(m, K)`` of many candidates on the CPU, some at a time."""
    parts = zip(rows.split(_AT_A_TIME), cells.split(_AT_A_TIME), strict=True)
    return torch.cat([held.scores(some, flips).cpu() for some, flips in parts])

"""Which classes a targeted attack aims at."""

import torch
from torch import Tensor

from spikeflip.errors import SpikeflipError
from spikeflip.snn.validation import check_classes, check_counts


def every_target(labels: Tensor, classes: int) -> tuple[Tensor, Tensor]:
    """Every sample towards every class but its own, as the paper attacks.

    Args:
        labels: ``(N,)`` int64.
        classes: K.

    Returns:
        ``index`` and ``targets``, both ``(N * (K - 1),)`` int64: attack ``inputs[index]`` towards ``targets``.

    Raises:
        SpikeflipError: there are fewer than 2 classes, or a label is none of them.

    >>> index, targets = every_target(torch.tensor([1, 0]), 3)
    >>> index.tolist(), targets.tolist()
    ([0, 0, 1, 1], [0, 2, 1, 2])
    """
    _check(labels, classes)
    every = torch.arange(classes).expand(len(labels), classes)
    index, targets = (every != labels.cpu().unsqueeze(1)).nonzero(as_tuple=True)
    return index, targets


def next_target(labels: Tensor, classes: int) -> Tensor:
    """The class after the label, the last wrapping to 0; ``(N,)`` int64.

    Raises:
        SpikeflipError: as for :func:`every_target`.
    """
    _check(labels, classes)
    return (labels + 1) % classes


def _check(labels: Tensor, classes: int) -> None:
    check_counts(classes=classes)
    if classes < 2:
        raise SpikeflipError("classes is 1: there is no other to aim at, give at least 2")
    check_classes("label", labels, len(labels), classes)

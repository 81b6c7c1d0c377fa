"""Currents as exact as float32 on a GPU's matrix units.

TF32, in which PyTorch convolves on a GPU unless told otherwise, keeps 11 bits of each factor. That is enough for a
gradient, but moves potentials across the threshold, and with them spikes and scores. A spike needs one bit, so only the
weight is cut short: as the sum of two TF32 numbers it keeps its bits, for two convolutions that together take less time
than one in float32.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

import torch
from torch import Tensor

_CUT = 0x1FFF
"""The bits of a float32 that TF32 does not have."""


@cache
def has_tf32(device: torch.device) -> bool:
    """Whether float32 may mean TF32 there: NVIDIA's GPUs since compute capability 8."""
    return device.type == "cuda" and torch.version.hip is None and torch.cuda.get_device_capability(device) >= (8, 0)


def halves(weight: Tensor) -> tuple[Tensor, Tensor]:
    """Two float32 tensors whose sum is ``weight``: its first 11 bits, exact in TF32, and the rest, which loses 2 bits.

    >>> high, low = halves(torch.tensor([0.1]))
    >>> bool(high + low == 0.1), bool(abs(low / high) < 2**-10)
    (True, True)
    """
    high = (weight.detach().view(torch.int32) & ~_CUT).view(torch.float32)
    return high, weight.detach() - high


@contextmanager
def tf32(allowed: bool) -> Iterator[None]:
    """Let convolutions and matrix products on NVIDIA's GPUs use TF32, or not; PyTorch's settings come back after."""
    settings, wanted = _settings(allowed)
    before = [getattr(place, name) for place, name in settings]
    for place, name in settings:
        setattr(place, name, wanted)
    try:
        yield
    finally:
        for (place, name), value in zip(settings, before, strict=True):
            setattr(place, name, value)


def _settings(allowed: bool) -> tuple[list[tuple[object, str]], object]:
    places = getattr(torch.backends.cudnn, "conv", None), torch.backends.cuda.matmul
    # Reading the older setting is an error where the newer one, since PyTorch 2.9, was used.
    if places[0] is not None:
        return [(place, "fp32_precision") for place in places], "tf32" if allowed else "ieee"
    return [(place, "allow_tf32") for place in (torch.backends.cudnn, places[1])], allowed

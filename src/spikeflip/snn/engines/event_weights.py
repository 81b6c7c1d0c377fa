"""Weights in the order in which the event engine reads them: ``(tap, in, out)``, ``out`` padded to whole vectors.

One input's row of weights then lies in one piece: it is added for each of the input's spikes.
"""

import torch
from torch import Tensor

from spikeflip.snn.architecture import Conv, Shape
from spikeflip.snn.engines.dense import Chain


def packed(chain: Chain, i: int, vector: int, *, transposed: bool) -> Tensor:
    """A layer's weights, empty for a pooling layer; ``transposed`` for the way back, from outputs to inputs."""
    layer, weight = chain.layers[i], chain.weights[i]
    if weight is None:
        return torch.empty(0, dtype=torch.float32)
    if isinstance(layer, Conv):
        taps = weight.permute(2, 3, 1, 0).flatten(0, 1)
        rows = taps.flip(0).transpose(1, 2) if transposed else taps
        if transposed and i == 0:
            rows = weight.permute(0, 2, 3, 1).flatten(1)[None]  # to the input: (1, out, tap x in)
    else:
        rows = _pixels_first(weight, chain.shapes[i])[None]
        rows = rows.transpose(1, 2) if transposed else rows
    padded = rows.new_zeros((*rows.shape[:2], -(-rows.shape[2] // vector) * vector))
    padded[..., : rows.shape[2]] = rows
    return padded


def unpacked(chain: Chain, i: int, values: Tensor) -> Tensor | None:
    """What was added up in that order, of the weight's shape; None for a pooling layer."""
    layer, weight = chain.layers[i], chain.weights[i]
    if weight is None:
        return None
    values = values[..., : weight.shape[0]]
    if isinstance(layer, Conv):
        return values.view(layer.kernel, layer.kernel, *values.shape[1:]).permute(3, 2, 0, 1)
    return _channels_first(values[0].t(), chain.shapes[i])


def _pixels_first(weight: Tensor, shape: Shape) -> Tensor:
    """A fully-connected weight ``(out, C * H * W)`` as ``(H * W * C, out)``."""
    if len(shape) == 3:
        weight = weight.view(-1, *shape).permute(0, 2, 3, 1).flatten(1)
    return weight.t()


def _channels_first(weight: Tensor, shape: Shape) -> Tensor:
    """The reverse: a weight ``(out, H * W * C)`` as ``(out, C * H * W)``."""
    if len(shape) != 3:
        return weight
    channels, height, width = shape
    return weight.reshape(-1, height, width, channels).permute(0, 3, 1, 2).flatten(1)

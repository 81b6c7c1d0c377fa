"""The weighted half of a layer: convolution, average pooling and fully-connected, with time merged into the batch.

Maps are kept channels-last in memory, which is what the CPU's and the GPU's fast convolutions want; the shapes stay
``(N, T, C, H, W)``.

All run in the type of the weights, whatever ``torch.autocast`` says around them: a score decides who is fooled, and a
rounded current fires other neurons.
"""

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.grad import conv2d_weight

from spikeflip.snn.architecture import AvgPool, Conv, Layer, Linear, Shape

_P = ParamSpec("_P")


def _as_exact_as_its_weights(function: Callable[_P, Tensor]) -> Callable[_P, Tensor]:
    """The function without autocast on the device of its tensors."""

    @wraps(function)
    def exact(*args: _P.args, **kwargs: _P.kwargs) -> Tensor:
        device = next(value.device.type for value in args if isinstance(value, Tensor))
        if not torch.is_autocast_enabled(device):
            return function(*args, **kwargs)
        with torch.autocast(device, enabled=False):
            return function(*args, **kwargs)

    return exact


def channels_last(maps: Tensor) -> Tensor:
    """``(B, C, H, W)`` in channels-last memory.

    With one channel both formats look the same to PyTorch, which then takes its slow path: spell the strides out.
    """
    channels, height, width = maps.shape[1:]
    if channels == 1:
        return maps.contiguous().as_strided(maps.shape, (height * width, 1, width, 1))
    return maps.contiguous(memory_format=torch.channels_last)


def weight_shape(layer: Layer, input_shape: Shape) -> Shape | None:
    """The shape of a layer's weight, None for a pooling layer."""
    match layer:
        case Conv(channels, kernel):
            return (channels, input_shape[0], kernel, kernel)
        case Linear(features):
            return (features, torch.Size(input_shape).numel())
        case AvgPool():
            return None


@_as_exact_as_its_weights
def apply(layer: Layer, spikes: Tensor, weight: Tensor | None) -> Tensor:
    """The layer's current: ``(N, T, *input)`` to ``(N, T, *output)``, differentiable in both arguments."""
    n, t = spikes.shape[:2]
    spikes = spikes if weight is None else spikes.to(weight.dtype)
    match layer, weight:
        case Linear(), Tensor():
            return F.linear(spikes.flatten(2), weight)
        case Conv(_, kernel), Tensor():
            current = F.conv2d(channels_last(spikes.flatten(0, 1)), weight, padding=kernel // 2)
        case AvgPool(size), None:
            current = F.avg_pool2d(channels_last(spikes.flatten(0, 1)), size)
        case _:
            raise TypeError(f"a weight and {layer} do not belong together")
    return current.view(n, t, *current.shape[1:])


def transposed(layer: Layer, weight: Tensor | None) -> Tensor | None:
    """The weight with which :func:`apply_transposed` runs: a convolution's flipped, with its channels exchanged."""
    if isinstance(layer, Conv) and weight is not None:
        return channels_last(weight.flip(2, 3).transpose(0, 1))
    return weight


@_as_exact_as_its_weights
def apply_transposed(layer: Layer, gradient: Tensor, weight: Tensor | None, input_shape: Shape) -> Tensor:
    """The gradient of the layer's input from that of its current, ``(N, T, *output)`` to ``(N, T, *input)``.

    Computed and returned in the dtype of the weight, where there is one.
    """
    n, t = gradient.shape[:2]
    gradient = gradient if weight is None else gradient.to(weight.dtype)
    match layer, weight:
        case Linear(), Tensor():
            return (gradient @ weight).view(n, t, *input_shape)
        case Conv(_, kernel), Tensor():
            result = F.conv2d(channels_last(gradient.flatten(0, 1)), weight, padding=kernel // 2)
        case AvgPool(size), None:
            result = F.interpolate(channels_last(gradient.flatten(0, 1)), scale_factor=size).mul_(1 / size**2)
            _, height, width = input_shape
            # The remainder that pooling dropped has no influence.
            result = F.pad(result, (0, width - result.shape[3], 0, height - result.shape[2]))
        case _:
            raise TypeError(f"a weight and {layer} do not belong together")
    return result.view(n, t, *result.shape[1:])


@_as_exact_as_its_weights
def weight_gradient(layer: Conv | Linear, spikes: Tensor, gradient: Tensor, weight: Tensor) -> Tensor:
    """The gradient of the layer's weight from its input ``(N, T, *input)`` and that of its current."""
    if isinstance(layer, Linear):
        return gradient.flatten(0, 1).T @ spikes.flatten(2).flatten(0, 1)
    found: Tensor = conv2d_weight(
        channels_last(spikes.flatten(0, 1)),
        list(weight.shape),
        channels_last(gradient.flatten(0, 1)),
        padding=layer.kernel // 2,
    )
    return found

"""The paper's network notation, ``"128C3-AP2-10FC"``, as plain data.

``<n>C<k>`` is a convolution with n output channels and a k x k kernel (stride 1, padded to keep the size), ``AP<s>``
an average pooling over s x s windows (a remainder at the border is dropped, as in the paper's 17 x 17 -> 8 x 8),
``<n>FC`` a fully-connected layer. A leading ``Input-`` is allowed. No tensors here: everything can be checked before
one is made.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from math import prod
from numbers import Real

from spikeflip.errors import SpikeflipError
from spikeflip.limits import MOST_LAYERS, MOST_WEIGHTS


@dataclass(frozen=True)
class Conv:
    """A convolution with ``channels`` output channels and a square ``kernel`` of odd size."""

    channels: int
    kernel: int

    def __str__(self) -> str:
        return f"{self.channels}C{self.kernel}"


@dataclass(frozen=True)
class AvgPool:
    """An average pooling over ``size`` x ``size`` windows that do not overlap."""

    size: int

    def __str__(self) -> str:
        return f"AP{self.size}"


@dataclass(frozen=True)
class Linear:
    """A fully-connected layer with ``features`` outputs."""

    features: int

    def __str__(self) -> str:
        return f"{self.features}FC"


Layer = Conv | AvgPool | Linear
Shape = tuple[int, ...]

_TOKEN = re.compile(r"(?P<channels>\d{1,9})C(?P<kernel>\d{1,9})|AP(?P<pool>\d{1,9})|(?P<features>\d{1,9})FC", re.ASCII)


@lru_cache(maxsize=64)
def parse(architecture: str) -> tuple[Layer, ...]:
    """Read a network string into its layers.

    Args:
        architecture: layers joined by ``-``, for example ``"128C3-AP2-512FC-10FC"``.

    Returns:
        One ``Conv``, ``AvgPool`` or ``Linear`` a layer, in order; the last is a ``Linear``.

    Raises:
        SpikeflipError: a token is not one of the three forms, a size is zero, a kernel is even, or the last layer is
            not fully connected; the message names the layer.

    >>> parse("8C3-AP2-10FC")
    (Conv(channels=8, kernel=3), AvgPool(size=2), Linear(features=10))
    """
    tokens = architecture.strip().removeprefix("Input-").split("-")
    if len(tokens) > MOST_LAYERS:
        raise SpikeflipError(f"a network of {len(tokens):,} layers is too deep: give at most {MOST_LAYERS:,}")
    layers = tuple(_layer(token, position, architecture) for position, token in enumerate(tokens, 1))
    if not isinstance(layers[-1], Linear):
        raise SpikeflipError(
            f"the last layer of {architecture!r} is {layers[-1]}: end with a fully-connected one, such as 10FC"
        )
    return layers


def _layer(token: str, position: int, architecture: str) -> Layer:
    where = f"layer {position} of {architecture!r}"
    match = _TOKEN.fullmatch(token.strip())
    if match is None:
        raise SpikeflipError(f"cannot read {token!r} ({where}): write 128C3, AP2 or 512FC, joined by '-'")
    sizes = {name: int(text) for name, text in match.groupdict().items() if text is not None}
    if min(sizes.values()) == 0:
        raise SpikeflipError(f"{token!r} has a size of zero ({where}): sizes start at 1")
    if "kernel" in sizes:
        if sizes["kernel"] % 2 == 0:
            raise SpikeflipError(f"{token!r} has an even kernel ({where}): use 1, 3, 5 or another odd size")
        return Conv(sizes["channels"], sizes["kernel"])
    return AvgPool(sizes["pool"]) if "pool" in sizes else Linear(sizes["features"])


def to_string(layers: Sequence[Layer]) -> str:
    """The network string of ``layers``; the inverse of :func:`parse`."""
    return "-".join(map(str, layers))


def scale(layers: Sequence[Layer], width: float) -> tuple[Layer, ...]:
    """Multiply the channels and features of the hidden layers by ``width``, at least 1 each; the last layer stays.

    >>> to_string(scale(parse("128C3-AP2-512FC-10FC"), 0.25))
    '32C3-AP2-128FC-10FC'
    """
    if not isinstance(width, Real) or not 0 < width < float("inf"):
        raise SpikeflipError(f"width is {width!r}: give a positive factor, such as 0.25")

    def narrower(layer: Layer) -> Layer:
        match layer:
            case Conv(channels):
                return replace(layer, channels=max(1, round(channels * width)))
            case Linear(features):
                return replace(layer, features=max(1, round(features * width)))
            case _:
                return layer

    return (*map(narrower, layers[:-1]), layers[-1])


def shapes(layers: Sequence[Layer], input_shape: Shape) -> list[Shape]:
    """The output shape of every layer, without the batch and time axes.

    Args:
        layers: from :func:`parse`.
        input_shape: ``(C, H, W)``, or ``(F,)`` for networks of fully-connected layers alone.

    Raises:
        SpikeflipError: a layer cannot follow the one before; the message names the layer and the sizes.

    >>> shapes(parse("8C3-AP2-10FC"), (1, 28, 28))
    [(8, 28, 28), (8, 14, 14), (10,)]
    """
    text = to_string(layers)
    if not input_shape or min(input_shape) < 1:
        raise SpikeflipError(
            f"the input shape of {text!r} is {input_shape}: give sizes of at least 1, such as (1, 28, 28)"
        )
    found: list[Shape] = []
    shape = input_shape
    for position, layer in enumerate(layers, 1):
        shape = _next_shape(layer, shape, f"layer {position} of {text!r}; input was {input_shape}")
        found.append(shape)
    return found


def count_weights(layers: Sequence[Layer], input_shape: Shape) -> int:
    """How many weights the layers have, before any is made.

    Raises:
        SpikeflipError: a layer cannot follow the one before, or there are more than 2^31 weights.

    >>> count_weights(parse("8C3-AP2-10FC"), (1, 28, 28))
    15752
    """
    count = 0
    for layer, shape in zip(layers, (input_shape, *shapes(layers, input_shape)), strict=False):
        if isinstance(layer, Conv):
            count += layer.channels * shape[0] * layer.kernel**2
        elif isinstance(layer, Linear):
            count += layer.features * prod(shape)
    if count > MOST_WEIGHTS:
        raise SpikeflipError(
            f"{to_string(layers)!r} on inputs of {input_shape} has {count:,} weights: make it smaller, at most "
            f"{MOST_WEIGHTS:,} fit"
        )
    return count


def _next_shape(layer: Layer, shape: Shape, where: str) -> Shape:
    if isinstance(layer, Linear):
        return (layer.features,)
    if len(shape) != 3:
        raise SpikeflipError(
            f"'{layer}' needs maps of (channels, height, width) but gets {prod(shape)} features ({where}): "
            "put it before the first FC"
        )
    channels, height, width = shape
    if isinstance(layer, Conv):
        return (layer.channels, height, width)
    if min(height, width) < layer.size:
        raise SpikeflipError(
            f"cannot pool {height}×{width} by {layer.size} in '{layer}' ({where}): use a larger input or fewer pools"
        )
    return (channels, height // layer.size, width // layer.size)

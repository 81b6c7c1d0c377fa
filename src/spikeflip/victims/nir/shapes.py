"""The shapes that a NIR graph's nodes give, and whether they fit, from plain numbers before any tensor is made."""

from collections.abc import Callable, Mapping
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikeflip.errors import SpikeflipError
from spikeflip.snn.architecture import Shape
from spikeflip.victims.nir.graph import Flat, Node

# Of one sample at one step: values that all nodes give, multiplications that they need.
_MOST_VALUES = 2**25
_MOST_WORK = 2**36
_MOST_AXES = 8


def numbers(node: Node, field: str) -> NDArray[Any]:
    """A field of numbers.

    Raises:
        SpikeflipError: it holds something else, or infinite values.
    """
    value = node.values[field]
    if isinstance(value, str):
        raise SpikeflipError(f"{node.said} has the text {value[:40]!r} as {field}: give numbers")
    if not bool(np.isfinite(value).all()):
        raise SpikeflipError(f"{node.said} has values in {field} that are not finite: check how it was exported")
    return value


def whole(node: Node, field: str, count: int, least: int) -> tuple[int, ...]:
    """A field of ``count`` whole numbers, or of one that is meant for all."""
    value = np.atleast_1d(numbers(node, field))
    if value.ndim != 1 or value.size not in (1, count):
        raise SpikeflipError(f"{node.said} has {field} of shape {value.shape}: give {count} whole numbers")
    if bool((value != np.floor(value)).any() or (value < least).any() or (value > 2**31).any()):
        raise SpikeflipError(f"{node.said} has {field} {value.tolist()}: give whole numbers of at least {least}")
    found = tuple(int(number) for number in value)
    return found * count if len(found) == 1 else found


def parameter(node: Node, field: str, shape: Shape) -> NDArray[np.float64]:
    """A parameter of every neuron, of the features' shape or one number."""
    value = numbers(node, field).astype(np.float64)
    if value.size == 1:
        return value.reshape(())
    try:
        fits = value.ndim == len(shape) and np.broadcast_shapes(value.shape, shape) == shape
    except ValueError:
        fits = False
    if not fits:
        raise SpikeflipError(
            f"{node.said} has {field} of shape {value.shape} for values of shape {shape}: make them fit"
        )
    return value


def input_shape(node: Node) -> Shape:
    """The shape that the Input node says."""
    shape = np.atleast_1d(numbers(node, "shape"))
    return whole(node, "shape", max(1, shape.size if shape.ndim == 1 else 1), 1)


def infer(flat: Flat, given: Shape) -> dict[str, Shape]:
    """The shape of what every node gives, without the axes of time and samples, for an input of shape ``given``.

    Raises:
        SpikeflipError: a node cannot take what it is given, or the graph is too large to be run.
    """
    targets: dict[str, list[str]] = {path: [] for path in flat.nodes}
    for a, b in flat.edges:
        targets[a].append(b)
    shapes: dict[str, Shape] = {}
    into: dict[str, Shape] = {flat.input: given}
    waiting, work = [flat.input], 0
    for path in waiting:
        shapes[path], more = _OUTPUT.get(flat.nodes[path].kind, _same)(flat.nodes[path], into[path])
        work += more
        if sum(map(prod, shapes.values())) > _MOST_VALUES or work > _MOST_WORK:
            raise SpikeflipError(
                f"the graph gives more than {_MOST_VALUES:,} values or needs more than {_MOST_WORK:,} multiplications "
                f"for one sample at one step, from {flat.nodes[path].said} on: give a smaller one"
            )
        for following in targets[path]:
            if into.setdefault(following, shapes[path]) != shapes[path]:
                raise SpikeflipError(
                    f"{flat.nodes[following].said} is given shapes {into[following]} and {shapes[path]}, the latter by "
                    f"{flat.nodes[path].said}: make them equal"
                )
            if following not in waiting:
                waiting.append(following)
    return shapes


def _same(node: Node, shape: Shape) -> tuple[Shape, int]:
    return shape, prod(shape)


def _dense(node: Node, shape: Shape) -> tuple[Shape, int]:
    weight = numbers(node, "weight")
    if weight.ndim != 2 or 0 in weight.shape:
        raise SpikeflipError(f"{node.said} has a weight of shape {weight.shape}: give (out, in)")
    if shape[-1] != weight.shape[1]:
        raise _misfit(node, shape, f"(..., {weight.shape[1]})")
    _bias(node, weight.shape[0])
    return (*shape[:-1], weight.shape[0]), prod(shape[:-1]) * weight.size


def _bias(node: Node, channels: int) -> None:
    if "bias" in node.values and (found := numbers(node, "bias").shape) != (channels,):
        raise SpikeflipError(f"{node.said} has a bias of shape {found} for {channels} outputs: give ({channels},)")


def _convolution(axes: int) -> Callable[[Node, Shape], tuple[Shape, int]]:
    def output(node: Node, shape: Shape) -> tuple[Shape, int]:
        weight = numbers(node, "weight")
        (groups,) = whole(node, "groups", 1, 1)
        if weight.ndim != axes + 2 or 0 in weight.shape or weight.shape[0] % groups:
            raise SpikeflipError(
                f"{node.said} has a weight of shape {weight.shape} in {groups} groups: give (out, in / groups, *kernel)"
            )
        if len(shape) != axes + 1 or shape[0] != weight.shape[1] * groups:
            raise _misfit(node, shape, f"({weight.shape[1] * groups}, {', '.join(['size'] * axes)})")
        _bias(node, weight.shape[0])
        stride, dilation = whole(node, "stride", axes, 1), whole(node, "dilation", axes, 1)
        reach = [d * (k - 1) + 1 for d, k in zip(dilation, weight.shape[2:], strict=True)]
        padding = node.values["padding"]
        if isinstance(padding, str):
            if padding not in ("same", "valid") or (padding == "same" and max(stride) > 1):
                raise SpikeflipError(
                    f"{node.said} has padding {padding[:40]!r} and stride {stride}: give numbers, 'valid', or 'same' "
                    "with a stride of 1"
                )
            around = [r - 1 if padding == "same" else 0 for r in reach]
        else:
            around = [2 * p for p in whole(node, "padding", axes, 0)]
            if any(p > 2 * r for p, r in zip(around, reach, strict=True)):
                raise SpikeflipError(f"{node.said} is padded by more than its kernel reaches: give less padding")
        sizes = _windows(node, shape, around, reach, stride)
        return (weight.shape[0], *sizes), prod(sizes) * weight.size

    return output


def _pool(node: Node, shape: Shape) -> tuple[Shape, int]:
    if len(shape) != 3:
        raise _misfit(node, shape, "(channels, height, width)")
    kernel, stride = whole(node, "kernel_size", 2, 1), whole(node, "stride", 2, 1)
    padding = whole(node, "padding", 2, 0)
    if any(2 * p > k for p, k in zip(padding, kernel, strict=True)):
        raise SpikeflipError(f"{node.said} is padded by more than half its kernel: give less padding")
    sizes = _windows(node, shape, [2 * p for p in padding], kernel, stride)
    return (shape[0], *sizes), prod((shape[0], *sizes, *kernel))


def _windows(node: Node, shape: Shape, around: list[int], reach: list[int] | Shape, stride: Shape) -> tuple[int, ...]:
    """How often a window fits; what is left at the border is dropped."""
    sizes = tuple((n + p - r) // s + 1 for n, p, r, s in zip(shape[1:], around, reach, stride, strict=True))
    if min(sizes) < 1:
        raise SpikeflipError(
            f"{node.said} has a window of {tuple(reach)}, larger than its input {shape}: give more input"
        )
    return sizes


def _flat(node: Node, shape: Shape) -> tuple[Shape, int]:
    start, end = flat_axes(node, shape)
    return (*shape[:start], prod(shape[start : end + 1]), *shape[end + 1 :]), 0


def flat_axes(node: Node, shape: Shape) -> tuple[int, int]:
    """The first and the last axis that a Flatten node joins, counted from the first feature axis.

    Raises:
        SpikeflipError: the node's input has no such axes.
    """
    places = (whole(node, field, 1, -_MOST_AXES)[0] for field in ("start_dim", "end_dim"))
    start, end = (place + len(shape) if place < 0 else place for place in places)
    if not 0 <= start <= end < len(shape):
        raise SpikeflipError(
            f"{node.said} flattens axes {start} to {end} of an input {shape}, samples and time not counted: give axes "
            "that it has"
        )
    return start, end


def _misfit(node: Node, shape: Shape, wanted: str) -> SpikeflipError:
    return SpikeflipError(
        f"{node.said} is given {shape} and takes {wanted}: check the file, or pass input_shape= without samples and "
        "time if it was exported with them"
    )


_OUTPUT: Mapping[str, Callable[[Node, Shape], tuple[Shape, int]]] = {
    "Affine": _dense,
    "Linear": _dense,
    "Conv1d": _convolution(1),
    "Conv2d": _convolution(2),
    "AvgPool2d": _pool,
    "SumPool2d": _pool,
    "Flatten": _flat,
}

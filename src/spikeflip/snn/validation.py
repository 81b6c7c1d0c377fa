"""What a network can be given, checked once at the boundary."""

from math import prod
from numbers import Integral
from typing import Any, Literal

import torch
from torch import Tensor

from spikeflip.errors import SpikeflipError
from spikeflip.limits import together
from spikeflip.snn.architecture import Shape
from spikeflip.snn.coding import Coding

Kind = Literal["images", "spikes"]

_ROUNDED = 1e-4
"""How far interpolation and float32 may take a pixel beyond [0, 1]."""


def kind_of(inputs: Tensor, input_shape: Shape, coding: Coding = "rate") -> Kind:
    """Whether inputs are images ``(N, *input_shape)`` or spikes ``(N, T, *input_shape)``.

    A network with the coding ``"direct"`` takes images alone.

    Raises:
        SpikeflipError: they are neither, or nothing that the network takes; the message holds both shapes.
    """
    if inputs.ndim == 1 + len(input_shape) and inputs.shape[1:] == input_shape:
        return "images"
    spiking = coding != "direct"
    if spiking and inputs.ndim == 2 + len(input_shape) and inputs.shape[2:] == input_shape and inputs.shape[1] > 0:
        return "spikes"
    sizes = ", ".join(map(str, input_shape))
    known = f"images (N, {sizes}) or spikes (N, T, {sizes})" if spiking else f"images (N, {sizes}) alone"
    raise SpikeflipError(
        f"inputs have shape {tuple(inputs.shape)}, but the network takes {known}: give these, the batch axis first"
    )


def at_a_time(victim: Any, inputs: Tensor, wanted: int) -> int:
    """How many of ``inputs``, images or spikes, a victim runs at a time where ``wanted`` are asked for.

    On a CPU fewer where they would not fit into the memory that :mod:`spikeflip.limits` allows for.
    """
    shapes = getattr(victim, "shapes", (victim.input_shape,))
    steps = inputs.shape[1] if inputs.ndim > 1 + len(victim.input_shape) else victim.time_steps
    return together(wanted, steps * sum(map(prod, shapes)), on_cpu=victim.device.type == "cpu")


def check_tensor(inputs: object) -> None:
    """Raise a SpikeflipError unless inputs are a dense tensor of real numbers."""
    if not isinstance(inputs, Tensor):
        raise SpikeflipError(
            f"inputs are a {type(inputs).__name__}: give a tensor, such as torch.from_numpy makes of an array"
        )
    if inputs.layout != torch.strided or inputs.is_complex() or inputs.is_meta:
        what = "on the device meta" if inputs.is_meta else f"{inputs.layout} of {inputs.dtype}"
        raise SpikeflipError(f"inputs are {what}: give a dense tensor of real numbers, such as inputs.to_dense()")


def check_values(inputs: Tensor, kind: Kind, *, counts: bool = False) -> None:
    """Raise a SpikeflipError unless spikes are exactly 0 or 1, and images float32 or float64 in [0, 1].

    With ``counts`` spikes are whole numbers from 0, of the events of a cell and time step.
    """
    if kind == "images" and inputs.dtype not in (torch.float32, torch.float64):
        raise SpikeflipError(f"images are of type {inputs.dtype}: give them as torch.float32 in [0, 1]")
    if inputs.is_floating_point() and not bool(torch.isfinite(inputs).all()):
        value = inputs[~torch.isfinite(inputs)][0]
        raise SpikeflipError(f"inputs hold the value {float(value)}: replace it by numbers in [0, 1]")
    if kind == "images":
        wrong = (inputs < 0) | (inputs > 1)
    elif counts:
        wrong = (inputs < 0) | (inputs != inputs.round() if inputs.is_floating_point() else False)
    else:
        wrong = (inputs != 0) & (inputs != 1)
    if bool(wrong.any()):
        where = tuple(wrong.nonzero()[0].tolist())
        first = float(inputs[where])
        said = f"{first:g}"
        if float(said) != first and float(said).is_integer():  # 1.0000002 is not to be told from what is right
            said = repr(first)
        raise SpikeflipError(f"{kind} hold the value {said} at {where}: {_instead(first, kind)}")


def _instead(value: float, kind: Kind) -> str:
    """What to give in the place of values that are no images or spikes, by what they seem to be."""
    if kind == "images":
        if -_ROUNDED <= value <= 1 + _ROUNDED:
            return "it is rounded beyond the range, give inputs.clamp(0, 1)"
        return (
            "scale them to [0, 1], and put what the model was trained on inside it: Sequential(Normalize(mean, std), "
            "model)"
        )
    if value != round(value):
        return (
            "binarise them to exactly 0 or 1, or give features as images in [0, 1] with layout='static' and their "
            "normalisation inside the model"
        )
    if value < 0:
        return "binarise them to exactly 0 or 1, OFF and ON as two channels whose difference is taken inside the model"
    return (
        "binarise them to exactly 0 or 1, or, for a model that was trained on counts, wrap it on an example of counts "
        "and attack with scg"
    )


def check_seed(seed: int) -> None:
    """Raise a SpikeflipError unless a seed names random streams."""
    if not isinstance(seed, Integral) or not 0 <= seed < 2**64:
        raise SpikeflipError(f"seed is {seed!r}: give a whole number from 0 to 2^64 - 1")


def check_streams(seed: int, samples: Tensor, n: int) -> None:
    """Raise a SpikeflipError unless a seed and ``n`` sample ids name random streams."""
    check_seed(seed)
    if not isinstance(samples, Tensor) or samples.dtype != torch.int64 or samples.shape != (n,):
        found = f"{samples.dtype} {tuple(samples.shape)}" if isinstance(samples, Tensor) else type(samples).__name__
        raise SpikeflipError(f"samples are {found} for {n} inputs: give one id an input, (N,) of torch.int64")
    if bool((samples < 0).any()):
        raise SpikeflipError(f"samples hold the id {int(samples.min())}: give numbers from 0")


def check_counts(**counts: int) -> None:
    """Raise a SpikeflipError unless every count is a whole number, at least 1."""
    for name, value in counts.items():
        if not isinstance(value, Integral) or isinstance(value, bool):
            raise SpikeflipError(f"{name} is {value!r}: give a whole number")
        if value < 1:
            raise SpikeflipError(f"{name} is {value}: give at least 1")


def check_classes(name: str, values: Tensor, n: int, classes: int) -> None:
    """Raise a SpikeflipError unless ``values`` is one class number, 0 to ``classes - 1``, an input."""
    if not isinstance(values, Tensor):
        raise SpikeflipError(
            f"{name}s are a {type(values).__name__}: give a tensor (N,) of torch.int64, such as torch.tensor([3, 0])"
        )
    if values.ndim != 1 or len(values) != n:
        raise SpikeflipError(f"{name}s have shape {tuple(values.shape)} for {n} inputs: give one {name} an input, (N,)")
    if values.dtype != torch.int64:
        raise SpikeflipError(f"{name}s are of type {values.dtype}: give class numbers as torch.int64")
    wrong = (values < 0) | (values >= classes)
    if bool(wrong.any()):
        raise SpikeflipError(
            f"{name} {int(values[wrong][0])} is out of range: the network has classes 0 to {classes - 1}"
        )


def check_goals(labels: Tensor, targets: Tensor | None, n: int, classes: int) -> None:
    """Raise a SpikeflipError unless there is one label an input and, where targets are given, another class each."""
    check_classes("label", labels, n, classes)
    if targets is None:
        return
    check_classes("target", targets, n, classes)
    if bool((same := targets.cpu() == labels.cpu()).any()):
        sample = int(same.nonzero()[0])
        raise SpikeflipError(f"the target of sample {sample} is its label, {int(labels[sample])}: choose another class")

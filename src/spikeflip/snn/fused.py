"""The neurons of a whole sequence as one kernel: on a GPU Triton's, on a CPU the compiled one of the event engine.

The loop over the time steps of :mod:`spikeflip.snn.neuron` is some five operations a step, each of which moves whole
tensors; the kernels carry the state of a neuron from step to step in registers and touch every value once. What they do
not take (other dtypes, neurons strewn in memory, no Triton, no compiler at installation), the loop runs.
"""

import logging
from collections.abc import Sequence
from functools import cache
from types import ModuleType
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.utils.dlpack import to_dlpack as to_dlpack  # type: ignore[attr-defined]

from spikeflip.snn.surrogate import Rectangular

if TYPE_CHECKING:
    from spikeflip.snn.neuron import LIF

try:
    from spikeflip.snn.engines import _native
except ImportError:
    _COMPILED: frozenset[str] = frozenset()
else:
    _COMPILED = frozenset({"cpu"})

_DEVICES = frozenset({"cuda"})  # PyTorch's name for AMD's GPUs, too
_RESETS = {"hard": 0, "soft": 1, "none": 2}
_BLOCK = 512  # neurons a program: four a thread

_log = logging.getLogger(__name__)


def integrate(current: Tensor, potential: Tensor, spikes: Tensor, neuron: "LIF") -> bool:
    """Fill ``potential`` and ``spikes`` from ``current``, all ``(N, T, ...)``; False if the kernel cannot."""
    tensors = (current, potential, spikes)
    if not _suits(tensors):
        return False
    if current.device.type in _COMPILED:
        currents, potentials, fired = map(to_dlpack, tensors)
        _native.integrate(constants(neuron), currents, potentials, fired, torch.get_num_threads())
        return True
    if (kernels := _kernels(current.device)) is None:
        return False
    _launch(kernels.integrate, tensors, (neuron.threshold, neuron.decay), neuron.reset)
    return True


def reverse(gradient: Tensor, potential: Tensor, neuron: "LIF") -> bool:
    """Turn ``gradient`` ``(N, T, ...)`` of the spikes into that of the current; False if the kernel cannot."""
    tensors = gradient, potential
    if type(neuron.surrogate) is not Rectangular or not _suits(tensors):
        return False
    if gradient.device.type in _COMPILED:
        gradients, potentials = map(to_dlpack, tensors)
        _native.reverse(constants(neuron), gradients, potentials, torch.get_num_threads())
        return True
    if (kernels := _kernels(gradient.device)) is None:
        return False
    threshold, decay, _, *window = constants(neuron)
    _launch(kernels.reverse, tensors, (threshold, decay, *window), neuron.reset)
    return True


def constants(neuron: "LIF") -> tuple[float, float, int, float, float, float]:
    """Threshold, decay, reset, and the window's centre, half width and height, as compiled code has them."""
    width = neuron.surrogate.width
    return (neuron.threshold, neuron.decay, _RESETS[neuron.reset], neuron.window_centre, width / 2, 1 / width)


@cache
def _kernels(device: torch.device) -> ModuleType | None:
    """The compiled kernels, None where there are none: on a CPU, without Triton, or where it does not work."""
    try:
        from spikeflip.snn import fused_kernels
    except ImportError:
        return None
    try:
        # Triton compiles at the first call, for which it needs a C compiler and a GPU that it knows.
        trial = torch.zeros(1, 1, 1, device=device)
        _launch(fused_kernels.integrate, (trial, trial, trial), (1.0, 0.5), "hard")
    except Exception as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        _log.warning("neurons run step by step on %s: Triton cannot compile their kernel (%s)", device, reason)
        return None
    return fused_kernels


def _suits(tensors: Sequence[Tensor]) -> bool:
    """Whether the kernels can take them: float32, and the neurons of all in the same order, without gaps."""
    first = tensors[0]
    return (
        first.device.type in _DEVICES | _COMPILED
        and first.numel() > 0
        and _together(first)
        and all(
            (tensor.device, tensor.dtype, tensor.shape) == (first.device, torch.float32, first.shape)
            and _order(tensor) == _order(first)
            and 0 not in tensor.stride()[:2]  # such samples or steps would share their memory
            for tensor in tensors
        )
    )


def _order(tensor: Tensor) -> list[tuple[int, int]]:
    """Stride and size of the axes behind time; an axis of one entry has no stride worth the name."""
    return [(stride, size) for size, stride in zip(tensor.shape[2:], tensor.stride()[2:], strict=True) if size > 1]


def _together(tensor: Tensor) -> bool:
    """Whether the neurons of one sample and step fill a stretch of memory, in any order."""
    expected = 1
    for stride, size in sorted(_order(tensor)):
        if stride != expected:
            return False
        expected *= size
    return True


def _launch(kernel: Any, tensors: Sequence[Tensor], numbers: Sequence[float], reset: str) -> None:
    first = tensors[0]
    n, steps = first.shape[:2]
    neurons = first[0, 0].numel()
    block = min(_BLOCK, 1 << (neurons - 1).bit_length())
    strides = [stride for tensor in tensors for stride in tensor.stride()[:2]]
    with torch.cuda.device_of(first):  # Triton launches on the current GPU
        kernel[(n * -(-neurons // block),)](
            *tensors, neurons, steps, *strides, *map(float, numbers), reset=reset, block=block
        )

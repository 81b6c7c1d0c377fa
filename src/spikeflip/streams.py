"""Random numbers that depend on (seed, sample, purpose, step) and on nothing else.

Philox is a counter-based generator: a stream is a key and a place in its 2^256 long sequence, so there is no state to
carry, save or share. The key is (seed, sample id), the upper words of the counter are the step and the purpose. The
numbers of one sample are therefore the same in any batch, order, shard or resumed run, and on any device.
"""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from importlib import import_module
from math import prod
from types import ModuleType
from typing import Literal

import numpy as np
import torch
from torch import Tensor

Purpose = Literal[
    "encode", "sample", "flip", "judge", "train", "batch", "weights", "dropout", "shift", "write", "search", "noise",
    "start", "expect", "confirm", "inner-start", "inner-encode", "place", "gate",
    "certify",
]  # fmt: skip

_DEVICES = frozenset({"cuda"})  # PyTorch's name for AMD's GPUs, too
_MOST = 1 << 31
"""Numbers of a sample that the kernel counts."""
_PART = 1 << 30
"""Numbers of a stream that are drawn at a time."""
_A_COUNTER = 8
"""Numbers of each counter."""
_log = logging.getLogger(__name__)

# A purpose's number is part of every stream: never renumber, only append.
_PURPOSES: dict[Purpose, int] = {
    "encode": 0,
    "sample": 1,
    "flip": 2,
    "judge": 3,
    "train": 4,
    "batch": 5,
    "weights": 6,
    "dropout": 7,
    "shift": 8,
    "write": 9,
    "search": 10,
    "noise": 11,
    "start": 12,
    "expect": 13,
    "confirm": 14,
    "inner-start": 15,
    "inner-encode": 16,
    "place": 17,
    "gate": 18,
    "certify": 19,
}


def stream(seed: int, sample: int, purpose: Purpose, step: int = 0) -> np.random.Generator:
    """The generator of one (seed, sample, purpose, step), at its beginning; all integers from 0 to 2^64 - 1."""
    key = np.array([seed, sample], dtype=np.uint64)
    counter = np.array([0, 0, step, _PURPOSES[purpose]], dtype=np.uint64)
    return np.random.Generator(np.random.Philox(key=key, counter=counter))


def uniform(
    seed: int,
    samples: Tensor,
    purpose: Purpose,
    steps: Tensor | int,
    shape: Sequence[int],
    device: torch.device | str = "cpu",
) -> Tensor:
    """Uniform numbers in [0, 1) from each sample's own stream.

    Args:
        seed: from 0 to 2^64 - 1.
        samples: ``(N,)`` int64, the sample ids.
        purpose: what the numbers are for; different purposes never share numbers.
        steps: ``(N,)`` int64 or one number for all: the iteration, draw or epoch.
        shape: of one sample's numbers.
        device: where the result goes. A GPU draws its own by a Triton kernel, where that is to be had; they are the
            same to the bit.

    Returns:
        ``(N, *shape)`` float32.

    >>> both = uniform(0, torch.tensor([7, 8]), "flip", 3, (2,))
    >>> bool((both[1:] == uniform(0, torch.tensor([8]), "flip", 3, (2,))).all())
    True
    """
    device, numbers = torch.device(device), prod(shape)
    if isinstance(steps, int):
        steps = torch.full((len(samples),), steps)
    if device.type in _DEVICES and len(samples) and 0 < numbers < _MOST and (kernel := _kernel(device)) is not None:
        drawn = _drawn_on(device, kernel, seed, samples, purpose, steps, numbers)
    else:
        drawn = _drawn(seed, samples, purpose, steps, numbers).to(device)
    return drawn.view(len(samples), *shape)


class Numbers:
    """The uniform numbers in [0, 1) of one stream, one after the other; the same on any device, however they are asked.

    Args:
        seed, sample, purpose, step: see :func:`stream`.
        device: where they go; see :func:`uniform`.

    >>> numbers, again = (Numbers(3, 0, "dropout", 2) for _ in range(2))
    >>> bool((torch.cat([numbers.draw((3,)), numbers.draw((4,))]) == again.draw((7,))).all())
    True
    """

    def __init__(
        self, seed: int, sample: int, purpose: Purpose, step: int = 0, device: torch.device | str = "cpu"
    ) -> None:
        self._device, self._stream, self._drawn = torch.device(device), stream(seed, sample, purpose, step), 0
        self._name = seed, torch.tensor([sample]), purpose, torch.tensor([step])
        self._kernel = _kernel(self._device) if self._device.type in _DEVICES else None

    def draw(self, shape: Sequence[int]) -> Tensor:
        """The next of them, float32."""
        if self._kernel is None:
            return torch.from_numpy(self._stream.random(tuple(shape), dtype=np.float32)).to(self._device)
        drawn = torch.empty(prod(shape), dtype=torch.float32, device=self._device)
        for part in drawn.split(_PART):
            part[:] = _drawn_on(self._device, self._kernel, *self._name, len(part), first=self._drawn)[0]
            self._drawn += len(part)
        return drawn.view(*shape)


def _drawn(seed: int, samples: Tensor, purpose: Purpose, steps: Tensor, numbers: int) -> Tensor:
    every = np.empty((len(samples), numbers), dtype=np.float32)
    for row, sample, step in zip(every, samples.tolist(), steps.tolist(), strict=True):
        stream(seed, sample, purpose, step).random(dtype=np.float32, out=row)
    return torch.from_numpy(every)


def _drawn_on(
    device: torch.device,
    kernel: ModuleType,
    seed: int,
    samples: Tensor,
    purpose: Purpose,
    steps: Tensor,
    numbers: int,
    first: int = 0,
) -> Tensor:
    """The numbers of each sample from its ``first`` on, ``(N, numbers)``."""
    counter, skipped = divmod(first, _A_COUNTER)
    numbers += skipped
    result = torch.empty((len(samples), numbers), dtype=torch.float32, device=device)
    signed = seed - (1 << 64) if seed >> 63 else seed  # the same bits
    named = torch.cat([torch.tensor([signed]), samples.cpu(), steps.cpu()]).to(device)
    key, ids, moments = named.split([1, len(samples), len(samples)])
    programs = len(samples) * -(-numbers // (_A_COUNTER * kernel.BLOCK))
    with torch.cuda.device_of(result):  # Triton launches on the current GPU
        kernel.uniform[(programs,)](result, key, ids, moments, _PURPOSES[purpose], counter, numbers, kernel.BLOCK)
    return result[:, skipped:]


@cache
def _kernel(device: torch.device) -> ModuleType | None:
    """The compiled kernel; None without Triton, where it does not work, and where it would draw other numbers."""
    try:
        stream_kernel = import_module("spikeflip.stream_kernel")
    except ImportError:
        return None
    purpose: Purpose = "gate"
    trial = 2**64 - 5, torch.tensor([0, 2**62 + 1]), purpose, torch.tensor([3, 2**40])
    try:
        drawn = _drawn_on(device, stream_kernel, *trial, 1027, first=13)
    except Exception as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
    else:
        if torch.equal(drawn.cpu(), _drawn(*trial, 1040)[:, 13:]):
            return stream_kernel
        reason = "its numbers are others"
    _log.warning("random numbers for %s are drawn on the CPU: the Triton kernel does not work (%s)", device, reason)
    return None


@contextmanager
def foreign_numbers(seed: int) -> Iterator[None]:
    """PyTorch's global random numbers as of a seed, for code that is not ours; put back afterwards, on all devices."""
    with torch.random.fork_rng(range(torch.cuda.device_count())):
        torch.manual_seed(seed)
        yield


def torch_generator(seed: int, purpose: Purpose, step: int = 0) -> torch.Generator:
    """A torch generator for draws that belong to no sample (initial weights, dropout masks)."""
    first = int(stream(seed, 0, purpose, step).integers(2**63))
    return torch.Generator().manual_seed(first)

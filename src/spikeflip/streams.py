"""Random numbers that depend on (seed, sample, purpose, step) and on nothing else.

Philox is a counter-based generator: a stream is a key and a place in its 2^256 long sequence, so there is no state to
carry, save or share. The key is (seed, sample id), the upper words of the counter are the step and the purpose. The
numbers of one sample are therefore the same in any batch, order, shard or resumed run, and on any device.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from math import prod
from typing import Literal

import numpy as np
import torch
from torch import Tensor

Purpose = Literal[
    "encode", "sample", "flip", "judge", "train", "batch", "weights", "dropout", "shift", "write", "search", "noise",
    "start", "expect", "confirm", "inner-start", "inner-encode", "place", "gate",
    "certify",
]  # fmt: skip

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
        device: where the result goes; the numbers are always drawn on the CPU, so they do not depend on it.

    Returns:
        ``(N, *shape)`` float32.

    >>> both = uniform(0, torch.tensor([7, 8]), "flip", 3, (2,))
    >>> bool((both[1:] == uniform(0, torch.tensor([8]), "flip", 3, (2,))).all())
    True
    """
    every = np.empty((len(samples), prod(shape)), dtype=np.float32)
    step_list = [steps] * len(samples) if isinstance(steps, int) else steps.tolist()
    for row, sample, step in zip(every, samples.tolist(), step_list, strict=True):
        stream(seed, sample, purpose, step).random(dtype=np.float32, out=row)
    return torch.from_numpy(every).view(len(samples), *shape).to(device)


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

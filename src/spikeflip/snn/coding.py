"""From images to what a network sees of them, and from output rates to a class."""

from typing import Literal, Protocol

import torch
from torch import Tensor

from spikeflip.snn.architecture import Shape
from spikeflip.streams import Purpose, uniform

Coding = Literal["rate", "latency", "direct"]
"""How images become spikes, or do not; see :func:`encode`. Only ``"rate"`` is random."""


def bernoulli(
    images: Tensor, time_steps: int, *, seed: int, samples: Tensor, purpose: Purpose = "encode", step: Tensor | int = 0
) -> Tensor:
    """Bernoulli rate coding: at every time step a pixel of intensity p fires with probability p.

    Args:
        images: ``(N, ...)`` float in [0, 1].
        time_steps: T, the length of the simulation window.
        seed: of the random streams.
        samples: ``(N,)`` int64, the ids of the samples.
        purpose: which of a sample's streams to use.
        step: ``(N,)`` or one number: the iteration or draw, each with its own numbers.

    Returns:
        Spikes ``(N, T, ...)`` of the dtype and on the device of ``images``, exactly 0 or 1.

    Source: Liang et al. (2021), Sec. IV ("Bernoulli sampling").

    >>> bernoulli(torch.tensor([[0.0, 1.0]]), 3, seed=0, samples=torch.tensor([0]))[0].tolist()
    [[0.0, 1.0], [0.0, 1.0], [0.0, 1.0]]
    """
    numbers = uniform(seed, samples, purpose, step, (time_steps, *images.shape[1:]), images.device)
    return torch.lt(numbers, images.unsqueeze(1)).to(images.dtype)


def latency(images: Tensor, time_steps: int) -> Tensor:
    """Latency coding: a pixel of intensity p > 0 fires once, at step ``round((1 - p) (T - 1))``, brightest first.

    Args:
        images: ``(N, ...)`` float in [0, 1]; a pixel of 0 never fires.
        time_steps: T, the length of the simulation window. Halves are rounded to the even step.

    Returns:
        Spikes ``(N, T, ...)`` of the dtype and on the device of ``images``, exactly 0 or 1.

    >>> latency(torch.tensor([[1.0, 0.5, 0.1, 0.0]]), 3)[0].tolist()
    [[1.0, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0]]
    """
    steps = torch.arange(time_steps, device=images.device).reshape(1, -1, *[1] * (images.ndim - 1))
    when = ((1 - images) * (time_steps - 1)).round().unsqueeze(1)
    return ((steps == when) & (images > 0).unsqueeze(1)).to(images.dtype)


def encode(
    inputs: Tensor,
    input_shape: Shape,
    time_steps: int,
    *,
    seed: int,
    samples: Tensor,
    coding: Coding = "rate",
    purpose: Purpose = "encode",
    step: Tensor | int = 0,
) -> Tensor:
    """What a network sees of its inputs: images are coded, spikes pass as they are.

    Args:
        inputs: images ``(N, *input_shape)`` or spikes ``(N, T, *input_shape)``, the latter of any dtype.
        input_shape: of one time step; tells the two apart.
        time_steps: T; unused for spikes.
        coding: of images: ``"rate"``, see :func:`bernoulli`; ``"latency"``, see :func:`latency`; ``"direct"``, the
            image itself at every time step.
        seed, samples, purpose, step: as for :func:`bernoulli`; unused but for images with ``"rate"``.

    Returns:
        ``(N, T, *input_shape)`` float32: spikes, or real values with ``"direct"``.
    """
    if inputs.ndim == 1 + len(input_shape):
        if coding == "latency":
            return latency(inputs, time_steps).float()
        if coding == "direct":
            return inputs.float().unsqueeze(1).repeat_interleave(time_steps, 1)
        return bernoulli(inputs, time_steps, seed=seed, samples=samples, purpose=purpose, step=step).float()
    return inputs.float()


class Coded(Protocol):
    """What is known of how a victim sees images."""

    input_shape: Shape
    time_steps: int
    coding: Coding


def encode_for(
    victim: Coded, inputs: Tensor, *, seed: int, samples: Tensor, purpose: Purpose = "encode", step: Tensor | int = 0
) -> Tensor:
    """What a victim sees of its inputs; see :func:`encode`."""
    return encode(
        inputs,
        victim.input_shape,
        victim.time_steps,
        coding=victim.coding,
        seed=seed,
        samples=samples,
        purpose=purpose,
        step=step,
    )


def winner(scores: Tensor) -> Tensor:
    """The class whose output fires most, or -1 where two or more tie for it.

    Args:
        scores: output rates ``(N, K)``.

    Returns:
        ``(N,)`` int64. A tie is no class's win: neither a correct classification nor a successful attack.

    >>> winner(torch.tensor([[0.2, 0.8], [0.4, 0.4]])).tolist()
    [1, -1]
    """
    best, classes = scores.max(1)
    alone = (scores == best.unsqueeze(1)).sum(1) == 1
    return torch.where(alone, classes, -1)


def reached(winners: Tensor, classes: Tensor, *, targeted: bool) -> Tensor:
    """Whether an attack has reached its goal, ``(n,)`` bool: the target wins, or any class that is not the true one.

    Args:
        winners: what the victim says, ``(n,)``, -1 for a tie; see :func:`winner`.
        classes: the targets, or the true classes where there are none, ``(n,)``.
        targeted: which of them.

    >>> reached(torch.tensor([1, 2, -1]), torch.tensor([1, 1, 1]), targeted=False).tolist()
    [False, True, False]
    """
    return winners == classes if targeted else (winners >= 0) & (winners != classes)

"""Whether adversarial inputs that were made on one victim fool another."""

from torch import Tensor

from spikeflip.judging.judgement import Judgement, Progress, judge
from spikeflip.victims import Victim


def transfer(
    victim: Victim,
    inputs: Tensor,
    adversarials: Tensor,
    labels: Tensor,
    targets: Tensor | None = None,
    *,
    draws: int = 100,
    seed: int = 0,
    samples: Tensor | None = None,
    micro_batch: int = 64,
    progress: Progress | None = None,
) -> Judgement:
    """Judge saved adversarial inputs on a victim that they were not made on.

    Args:
        victim: the model that is shown them, spiking or not.
        inputs: the originals, spikes ``(N, T, *input)`` or images ``(N, *input)``.
        adversarials: of the same shape.
        labels: true classes ``(N,)`` int64.
        targets: the classes that were aimed at, ``(N,)`` int64; None for an untargeted attack.
        draws: fresh encodings of every image.
        seed: of the encodings.
        samples: sample ids ``(N,)``; 0 to N - 1 when not given.
        micro_batch: encodings in memory at a time.
        progress: called with (judged, all) originally correct samples.

    Returns:
        A judgement whose rates are over the originals that ``victim`` classifies right: ``attack_success_rate`` over
        one encoding each, ``verified_success_rate`` over ``draws``.

    Raises:
        SpikeflipError: shapes differ, or values leave their range.

    >>> import torch
    >>> from spikeflip import SpikingNetwork
    >>> one, other = (SpikingNetwork("8FC-3FC", (4,), time_steps=3, seed=seed) for seed in (0, 1))
    >>> images = torch.rand(2, 4, generator=torch.Generator().manual_seed(0))
    >>> transfer(other, images, images, torch.tensor([0, 1]), draws=2).summary()["n"]
    2
    """
    return judge(
        victim,
        inputs,
        adversarials,
        labels,
        targets,
        draws=draws,
        seed=seed,
        samples=samples,
        micro_batch=micro_batch,
        progress=progress,
    )

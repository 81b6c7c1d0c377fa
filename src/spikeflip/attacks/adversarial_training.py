"""Adversarial training: every update learns from images that were attacked with the weights it is about to change."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from spikeflip.attacks.budget import Budget
from spikeflip.attacks.dense import direction, project
from spikeflip.errors import SpikeflipError
from spikeflip.snn.losses import score_gradient
from spikeflip.snn.perturbing import Batch
from spikeflip.snn.validation import check_counts
from spikeflip.streams import uniform
from spikeflip.victims import Victim

MOST_STEPS = 1000
"""Of one inner maximisation; the largest in the literature has 40."""


@dataclass(frozen=True)
class AdversarialTraining:
    """The inner maximisation of adversarial training; give it to ``train`` or ``train_twin`` as ``perturb``.

    Each update is made on images within a ball around the training images, where the current weights have a higher
    cross-entropy: a random start, and steps along the sign of the gradient. All samples are attacked, in all steps, and
    the images behind the last one are learned from.

    Args:
        epsilon: radius of the ball in L∞, in [0, 1] as the images.
        steps: of the gradient in each update, each ``2.5 epsilon / steps`` long.
        warm_up: share of the updates over which the ball grows linearly to its full radius, so that random weights
            learn the classes first.

    Raises:
        SpikeflipError: a value is out of range.

    Source: A. Madry et al., Towards Deep Learning Models Resistant to Adversarial Attacks, ICLR 2018. The growing ball
    is not in it.

    >>> hardening = AdversarialTraining(0.1, steps=2, warm_up=0.5)
    >>> [round(hardening.radius(update, 8), 3) for update in (1, 2, 4, 8)]
    [0.025, 0.05, 0.1, 0.1]
    """

    epsilon: float
    steps: int = 3
    warm_up: float = 0.3

    def __post_init__(self) -> None:
        if not 0 <= self.epsilon <= 1:
            raise SpikeflipError(f"epsilon is {self.epsilon}: give a radius in [0, 1], such as 0.1")
        check_inner(self.steps, self.warm_up)

    @property
    def is_idle(self) -> bool:
        """Whether nothing is ever changed."""
        return self.epsilon == 0

    def radius(self, update: int, updates: int) -> float:
        """Of the ball in an update, counted from 1."""
        return self.epsilon * grown(self.warm_up, update, updates)

    def __call__(self, batch: Batch) -> Tensor:
        """The attacked images ``(n, *input)`` of a batch of images."""
        if batch.kind == "spikes":
            raise SpikeflipError("the inputs are spikes, and AdversarialTraining moves pixels: give FlipTraining")

        def encoded(images: Tensor, step: int) -> Tensor:
            return batch.encoded(images, "inner-encode", batch.update * self.steps + step)

        return ascend(
            batch.network,
            batch.inputs,
            batch.labels,
            self.radius(batch.update, batch.settings.updates),
            steps=self.steps,
            seed=batch.settings.seed,
            samples=batch.samples,
            moment=batch.update,
            encoded=encoded,
        )


def check_inner(steps: int, warm_up: float) -> None:
    """Raise a SpikeflipError unless an inner maximisation can have so many steps and grow over such a share."""
    check_counts(steps=steps)
    if steps > MOST_STEPS:
        raise SpikeflipError(f"steps is {steps}: give at most {MOST_STEPS}")
    if not 0 <= warm_up <= 1:
        raise SpikeflipError(f"warm_up is {warm_up}: give a share in [0, 1], 0 for none")


def grown(warm_up: float, update: int, updates: int) -> float:
    """How much of the full distance there is in an update, counted from 1: it grows linearly over the warm-up."""
    return min(1.0, update / max(1.0, warm_up * updates))


def ascend(
    victim: Victim,
    images: Tensor,
    labels: Tensor,
    radius: float,
    *,
    steps: int,
    seed: int,
    samples: Tensor,
    moment: int,
    encoded: Callable[[Tensor, int], Tensor],
) -> Tensor:
    """Projected gradient ascent on the cross-entropy: no sample is left out, and none stops before the last step.

    Args:
        victim: whose loss is raised.
        images: ``(n, *input)`` in [0, 1].
        labels: true classes ``(n,)`` int64, on the victim's device.
        radius: of the L∞ ball, in the same units; 0 returns the images as they are.
        steps: of ``2.5 radius / steps`` each.
        seed, samples, moment: name the random start; see :mod:`spikeflip.streams`.
        encoded: what the victim sees of images in a step, from 0. The gradient is averaged over time and passed
            straight through.

    Returns:
        ``(n, *input)``, within the ball and [0, 1], on the victim's device.
    """
    originals = images.to(victim.device)
    ball = Budget(radius, "linf")
    start = 2 * uniform(seed, samples, "inner-start", moment, images.shape[1:]).to(originals) - 1
    found = project(originals + radius * start, originals, ball)
    for step in range(steps if radius else 0):
        probe = victim.probe(encoded(found, step))
        gradient = probe.input_gradient(lambda scores, rows: score_gradient("ce", scores, labels[rows])[1])
        upwards = direction(gradient.values.mean(1), "linf").to(originals)
        found = project(found + 2.5 * radius / steps * upwards, originals, ball)
    return found

"""FGSM and BIM on images: steps along the sign of the input gradient (Goodfellow et al., 2015; Kurakin et al., 2017).

On a rate-coded spiking victim the gradient of the spikes is averaged over time, straight through the encoder.
"""

from dataclasses import dataclass
from typing import ClassVar, Unpack

import torch
from torch import Tensor

from spikeflip.attacks.budget import Budget
from spikeflip.attacks.following import GradientAttack
from spikeflip.attacks.iterated import Options, as_budget
from spikeflip.attacks.options import option
from spikeflip.attacks.result import AttackResult, Trace
from spikeflip.attacks.step import Move, Step
from spikeflip.snn.losses import Loss
from spikeflip.snn.validation import Kind
from spikeflip.victims import Victim


def sign_step(images: Tensor, direction: Tensor, step_size: float) -> Tensor:
    """``x + eta * sign(g)``, clipped to [0, 1] (Eq. 4).

    >>> sign_step(torch.tensor([0.5, 0.9, 0.2]), torch.tensor([-3.0, 0.1, 0.0]), 0.25)
    tensor([0.2500, 1.0000, 0.2000])
    """
    return (images + step_size * direction.sign()).clamp(0, 1)


@dataclass(frozen=True, kw_only=True)
class BIM(GradientAttack):
    """The settings of the basic iterative method; call it with a victim and images, or use :func:`bim`.

    Args:
        steps: most iterations (the paper's Iter).
        step_size: change of a pixel in an iteration (the paper's eta), in intensity.
        budget: most perturbation a sample; unbounded when None.

    Raises:
        SpikeflipError: a setting is out of range.
    """

    only: ClassVar[Kind | None] = "images"
    summary: ClassVar = "basic iterative method: steps along the sign of the gradient, averaged over time"
    source: ClassVar = "Kurakin et al., 2017"

    step_size: float = option(0.03, gt=0)
    budget: Budget | None = None

    def update(self, step: Step) -> Move:
        """Eq. 4."""
        gradient = self.follow(step)
        vanished = ~gradient.values.flatten(1).any(1)
        moved = sign_step(step.inputs, gradient.values.mean(1), self.step_size)
        mover = torch.where(vanished, Trace.UNMOVED, Trace.SIGN)
        more = self.more_passes
        return Move(moved, mover, gradient, vanished, stuck=vanished, forwards=more, backwards=more)


@dataclass(frozen=True, kw_only=True)
class FGSM(BIM):
    """The settings of the fast gradient sign method, one step of :class:`BIM`; or use :func:`fgsm`.

    Args:
        step_size: change of a pixel (the paper's eta), in intensity.
        budget: most perturbation a sample; ``step_size`` bounds L-infinity anyway.

    Raises:
        SpikeflipError: a setting is out of range.
    """

    summary: ClassVar = "fast gradient sign method: one step along the sign of the gradient, averaged over time"
    source: ClassVar = "Goodfellow et al., ICLR 2015"

    steps: ClassVar[int] = 1  # type: ignore[misc]  # no setting of this one
    step_size: float = option(0.1, gt=0)


def bim(
    victim: Victim,
    inputs: Tensor,
    labels: Tensor,
    targets: Tensor | None = None,
    *,
    steps: int = 25,
    step_size: float = 0.03,
    loss: Loss = "mse",
    budget: Budget | float | None = None,
    gradient: str = "bptt",
    encodings: int = 1,
    output_window: float | None = None,
    **options: Unpack[Options],
) -> AttackResult:
    """Attack images with the basic iterative method (Eq. 4).

    Args:
        victim: the model under attack: a ``SpikingNetwork``, or any other victim that takes images.
        inputs: images ``(N, *input)`` in [0, 1].
        labels: true classes ``(N,)`` int64.
        targets: wanted classes ``(N,)`` int64; untargeted when not given.
        steps, step_size, loss, gradient, encodings, output_window: see :class:`BIM`.
        budget: a :class:`Budget`, or a number that bounds ``mse``.
        options: ``seed``, ``samples``, ``micro_batch``, ``progress`` and ``trace``, as for :func:`scg`.

    Returns:
        An :class:`AttackResult`. One forward and one backward pass a step, and the pass that judges the last one.

    Raises:
        SpikeflipError: an argument is out of range, or the inputs are spikes.

    Source: A. Kurakin et al., Adversarial Examples in the Physical World, 2017 (Eq. 4 of Liang et al., 2021). A sample
    stops at its first success. On rate-coded victims the gradient of the spikes is averaged over time and passes
    straight through the Bernoulli encoder, and every iteration is a fresh encoding.

    >>> from spikeflip import SpikingNetwork
    >>> network = SpikingNetwork("16FC-3FC", (20,), time_steps=6, seed=1)
    >>> images = torch.linspace(0, 1, 40).reshape(2, 20)
    >>> result = bim(network, images, torch.tensor([0, 1]), steps=2, step_size=0.1)
    >>> bool(((result.adversarials - images).abs() <= 0.2 + 1e-6).all())
    True
    """
    attack = BIM(
        steps=steps,
        step_size=step_size,
        loss=loss,
        budget=as_budget(budget),
        gradient=gradient,
        encodings=encodings,
        output_window=output_window,
    )
    return attack(victim, inputs, labels, targets, **options)


def fgsm(
    victim: Victim,
    inputs: Tensor,
    labels: Tensor,
    targets: Tensor | None = None,
    *,
    step_size: float = 0.1,
    loss: Loss = "mse",
    budget: Budget | float | None = None,
    gradient: str = "bptt",
    encodings: int = 1,
    output_window: float | None = None,
    **options: Unpack[Options],
) -> AttackResult:
    """Attack images with the fast gradient sign method (Eq. 3): :func:`bim` with a single step.

    Args:
        victim: the model under attack: a ``SpikingNetwork``, or any other victim that takes images.
        inputs: images ``(N, *input)`` in [0, 1].
        labels: true classes ``(N,)`` int64.
        targets: wanted classes ``(N,)`` int64; untargeted when not given.
        step_size, loss, gradient, encodings, output_window: see :class:`FGSM`.
        budget: a :class:`Budget`, or a number that bounds ``mse``.
        options: ``seed``, ``samples``, ``micro_batch``, ``progress`` and ``trace``, as for :func:`scg`.

    Returns:
        An :class:`AttackResult`: one forward and one backward pass, and the pass that judges.

    Raises:
        SpikeflipError: an argument is out of range, or the inputs are spikes.

    Source: I. Goodfellow et al., Explaining and Harnessing Adversarial Examples, ICLR 2015 (Eq. 3 of Liang et al.,
    2021). Inputs that are wrong from the start are left alone.

    >>> from spikeflip import SpikingNetwork
    >>> network = SpikingNetwork("16FC-3FC", (20,), time_steps=6, seed=1)
    >>> fgsm(network, torch.ones(2, 20), torch.tensor([0, 1])).adversarials.shape
    torch.Size([2, 20])
    """
    attack = FGSM(
        step_size=step_size,
        loss=loss,
        budget=as_budget(budget),
        gradient=gradient,
        encodings=encodings,
        output_window=output_window,
    )
    return attack(victim, inputs, labels, targets, **options)

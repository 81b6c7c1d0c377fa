"""PGD and MI-FGSM on images: steps of one size along the gradient, back into the ball after each."""

from dataclasses import dataclass
from typing import ClassVar, Unpack

from torch import Tensor

from spikeflip.attacks.budget import Budget
from spikeflip.attacks.dense import EPSILON, DenseAttack, as_ball, column, direction, length
from spikeflip.attacks.iterated import Options
from spikeflip.attacks.options import option
from spikeflip.attacks.result import AttackResult
from spikeflip.attacks.step import Step
from spikeflip.snn.losses import Loss
from spikeflip.victims import Victim


@dataclass(frozen=True, kw_only=True)
class PGD(DenseAttack):
    """The settings of projected gradient descent; call it with a victim and images, or use :func:`pgd`.

    Args:
        step_size: of each step, in units of the budget's metric; 2.5 limit / steps when None.

    Raises:
        SpikeflipError: a setting is out of range.
    """

    summary: ClassVar = "projected gradient descent: a random start, and steps along the sign of the gradient in a ball"
    source: ClassVar = "Madry et al., ICLR 2018"

    step_size: float | None = option(None, gt=0)

    def advance(self, step: Step, gradient: Tensor, number: Tensor) -> Tensor:
        """See :class:`spikeflip.attacks.dense.DenseAttack`."""
        size = 2.5 * self.ball.limit / self.steps if self.step_size is None else self.step_size
        return step.inputs + size * direction(gradient, self.ball.metric)


@dataclass(frozen=True, kw_only=True)
class MIFGSM(DenseAttack):
    """The settings of the momentum iterative method; call it with a victim and images, or use :func:`mi_fgsm`.

    Args:
        decay: share of the momentum that is kept from one iteration to the next.

    Raises:
        SpikeflipError: a setting is out of range.
    """

    summary: ClassVar = "momentum iterative method: steps along the sign of a sum of the gradients so far"
    source: ClassVar = "Dong et al., CVPR 2018"
    starts_at_random: ClassVar = False

    decay: float = option(1.0, ge=0, le=1)

    def advance(self, step: Step, gradient: Tensor, number: Tensor) -> Tensor:
        """See :class:`spikeflip.attacks.dense.DenseAttack`."""
        size = length(gradient, 1)
        share = gradient / column(size.where(size > 0, 1), gradient)
        momentum = self.decay * step.memory.recall("momentum", share) + share
        step.memory.keep("momentum", momentum)
        return step.inputs + self.ball.limit / self.steps * direction(momentum, self.ball.metric)


def pgd(
    victim: Victim,
    inputs: Tensor,
    labels: Tensor,
    targets: Tensor | None = None,
    *,
    steps: int = 25,
    step_size: float | None = None,
    loss: Loss = "ce",
    budget: Budget | float | None = EPSILON,
    gradient: str = "bptt",
    encodings: int = 1,
    output_window: float | None = None,
    **options: Unpack[Options],
) -> AttackResult:
    """Attack images by projected gradient descent.

    Args:
        victim: the model under attack; any victim that takes images.
        inputs: images ``(N, *input)`` in [0, 1].
        labels: true classes ``(N,)`` int64.
        targets: wanted classes ``(N,)`` int64; untargeted when not given.
        steps, step_size, loss, budget, gradient, encodings, output_window: see :class:`PGD`.
        options: as for :func:`scg`.

    Returns:
        An :class:`AttackResult`. A start costs ``steps + 1`` forward and backward passes, each times ``encodings``, and
        the pass that judges the last one.

    Raises:
        SpikeflipError: an argument is out of range, or the inputs are spikes.

    Source: A. Madry et al., Towards Deep Learning Models Resistant to Adversarial Attacks, ICLR 2018. A sample stops
    at its first success.

    >>> import torch
    >>> from spikeflip import SpikingNetwork
    >>> network, images = SpikingNetwork("16FC-3FC", (20,), time_steps=6, seed=1), torch.full((2, 20), 0.5)
    >>> found = pgd(network, images, torch.tensor([0, 1]), steps=2).adversarials
    >>> bool(((found - images).abs() <= 8 / 255 + 1e-6).all())
    True
    """
    attack = PGD(
        steps=steps,
        step_size=step_size,
        loss=loss,
        budget=as_ball(budget),
        gradient=gradient,
        encodings=encodings,
        output_window=output_window,
    )
    return attack(victim, inputs, labels, targets, **options)


def mi_fgsm(
    victim: Victim,
    inputs: Tensor,
    labels: Tensor,
    targets: Tensor | None = None,
    *,
    steps: int = 25,
    decay: float = 1.0,
    loss: Loss = "ce",
    budget: Budget | float | None = EPSILON,
    gradient: str = "bptt",
    encodings: int = 1,
    output_window: float | None = None,
    **options: Unpack[Options],
) -> AttackResult:
    """Attack images with momentum, which makes perturbations that hold on other victims more often.

    Args:
        victim, inputs, labels, targets: as for :func:`pgd`.
        steps, decay, loss, budget, gradient, encodings, output_window: see :class:`MIFGSM`.
        options: as for :func:`scg`.

    Returns:
        An :class:`AttackResult`. A start costs ``steps`` forward and backward passes, each times ``encodings``, and the
        pass that judges the last one.

    Raises:
        SpikeflipError: an argument is out of range, or the inputs are spikes.

    Source: Y. Dong et al., Boosting Adversarial Attacks with Momentum, CVPR 2018.
    """
    attack = MIFGSM(
        steps=steps,
        decay=decay,
        loss=loss,
        budget=as_ball(budget),
        gradient=gradient,
        encodings=encodings,
        output_window=output_window,
    )
    return attack(victim, inputs, labels, targets, **options)

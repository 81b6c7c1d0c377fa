"""Model conversion: the gradients of a ReLU network with the victim's own weights (Sharmin et al., 2019 and 2020)."""

from dataclasses import dataclass
from functools import partial
from typing import ClassVar, Unpack

import torch
from torch import Tensor

from spikeflip.attacks.bim import sign_step
from spikeflip.attacks.budget import Budget
from spikeflip.attacks.iterated import Iterated, Options, as_budget
from spikeflip.attacks.options import option
from spikeflip.attacks.result import AttackResult, Trace
from spikeflip.attacks.step import Move, Rule, Step
from spikeflip.errors import SpikeflipError
from spikeflip.snn.losses import score_gradient
from spikeflip.snn.network import SpikingNetwork
from spikeflip.snn.twin import ReluNetwork
from spikeflip.snn.validation import Kind
from spikeflip.victims import Victim

_BUDGET = Budget(8 / 255, "linf")


@dataclass(frozen=True, kw_only=True)
class Conversion(Iterated):
    """The settings of the attack by model conversion; call it with a victim and images, or use :func:`conversion`.

    Args:
        steps: most iterations: 1 is FGSM on the converted network, more is PGD.
        step_size: change of a pixel in an iteration, in intensity. When None, it is the limit of an L-infinity budget
            for one step, and ``2.5 * limit / steps`` for more.
        budget: most perturbation a sample; unbounded when None, which needs a ``step_size``.

    Raises:
        SpikeflipError: a setting is out of range.
    """

    only: ClassVar[Kind | None] = "images"
    summary: ClassVar = (
        "model conversion: FGSM or PGD with the gradients of a ReLU network that has the victim's weights"
    )
    source: ClassVar = "Sharmin et al., IJCNN 2019 and ECCV 2020"
    follows_gradient: ClassVar = False

    step_size: float | None = option(None, gt=0)
    budget: Budget | None = _BUDGET

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.step_size is not None:
            return
        if self.budget is None or self.budget.metric != "linf":
            bound = "no budget" if self.budget is None else f"a budget in {self.budget.metric}"
            raise SpikeflipError(
                f"step_size is not given, and cannot be taken from {bound}: give it, such as 0.03, or a budget in linf"
            )

    def _step_size(self) -> float:
        if self.step_size is not None:
            return self.step_size
        assert self.budget is not None
        return self.budget.limit if self.steps == 1 else 2.5 * self.budget.limit / self.steps

    def prepare(self, victim: Victim, inputs: Tensor) -> Rule:
        """See :class:`spikeflip.attacks.iterated.Iterated`."""
        if not isinstance(victim, SpikingNetwork):
            raise SpikeflipError(
                f"the victim is a {type(victim).__name__}, but conversion needs the weights of a SpikingNetwork: "
                "attack this one with bim"
            )
        return partial(self._follow, ReluNetwork.twin_of(victim))

    def _follow(self, twin: ReluNetwork, step: Step) -> Move:
        gradient = step.towards_goal(twin_gradient(twin, step.inputs, step.classes))
        vanished = ~gradient.flatten(1).any(1)
        moved = sign_step(step.inputs, gradient, self._step_size())
        mover = torch.where(vanished, Trace.UNMOVED, Trace.SIGN)
        return Move(moved, mover, vanished=vanished, stuck=vanished, forwards=1, backwards=1)


def twin_gradient(twin: ReluNetwork, images: Tensor, classes: Tensor) -> Tensor:
    """The gradient of the cross-entropy of the twin's logits with respect to its images; both ``(n, *input)``."""
    probe = twin.probe(images.to(twin.weights[0].dtype).unsqueeze(1))
    found = probe.input_gradient(lambda scores, _: score_gradient("ce", scores, classes)[1])
    return found.values.squeeze(1).to(images.dtype)


def conversion(
    victim: Victim,
    inputs: Tensor,
    labels: Tensor,
    targets: Tensor | None = None,
    *,
    steps: int = 25,
    step_size: float | None = None,
    budget: Budget | float | None = _BUDGET,
    **options: Unpack[Options],
) -> AttackResult:
    """Attack images with the gradients of a ReLU network that has the spiking victim's architecture and weights.

    Args:
        victim: a ``SpikingNetwork``, whose weights are copied.
        inputs: images ``(N, *input)`` in [0, 1].
        labels: true classes ``(N,)`` int64.
        targets: wanted classes ``(N,)`` int64; untargeted when not given.
        steps, step_size: see :class:`Conversion`.
        budget: a :class:`Budget`, or a number that bounds ``mse``; 8/255 in ``linf`` when not given.
        options: ``seed``, ``samples``, ``micro_batch``, ``progress`` and ``trace``, as for :func:`scg`.

    Returns:
        An :class:`AttackResult`. A step is one forward and one backward pass of the ReLU network, over one time step,
        and one forward pass of the victim to judge; ``vanished`` counts zero gradients of the ReLU network.

    Raises:
        SpikeflipError: an argument is out of range, the inputs are spikes, or the victim is no ``SpikingNetwork``.

    Source: S. Sharmin et al., A Comprehensive Analysis on Adversarial Robustness of Spiking Neural Networks, IJCNN 2019
    (arXiv:1905.02704), and Inherent Adversarial Robustness of Deep Spiking Neural Networks, ECCV 2020, as
    Liang et al. (2021, Sec. III-B) describe it: architecture and weights are copied, without rescaling. The loss is the
    cross-entropy of the ReLU network's logits. A sample stops at its first success, and PGD has no random start.

    >>> from spikeflip import SpikingNetwork
    >>> network = SpikingNetwork("16FC-3FC", (20,), time_steps=6, seed=1)
    >>> result = conversion(network, torch.full((2, 20), 0.5), torch.tensor([0, 1]), steps=1)
    >>> bool(((result.adversarials - 0.5).abs() <= 8 / 255 + 1e-6).all())
    True
    """
    return Conversion(steps=steps, step_size=step_size, budget=as_budget(budget))(
        victim, inputs, labels, targets, **options
    )

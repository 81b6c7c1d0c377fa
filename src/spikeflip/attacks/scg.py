"""SCG: the spike-compatible gradient attack (Liang et al., 2021), on spikes and on rate-coded images.

Each iteration computes the spatio-temporal input gradient, turns it into a ternary step with the gradient-to-spike
converter, or makes one with the restricted spike flipper where the gradient has vanished, and applies it (Algorithm 1).
"""

from dataclasses import dataclass, replace
from typing import ClassVar, Literal, Unpack

import torch
from torch import Tensor

from spikeflip.attacks.budget import Budget
from spikeflip.attacks.iterated import Options, as_budget
from spikeflip.attacks.options import option
from spikeflip.attacks.result import AttackResult, Trace
from spikeflip.attacks.step import Move, Rule, Step
from spikeflip.attacks.tuned import TunedAttack
from spikeflip.errors import SpikeflipError
from spikeflip.notices import Notice
from spikeflip.snn.gradients import BPTT
from spikeflip.snn.losses import Loss
from spikeflip.victims import Victim
from spikeflip.victims.victim import takes_counts

COUNTS = Notice(
    "counts",
    "the inputs are counts of events: a step adds or removes one event of a cell and time step, between 0 and the "
    "largest count of the sample; the paper's attack is on 0 and 1",
)


def probabilistic_sampling(gradient: Tensor, numbers: Tensor) -> Tensor:
    """Keep an element with probability ``|g| / max |g|``, the maximum taken per sample (Eq. 10).

    Args:
        gradient: ``(N, ...)``; a sample of all zeros keeps nothing.
        numbers: uniform in [0, 1), of the same shape.

    Returns:
        A mask of 0 and 1 of the same shape and dtype. The largest element is always kept.
    """
    size = gradient.abs()
    largest = size.flatten(1).amax(1)
    largest = torch.where(largest > 0, largest, 1)
    return torch.lt(numbers, size / largest.reshape(-1, *[1] * (size.ndim - 1))).to(gradient.dtype)


def largest_elements(gradient: Tensor, k: int) -> Tensor:
    """Keep the ``k`` elements of largest ``|g|`` of every sample; of equal ones those that come first.

    Args:
        gradient: ``(N, ...)``.
        k: at least 1; everything is kept where a sample has no more elements.

    Returns:
        A mask of 0 and 1 of the same shape and dtype.

    >>> largest_elements(torch.tensor([[1.0, -3.0, 2.0, 2.0]]), 2).tolist()
    [[0.0, 1.0, 1.0, 0.0]]
    """
    flat = gradient.abs().flatten(1)
    order = flat.argsort(dim=1, descending=True, stable=True)[:, :k]
    return torch.zeros_like(flat).scatter_(1, order, 1).view_as(gradient)


def sign_extraction(gradient: Tensor, mask: Tensor) -> Tensor:
    """The ternary gradient ``sign(g * mask)`` in {-1, 0, 1} (Eq. 11)."""
    return torch.sign(gradient * mask)


def overflow_aware(ternary: Tensor, spikes: Tensor, most: Tensor | float = 1.0) -> Tensor:
    """Drop the steps that would leave {0, 1} (Table II), or of counts 0 to ``most``.

    >>> overflow_aware(torch.tensor([0.0, 1, 1, -1, -1]), torch.tensor([1.0, 0, 1, 0, 1])).tolist()
    [0.0, 1.0, 0.0, 0.0, -1.0]
    """
    return torch.minimum((spikes + ternary).clamp(min=0), torch.as_tensor(most).to(spikes)) - spikes


def gradient_to_spike(gradient: Tensor, spikes: Tensor, numbers: Tensor | None, most: Tensor | float = 1.0) -> Tensor:
    """The converter: sampling, sign, overflow (Eq. 12); without ``numbers`` every element is kept."""
    mask = torch.ones_like(gradient) if numbers is None else probabilistic_sampling(gradient, numbers)
    return overflow_aware(sign_extraction(gradient, mask), spikes, most)


def restricted_spike_flipper(spikes: Tensor, gamma: float, numbers: Tensor) -> Tensor:
    """Flip every element with probability ``gamma`` (Eq. 13, Table IV).

    Args:
        spikes: ``(N, ...)`` of 0 and 1; of counts one event is added where there is none, and one removed elsewhere.
        gamma: turnover rate in [0, 1].
        numbers: uniform in [0, 1), of the same shape.

    Returns:
        The step in {-1, 0, 1}.

    >>> restricted_spike_flipper(torch.tensor([0.0, 1, 1]), 0.5, torch.tensor([0.1, 0.2, 0.9])).tolist()
    [1.0, -1.0, 0.0]
    """
    mask = torch.lt(numbers, gamma).to(spikes.dtype)
    none = torch.eq(spikes, 0).to(spikes.dtype)
    # Written as a product of exact numbers: unmoved cells get 0, never -0.
    return mask * none - mask * (1 - none)


@dataclass(frozen=True, kw_only=True)
class SCG(TunedAttack):
    """The settings of the attack; call it with a victim and inputs, or use :func:`scg`.

    Args:
        steps: most iterations (the paper's Iter).
        gamma: turnover rate of the flipper, in [0, 1].
        loss: ``"mse"``, ``"ce"``, ``"margin"``, ``"dlr"`` or a function of scores ``(n, K)`` and classes ``(n,)``; the
            paper takes the loss the victim was trained with.
        budget: most perturbation a sample; unbounded when None.
        sampling: whether the converter samples (Eq. 10).
        flipper: whether vanished gradients are replaced by random flips.
        top_k: takes the place of sampling: the converter keeps the ``top_k`` elements of largest gradient of a sample;
            None samples, or keeps all without ``sampling``. Not part of the paper.
        rescue_window: where the gradient of a sample has vanished, ask once more with this surrogate width of the
            output layer, and leave to the flipper what vanishes again. The sample counts as vanished all the same, and
            the second backward pass is counted. Not part of the paper.
        c: weight of the CWL2 term on images (Eq. 14), which pulls towards the original; 0 is the plain attack. Eq. 14
            is taken literally, ``c * 2 (x - x0)``: the authors' code lacks the 2, so its c = 0.1 is 0.05 here.

    Raises:
        SpikeflipError: a setting is out of range.
    """

    counts: ClassVar[bool] = True
    summary: ClassVar = "spike-compatible gradient: gradient-to-spike converter and restricted spike flipper"
    source: ClassVar = "Liang et al., IEEE TNNLS 2021"

    gamma: float = option(0.05, ge=0, le=1)
    budget: Budget | None = None
    sampling: bool = True
    flipper: bool = True
    c: float = option(0.0, ge=0)
    top_k: int | None = option(None, ge=1)
    rescue_window: float | None = option(None, gt=0)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.rescue_window is not None and self.encodings > 1:
            raise SpikeflipError(
                f"rescue_window asks for the gradient of one encoding again, and encodings is {self.encodings}: leave "
                "one of them out"
            )

    def prepare(self, victim: Victim, inputs: Tensor) -> Rule:
        """See :class:`spikeflip.attacks.iterated.Iterated`."""
        if victim.coding == "direct":
            raise SpikeflipError(
                "scg turns gradients into spikes, but this victim takes images as they are: choose an attack on "
                "images, such as bim"
            )
        if self.c and inputs.ndim != 1 + len(victim.input_shape):
            raise SpikeflipError(f"c is {self.c}, but the CWL2 term is defined on images only: leave it at 0")
        return super().prepare(victim, inputs)

    def _notices(self, victim: Victim) -> tuple[Notice, ...]:
        return (*super()._notices(victim), *(COUNTS,) * takes_counts(victim))

    def update(self, step: Step) -> Move:
        """One pass through the body of Algorithm 1; the settings of the rule hold no ``"auto"``."""
        gradient = self.follow(step)
        vanished = ~gradient.values.flatten(1).any(1)
        values, backwards = self._rescue(step, gradient.values, vanished)
        lost = ~values.flatten(1).any(1)
        flips = self._ternary_steps(step, values, lost)
        if step.inputs.ndim == step.spikes.ndim:
            moved = step.inputs + flips
        else:
            moved = step.inputs + flips.mean(1)
            if self.c:
                moved -= 2 * self.c * (step.inputs - step.originals)
            moved = moved.clamp(0, 1)
        mover = torch.where(lost, Trace.FLIPPER if self.flipper else Trace.UNMOVED, Trace.CONVERTER)
        stuck = None if self.flipper else lost
        more = self.more_passes
        return Move(moved, mover, gradient, vanished, stuck, forwards=more, backwards=backwards + more)

    def _rescue(self, step: Step, values: Tensor, vanished: Tensor) -> tuple[Tensor, Tensor | int]:
        """The gradient with vanished samples asked for again, and the backward passes ``(n,)`` that took."""
        if self.rescue_window is None or not bool(vanished.any()):
            return values, 0
        rows = vanished.nonzero().squeeze(1)
        values = values.clone()  # what the victim gave holds until it runs again
        wide = BPTT(output_window=self.rescue_window)
        found = step.gradient(self.loss, replace(self.request, estimator=wide, rows=rows))
        values[rows] = found.values
        backwards = torch.zeros_like(vanished, dtype=torch.int64)
        backwards[rows] = (~found.output_zero).long()
        return values, backwards

    def _ternary_steps(self, step: Step, gradient: Tensor, vanished: Tensor) -> Tensor:
        flips = torch.zeros_like(step.spikes)
        live = ~vanished
        most: Tensor | float = 1.0
        if step.counts and bool(live.any()):
            most = step.originals[live].flatten(1).amax(1).clamp(min=1).reshape(-1, *[1] * (flips.ndim - 1))
        if bool(live.any()) and self.top_k is not None:
            mask = largest_elements(gradient[live], self.top_k)
            flips[live] = overflow_aware(sign_extraction(gradient[live], mask), step.spikes[live], most)
        elif bool(live.any()):
            numbers = step.uniform("sample", step.spikes.shape[1:], live) if self.sampling else None
            flips[live] = gradient_to_spike(gradient[live], step.spikes[live], numbers, most)
        # What has reached the goal, under a policy that goes on, stays: its encoding is drawn anew.
        lost = vanished & ~step.success.to(vanished.device)
        if self.flipper and bool(lost.any()):
            numbers = step.uniform("flip", step.spikes.shape[1:], lost)
            flips[lost] = restricted_spike_flipper(step.spikes[lost], self.gamma, numbers)
        return flips


def scg(
    victim: Victim,
    inputs: Tensor,
    labels: Tensor,
    targets: Tensor | None = None,
    *,
    steps: int = 25,
    gamma: float = 0.05,
    threshold: float | Literal["auto"] | None = "auto",
    loss: Loss = "mse",
    budget: Budget | float | None = None,
    sampling: bool = True,
    flipper: bool = True,
    gradient: str = "bptt",
    encodings: int = 1,
    output_window: float | None = None,
    c: float = 0.0,
    top_k: int | None = None,
    rescue_window: float | None = None,
    **options: Unpack[Options],
) -> AttackResult:
    """Attack spikes or images with the spike-compatible gradient (Algorithm 1).

    Args:
        victim: the model under attack; a ``SpikingNetwork`` is one.
        inputs: spikes ``(N, T, *input)`` of exactly 0 and 1, or images ``(N, *input)`` in [0, 1]; counts of events
            for a victim that was wrapped on counts.
        labels: true classes ``(N,)`` int64.
        targets: wanted classes ``(N,)`` int64; untargeted when not given. See :func:`every_target`.
        steps, gamma, threshold, loss, sampling, flipper, c, top_k, rescue_window: see :class:`SCG`.
        gradient, encodings, output_window: see :class:`SCG`.
        budget: a :class:`Budget`, or a number that bounds ``mse``.
        options: ``seed`` (0) of all random streams; ``samples``, ids ``(N,)`` int64 that name the samples' streams, 0
            to N - 1 when not given; ``micro_batch`` (16), samples in memory at a time; ``progress``, called with
            (finished, all) whenever samples finish; ``trace``, whether to record every iteration too.

    Returns:
        An :class:`AttackResult`. Success is the paper's: the wanted class fires alone the most, on the untouched
        victim, for images over one fresh encoding. Judge images with :func:`spikeflip.judge`, which draws many.

    Raises:
        SpikeflipError: an argument is out of range.

    Source: L. Liang et al., Exploring Adversarial Attack in Spiking Neural Networks with Spike-Compatible Gradient,
    IEEE TNNLS 2021. Where the text leaves a choice, docs/method says which was taken and why.

    >>> from spikeflip import SpikingNetwork
    >>> network = SpikingNetwork("16FC-3FC", (20,), time_steps=6, seed=1)
    >>> spikes = (torch.arange(240).reshape(2, 6, 20) % 3 == 0).float()
    >>> result = scg(network, spikes, network.scores(spikes).argmax(1))
    >>> result.adversarials.shape
    torch.Size([2, 6, 20])
    """
    attack = SCG(
        steps=steps,
        gamma=gamma,
        threshold=threshold,
        loss=loss,
        budget=as_budget(budget),
        sampling=sampling,
        flipper=flipper,
        gradient=gradient,
        encodings=encodings,
        output_window=output_window,
        c=c,
        top_k=top_k,
        rescue_window=rescue_window,
    )
    return attack(victim, inputs, labels, targets, **options)

"""What attacks that follow the input gradient have in common: its estimator, its encodings, its loss."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Unpack

import torch
from torch import Tensor

from spikeflip.attacks.iterated import Iterated, Options
from spikeflip.attacks.loop import Progress
from spikeflip.attacks.options import option
from spikeflip.attacks.result import AttackResult, Trace
from spikeflip.attacks.step import MOST_ENCODINGS, Rule, Step
from spikeflip.attacks.stop import Verified
from spikeflip.errors import SpikeflipError, choose_from
from spikeflip.snn.estimators import ESTIMATORS, estimator
from spikeflip.snn.gradients import GradientRequest, InputGradient
from spikeflip.snn.losses import Loss, resolve
from spikeflip.victims import Victim

ENSEMBLE = ("bptt", "rga", "hart", "pdsg", "assg", "straight-through")
"""What ``ensemble`` stands for."""


@dataclass(frozen=True, kw_only=True)
class GradientAttack(Iterated):
    """The settings of an attack that follows the input gradient.

    Args:
        loss: ``"mse"``, ``"ce"``, ``"margin"``, ``"dlr"`` or a function of scores ``(n, K)`` and classes ``(n,)``.
        gradient: how it is estimated: bptt, rga, hart, pdsg, assg, windowed or straight-through, some with a number
            behind a colon, such as hart:0.5; several with commas, or ensemble, are tried one after the other on the
            inputs that still stand.
        encodings: of a rate-coded image in each iteration, over which the gradient is averaged.
        output_window: surrogate width of the output layer while generating; None leaves the victim's own. A wide one
            removes most vanishing at its cause; it is not part of the paper.

    Raises:
        SpikeflipError: a setting is out of range.
    """

    loss: Loss = "mse"
    gradient: str = "bptt"
    encodings: int = option(1, ge=1, le=MOST_ENCODINGS)
    output_window: float | None = option(None, gt=0)

    def __post_init__(self) -> None:
        super().__post_init__()
        resolve(self.loss)
        for name in self.members:
            if (plain := name.partition(":")[0]) not in ESTIMATORS:
                raise SpikeflipError(f"gradient is {name!r}: {choose_from(plain, [*ESTIMATORS, 'ensemble'])}")
            estimator(name, self.output_window)

    @property
    def members(self) -> tuple[str, ...]:
        """The estimators that are tried."""
        return ENSEMBLE if self.gradient == "ensemble" else tuple(self.gradient.split(","))

    @property
    def most_iterations(self) -> int:
        """See :class:`spikeflip.attacks.iterated.Iterated`."""
        return super().most_iterations * len(self.members)

    @property
    def request(self) -> GradientRequest:
        """What the victim is asked for."""
        return GradientRequest(estimator=estimator(self.gradient, self.output_window))

    def asks(self, victim: Victim) -> GradientRequest | None:
        """See :class:`spikeflip.attacks.iterated.Iterated`."""
        return self.request

    def prepare(self, victim: Victim, inputs: Tensor) -> Rule:
        """See :class:`spikeflip.attacks.iterated.Iterated`."""
        images = inputs.ndim == 1 + len(victim.input_shape)
        if self.encodings > 1 and (not images or victim.coding != "rate"):
            raise SpikeflipError(
                f"encodings is {self.encodings}, but nothing is drawn to encode these inputs: leave it at 1"
            )
        return super().prepare(victim, inputs)

    @property
    def more_passes(self) -> int:
        """Forward passes, and backward ones, of further encodings in an iteration."""
        return self.encodings - 1

    @property
    def followed(self) -> Loss:
        """The loss whose gradient is followed."""
        return self.loss

    def follow(self, step: Step, rows: Tensor | None = None) -> InputGradient:
        """The gradient of a step, of the samples ``rows`` ``(m,)`` where given."""
        return step.gradient(self.followed, replace(self.request, rows=rows), encodings=self.encodings)

    def __call__(
        self,
        victim: Victim,
        inputs: Tensor,
        labels: Tensor,
        targets: Tensor | None = None,
        **options: Unpack[Options],
    ) -> AttackResult:
        """Attack, with one estimator after the other on what still stands; see :func:`spikeflip.attacks.loop.run`."""
        first, *others = self.members
        if not others:
            return super().__call__(victim, inputs, labels, targets, **options)
        if isinstance(stop := options.get("stop"), Verified):
            raise SpikeflipError(
                f"confidence is {stop.confidence}, and of several estimators any success of one ends a sample: give "
                "one gradient, or leave confidence out"
            )
        progress = options.get("progress")
        options["progress"] = _part(progress, 0, len(self.members), len(inputs))
        result = replace(self, gradient=first)(victim, inputs, labels, targets, **options)
        ids, recorded = options.get("samples"), options.get("recorded")
        ids = torch.arange(len(inputs)) if ids is None else ids
        for number, name in enumerate(others, 1):
            rows = (~result.success & ~result.already_wrong).nonzero().squeeze(1)
            options["progress"] = _part(progress, number, len(self.members), len(inputs))
            again = replace(self, gradient=name)(
                victim,
                inputs[rows.to(inputs.device)],
                labels[rows.to(labels.device)],
                None if targets is None else targets[rows.to(targets.device)],
                **options | {"samples": ids[rows], "recorded": None if recorded is None else recorded.rows(rows)},
            )
            _join(result, again, rows)
            result = _traced(result, again, rows)
        if progress is not None:
            progress(len(inputs), len(inputs))
        return replace(result, notices=self._notices(victim))


def _part(progress: Progress | None, number: int, parts: int, n: int) -> Progress | None:
    """Progress of one of several attacks, of which each is a part of the way of all ``n`` samples."""
    if progress is None:
        return None
    return lambda done, of: progress((number * n + (n - of) + done) // parts, n)


def _join(result: AttackResult, again: AttackResult, rows: Tensor) -> None:
    """Note what another attack made of the samples ``rows``: its costs, and its inputs where the others failed."""
    result.adversarials[rows.to(result.adversarials.device)] = again.adversarials
    for name in ("success", "prediction", "over_budget", "moments"):
        getattr(result, name)[rows] = getattr(again, name)
    for name in ("steps", "vanished", "forwards", "backwards"):
        getattr(result, name)[rows] += getattr(again, name)


def _traced(result: AttackResult, again: AttackResult, rows: Tensor) -> AttackResult:
    """The result with the iterations of another attack behind its own."""
    if result.trace is None or again.trace is None:
        return result

    def behind(before: Tensor, after: Tensor) -> Tensor:
        longer = torch.full((len(before), after.shape[1]), Trace.NOT_RUN, dtype=before.dtype)
        longer[rows] = after
        return torch.cat([before, longer], 1)

    spikes = behind(result.trace.penultimate_spikes, again.trace.penultimate_spikes)
    return replace(result, trace=Trace(spikes, behind(result.trace.mover, again.trace.mover)))


def choose_gradient(
    attack: GradientAttack, victim: Victim, inputs: Tensor, labels: Tensor, names: Sequence[str], *, seed: int = 0
) -> str:
    """The estimator with which an attack succeeds on most inputs; of equal ones the first.

    Give other inputs than those whose success is reported, such as training images: the best of many is otherwise a
    maximum over them.

    Args:
        attack: its settings; ``gradient`` is what is chosen.
        victim: what is attacked.
        inputs, labels: to try on.
        names: of estimators, such as ``["hart:0.25", "hart:0.5", "hart:1"]``.
        seed: of the attack.
    """
    successes = [int(replace(attack, gradient=name)(victim, inputs, labels, seed=seed).success.sum()) for name in names]
    return names[successes.index(max(successes))]

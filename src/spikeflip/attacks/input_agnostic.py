"""Attacks that do the same to every input: a universal perturbation and a patch, learned before on other inputs."""

from dataclasses import dataclass
from typing import ClassVar, Unpack

import torch
from torch import Tensor

from spikeflip.attacks.budget import Budget
from spikeflip.attacks.iterated import Iterated, Options, as_budget
from spikeflip.attacks.pattern import Pattern, PatternKind
from spikeflip.attacks.result import AttackResult, Trace
from spikeflip.attacks.step import Move, Rule, Step
from spikeflip.errors import SpikeflipError
from spikeflip.snn.validation import Kind, kind_of
from spikeflip.victims import Victim


@dataclass(frozen=True, kw_only=True)
class Universal(Iterated):
    """The settings of a universal perturbation; call it with a victim and spikes, or use :func:`universal`.

    Args:
        pattern: which cells are flipped in every input, as :func:`learn_universal` and learn-pattern find them.
        budget: most perturbation a sample; unbounded when None.

    Raises:
        SpikeflipError: the pattern is none, or one of another kind.
    """

    only: ClassVar[Kind | None] = "spikes"
    kind: ClassVar[PatternKind] = "universal"
    same_in_all: ClassVar[bool] = True
    summary: ClassVar = "universal perturbation: the same cells flipped in every input, learned on others"
    source: ClassVar = "Moosavi-Dezfooli et al., CVPR 2017; on spikes Büchel et al., 2022"
    follows_gradient: ClassVar = False

    steps: ClassVar[int] = 1  # type: ignore[misc]  # no setting of this one
    pattern: Pattern | None = None
    budget: Budget | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.pattern is None:
            return
        if not isinstance(self.pattern, Pattern):
            raise SpikeflipError(f"pattern is a {type(self.pattern).__name__}: give what load_pattern returns")
        if self.pattern.kind != self.kind:
            raise SpikeflipError(
                f"the pattern is a {self.pattern.kind} one: give it to the attack {self.pattern.kind}, not {self.kind}"
            )

    def prepare(self, victim: Victim, inputs: Tensor) -> Rule:
        """See :class:`spikeflip.attacks.iterated.Iterated`."""
        if self.pattern is None:
            raise SpikeflipError(
                f"the attack {self.kind} has no pattern: learn one on other inputs with learn-pattern or "
                f"learn_{self.kind}"
            )
        shape = tuple(inputs.shape[1:])
        if kind_of(inputs, victim.input_shape, victim.coding) == "spikes" and shape != self.pattern.shape:
            raise SpikeflipError(
                f"the pattern is of inputs {self.pattern.shape}, and these are {shape}: learn one on inputs like these"
            )
        return super().prepare(victim, inputs)

    def update(self, step: Step) -> Move:
        """The original with the pattern on it."""
        assert self.pattern is not None
        places = None if self.kind == "universal" else self.pattern.places(self._numbers(step))
        moved = self.pattern.applied(step.originals, places)
        return Move(moved, torch.full((len(moved),), Trace.PATTERN, dtype=torch.int8))

    def _numbers(self, step: Step) -> Tensor:
        assert self.pattern is not None
        return step.uniform("place", (len(self.pattern.free),))


@dataclass(frozen=True, kw_only=True)
class Patch(Universal):
    """The settings of a patch; call it with a victim and spikes, or use :func:`patch`.

    Args:
        pattern: the bits of the patch and its place, as :func:`learn_patch` and learn-pattern find them; one without a
            place lies at random in each input, and again after a restart.
        budget: most perturbation a sample; unbounded when None.

    Raises:
        SpikeflipError: the pattern is none, or one of another kind.
    """

    kind: ClassVar[PatternKind] = "patch"
    summary: ClassVar = "patch: a square of pixels replaced by the same bits in every input, learned on others"
    source: ClassVar = "Brown et al., 2017; on spikes Büchel et al., 2022"


def universal(
    victim: Victim,
    inputs: Tensor,
    labels: Tensor,
    targets: Tensor | None = None,
    *,
    pattern: Pattern | None = None,
    budget: Budget | float | None = None,
    **options: Unpack[Options],
) -> AttackResult:
    """Flip the same cells in all spikes, learned by :func:`learn_universal` on other ones.

    Args:
        victim: the model under attack.
        inputs: spikes ``(N, T, *input)`` of exactly 0 and 1.
        labels: true classes ``(N,)`` int64.
        targets: wanted classes ``(N,)`` int64; untargeted when not given.
        pattern: see :class:`Universal`.
        budget: a :class:`Budget`, or a number that bounds ``mse``.
        options: ``seed``, ``samples``, ``micro_batch``, ``progress`` and ``trace``, as for :func:`scg`.

    Returns:
        An :class:`AttackResult`: one forward pass of the original, one of what the pattern makes of it; no backward
        pass. What learning took is not in it.

    Raises:
        SpikeflipError: an argument is out of range, the inputs are images, or the pattern is of others.

    Source: see :func:`learn_universal`.

    >>> from spikeflip import LIF, SpikingNetwork, learn_universal
    >>> network = SpikingNetwork("16FC-3FC", (20,), time_steps=6, neuron=LIF(0.3, 0.25), seed=0)
    >>> spikes = (torch.arange(480).reshape(4, 6, 20) % 3 == 0).float()
    >>> labels = network.scores(spikes).argmax(1)
    >>> found = learn_universal(network, spikes[:2], labels[:2], cells=5)
    >>> result = universal(network, spikes[2:], labels[2:], pattern=found)
    >>> (result.adversarials != spikes[2:]).flatten(1).sum(1).tolist() == [found.cells] * 2
    True
    """
    return Universal(pattern=pattern, budget=as_budget(budget))(victim, inputs, labels, targets, **options)


def patch(
    victim: Victim,
    inputs: Tensor,
    labels: Tensor,
    targets: Tensor | None = None,
    *,
    pattern: Pattern | None = None,
    budget: Budget | float | None = None,
    **options: Unpack[Options],
) -> AttackResult:
    """Replace a square of pixels by the same bits in all spikes, learned by :func:`learn_patch` on other ones.

    Args:
        victim: the model under attack.
        inputs: spikes ``(N, T, *input)`` of exactly 0 and 1.
        labels: true classes ``(N,)`` int64.
        targets: wanted classes ``(N,)`` int64; untargeted when not given.
        pattern: see :class:`Patch`.
        budget: a :class:`Budget`, or a number that bounds ``mse``.
        options: ``seed``, ``samples``, ``micro_batch``, ``progress`` and ``trace``, as for :func:`scg`. With
            ``restarts`` a patch without a place is tried at as many.

    Returns:
        An :class:`AttackResult`, as of :func:`universal`.

    Raises:
        SpikeflipError: an argument is out of range, the inputs are images, or the pattern is of others.

    Source: see :func:`learn_patch`.

    >>> from spikeflip import LIF, SpikingNetwork, learn_patch
    >>> network = SpikingNetwork("16FC-3FC", (20,), time_steps=6, neuron=LIF(0.3, 0.25), seed=0)
    >>> spikes = (torch.arange(480).reshape(4, 6, 20) % 3 == 0).float()
    >>> labels = network.scores(spikes).argmax(1)
    >>> found = learn_patch(network, spikes[:2], labels[:2], side=4, place=(8,))
    >>> result = patch(network, spikes[2:], labels[2:], pattern=found)
    >>> bool((result.adversarials[:, :, 8:12] == found.bits).all())
    True
    """
    return Patch(pattern=pattern, budget=as_budget(budget))(victim, inputs, labels, targets, **options)

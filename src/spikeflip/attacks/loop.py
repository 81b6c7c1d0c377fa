"""The only loop: every iterative attack is an update rule given to :func:`run`.

The loop alone knows which samples are still active, keeps the micro-batch full from those that wait, holds budgets,
counters and progress, and decides success by the paper's rule. One iteration is one encoding and one forward pass: the
pass that judges an updated input is the pass whose gradient makes the next update.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from spikeflip.attacks.budget import Budget
from spikeflip.attacks.result import AttackResult, Trace
from spikeflip.errors import SpikeflipError
from spikeflip.snn.coding import encode, winner
from spikeflip.snn.inputs import Kind, at_a_time, check_counts, check_goals, check_streams, check_values, kind_of
from spikeflip.snn.losses import Loss, score_gradient
from spikeflip.snn.probe import InputGradient
from spikeflip.victims import Probe, Victim

Progress = Callable[[int, int], None]
"""Called with the number of finished samples and of all samples."""


@dataclass(frozen=True)
class Step:
    """What an update rule sees: n active samples, each at its own iteration."""

    inputs: Tensor
    """The adversarial inputs so far, ``(n, ...)``."""
    spikes: Tensor
    """What the victim saw of ``inputs``, ``(n, T, *input)``; the images themselves where its coding is ``"direct"``."""
    samples: Tensor
    """Sample ids ``(n,)``, which name the random streams."""
    iterations: Tensor
    """``(n,)``, from 0."""
    seed: int
    targeted: bool
    classes: Tensor
    """Whose loss the attack moves, ``(n,)``: up that of the true class if untargeted, down that of the target."""
    _call: "_Call"
    _probe: Probe
    _rows: Tensor
    _index: Tensor  # where these samples are in the call

    @property
    def originals(self) -> Tensor:
        """The inputs as they were before the attack, ``(n, ...)``."""
        return self._call.inputs[self._index].to(self.inputs)

    @property
    def micro_batch(self) -> int:
        """Samples in memory at a time."""
        return self._call.micro_batch

    @property
    def judged(self) -> Tensor:
        """What the victim said of ``spikes``, ``(n, K)``."""
        return self._probe.scores[self._rows]

    def towards_goal(self, values: Tensor) -> Tensor:
        """Losses of ``classes``, or their gradients, with the sign that makes larger nearer to the goal."""
        return -values if self.targeted else values

    def gradient(
        self,
        loss: Loss,
        *,
        penultimate_threshold: float | None = None,
        output_window: float | None = None,
        rows: Tensor | None = None,
    ) -> InputGradient:
        """The direction in which the input should move (Eq. 5), ``values`` of shape ``(n, T, *input)``.

        Of the samples ``rows`` ``(m,)`` int64 alone where given.
        """
        rows = torch.arange(len(self._rows), device=self._rows.device) if rows is None else rows
        classes = self.classes[rows]

        def direction(scores: Tensor, _rows: Tensor) -> Tensor:
            return self.towards_goal(score_gradient(loss, scores, classes)[1])

        found = self._probe.input_gradient(
            direction, self._rows[rows], penultimate_threshold=penultimate_threshold, output_window=output_window
        )
        finite = torch.isfinite(found.values.flatten(1).sum(1))
        if not bool(finite.all()):
            sample = int(self.samples[rows.cpu()][~finite.cpu()][0])
            raise SpikeflipError(f"the victim's input gradient is not finite for sample {sample}: check its weights")
        return replace(found, values=found.values.to(self.spikes.dtype))  # whatever the victim computes in

    def scores(self, inputs: Tensor, rows: Tensor) -> Tensor:
        """What the untouched victim says of other inputs ``(m, ...)`` of the samples ``rows`` ``(m,)``: ``(m, K)``.

        Images are encoded with the numbers that ``spikes`` were made with. This is one forward pass an input: the rule
        counts them, gives at most ``micro_batch`` at a time, and asks for no gradient afterwards.
        """
        rows = rows.cpu()
        return self._call.victim.scores(_encode(self._call, inputs, self.samples[rows], self.iterations[rows]))


@dataclass(frozen=True)
class Move:
    """What an update rule answers for its n samples."""

    inputs: Tensor
    gradient: InputGradient | None
    """Of the victim; None where the rule asked for none."""
    vanished: Tensor
    """``(n,)`` bool: the input gradient was zero everywhere."""
    rule: Tensor
    """``(n,)`` int8, which rule moved the sample: a value of :class:`spikeflip.attacks.result.Trace`."""
    forwards: int = 0
    """Passes that the rule made of each sample, beside the one that judged it."""
    backwards: Tensor | int = 0
    """``(n,)``, backward passes beside that of ``gradient``."""


Rule = Callable[[Step], Move]


def run(
    victim: Victim,
    inputs: Tensor,
    labels: Tensor,
    targets: Tensor | None,
    rule: Rule,
    *,
    steps: int,
    budget: Budget | None = None,
    seed: int = 0,
    samples: Tensor | None = None,
    micro_batch: int = 16,
    progress: Progress | None = None,
    trace: bool = False,
    only: Kind | None = None,
) -> AttackResult:
    """Run an update rule until every sample has succeeded, failed or used its iterations.

    Args:
        victim: the model under attack.
        inputs: spikes ``(N, T, *input)`` of exactly 0 and 1, or images ``(N, *input)`` in [0, 1].
        labels: true classes ``(N,)`` int64.
        targets: wanted classes ``(N,)`` int64, none equal to its label; None for an untargeted attack.
        rule: makes the next inputs from a :class:`Step`.
        steps: most updates a sample.
        budget: most perturbation a sample; unbounded when not given.
        seed: of all random streams.
        samples: ids ``(N,)`` int64 that name the samples' streams; 0 to N - 1 when not given.
        micro_batch: samples in memory at a time.
        progress: called whenever samples finish.
        trace: record penultimate spikes and the moving rule of every iteration.
        only: the kind of inputs that the rule is defined on, where it is one.

    Returns:
        One entry a sample, in the order given; adversarials for every sample, also where the attack failed.

    Raises:
        SpikeflipError: an argument is out of range.
    """
    kind = kind_of(inputs, victim.input_shape, victim.coding)
    if only is not None and kind != only:
        raise SpikeflipError(
            f"inputs of shape {tuple(inputs.shape)} are {kind}, but this attack is defined on {only} only: choose one "
            f"for {kind}, such as scg"
        )
    check_counts(steps=steps, micro_batch=micro_batch)
    check_values(inputs, kind)
    check_goals(labels, targets, len(inputs), victim.classes)
    if budget is not None:
        budget.check(kind)
    samples = torch.arange(len(inputs)) if samples is None else samples
    check_streams(seed, samples, len(inputs))
    inputs, micro_batch = inputs.detach(), at_a_time(victim, inputs, micro_batch)
    call = _Call(victim, inputs, labels, targets, samples, kind, steps, budget, seed, micro_batch)
    result = AttackResult.blank(inputs, steps if trace else None)
    active, waiting = _Active.none(call), 0
    while True:
        fresh = torch.arange(waiting, min(len(inputs), waiting + micro_batch - len(active.index)))
        waiting += len(fresh)
        active = active.join(fresh, inputs)
        if len(active.index) == 0:
            return result
        after, finished = _iterate(call, active, rule, result)
        result.adversarials[active.index[finished]] = after[finished.to(after.device)].to(inputs)
        active = active.advance(after, ~finished)
        if progress is not None and bool(finished.any()):
            progress(waiting - len(active.index), len(inputs))


@dataclass(frozen=True)
class _Call:
    """The arguments of one call that every iteration needs."""

    victim: Victim
    inputs: Tensor
    labels: Tensor
    targets: Tensor | None
    samples: Tensor
    kind: Kind
    steps: int
    budget: Budget | None
    seed: int
    micro_batch: int


def _encode(call: _Call, inputs: Tensor, samples: Tensor, iterations: Tensor) -> Tensor:
    victim = call.victim
    return encode(
        inputs,
        victim.input_shape,
        victim.time_steps,
        coding=victim.coding,
        seed=call.seed,
        samples=samples,
        step=iterations,
    )


def _iterate(call: _Call, active: "_Active", rule: Rule, result: AttackResult) -> tuple[Tensor, Tensor]:
    """One encoding and forward pass of the active samples, and an update of those that it does not finish.

    Returns the inputs after it, ``(n, ...)``, and which samples are finished, ``(n,)`` bool.
    """
    spikes = _encode(call, active.inputs, call.samples[active.index], active.iteration)
    probe = call.victim.probe(spikes)
    result.forwards[active.index] += 1
    finished = _judge(result, active, winner(probe.scores).cpu(), call)
    rows = (~finished).nonzero().squeeze(1)
    if len(rows) == 0:
        return active.inputs, finished
    step = _step(call, active, rows, spikes, probe)
    move = rule(step)
    moved, over = move.inputs, torch.zeros_like(move.vanished)
    if call.budget is not None:
        originals = step.originals
        moved = call.budget.project(moved, originals)
        over = call.budget.exceeded(moved, originals)
    # What nothing moved would meet the same zero gradient for ever, but for rate-coded images: they are encoded afresh.
    still = (moved == step.inputs).flatten(1).all(1)
    stuck = still & (move.rule == Trace.UNMOVED) & (call.kind == "spikes" or call.victim.coding != "rate")
    index = active.index[rows]
    result.record(index, step.iterations, move.gradient, move.vanished, move.rule, over)
    result.forwards[index] += move.forwards
    result.backwards[index] += move.backwards if isinstance(move.backwards, int) else move.backwards.cpu()
    result.steps[index] += (~over).long().cpu()
    after = active.inputs.clone()
    after[step._rows] = torch.where(_as_column(over, moved), step.inputs, moved)
    finished[rows] = (over | stuck).cpu()
    return after, finished


def _step(call: _Call, active: "_Active", rows: Tensor, spikes: Tensor, probe: Probe) -> Step:
    index, on_device = active.index[rows], rows.to(call.victim.device)
    classes = call.labels if call.targets is None else call.targets
    inputs = active.inputs[on_device]
    return Step(
        inputs=inputs,
        spikes=inputs if spikes is active.inputs else spikes[on_device],
        samples=call.samples[index],
        iterations=active.iteration[rows],
        seed=call.seed,
        targeted=call.targets is not None,
        classes=classes[index].to(call.victim.device),
        _call=call,
        _probe=probe,
        _rows=on_device,
        _index=index,
    )


@dataclass(frozen=True)
class _Active:
    """The samples under way: their positions in the call, iterations done, and inputs so far."""

    index: Tensor
    iteration: Tensor
    inputs: Tensor

    @classmethod
    def none(cls, call: _Call) -> "_Active":
        nothing = torch.empty(0, dtype=torch.int64)
        dtype = call.inputs.dtype if call.kind == "images" else torch.float32
        return cls(nothing, nothing, torch.empty((0, *call.inputs.shape[1:]), dtype=dtype, device=call.victim.device))

    def join(self, fresh: Tensor, inputs: Tensor) -> "_Active":
        if len(fresh) == 0:
            return self
        return _Active(
            torch.cat([self.index, fresh]),
            torch.cat([self.iteration, torch.zeros_like(fresh)]),
            torch.cat([self.inputs, inputs[fresh].to(self.inputs)]),
        )

    def advance(self, inputs: Tensor, kept: Tensor) -> "_Active":
        return _Active(self.index[kept], self.iteration[kept] + 1, inputs[kept.to(inputs.device)])


def _judge(result: AttackResult, active: _Active, winners: Tensor, call: _Call) -> Tensor:
    """Record what the victim says of every active sample; returns which are finished, ``(n,)`` bool."""
    index, first = active.index, active.iteration == 0
    right = winners == call.labels[index].cpu()
    won = (winners >= 0) & ~right if call.targets is None else winners == call.targets[index].cpu()
    result.prediction[index] = winners
    result.already_wrong[index[first]] = ~right[first]
    result.success[index] = won & ~first
    return torch.where(first, ~right, won) | (active.iteration == call.steps)


def _as_column(mask: Tensor, like: Tensor) -> Tensor:
    return mask.reshape(-1, *[1] * (like.ndim - 1))

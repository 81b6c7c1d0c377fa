"""The only loop: every iterative attack is an update rule given to :func:`run`.

The loop alone knows which samples are still active, keeps the micro-batch full from those that wait, holds budgets,
counters, memories and progress, and keeps of each sample what its stop policy likes best. One iteration is one encoding
and one forward pass: the pass that judges an updated input is the pass whose gradient makes the next update.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from spikeflip.attacks.budget import Budget
from spikeflip.attacks.metrics import Change, Recorded
from spikeflip.attacks.result import AttackResult
from spikeflip.attacks.stop import FirstSuccess, Judged, Stop
from spikeflip.errors import SpikeflipError
from spikeflip.snn.coding import encode_for, winner
from spikeflip.snn.gradients import GradientRequest, InputGradient
from spikeflip.snn.losses import Loss, score_gradient
from spikeflip.snn.memory import Memory
from spikeflip.snn.validation import Kind, at_a_time, check_counts, check_goals, check_streams, check_values, kind_of
from spikeflip.streams import Purpose, uniform
from spikeflip.victims import Probe, Victim
from spikeflip.victims.victim import takes_counts

Progress = Callable[[int, int], None]
"""Called with the number of finished samples and of all samples."""

_RESTART = 2**32
"""How far the random streams of a restart lie behind those of the one before, in iterations."""


@dataclass(frozen=True)
class Step:
    """What an update rule sees: n active samples, each at its own iteration."""

    inputs: Tensor
    """The adversarial inputs so far, ``(n, ...)``."""
    spikes: Tensor
    """What the victim saw of ``inputs``, ``(n, T, *input)``; the images themselves where its coding is ``"direct"``."""
    iterations: Tensor
    """``(n,)``, from 0, and from 0 again after a restart."""
    targeted: bool
    classes: Tensor
    """Whose loss the attack moves, ``(n,)``: up that of the true class if untargeted, down that of the target."""
    success: Tensor
    """``(n,)`` bool: ``inputs`` reach the goal already; only under a policy that goes on all the same."""
    memory: Memory
    """What the rule keeps of each sample from one iteration to the next."""
    samples: Tensor
    """Sample ids ``(n,)``."""
    _call: "_Call"
    _probe: Probe
    _rows: Tensor
    _index: Tensor  # where these samples are in the call
    _moments: Tensor  # in the random streams of each sample

    @property
    def originals(self) -> Tensor:
        """The inputs as they were before the attack, ``(n, ...)``."""
        return self._call.inputs[self._index].to(self.inputs)

    @property
    def counts(self) -> bool:
        """Whether ``inputs`` are counts of events, and not of 0 and 1."""
        return self._call.kind == "spikes" and takes_counts(self._call.victim)

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

    def uniform(self, purpose: Purpose, shape: Sequence[int], rows: Tensor | None = None) -> Tensor:
        """Numbers in [0, 1) of these samples' own streams ``(n, *shape)``, new in each iteration and restart.

        Of the samples ``rows`` ``(n,)`` bool alone where given.
        """
        rows = torch.ones(len(self.samples), dtype=torch.bool) if rows is None else rows.cpu()
        ids, moments = self.samples[rows], self._moments[rows]
        return uniform(self._call.seed, ids, purpose, moments, shape, self.inputs.device)

    def gradient(self, loss: Loss, request: GradientRequest | None = None) -> InputGradient:
        """The direction in which the input should move (Eq. 5), ``values`` of shape ``(n, T, *input)``.

        Args:
            loss: of the scores.
            request: of which samples, and with what; of all, and as the victim is, when not given. Its memory is the
                one of this step, unless it brings its own.
        """
        request = request or GradientRequest()
        rows = request.rows_of(len(self._rows), self._rows.device)
        memory = self.memory.of(rows) if request.memory is None else request.memory
        classes = self.classes[rows]

        def direction(scores: Tensor, _rows: Tensor) -> Tensor:
            return self.towards_goal(score_gradient(loss, scores, classes)[1])

        found = self._probe.input_gradient(direction, replace(request, rows=self._rows[rows], memory=memory))
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
        return self._call.victim.scores(_encode(self._call, inputs, self.samples[rows], self._moments[rows]))


@dataclass(frozen=True)
class Move:
    """What an update rule answers for its n samples."""

    inputs: Tensor
    mover: Tensor
    """``(n,)`` int8, what moved the sample: a value of :class:`spikeflip.attacks.result.Trace`, recorded only."""
    gradient: InputGradient | None = None
    """Of the victim; None where the rule asked for none."""
    vanished: Tensor | None = None
    """``(n,)`` bool: the input gradient was zero everywhere; nowhere if None."""
    stuck: Tensor | None = None
    """``(n,)`` bool: what the victim saw gives the rule nothing to do, now or ever; of none if None."""
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
    asks: GradientRequest | None = None,
    stop: Stop | None = None,
    restarts: int = 1,
    seed: int = 0,
    samples: Tensor | None = None,
    micro_batch: int = 16,
    progress: Progress | None = None,
    trace: bool = False,
    only: Kind | None = None,
    counts: bool = False,
    recorded: Recorded | None = None,
) -> AttackResult:
    """Run an update rule until the stop policy is done with every sample, or its iterations are used.

    Args:
        victim: the model under attack.
        inputs: spikes ``(N, T, *input)`` of exactly 0 and 1, or images ``(N, *input)`` in [0, 1].
        labels: true classes ``(N,)`` int64.
        targets: wanted classes ``(N,)`` int64, none equal to its label; None for an untargeted attack.
        rule: makes the next inputs from a :class:`Step`.
        steps: most updates a sample, after each start.
        budget: most perturbation a sample; unbounded when not given.
        asks: what gradients the rule will ask for, where it is not the victim's own; spares wrapped models a pass.
        stop: when a sample is done, and which success is kept; the first when not given.
        restarts: how often a sample may begin, each time from its original and with other random numbers.
        seed: of all random streams.
        samples: ids ``(N,)`` int64 that name the samples' streams; 0 to N - 1 when not given.
        micro_batch: samples in memory at a time.
        progress: called whenever samples finish.
        trace: record penultimate spikes and what moved the sample, of every iteration.
        only: the kind of inputs that the rule is defined on, where it is one.
        counts: whether spikes may be counts of events.
        recorded: of the recordings that the spikes are frames of, for budgets and policies that are measured on them.

    Returns:
        One entry a sample, in the order given; adversarials for every sample, where the attack failed its last inputs.

    Raises:
        SpikeflipError: an argument is out of range.
    """
    kind = kind_of(inputs, victim.input_shape, victim.coding)
    if only is not None and kind != only:
        raise SpikeflipError(
            f"inputs of shape {tuple(inputs.shape)} are {kind}, but this attack is defined on {only} only: choose one "
            f"for {kind}, such as scg"
        )
    check_counts(steps=steps, micro_batch=micro_batch, restarts=restarts)
    check_values(inputs, kind, counts=counts)
    check_goals(labels, targets, len(inputs), victim.classes)
    if budget is not None:
        budget.check(kind, recorded=recorded is not None)
    samples = torch.arange(len(inputs)) if samples is None else samples
    check_streams(seed, samples, len(inputs))
    inputs = inputs.detach().clone() if inputs.is_inference() else inputs.detach()
    micro_batch = at_a_time(victim, inputs, micro_batch)
    call = _Call(
        victim, inputs, labels, targets, samples, kind, steps, budget, asks, stop or FirstSuccess(), restarts, seed,
        micro_batch, recorded,
    )  # fmt: skip
    result = AttackResult.blank(inputs, steps * restarts if trace else None)
    lowest = torch.full((len(inputs),), torch.inf, dtype=torch.float64)
    active, waiting = _Active.none(call), 0
    while True:
        fresh = torch.arange(waiting, min(len(inputs), waiting + micro_batch - len(active.index)))
        waiting += len(fresh)
        active = active.join(fresh, inputs)
        if len(active.index) == 0:
            result.over_budget.logical_and_(~result.success)
            return result
        active, finished = _iterate(call, active, rule, result, lowest)
        if progress is not None and finished:
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
    asks: GradientRequest | None
    stop: Stop
    restarts: int
    seed: int
    micro_batch: int
    recorded: Recorded | None

    def change(self, index: Tensor, inputs: Tensor) -> Change:
        """What became of the samples at ``index``."""
        recorded = None if self.recorded is None else self.recorded.rows(index)
        return Change(self.inputs[index].to(inputs), inputs, recorded)


def _encode(call: _Call, inputs: Tensor, samples: Tensor, moments: Tensor) -> Tensor:
    return encode_for(call.victim, inputs, seed=call.seed, samples=samples, step=moments)


def _iterate(
    call: _Call, active: "_Active", rule: Rule, result: AttackResult, lowest: Tensor
) -> tuple["_Active", bool]:
    """One encoding and forward pass of the active samples, and an update of those that it does not end.

    Returns the samples that go on, and whether any is finished. ``lowest`` ``(N,)`` is the cost of what is kept.
    """
    spikes = _encode(call, active.inputs, call.samples[active.index], active.moments)
    probe = call.victim.probe(spikes, call.asks)
    result.forwards[active.index] += 1
    success, done = _judge(call, active, winner(probe.scores).cpu(), result, lowest)
    ended, after = done | (active.iteration == call.steps), active.inputs
    rows = (~ended).nonzero().squeeze(1)
    if len(rows):
        step = _step(call, active, rows, spikes, probe, success)
        moved, ended[rows] = _update(call, step, active.restart[rows], rule(step), result)
        after = after.clone()
        after[step._rows] = moved
    again = ended & ~done & (active.restart + 1 < call.restarts)
    finished = ended & ~again
    failed = finished & (lowest[active.index] == torch.inf)
    result.adversarials[active.index[failed]] = after[failed.to(after.device)].to(result.adversarials)
    return active.advance(after, ~finished, again, call.inputs), bool(finished.any())


def _judge(
    call: _Call, active: "_Active", winners: Tensor, result: AttackResult, lowest: Tensor
) -> tuple[Tensor, Tensor]:
    """Record what the victim says of every active sample, and keep what is better than all before.

    Returns which have reached the goal, and which nothing more is wanted of; ``(n,)`` bool.
    """
    index, begun = active.index, active.iteration == 0
    first = begun & (active.restart == 0)
    right = winners == call.labels[index].cpu()
    success = (winners >= 0) & ~right if call.targets is None else winners == call.targets[index].cpu()
    success &= ~begun
    verdict = call.stop(Judged(call.change(index, active.inputs), success))
    better = verdict.cost < lowest[index]
    lowest[index[better]] = verdict.cost[better]
    result.adversarials[index[better]] = active.inputs[better.to(active.inputs.device)].to(result.adversarials)
    result.success[index[better]] = True
    told = better | ~result.success[index]
    result.prediction[index[told]] = winners[told]
    result.already_wrong[index[first]] = ~right[first]
    return success, verdict.done | (first & ~right)


def _step(call: _Call, active: "_Active", rows: Tensor, spikes: Tensor, probe: Probe, success: Tensor) -> Step:
    index, on_device = active.index[rows], rows.to(call.victim.device)
    classes = call.labels if call.targets is None else call.targets
    inputs = active.inputs[on_device]
    return Step(
        inputs=inputs,
        spikes=inputs if spikes is active.inputs else spikes[on_device],
        iterations=active.iteration[rows],
        targeted=call.targets is not None,
        classes=classes[index].to(call.victim.device),
        success=success[rows],
        memory=active.memory.of(rows),
        samples=call.samples[index],
        _call=call,
        _probe=probe,
        _rows=on_device,
        _index=index,
        _moments=active.moments[rows],
    )


def _update(call: _Call, step: Step, restart: Tensor, move: Move, result: AttackResult) -> tuple[Tensor, Tensor]:
    """What a move makes of the samples of a step within the budget, and which of them can go no further."""
    none = torch.zeros(len(step.inputs), dtype=torch.bool, device=step.inputs.device)
    moved, over = move.inputs, none
    if call.budget is not None:
        moved = call.budget.project(moved, step.originals)
        over = call.budget.exceeded(call.change(step._index, moved))
    stuck = none
    # What the victim saw would be the same again, but for rate-coded images: they are encoded afresh.
    if move.stuck is not None and (call.kind == "spikes" or call.victim.coding != "rate"):
        stuck = move.stuck & (moved == step.inputs).flatten(1).all(1)
    vanished = none if move.vanished is None else move.vanished
    number = step.iterations + restart * call.steps
    result.record(step._index, number, move.gradient, vanished, move.mover, over)
    result.forwards[step._index] += move.forwards
    result.backwards[step._index] += move.backwards if isinstance(move.backwards, int) else move.backwards.cpu()
    result.steps[step._index] += (~over).long().cpu()
    return torch.where(_as_column(over, moved), step.inputs, moved), (over | stuck).cpu()


@dataclass(frozen=True)
class _Active:
    """The samples under way: where they are in the call, updates and restarts made, inputs so far, and memory."""

    index: Tensor
    iteration: Tensor
    restart: Tensor
    inputs: Tensor
    memory: Memory

    @classmethod
    def none(cls, call: _Call) -> "_Active":
        nothing = torch.empty(0, dtype=torch.int64)
        dtype = call.inputs.dtype if call.kind == "images" else torch.float32
        inputs = torch.empty((0, *call.inputs.shape[1:]), dtype=dtype, device=call.victim.device)
        return cls(nothing, nothing, nothing, inputs, Memory(0))

    @property
    def moments(self) -> Tensor:
        """Where each sample is in its random streams, ``(n,)``."""
        return self.iteration + self.restart * _RESTART

    def join(self, fresh: Tensor, inputs: Tensor) -> "_Active":
        if len(fresh) == 0:
            return self
        zeros = torch.zeros_like(fresh)
        return _Active(
            torch.cat([self.index, fresh]),
            torch.cat([self.iteration, zeros]),
            torch.cat([self.restart, zeros]),
            torch.cat([self.inputs, inputs[fresh].to(self.inputs)]),
            self.memory.joined(len(fresh)),
        )

    def advance(self, after: Tensor, kept: Tensor, again: Tensor, originals: Tensor) -> "_Active":
        """The samples ``kept``, with the inputs ``after``; those that begin ``again`` as they were at first."""
        if bool(again.any()):
            after = after.clone()
            after[again.to(after.device)] = originals[self.index[again]].to(after)
            self.memory.forget(again)
        return _Active(
            self.index[kept],
            torch.where(again, 0, self.iteration + 1)[kept],
            (self.restart + again)[kept],
            after[kept.to(after.device)],
            self.memory.selected(kept),
        )


def _as_column(mask: Tensor, like: Tensor) -> Tensor:
    return mask.reshape(-1, *[1] * (like.ndim - 1))

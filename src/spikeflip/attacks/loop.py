"""The only loop: every iterative attack is an update rule given to :func:`run`.

The loop alone knows which samples are still active, keeps the micro-batch full from those that wait, holds budgets,
counters, memories and progress, and keeps of each sample what its stop policy likes best. One iteration is one encoding
and one forward pass: the pass that judges an updated input is the pass whose gradient makes the next update.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from spikeflip.attacks.budget import Budget
from spikeflip.attacks.metrics import METRICS, Recorded
from spikeflip.attacks.reduce import Units, each_flip, reduce_flips
from spikeflip.attacks.result import AttackResult
from spikeflip.attacks.step import Call, Move, Rule, Step, encode_again
from spikeflip.attacks.stop import FirstSuccess, Judged, Smallest, Stop, Verified
from spikeflip.errors import SpikeflipError
from spikeflip.snn.coding import reached, winner
from spikeflip.snn.gradients import GradientRequest
from spikeflip.snn.memory import Memory
from spikeflip.snn.validation import Kind, at_a_time, check_counts, check_goals, check_streams, check_values, kind_of
from spikeflip.victims import Probe, Victim

Progress = Callable[[int, int], None]
"""Called with the number of finished samples and of all samples."""

REDUCE_ON_IMAGES = "reduce undoes flips of spikes, and the inputs are images: leave it out"
_MOST_LOOKS = 2**20
"""Further encodings of a sample in one iteration."""
_RESTART = 2**32
"""How far the random streams of a restart lie behind those of the one before, in iterations."""
_MOST_STARTS = 2**63 // (_RESTART * _MOST_LOOKS)
"""Whose streams have numbers."""


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
    reduce: bool | None = False,
    units: Units = each_flip,
    decisions_only: bool = False,
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
        reduce: undo flips of every success until no single one can be undone; see :func:`reduce_flips`.
        units: what is undone together.
        decisions_only: whether the attack may look at nothing but what the victim says.
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
    if restarts > _MOST_STARTS:
        raise SpikeflipError(f"restarts is {restarts:,}: give at most {_MOST_STARTS:,}")
    check_values(inputs, kind, counts=counts)
    check_goals(labels, targets, len(inputs), victim.classes)
    if budget is not None:
        budget.check(kind, recorded=recorded is not None)
    _check_wishes(victim, kind, stop, reduce=bool(reduce), counts=counts, recorded=recorded is not None)
    samples = torch.arange(len(inputs)) if samples is None else samples
    check_streams(seed, samples, len(inputs))
    inputs = inputs.detach().clone() if inputs.is_inference() else inputs.detach()
    micro_batch = at_a_time(victim, inputs, micro_batch)
    call = Call(
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
            break
        active, finished = _iterate(call, active, rule, result, lowest)
        if progress is not None and finished:
            progress(waiting - len(active.index), len(inputs))
    result.over_budget.logical_and_(~result.success)
    if reduce:
        _reduce(call, result, units, decisions_only)
    return result


def _check_wishes(victim: Victim, kind: Kind, stop: Stop | None, *, reduce: bool, counts: bool, recorded: bool) -> None:
    """Raise a SpikeflipError where a policy, or a reduction, is asked for that says nothing about the inputs."""
    if stop is not None and not callable(stop):
        raise SpikeflipError(f"stop is {stop!r:.80}: give a policy, such as FirstSuccess() or Verified(0.9)")
    if isinstance(stop, Smallest):
        METRICS[stop.metric].check(kind, recorded=recorded)
    if isinstance(stop, Verified) and (kind != "images" or victim.coding != "rate"):
        raise SpikeflipError(
            f"confidence is {stop.confidence}, but nothing is drawn to encode these inputs: leave it out"
        )
    if reduce and kind != "spikes":
        raise SpikeflipError(REDUCE_ON_IMAGES)
    if reduce and counts:
        raise SpikeflipError("reduce undoes flips of spikes, and the inputs are counts of events: leave it out")


def _iterate(call: Call, active: "_Active", rule: Rule, result: AttackResult, lowest: Tensor) -> tuple["_Active", bool]:
    """One encoding and forward pass of the active samples, and an update of those that it does not end.

    Returns the samples that go on, and whether any is finished. ``lowest`` ``(N,)`` is the cost of what is kept.
    """
    spikes = encode_again(call, active.inputs, call.samples[active.index], active.moments)
    probe = call.victim.probe(spikes, call.asks)
    result.forwards[active.index] += 1
    looks = _Looks(call, active, result)
    success, done = _judge(call, active, winner(probe.scores).cpu(), result, lowest, looks)
    ended, after = done | (active.iteration == call.steps), active.inputs
    rows = (~ended).nonzero().squeeze(1)
    if len(rows):
        if bool(looks.drawn.any()):  # the victim ran meanwhile, and a pass holds until it does
            probe = call.victim.probe(spikes, call.asks)
            result.forwards[active.index[rows]] += (looks.drawn[rows] > 0).long()
        step = _step(call, active, rows, spikes, probe, success)
        moved, ended[rows] = _update(call, step, active.restart[rows], rule(step), result)
        after = after.clone()
        after[step._rows] = moved
    again = ended & ~done & (active.restart + 1 < call.restarts)
    finished = ended & ~again
    failed = finished & (lowest[active.index] == torch.inf)
    result.adversarials[active.index[failed]] = after[failed.to(after.device)].to(result.adversarials)
    return active.advance(after, ~finished, again, call.inputs), bool(finished.any())


def _reduce(call: Call, result: AttackResult, units: Units, decisions_only: bool) -> None:
    """Undo what the successes did not need, but where less of it is more by the budget's metric."""
    rows = result.success.nonzero().squeeze(1)
    on_device = rows.to(result.adversarials.device)
    reduced = reduce_flips(
        call.victim,
        call.inputs[on_device],
        result.adversarials[on_device],
        call.labels.cpu()[rows],
        None if call.targets is None else call.targets.cpu()[rows],
        units=units,
        decisions_only=decisions_only,
        micro_batch=call.micro_batch,
    )
    result.forwards[rows] += reduced.forwards
    held = torch.ones(len(rows), dtype=torch.bool)
    if call.budget is not None:
        held = ~call.budget.exceeded(call.change(rows, reduced.adversarials.float())).cpu()
    rows, reached_by = rows[held], reduced.adversarials[held.to(reduced.adversarials.device)]
    result.adversarials[rows.to(on_device.device)] = reached_by.to(result.adversarials)
    result.prediction[rows] = reduced.prediction[held]


class _Looks:
    """Further encodings of the samples under way, for their policy; ``drawn`` ``(n,)`` are how many in this pass."""

    def __init__(self, call: Call, active: "_Active", result: AttackResult) -> None:
        self.call, self.active, self.result = call, active, result
        self.drawn = torch.zeros_like(active.index)

    def fresh(self, rows: Tensor, draws: int) -> Tensor:
        """See :class:`spikeflip.attacks.stop.Judged`."""
        call, active = self.call, self.active
        first = active.moments[rows] * _MOST_LOOKS + self.drawn[rows]
        self.drawn[rows] += draws
        self.result.forwards[active.index[rows]] += draws
        moments = (first.unsqueeze(1) + torch.arange(draws)).flatten()
        each = rows.repeat_interleave(draws)
        won = []
        for part, when in zip(each.split(call.micro_batch), moments.split(call.micro_batch), strict=True):
            index, inputs = active.index[part], active.inputs[part.to(active.inputs.device)]
            spikes = encode_again(call, inputs, call.samples[index], when, "confirm")
            won.append(_reached(call, index, winner(call.victim.scores(spikes)).cpu()))
        return torch.cat(won).reshape(len(rows), draws)


def _reached(call: Call, index: Tensor, winners: Tensor) -> Tensor:
    """Whether what the victim says of samples is the goal, ``(n,)`` bool."""
    classes = call.labels if call.targets is None else call.targets
    return reached(winners, classes[index].cpu(), targeted=call.targets is not None)


def _judge(
    call: Call, active: "_Active", winners: Tensor, result: AttackResult, lowest: Tensor, looks: _Looks
) -> tuple[Tensor, Tensor]:
    """Record what the victim says of every active sample, and keep what is better than all before.

    Returns which have reached the goal, and which nothing more is wanted of; ``(n,)`` bool.
    """
    index, begun = active.index, active.iteration == 0
    first = begun & (active.restart == 0)
    right = winners == call.labels[index].cpu()
    success = _reached(call, index, winners) & ~begun
    verdict = call.stop(Judged(call.change(index, active.inputs), success, active.kept, looks.fresh))
    better = verdict.cost < lowest[index]
    lowest[index[better]] = verdict.cost[better]
    result.adversarials[index[better]] = active.inputs[better.to(active.inputs.device)].to(result.adversarials)
    result.success[index[better]] = True
    told = better | ~result.success[index]
    result.prediction[index[told]] = winners[told]
    assert result.moments is not None
    result.moments[index[told]] = active.moments[told]
    result.already_wrong[index[first]] = ~right[first]
    return success, verdict.done | (first & ~right)


def _step(call: Call, active: "_Active", rows: Tensor, spikes: Tensor, probe: Probe, success: Tensor) -> Step:
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


def _update(call: Call, step: Step, restart: Tensor, move: Move, result: AttackResult) -> tuple[Tensor, Tensor]:
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
    result.forwards[step._index] += move.forwards if isinstance(move.forwards, int) else move.forwards.cpu()
    result.backwards[step._index] += move.backwards if isinstance(move.backwards, int) else move.backwards.cpu()
    result.steps[step._index] += (~over).long().cpu()
    return torch.where(_as_column(over, moved), step.inputs, moved), (over | stuck).cpu()


@dataclass(frozen=True)
class _Active:
    """The samples under way: where they are in the call, updates and restarts made, inputs so far, and memories."""

    index: Tensor
    iteration: Tensor
    restart: Tensor
    inputs: Tensor
    memory: Memory
    """The rule's, begun anew by a restart."""
    kept: Memory
    """The stop policy's, of all starts."""

    @classmethod
    def none(cls, call: Call) -> "_Active":
        nothing = torch.empty(0, dtype=torch.int64)
        dtype = call.inputs.dtype if call.kind == "images" else torch.float32
        inputs = torch.empty((0, *call.inputs.shape[1:]), dtype=dtype, device=call.victim.device)
        return cls(nothing, nothing, nothing, inputs, Memory(0), Memory(0))

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
            self.kept.joined(len(fresh)),
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
            self.kept.selected(kept),
        )


def _as_column(mask: Tensor, like: Tensor) -> Tensor:
    return mask.reshape(-1, *[1] * (like.ndim - 1))

"""The worst case of a threat model: attack after attack of a suite, each on what still stands."""

from dataclasses import dataclass

import torch
from torch import Tensor

from spikeflip.attacks import Recorded
from spikeflip.errors import SpikeflipError
from spikeflip.evaluation.findings import Verdict
from spikeflip.evaluation.masking import MOST, TooLittleError, masking_verdict
from spikeflip.evaluation.members import Conditions, Found, Progress, Samples, run_member
from spikeflip.evaluation.outcome import Evaluation, MemberResult
from spikeflip.evaluation.suites import Member, Suite, suite_of
from spikeflip.evaluation.threats import Threat, threat_of
from spikeflip.judging import fresh_draws
from spikeflip.judging.distances import alone
from spikeflip.judging.judgement import shared_inputs
from spikeflip.snn.network import ReluNetwork, SpikingNetwork
from spikeflip.snn.validation import (
    check_counts,
    check_goals,
    check_streams,
    check_tensor,
    check_values,
    kind_of,
)
from spikeflip.victims import Victim
from spikeflip.victims.victim import check_victim, takes_counts


@dataclass
class _Worst:
    """The worst case so far of n samples."""

    distance: Tensor
    by: Tensor
    broken: Tensor
    by_attack: Tensor
    adversarials: Tensor

    @classmethod
    def none(cls, inputs: Tensor) -> "_Worst":
        n = len(inputs)
        no = torch.zeros(n, dtype=torch.bool)
        infinite = torch.full((n,), torch.inf, dtype=torch.float64)
        return cls(infinite, torch.full((n,), -1), no, no.clone(), inputs.detach().cpu().clone())

    def take(self, number: int, member: Member, found: Found) -> None:
        """Note what a member found; of equal distances the first stays."""
        nearer = found.distance < self.distance[found.rows]
        rows = found.rows[nearer]
        self.distance[rows], self.by[rows] = found.distance[nearer], number
        self.broken[found.rows] |= found.within
        if not member.control:
            self.by_attack[found.rows] |= found.within
        chosen = nearer[found.within]
        self.adversarials[found.rows[found.within][chosen]] = found.adversarials[chosen].to(self.adversarials)


def evaluate(
    victim: Victim,
    inputs: Tensor,
    labels: Tensor,
    targets: Tensor | None = None,
    *,
    threat: str,
    budget: float,
    suite: str | None = None,
    every: bool = False,
    verdict: bool = False,
    draws: int = 20,
    seed: int = 0,
    samples: Tensor | None = None,
    index: Tensor | None = None,
    micro_batch: int = 16,
    recorded: Recorded | None = None,
    progress: Progress | None = None,
    attacked: Victim | None = None,
    twin: Victim | None = None,
) -> Evaluation:
    """Find the worst case of every input within a budget, by all attacks of a threat model's suite.

    Controls are run on all inputs that are right at first. Each attack is run on those that no attack before it broke.
    What it gives back is judged on the untouched victim, whatever the attack says itself: of images whose coding is
    random, over fresh encodings, of which more than half must fool; and an input is right at first where its label wins
    in the encoding that attacks begin with, and no more than half of the fresh ones fool.

    Args:
        victim: the model, as it is.
        inputs: images ``(N, *input)`` in [0, 1] or spikes ``(N, T, *input)`` of exactly 0 and 1, at least one.
        labels: true classes ``(N,)`` int64.
        targets: wanted classes ``(N,)`` int64; untargeted when not given.
        threat: ``"binary-l0"``, flips of spikes; ``"events"``, events of recordings taken out and put in;
            ``"timing"``, spikes that change their time bin alone; ``"image-linf"`` or ``"image-mse"``, of pixels.
        budget: of spikes a share of each sample's own spikes, of ``events`` of its events, in whole ones rounded down;
            of images the most in their metric. With 0 nothing is attacked, and robust accuracy is clean accuracy.
        suite: with its version, such as ``"binary-l0/1"``; the newest of the threat when not given.
        every: run all attacks on all inputs that are right at first, which tells what each breaks alone; takes longer.
        verdict: say too whether gradients are masked, of the first 64 inputs that are right; see
            :func:`spikeflip.evaluation.masking_verdict`. With a budget of 0, or fewer than 8 inputs that are
            right, there is none.
        draws: fresh encodings that decide on an image; one is enough, and made, where its coding is not random.
        seed: of all random streams.
        samples: ids ``(N,)`` int64 that name the samples' streams; 0 to N - 1 when not given.
        index: which input each sample is, ``(N,)``, where several targets share one; see :func:`spikeflip.judge`.
        micro_batch: samples in memory at a time.
        recorded: of the recordings that the inputs are frames of; attacks are given it, and ``events`` needs it.
        progress: called with the name of a member, and the samples that it is done with and was given.
        attacked: the same victim as attacks meet it, such as on another engine; the victim itself when not given.
        twin: the victim's ReLU twin, whose adversarial images are a control; for a spiking network that with its own
            weights when not given, and for others none.

    Returns:
        An :class:`Evaluation`; its ``verdict`` is None where none was asked for.

    Raises:
        SpikeflipError: an argument is out of range, the threat does not fit the inputs, there is no such suite, or none
            of its attacks can attack this victim.

    Source: F. Croce and M. Hein, Reliable Evaluation of Adversarial Robustness with an Ensemble of Diverse
    Parameter-free Attacks, ICML 2020, for the worst case over attacks of which each sees what still stands.

    >>> from spikeflip import SpikingNetwork
    >>> network = SpikingNetwork("16FC-3FC", (20,), time_steps=6, seed=1)
    >>> spikes = (torch.arange(240).reshape(2, 6, 20) % 3 == 0).float()
    >>> found = evaluate(network, spikes, network.scores(spikes).argmax(1), threat="binary-l0", budget=0)
    >>> found.robust_accuracy == found.clean_accuracy
    True
    """
    chosen, threat_model = suite_of(threat, suite), threat_of(threat)
    _check(victim, inputs, labels, targets, threat_model, budget, recorded, micro_batch=micro_batch, draws=draws)
    ids = torch.arange(len(inputs)) if samples is None else samples
    check_streams(seed, ids, len(inputs))
    shared = shared_inputs(index, len(inputs))
    kind = threat_model.kind
    draws = fresh_draws(kind, victim.coding, draws)
    if twin is None and kind == "images" and isinstance(victim, SpikingNetwork):
        twin = ReluNetwork.twin_of(victim)
    how = Conditions(victim, attacked or victim, threat_model, budget, draws, seed, micro_batch, twin)
    own = threat_model.own(inputs, recorded)
    limits = threat_model.limits(own, budget)
    inputs, labels, given = inputs.detach(), labels.cpu(), inputs.dtype
    if kind == "spikes":
        inputs = inputs.float()
    all_samples = Samples(inputs, labels, None if targets is None else targets.cpu(), ids, limits, recorded)
    fooled, right = how.fooled(all_samples, inputs)
    right &= ~fooled
    worst, found = _Worst.none(inputs), []
    for number, member in enumerate(chosen.members):
        spared = torch.zeros_like(right) if member.control or every else worst.by_attack
        rows = (right & (limits > 0) & ~spared).nonzero().squeeze(1)
        one = run_member(member, all_samples, rows, how, progress)
        worst.take(number, member, one)
        found.append(one)
    _check_any(chosen, found)
    said = None
    if verdict and budget > 0:
        some = all_samples.rows(looked_at(right, shared.get("input")))
        said = verdict_on(
            victim,
            some.inputs,
            some.labels,
            some.targets,
            threat=threat,
            budget=budget,
            seed=seed,
            micro_batch=micro_batch,
            samples=some.ids,
            attacked=attacked,
        )
    return Evaluation(
        suite=chosen.name,
        threat=threat,
        budget=budget,
        kind=kind,
        draws=draws,
        seed=seed,
        every=every,
        rows={
            **shared,
            "sample": ids,
            "label": labels,
            "target": torch.full_like(labels, -1) if targets is None else targets.cpu(),
            "right": right,
            "own": own,
            "limit": limits,
            "broken": worst.broken,
            "distance": worst.distance,
            "by": worst.by,
            "by_attack": worst.by_attack,
        },
        members=_results(chosen, found, len(inputs), every),
        adversarials=worst.adversarials.to(given),
        verdict=said,
    )


def looked_at(right: Tensor, index: Tensor | None = None) -> Tensor:
    """Which samples the verdict is of: the first that are right, and a target of every input before a second of any."""
    rows = right.nonzero().squeeze(1)
    if index is not None:
        rows = rows[_which_time(index[rows]).argsort(stable=True)]
    return rows[:MOST].sort().values


def _which_time(inputs: Tensor) -> Tensor:
    """How often each of some numbers ``(n,)`` came before.

    >>> _which_time(torch.tensor([7, 7, 3, 7])).tolist()
    [0, 1, 0, 2]
    """
    order = inputs.argsort(stable=True)
    _, counts = inputs.unique(return_counts=True)
    first = (counts.cumsum(0) - counts).repeat_interleave(counts)
    return torch.empty_like(order).index_put_((order,), torch.arange(len(order)) - first)


def verdict_on(
    victim: Victim,
    inputs: Tensor,
    labels: Tensor,
    targets: Tensor | None,
    *,
    threat: str,
    budget: float,
    seed: int,
    micro_batch: int,
    samples: Tensor,
    attacked: Victim | None,
) -> Verdict | None:
    """The masking verdict, of a few dozen inputs that are right; None of fewer than 8, or where nothing may change.

    What spikes may do is no matter of gradients: where they may only move, or are counted as events, gradients are
    examined by flips of the same share.
    """
    try:
        return masking_verdict(
            victim,
            inputs,
            labels,
            targets,
            threat=threat_of(threat).gradients_in,
            budget=budget,
            seed=seed,
            micro_batch=micro_batch,
            samples=samples,
            attacked=attacked,
        )
    except TooLittleError:
        return None


def _check(
    victim: Victim,
    inputs: Tensor,
    labels: Tensor,
    targets: Tensor | None,
    threat: Threat,
    budget: float,
    recorded: Recorded | None,
    **counts: int,
) -> None:
    check_victim(victim)
    check_tensor(inputs)
    kind = kind_of(inputs, victim.input_shape, victim.coding)
    threat.check(kind, budget, steps=victim.time_steps, recorded=recorded is not None)
    if takes_counts(victim):
        raise SpikeflipError(
            "the victim takes counts of events, and the suites attack cells of 0 and 1: wrap it on such an example"
        )
    check_values(inputs, kind)
    check_goals(labels, targets, len(inputs), victim.classes)
    check_counts(**counts)
    if not len(inputs):
        raise SpikeflipError("there are 0 inputs, of which no share can be told: give at least one")


def _check_any(suite: Suite, found: list[Found]) -> None:
    """Raise a SpikeflipError where every attack was left out: a control alone is no worst case."""
    attacks = [one for member, one in zip(suite.members, found, strict=True) if not member.control]
    if not attacks:
        raise SpikeflipError(f"suite {suite.name} has controls alone, which are no worst case: give it an attack")
    if all(one.left_out is not None and not len(one.rows) for one in attacks):
        reason = attacks[0].left_out
        raise SpikeflipError(f"no attack of {suite.name} can attack this victim; the first says: {reason}")


def _results(suite: Suite, found: list[Found], n: int, every: bool) -> tuple[MemberResult, ...]:
    distances = {}
    for number, (member, one) in enumerate(zip(suite.members, found, strict=True)):
        if not member.control:
            within = torch.full((n,), torch.inf, dtype=torch.float64)
            within[one.rows[one.within]] = one.distance[one.within]
            distances[str(number)] = within
    only = alone(distances) if every else {}
    return tuple(
        MemberResult(
            name=member.name,
            attack=member.attack,
            view=member.view,
            attempted=len(one.rows),
            broken=int(one.within.sum()),
            alone=None if one.left_out is not None else only.get(str(number)),
            forwards=int(one.forwards.sum()),
            backwards=int(one.backwards.sum()),
            seconds=one.seconds,
            left_out=one.left_out,
        )
        for number, (member, one) in enumerate(zip(suite.members, found, strict=True))
    )

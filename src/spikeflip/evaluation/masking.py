"""Whether attacks on a victim measure its robustness, or only that its gradients lead nowhere.

What is judged is the evaluation, not the victim. Honestly trained spiking networks often have no gradient at 40 to 90 %
of their inputs (Liang et al., 2021). That alone is no masking: a wide window of the output layer and a tuned threshold
bring the gradient back, and the attacks of this library have both. The rule is therefore about what the victim's own
gradient reaches with these cures. A victim is

- **masked** where that gradient fails and is zero on more than half of the inputs whatever the cure, or zero there
  without a cure and with the cures clearly weaker than another stand-in for the derivative; where it is clearly weaker
  than one step of itself or than a straight way through a defence, or leads nowhere without a bound; where a search
  without gradients is clearly stronger than all gradients together; where the same inputs get other scores at each
  call, where the pass that gives the gradient answers otherwise than the victim, or ties pass for robustness;
- **doubtful** where something else must be settled first: another stand-in for the derivative or a mean over encodings
  is clearly stronger, so that an evaluation must have it; scores are random, or jump; a step has no gradient, and no
  adaptive attack went through it;
- **trustworthy** otherwise. Notes may stand beside it.

"Clearly" is: by at least ten points, and the 95 % intervals do not overlap; ten points are enough for another stand-in
where the gradient without a cure is zero on 95 % of the inputs, which is more than honest networks have.
:data:`spikeflip.evaluation.findings.THRESHOLDS` has every number.
"""

from dataclasses import replace

import torch
from torch import Tensor

from spikeflip.attacks.flip_training import events_of, most_flips
from spikeflip.attacks.result import Vanishing
from spikeflip.errors import SpikeflipError
from spikeflip.evaluation.battery import (
    MORE_ENCODINGS,
    ONE_STEP,
    SEARCH,
    STRAIGHT,
    Others,
    Own,
    defences_of,
    own_gradient,
    rate_of,
    straightened,
    tried_on_failures,
)
from spikeflip.evaluation.findings import THRESHOLDS, Finding, Rate, Verdict, Weight, sorted_findings
from spikeflip.evaluation.regions import KINDS, Region, Threat, regions
from spikeflip.evaluation.stability import CALLS, disagreement, stability
from spikeflip.evaluation.walking import Subject, judged
from spikeflip.snn.validation import at_a_time, check_counts, check_goals, check_streams, check_values, kind_of
from spikeflip.streams import uniform
from spikeflip.victims import Victim
from spikeflip.victims.defence import Defence
from spikeflip.victims.victim import check_victim

FEWEST, MOST = 8, 64
"""Inputs that a verdict needs, and that it uses."""


class TooLittleError(SpikeflipError):
    """There is too little that could be attacked for a verdict."""


@torch.inference_mode(False)
def masking_verdict(
    victim: Victim,
    inputs: Tensor,
    labels: Tensor,
    targets: Tensor | None = None,
    *,
    threat: Threat,
    budget: float,
    seed: int = 0,
    micro_batch: int = 16,
    samples: Tensor | None = None,
    attacked: Victim | None = None,
) -> Verdict:
    """Judge whether attacks on a victim measure its robustness; see the module for the rule.

    Args:
        victim: the model under attack, defences included.
        inputs: a few dozen that it answers rightly; spikes ``(N, T, *input)`` of exactly 0 and 1 for ``"binary-l0"``,
            images ``(N, *input)`` in [0, 1] for the others. Those that it does not, or that most of their encodings
            fool as they are, are left out, and so is what comes after the first 64.
        labels: true classes ``(N,)`` int64.
        targets: wanted classes ``(N,)`` int64; untargeted when not given.
        threat: what may be changed.
        budget: how much of it: a share of the sample's own spikes, a distance in L∞, or a mean squared change; from 0
            to 1. It should be one at which attacks on such victims succeed now and then.
        seed: of all random streams.
        micro_batch: samples in memory at a time.
        samples: ids of the inputs, ``(N,)`` int64, which name their random streams; their positions when not given.
        attacked: the same victim as attacks meet it, such as on another engine; the victim itself when not given. What
            succeeds, and what is judged by answers alone, the victim says.

    Returns:
        A :class:`Verdict`. It costs at most some 850 forward and 400 backward passes an input, on images that are coded
        at random and that nothing breaks; some 50 and 20 where the first walk breaks all.

    Raises:
        TooLittleError: too few inputs are answered rightly, or the budget leaves nothing to change.
        SpikeflipError: an argument is out of range.

    >>> from spikeflip import LIF, SpikingNetwork
    >>> network = SpikingNetwork("16FC-3FC", (20,), time_steps=6, seed=1, neuron=LIF(0.1, 0.3))
    >>> spikes = (torch.rand(64, 6, 20, generator=torch.Generator().manual_seed(0)) < 0.4).float()
    >>> masking_verdict(network, spikes, network.scores(spikes).argmax(1), threat="binary-l0", budget=0.5).word
    'trustworthy'
    """
    subject = _subject(victim, inputs, labels, targets, threat, budget, seed, micro_batch, samples)
    subject = replace(subject, attacked=attacked)
    bounded, unbounded = regions(threat, budget, tuple(inputs.shape[1:]))
    with_rates: dict[str, Rate] = {}
    findings = _of_scores(subject)
    if not any(finding.weight == "masked" for finding in findings):
        own = own_gradient(subject, bounded)
        with_rates["its own gradient"] = own.rate
        straight = straightened(victim)
        others = tried_on_failures(subject, bounded, own, straight)
        with_rates |= others.rates
        findings += _of_gradients(subject, own) + _of_course(own)
        findings += _of_others(own, others) + _of_defences(subject, others)
        if not own.refused:
            free = _unbounded(subject, own, unbounded)
            with_rates["its own gradient, nothing bounding it"] = free
            findings += _of_freedom(free)
            findings += _of_view(subject, own)
    return Verdict(sorted_findings(findings), with_rates, subject.passes.forwards, subject.passes.backwards)


def _subject(
    victim: Victim,
    inputs: Tensor,
    labels: Tensor,
    targets: Tensor | None,
    threat: Threat,
    budget: float,
    seed: int,
    micro_batch: int,
    samples: Tensor | None,
) -> Subject:
    """The inputs that are judged on, after all checks."""
    check_victim(victim)
    kind = kind_of(inputs, victim.input_shape, victim.coding)
    regions(threat, budget, tuple(inputs.shape[1:]))
    if kind != KINDS[threat]:
        fitting = " or ".join(name for name, of in KINDS.items() if of == kind)
        raise SpikeflipError(f"threat {threat} is on {KINDS[threat]}, and the inputs are {kind}: choose {fitting}")
    check_counts(micro_batch=micro_batch)
    check_values(inputs, kind)
    check_goals(labels, targets, len(inputs), victim.classes)
    ids = torch.arange(len(inputs)) if samples is None else samples
    check_streams(seed, ids, len(inputs))
    inputs = inputs.detach().clone().float() if kind == "spikes" else inputs.detach().clone()
    whole = Subject(victim, inputs, labels, targets, ids, seed, at_a_time(victim, inputs, micro_batch))
    right = []
    for rows in torch.arange(len(inputs)).split(whole.micro_batch):
        scores = whole.scores(whole.encoded(inputs[rows.to(inputs.device)], rows, 0))
        every = labels.cpu()[rows]
        right.append((scores.argmax(1).cpu() == every) & ~_tied(scores))
    each = torch.cat([torch.zeros(0, dtype=torch.bool), *right])
    if whole.drawn:  # what most encodings fool as it is would count for every attack
        each &= ~judged(whole, inputs, each)
    kept = each.nonzero().squeeze(1)[:MOST]
    if len(kept) < FEWEST:
        raise TooLittleError(
            f"the victim answers {len(kept)} of {len(inputs)} inputs rightly, and a verdict needs {FEWEST}: give more "
            "of those"
        )
    if kind == "spikes" and not bool(most_flips(events_of(inputs[kept.to(inputs.device)]), budget).any()):
        raise TooLittleError(f"a budget of {budget:g} of their spikes is no flip of any input: give a larger one")
    return whole.rows(kept)


def _tied(scores: Tensor) -> Tensor:
    best = scores.amax(1, keepdim=True)
    return ((scores == best).sum(1) > 1).cpu()


def _finding(code: str, figure: float, sentence: str, weight: Weight) -> Finding:
    return Finding(code, figure, THRESHOLDS[code].value, sentence, weight)


def _of_scores(subject: Subject) -> list[Finding]:
    """What the victim's answers alone say."""
    found, findings = stability(subject), []
    if found.leaking > THRESHOLDS["unstable"].value:
        findings.append(_finding(
            "unstable", found.leaking,
            f"the same inputs get other scores at each of {CALLS} calls, though random numbers begin alike: something "
            "is kept between calls, so reset it", "masked",
        ))  # fmt: skip
    elif found.random > THRESHOLDS["randomised"].value:
        findings.append(_finding(
            "randomised", found.random,
            f"the victim's scores are random, as {CALLS} calls on the same inputs differ: attack and judge over many "
            "draws", "doubtful",
        ))  # fmt: skip
    if found.constant:
        findings.append(_finding(
            "constant", 0.0, "all inputs get the same scores, so that no attack can change them", "masked"
        ))  # fmt: skip
    if found.jump > THRESHOLDS["jumping"].value:
        findings.append(_finding(
            "jumping", found.jump,
            f"small random changes of the inputs change the margin by {found.jump:.0%} of it on average: gradients "
            "say little of such scores", "doubtful",
        ))  # fmt: skip
    return findings


def _of_gradients(subject: Subject, own: Own) -> list[Finding]:
    """Whether the first gradient is there, and where it ends."""
    n = len(own.success)
    if own.refused:
        return [_finding("unavailable", 1.0, f"the victim gives no gradient: {own.refused}", "masked")]
    vanished, zero = int((own.first != Vanishing.NONE).sum()), int(own.zero.sum())
    if not vanished:
        return []
    places = {
        Vanishing.OUTPUT: "outside the window of the output layer",
        Vanishing.DEEPER: "below the output layer",
        Vanishing.LOSS: "at the minimum of the loss",
    }
    counts = {words: int((own.first == cause).sum()) for cause, words in places.items()}
    where = ", ".join(f"{count} {words}" for words, count in counts.items() if count)
    sentence = (
        f"the first gradient is zero on {vanished} of {n} inputs ({where}); of those that attacks did not fool it is "
        f"still zero on {zero} with a wide output window and another threshold"
    )
    share = zero / n
    return [_finding("unavailable", share, sentence, "masked" if share > THRESHOLDS["unavailable"].value else "note")]


def _of_course(own: Own) -> list[Finding]:
    """How the attacks with the victim's own gradient went."""
    findings, n = [], len(own.success)
    unfinished, silent, tied = (int(flags.sum()) for flags in (own.unfinished, own.silent, own.tied))
    if unfinished / n > THRESHOLDS["unfinished-share"].value:
        findings.append(_finding(
            "unfinished-share", unfinished / n,
            f"{unfinished} of {n} attacks failed while they were still getting nearer: more steps may break these",
            "note",
        ))  # fmt: skip
    if silent:
        findings.append(_finding(
            "silent", silent / n,
            f"{silent} of {n} attacks passed an input that fools and left it again: keep the best of all steps",
            "note",
        ))  # fmt: skip
    if tied / n >= THRESHOLDS["tied-share"].value:
        made = own.ties.surely_above(THRESHOLDS["ties"].value)
        much = f", and {own.ties} close calls on the way were ties" if made else ""
        findings.append(_finding(
            "ties" if made else "tied-share", own.ties.share if made else tied / n,
            f"{tied} of {n} attacks ended at ties, which are neither right nor fooled{much}: count them as wrong "
            "answers", "masked" if made else "note",
        ))  # fmt: skip
    return findings


def _of_others(own: Own, others: Others) -> list[Finding]:
    """Whether anything is clearly stronger than the victim's own gradient, or than all gradients."""
    findings, codes = [], {ONE_STEP: "one-step", MORE_ENCODINGS: "encodings", STRAIGHT: "no-way-through"}
    vanished = float((own.first != Vanishing.NONE).double().mean())
    for name, success in others.gradients.items():
        code, rate = codes.get(name, "other-gradient"), rate_of(success)
        gap, other = rate.share - own.rate.share, code == "other-gradient"
        hidden = other and vanished >= THRESHOLDS["vanished"].value and gap >= THRESHOLDS[code].value
        if hidden or own.rate.clearly_below(rate, THRESHOLDS[code].value):
            masks = hidden or code in ("one-step", "no-way-through")
            masks = masks or (other and vanished > THRESHOLDS["unavailable"].value)
            findings.append(_finding(
                code, gap,
                f"{name} brings success from {own.rate} to {rate}: the victim's own gradient misses what is there",
                "masked" if masks else "doubtful",
            ))  # fmt: skip
    untried = [name for name in others.refused if name not in codes]
    if untried:
        findings.append(_finding(
            "untried", float(len(untried)),
            f"the victim does not serve {', '.join(untried)}: whether these are stronger was not looked at",
            "note",
        ))  # fmt: skip
    if others.search is not None and others.best is not None:
        best, rate = rate_of(others.best), rate_of(others.search)
        if best.clearly_below(rate, THRESHOLDS["black-box"].value):
            findings.append(_finding(
                "black-box", rate.share - best.share,
                f"{SEARCH} brings success from {best} to {rate}: no gradient tried here shows what is there", "masked",
            ))  # fmt: skip
    return findings


def _of_defences(subject: Subject, others: Others) -> list[Finding]:
    """Whether every step of the victim was attacked through."""
    findings = []
    for defence in defences_of(subject.victim):
        name = type(defence).__name__
        if type(defence).backward is not Defence.backward or _has_gradient(defence, subject):
            continue
        needed, ran = bool(others.gradients or others.refused), STRAIGHT in others.gradients
        through = "an attack went straight through it" if ran else "no adaptive attack went through it"
        through = through if needed else "nothing was left for an attack straight through it"
        findings.append(_finding(
            "no-way-back", 1.0, f"the defence {name} has no gradient, and {through}: override its backward",
            "note" if ran or not needed else "doubtful",
        ))  # fmt: skip
    return findings


def _has_gradient(defence: Defence, subject: Subject) -> bool:
    """Whether autograd finds a way back through a defence that is not zero."""
    rows = torch.arange(min(4, len(subject.ids)))
    spikes = subject.encoded(subject.inputs[rows.to(subject.inputs.device)], rows, 0)
    try:
        shown = defence.transform(spikes.clone())
        # The same number everywhere has no gradient where a defence takes a mean away.
        numbers = uniform(subject.seed, subject.ids[rows], "noise", 0, shown.shape[1:], shown.device)
        return bool(defence.backward(spikes, numbers).any())
    except (SpikeflipError, RuntimeError):
        return False


def _unbounded(subject: Subject, own: Own, region: Region) -> Rate:
    """What the victim's own gradient reaches where nothing bounds it, and what it had reached before."""
    rows = own.failures
    more = int(own_gradient(subject.rows(rows), region, patient=False).success.sum()) if len(rows) else 0
    return Rate(own.rate.hits + more, own.rate.n)


def _of_freedom(free: Rate) -> list[Finding]:
    """Whether everything breaks once nothing bounds the attack."""
    if free.share >= THRESHOLDS["unconstrained"].value:
        return []
    surely = free.surely_below(THRESHOLDS["unconstrained"].value)
    few = (f"only {free}", "it leads nowhere on the others") if free.hits else (f"none of {free.n}", "it leads nowhere")
    return [_finding(
        "unconstrained", free.share,
        f"with nothing to bound it, the victim's own gradient fools {few[0]} inputs: {few[1]}",
        "masked" if surely else "doubtful",
    )]  # fmt: skip


def _of_view(subject: Subject, own: Own) -> list[Finding]:
    """Whether the pass that gives the gradient is that of the victim."""
    share = disagreement(subject, own.adversarials)
    if share < THRESHOLDS["disagreeing"].value:
        return []
    return [_finding(
        "disagreeing", share,
        f"the pass that gives the gradient names another class than the victim on {share:.0%} of inputs and "
        "adversarials: the attack is on another model", "masked",
    )]  # fmt: skip

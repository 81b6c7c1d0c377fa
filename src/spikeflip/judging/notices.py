"""What judged rows say against the rates made of them: one small function for each way in which a number misleads.

A function looks at one fact and answers with a :class:`Notice`, or with None where the number can be taken as it is.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from spikeflip.intervals import wilson
from spikeflip.notices import Notice

if TYPE_CHECKING:  # pages and tables of finished runs do without PyTorch
    from torch import Tensor

    from spikeflip.attacks import Budget

MOSTLY = 0.5
"""From this share on something holds for most: silence for the originals, a lost gradient for the failures."""
WORTH_SAYING = 0.1
"""Failures and unseen events are looked at from this share on: what is rarer moves no figure by more than a tenth."""
NEAR = 0.9
"""A change of this part of the budget came near it: what stays below is what it would be without a budget."""

LOSS, OUTPUT, DEEPER = 1, 2, 3
"""Where a gradient vanishes, as :class:`spikeflip.attacks.result.Vanishing` numbers it."""
_WHERE = {
    LOSS: "the loss is at its minimum",
    OUTPUT: "no output neuron is near its threshold",
    DEEPER: "it dies in a layer below the output",
}
_IN_PYTHON = {
    LOSS: ("another loss, such as ce", "the spike flipper"),
    OUTPUT: ("the spike flipper", "a lower penultimate threshold", "a surrogate that is nowhere zero, such as ATan"),
    DEEPER: ("the spike flipper", "a lower penultimate threshold", "a surrogate that is nowhere zero, such as ATan"),
}

Rows = Mapping[str, "Tensor"]
Share = tuple[float, float, float]
"""A rate with the lower and the upper end of its 95 % interval."""


@dataclass(frozen=True)
class Circumstances:
    """What is known of judged rows beside the rows.

    Args:
        classes: K, how many classes the victim has; without it, nothing is said of chance.
        budget: the attack's.
        own_labels: how many rows have the victim's own answer as their label.
        chosen_right: only inputs were taken that the victim classifies correctly.
        learned: False where the victim's training ended no better than guessing.
        remedies: what helps against gradients that vanish for each cause, in the words of who attacked.
        data: notices from loading the data; they come first.
        attack: notices on the victim and on how it was attacked; they come next.
    """

    classes: int | None = None
    budget: Budget | None = None
    own_labels: int = 0
    chosen_right: bool = False
    learned: bool = True
    remedies: Mapping[int, tuple[str, ...]] = field(default_factory=lambda: _IN_PYTHON)
    data: tuple[Notice, ...] = ()
    attack: tuple[Notice, ...] = ()
    confidence: float | None = None


def notices_of(rates: Mapping[str, Any], rows: Rows, known: Circumstances) -> tuple[Notice, ...]:
    """All that must be known beside the numbers of a judgement.

    Args:
        rates: of its summary, with ``kind`` and ``draws``.
        rows: of the judgement; of recordings also the counts of their events.
        known: what the rows do not say.
    """
    claimed, verified = (_share(rates, name) for name in ("attack_success_rate", "verified_success_rate"))
    found = (
        did_not_learn(known),
        silent_victim(rows) or nothing_right(rows) or victim_at_chance(rows, known),
        own_labels(len(rows["label"]), known),
        chosen_right(known),
        gradients_vanished(rows, known),
        nothing_moved(rows, known),
        budget_not_reached(rows, known),
        confidence_not_reached(rows, rates["draws"], known),
        events_unseen(rows),
        one_draw(rates["kind"], rates["draws"], claimed, verified) if claimed and verified else None,
    )
    return (*known.data, *known.attack, *(notice for notice in found if notice is not None))


def did_not_learn(known: Circumstances) -> Notice | None:
    """The victim's own training says that it ended at chance."""
    if known.learned:
        return None
    return Notice(
        "victim-did-not-learn",
        "the victim did not learn: its training ended no better than guessing, so attacks on it say nothing of "
        "networks that work; train it again, its training says what helps",
    )


def silent_victim(rows: Rows) -> Notice | None:
    """No output neuron fires for at least :data:`MOSTLY` of the originals: the victim answers nothing."""
    silent = rows.get("silent")
    if silent is None or not len(silent) or float(silent.double().mean()) < MOSTLY:
        return None
    n, share = len(silent), float(silent.double().mean())
    if share < 1:
        text = (
            f"the victim is silent on most inputs: {int(silent.sum()):,} of {n:,} originals make no output neuron "
            "fire, so they count as wrong and are not attacked; train it again"
        )
    else:
        text = (
            f"the victim is silent: none of {n:,} originals makes an output neuron fire, so nothing was attacked and "
            "no rate says anything; train it again"
        )
    return Notice("silent-victim", text, share)


def nothing_right(rows: Rows) -> Notice | None:
    """No original is classified correctly, or there is none: rates of success have no n."""
    wrong = rows["already_wrong"]
    if not bool(wrong.all()):
        return None
    if not len(wrong):
        text = (
            "no input is left to judge: an attack leaves out inputs whose class is its target, and a transfer those "
            "that did not fool their own victim; give others"
        )
    else:
        text = (
            f"nothing was attacked: the victim classifies none of {len(wrong):,} originals correctly, so there is no "
            "success rate; train it further, or give it data and labels like those that it was trained on"
        )
    return Notice("nothing-correct", text, float(len(wrong)))


def victim_at_chance(rows: Rows, known: Circumstances) -> Notice | None:
    """Clean accuracy cannot be told from guessing: its 95 % interval reaches down to one in K classes, or lies below.

    Nothing is said where the labels or the choice of inputs make the accuracy what it is, and of so few inputs that
    even a victim which is always right would not be told from guessing. An input that is attacked towards several
    targets is one trial.
    """
    wrong = rows["already_wrong"]
    if known.classes is None or known.chosen_right or known.own_labels or not len(wrong):
        return None
    trials = len(rows["input"].unique()) if "input" in rows else len(wrong)
    rate, chance = float((~wrong).double().mean()), 1 / known.classes
    low, high = wilson(rate, trials)
    if low > chance or wilson(1.0, trials)[0] <= chance:
        return None
    return Notice(
        "victim-at-chance",
        f"the victim cannot be told from guessing: {_interval((rate, low, high))} of {trials:,} originals are right, "
        f"and {_percent(chance)} of guesses; attacks on it say nothing of networks that work, so train it further, or "
        "give more inputs if these are few",
        rate,
    )


def own_labels(n: int, known: Circumstances) -> Notice | None:
    """Labels are what the victim says of the original: it cannot be wrong."""
    if not known.own_labels:
        return None
    many = "all labels are" if known.own_labels == n else f"{known.own_labels:,} of {n:,} labels are"
    return Notice(
        "own-labels",
        f"{many} the victim's own answers: clean accuracy then says how often one class wins alone, not how often the "
        "victim is right; give --label, or a sub-folder for each class",
        known.own_labels / n,
    )


def chosen_right(known: Circumstances) -> Notice | None:
    """Only correctly classified inputs were taken."""
    if not known.chosen_right:
        return None
    return Notice(
        "chosen-correct",
        "only correctly classified inputs were taken: clean accuracy is 100 % or close to it by construction, and "
        "robust accuracy is of these inputs alone; attack with --samples to measure both",
    )


def gradients_vanished(rows: Rows, known: Circumstances) -> Notice | None:
    """The attack failed where it had no gradient: robust accuracy then measures the attack, not the victim.

    Said where at least :data:`WORTH_SAYING` of the attacked inputs were not fooled, and :data:`MOSTLY` of these had no
    gradient in half of their steps or more, or were given up for want of one before the last step.
    """
    if "vanished" not in rows:
        return None
    attacked = ~rows["already_wrong"]
    failed = attacked & ~rows["success"]
    vanished, steps, over = rows["vanished"], rows["steps"], rows["over_budget"]
    # A failure with fewer steps than another input, and within its budget, was given up: nothing moved it any more.
    given_up = (steps < steps.max()) & ~over & (vanished > 0) if len(steps) else over
    blind = failed & (vanished > 0) & ((2 * vanished >= steps) | given_up)
    n, failures, lost = (int(part.sum()) for part in (attacked, failed, blind))
    if not failures or failures < WORTH_SAYING * n or lost < MOSTLY * failures:
        return None
    causes = Counter(cause for cause in rows["first_vanishing"][blind].tolist() if cause in _WHERE)
    cause = causes.most_common(1)[0][0] if causes else DEEPER
    return Notice(
        "gradients-vanished",
        f"most gradients vanished while the attack failed: {failures:,} of {n:,} attacked inputs were not fooled, "
        f"{lost:,} of these for want of a gradient ({_WHERE[cause]}), so robust accuracy says nothing of the victim; "
        f"{_either(known.remedies[cause])}",
        lost / n,
    )


def confidence_not_reached(rows: Rows, draws: int | None, known: Circumstances) -> Notice | None:
    """Successes were to hold in more than a share of encodings, and some show in ``draws`` fresh ones that they do not.

    An input that has passed the attack's test may have a few fresh encodings less by chance: its interval decides.
    """
    if known.confidence is None:
        return None
    shares = rows["verified"][rows["success"]].tolist()
    n, less = len(shares), sum(wilson(share, draws or 1)[1] <= known.confidence for share in shares)
    if less <= WORTH_SAYING * n:
        return None
    return Notice(
        "confidence-not-reached",
        f"{less:,} of {n:,} successes do not fool in more than {known.confidence:.0%} of encodings: no input of theirs "
        "passed that test, and those that did best are kept; more steps or a larger budget may help",
        1 - less / n,
    )


def nothing_moved(rows: Rows, known: Circumstances) -> Notice | None:
    """Every adversarial is the input it was made of."""
    attacked = ~rows["already_wrong"]
    n, won = int(attacked.sum()), int(rows["success"].sum())
    if not n or bool(rows["l0"][attacked].any()):
        return None
    if won:
        what = f"the {won:,} that count as fooled are the chance of another encoding"
    else:
        what = "robust accuracy is the accuracy without an attack"
    budget = known.budget
    if budget is not None and budget.limit <= 1 and (budget.metric == "moved" or budget.metric.startswith("l0")):
        what += f"; a budget of {budget.limit:g} in {budget.metric} allows none, as what reaches it has failed"
    return Notice(
        "nothing-moved", f"the attack moved nothing: all {n:,} attacked inputs are as they were, and {what}", n
    )


def budget_not_reached(rows: Rows, known: Circumstances) -> Notice | None:
    """No input came within :data:`NEAR` of the budget: it bounded nothing."""
    attacked, budget = ~rows["already_wrong"], known.budget
    if budget is None or budget.metric not in rows or not bool(attacked.any()):
        return None
    if "over_budget" in rows and bool(rows["over_budget"][attacked].any()):
        return None
    largest = float(rows[budget.metric][attacked].max())
    if largest == 0 or largest >= NEAR * budget.limit:
        return None
    return Notice(
        "budget-not-reached",
        f"no input came near the budget: the largest change is {largest:.3g} of {budget.limit:.3g} in {budget.metric}, "
        "so the rates are those of an attack without a budget; a smaller one would say more",
        largest / budget.limit,
    )


def events_unseen(rows: Rows) -> Notice | None:
    """At least :data:`WORTH_SAYING` of the events lay outside the victim's time bins: a change has two sizes."""
    shares = changed_events(rows)
    if shares is None:
        return None
    won = rows["success"]
    events, outside = (int(rows[name][won].sum()) for name in ("events", "events_outside"))
    if outside < WORTH_SAYING * events:
        return None
    of_all, of_seen = map(_percent, shares)
    return Notice(
        "events-unseen",
        f"the victim did not see {_percent(outside / events)} of the successes' events: a change of {of_all} of all "
        f"events is one of {of_seen} of those that it saw; train with more or longer time bins to show it more",
        outside / events,
    )


def changed_events(rows: Rows) -> tuple[float, float] | None:
    """Events that the successes added, removed and moved, as a share of all and of those in the victim's time bins.

    None for what has no events, or where no success had events that were seen.
    """
    if "events" not in rows:
        return None
    won = rows["success"]
    names = ("events", "events_outside", "events_added", "events_removed")
    events, outside, added, removed = (int(rows[name][won].sum()) for name in names)
    if events <= outside:
        return None
    changed = added + removed + (int(rows["events_moved"][won].sum()) if "events_moved" in rows else 0)
    return changed / events, changed / (events - outside)


def one_draw(kind: str, draws: int | None, claimed: Share, verified: Share) -> Notice | None:
    """The interval of the verified rate lies wholly below that of the attack success rate."""
    if verified[2] >= claimed[1]:
        return None
    if kind == "images":
        many = "fresh encodings" if draws is None else f"{draws:,} fresh encodings"
        text = (
            f"one draw overstates this attack: its success of {_interval(claimed)} rests on a single random encoding "
            f"of each image, and over {many} it is {_interval(verified)}; quote the verified rate"
        )
    else:
        text = (
            f"the saved recordings do worse than the attack claims: its success of {_interval(claimed)} was judged "
            f"during the attack, and read back from the saved file it is {_interval(verified)}; quote the verified rate"
        )
    return Notice("one-draw-overstates", text, claimed[0] - verified[0])


def _share(rates: Mapping[str, Any], name: str) -> Share | None:
    rate = rates[name]
    return None if rate is None else (rate, *rates[f"{name}_interval"])


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _interval(share: Share) -> str:
    return f"{_percent(share[0])} ({100 * share[1]:.1f}–{100 * share[2]:.1f})"


def _either(ways: tuple[str, ...]) -> str:
    """``a, b or c``."""
    return " or ".join(filter(None, (", ".join(ways[:-1]), ways[-1])))

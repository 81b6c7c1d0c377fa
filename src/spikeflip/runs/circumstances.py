"""What a plan knows of the rows that it will have: for the notices beside their rates."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from spikeflip.attacks.tuned import OWN_THRESHOLD, THRESHOLD
from spikeflip.interop import EVERY_ATTACK
from spikeflip.judging.notices import DEEPER, LOSS, OUTPUT, Circumstances, did_not_learn
from spikeflip.notices import Notice
from spikeflip.runs.data_checks import check_sensor
from spikeflip.runs.inputs import stored_sensor
from spikeflip.snn.network import ReluNetwork

if TYPE_CHECKING:
    from spikeflip.runs.plan import Plan


def circumstances(plan: Plan) -> Circumstances:
    """What a plan knows of its rows."""
    task = plan.task
    attack = plan.attack
    tuning = task.config.settings.get("tuning", True)
    own = plan.settings.get("threshold", 0) is None and tuning and task.victim.penultimate_threshold is None
    return Circumstances(
        classes=task.victim.classes,
        budget=getattr(attack, "budget", None),
        own_labels=plan.own_labels,
        chosen_right=task.config.per_class is not None,
        learned=learned(task.loaded.facts),
        remedies=_remedies(plan, attack),
        confidence=task.config.confidence,
        data=(*task.data.notices, *_of_number(plan), *_of_sensor(plan)),
        attack=(
            *task.loaded.notices,
            *getattr(task.victim, "notices", ()),
            *((OWN_THRESHOLD,) if own else ()),
            *_of_pattern(plan),
        ),
    )


def not_of_attacks(known: Circumstances) -> Iterator[Notice]:
    """What must be known of the data and of the victim, whatever is done with them."""
    yield from known.data
    if (notice := did_not_learn(known)) is not None:
        yield notice


def learned(facts: Mapping[str, Any]) -> bool:
    """Whether a victim's training does not say that it ended no better than guessing."""
    return facts.get("learned") is not False


def _of_number(plan: Plan) -> tuple[Notice, ...]:
    """That there are fewer inputs than were asked for."""
    asked, there = plan.task.config.samples, len(plan.task.data.labels)
    if asked is None or there >= asked:
        return ()
    return (Notice("fewer-inputs", f"there are {there:,} inputs, fewer than the {asked:,} asked for", there),)


def _of_sensor(plan: Plan) -> tuple[Notice, ...]:
    """That the recordings are of another sensor than those of the victim's training."""
    recordings = plan.task.data.recordings
    if recordings is None:
        return ()
    return check_sensor((recordings.found.height, recordings.found.width), stored_sensor(plan.task.loaded))


def _of_pattern(plan: Plan) -> tuple[Notice, ...]:
    """What must be known of a pattern: that it was learned on the same data, another victim, or for another goal."""
    pattern, data = plan.task.pattern, plan.task.data.facts
    if pattern is None:
        return ()
    facts, found = pattern.facts, []
    if (facts.get("data_sha256"), facts.get("split")) == (data["sha256"], data["split"]):
        found.append(
            Notice(
                "learned-on-the-same",
                f"the pattern was learned on the {data['split']} part of {data['name']}, which is attacked here: its "
                "success says nothing of inputs that it has not seen; attack another part",
            )
        )
    if facts.get("victim_sha256") not in (None, plan.task.loaded.sha256):
        found.append(
            Notice("pattern-of-another-victim", "the pattern was learned on another victim: rates are of a transfer")
        )
    wanted = None if plan.targets is None else set(plan.targets.tolist())
    if wanted not in (None if pattern.target is None else {pattern.target}, set()):
        learned_for = "away from every class" if pattern.target is None else f"towards class {pattern.target}"
        found.append(
            Notice(
                "pattern-of-another-goal",
                f"the pattern was learned {learned_for}, and this run has another goal: learn one for it",
            )
        )
    return tuple(found)


def _remedies(plan: Plan, attack: Any) -> dict[int, tuple[str, ...]]:
    """The options that help against vanished gradients, of those that the attack has and that were not taken."""
    config, options = plan.task.config, EVERY_ATTACK[plan.task.config.attack].settings.__dataclass_fields__
    spiking = not isinstance(plan.task.victim, ReluNetwork) and config.attack != "conversion"
    flipper = ["leave out --no-flipper"] if "flipper" in options and not attack.flipper else []
    threshold: list[str] = []
    if "threshold" in options and plan.task.victim.penultimate_threshold is not None:
        if attack.threshold is None:
            threshold = ["leave out --no-tuning"]
        elif attack.threshold > THRESHOLD:
            threshold = [f"lower --threshold from {attack.threshold:g}"]
        else:
            threshold = ["give another --threshold"]
    wide = spiking and config.surrogate not in ("sigmoid", "atan", "gaussian")
    surrogate = ["give --surrogate atan"] if wide else []
    loss = ["give --loss ce"] if "loss" in options and attack.loss == "mse" else []
    other = ["give another --attack"]
    nearer = tuple(flipper + threshold + surrogate or other)
    return {LOSS: tuple(flipper + loss or other), OUTPUT: nearer, DEEPER: nearer}

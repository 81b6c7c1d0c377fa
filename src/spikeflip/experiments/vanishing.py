"""Our own: the two causes of vanished gradients, each with its cure, beside threshold tuning and the flipper."""

from collections.abc import Iterator

from spikeflip.experiments.declaration import GOALS, TUNED, WIDE, Case, Experiment
from spikeflip.experiments.findings import Check, Finding, Part, named
from spikeflip.experiments.presets import Preset
from spikeflip.experiments.rows import Rows, percent

_OWN, _RAISED = "the paper's, own threshold", "the paper's, raised threshold"
_WINDOW, _BOTH = "wide output window", "both"
_CURE = {"MSE": _BOTH, "CE": _WINDOW}
"""By the victim's loss; with CE the loss is never at its minimum."""


def _cures(loss: str, kind: str) -> dict[str, dict[str, object]]:
    own: dict[str, object] = {"tuning": False}
    wide: dict[str, object] = {"output_window": WIDE[kind]}
    cures: dict[str, dict[str, object]] = {
        _OWN: own,
        _RAISED: {"threshold": TUNED[kind]},
        _WINDOW: own | wide,
    }
    if loss == "mse":
        cures |= {"attack loss CE": own | {"loss": "ce"}, _BOTH: own | wide | {"loss": "ce"}}
    return cures


def _cases(preset: Preset) -> Iterator[Case]:
    for name in preset.names("vanishing"):
        data = preset.data[name]
        for loss in data.losses:
            for goal in GOALS:
                for cure, options in _cures(loss, data.kind).items():
                    for seed in preset.seeds:
                        attack = {**options, "seed": seed}
                        yield Case(name, {"cure": cure, "seed": seed}, loss, goal, attack=attack)


def _compared(rows: Rows, measure: str, reference: str) -> Iterator[tuple[str, float, float, Rows]]:
    """For each victim and goal: its name, means over seeds at the reference and with its cure, and the cured rows."""
    for key, group in rows.groups("data", "loss", "goal"):
        cured = group.where(cure=_CURE[key[1]])
        before, after = group.where(cure=reference).mean(measure), cured.mean(measure)
        if before is not None and after is not None:
            yield named(key), before, after, cured


def _cured(loss: str) -> Check:
    def check(rows: Rows) -> Iterator[Part]:
        for victim, before, after, cured in _compared(rows.where(loss=loss), "vanished_first_step", _OWN):
            n = cured.mean("n") or 0
            if before > 0:
                yield after <= 0.05 * n, f"{victim}: {before:.0f} to {after:.0f} of {n:.0f}"

    return check


def _no_worse(rows: Rows) -> Iterator[Part]:
    for victim, tuned, cured, _ in _compared(rows, "success", _RAISED):
        yield cured >= tuned - 0.005, f"{victim}: {percent(cured)} against {percent(tuned)}"


def _no_flips(rows: Rows) -> Iterator[Part]:
    for victim, before, after, _ in _compared(rows, "vanished_steps", _OWN):
        yield after < 0.1, f"{victim}: {before:.2f} to {after:.2f} an input"


EXPERIMENT = Experiment(
    name="vanishing",
    title="Two causes of vanished gradients, and their cures",
    about="Our own, beside Table III and VII: the gradient is zero because the loss is at its minimum, or because no "
    "output neuron lies inside its surrogate window. Attacking with cross-entropy cures the first, a wider window of "
    "the output layer alone, in the generating pass, the second. Each row is one seed of the attack.",
    cases=_cases,
    columns=(
        "data",
        "loss",
        "goal",
        "cure",
        "seed",
        "n",
        "vanished_first_step",
        "vanished_steps",
        "success",
        "verified",
        "steps",
        "mse",
    ),
    findings=(
        Finding("Both cures leave at most 5 % of an MSE victim's first steps vanished.", _cured("MSE"), ours=True),
        Finding(
            "A wide output window leaves at most 5 % of a CE victim's first steps vanished.", _cured("CE"), ours=True
        ),
        Finding(
            "With its cure a victim is attacked as well as with a raised threshold (within half a point), or better.",
            _no_worse,
            ours=True,
        ),
        Finding("With its cure the flipper is hardly needed (a tenth of a step an input).", _no_flips, ours=True),
    ),
)

"""Table VII: success on victims trained with MSE and with CE, without threshold tuning."""

from collections.abc import Iterator

from spikeflip.experiments.declaration import GOALS, Case, Experiment, Printed
from spikeflip.experiments.findings import Finding, Part, smaller
from spikeflip.experiments.presets import Preset
from spikeflip.experiments.rows import Rows

_PRINTED = {
    "N-MNIST": (97.38, 99.44, 90.12, 16.78),
    "CIFAR10-DVS": (100, 86.35, 100, 82.95),
    "MNIST": (91.31, 55.33, 93.16, 47.81),
    "CIFAR10": (98.68, 99.72, 98.48, 40.51),
}
_ORDER = (("MSE", "untargeted"), ("MSE", "targeted"), ("CE", "untargeted"), ("CE", "targeted"))


def _cases(preset: Preset) -> Iterator[Case]:
    for name in preset.names("table-7"):
        for loss in preset.data[name].losses:
            for goal in GOALS:
                yield Case(name, loss=loss, goal=goal, attack={"tuning": False})


def _gap(rows: Rows) -> float | None:
    mse, ce = (rows.where(loss=loss).one("success") for loss in ("MSE", "CE"))
    return None if mse is None or ce is None else 100 * (mse - ce)


def _gap_is_larger_when_targeted(rows: Rows) -> Iterator[Part]:
    for data in rows.values("data"):
        untargeted, targeted = (_gap(rows.where(data=data, goal=goal)) for goal in GOALS)
        if untargeted is not None and targeted is not None:
            words = f"{data}: MSE ahead by {untargeted:.1f} points untargeted, {targeted:.1f} targeted"
            yield targeted > untargeted, words


EXPERIMENT = Experiment(
    name="table-7",
    title="Success by the victim's training loss",
    about="Converter and flipper on, the penultimate threshold untouched, unbounded perturbation (Table VII).",
    cases=_cases,
    columns=("data", "loss", "goal", "n", "success", "verified", "mse", "steps", "vanished_first_step"),
    paper=tuple(
        Printed({"data": data, "loss": loss, "goal": goal}, "success", value / 100)
        for data, values in _PRINTED.items()
        for (loss, goal), value in zip(_ORDER, values, strict=True)
    ),
    findings=(
        Finding(
            "Victims trained with CE are harder to attack than those trained with MSE.",
            smaller("success", ("data", "goal"), "loss", "CE", "MSE"),
        ),
        Finding("The gap is largest in targeted attacks.", _gap_is_larger_when_targeted),
    ),
)

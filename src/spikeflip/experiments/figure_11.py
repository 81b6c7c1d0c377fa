"""Fig. 11: with and without probabilistic sampling, the flipper off."""

from collections.abc import Iterator

from spikeflip.experiments.declaration import GOALS, Case, Experiment
from spikeflip.experiments.findings import Finding, Part, smaller
from spikeflip.experiments.pictures import Bars
from spikeflip.experiments.presets import Preset
from spikeflip.experiments.rows import Rows, percent


def _cases(preset: Preset) -> Iterator[Case]:
    for name in preset.names("figure-11"):
        for goal in GOALS:
            for sampling in (False, True):
                attack = {"tuning": False, "flipper": False, "sampling": sampling}
                yield Case(name, {"sampling": "with" if sampling else "without"}, goal=goal, attack=attack)


def _hardly_fails(rows: Rows) -> Iterator[Part]:
    for row in rows.where(sampling="with").known("other_failures"):
        yield row["other_failures"] <= 0.05, f"{row['data']}, {row['goal']}: {percent(row['other_failures'])}"


EXPERIMENT = Experiment(
    name="figure-11",
    title="The converter with and without sampling",
    about="MSE victims, the flipper off, the threshold untouched. A failed input has vanished if its gradient was zero "
    "in any iteration (Fig. 11).",
    cases=_cases,
    columns=(
        "data",
        "goal",
        "sampling",
        "n",
        "success",
        "verified",
        "vanishing_failures",
        "other_failures",
        "mse",
        "steps",
    ),
    findings=(
        Finding("Sampling cuts the perturbation.", smaller("mse", ("data", "goal"), "sampling", "with", "without")),
        Finding(
            "Sampling raises targeted success on most data sets.",
            smaller("success", ("data",), "sampling", "without", "with", goal="targeted"),
            mostly=True,
        ),
        Finding("With sampling hardly an input (5 %) fails whose gradient has not vanished.", _hardly_fails),
        Finding(
            "Targeted attacks need more perturbation than untargeted ones.",
            smaller("mse", ("data", "sampling"), "goal", "untargeted", "targeted"),
        ),
    ),
    pictures=(
        Bars("Success, %.", "success", across=("data", "goal"), beside="sampling"),
        Bars("Mean mse of successes.", "mse", across=("data", "goal"), beside="sampling"),
    ),
    trend="Lower perturbation in all cases, higher targeted success on most data sets.",
)

"""Fig. 17: Gesture-DVS against the penultimate threshold."""

from collections.abc import Iterator

from spikeflip.experiments.declaration import GOALS, Case, Experiment, at_threshold
from spikeflip.experiments.findings import Finding, Part
from spikeflip.experiments.pictures import Curves
from spikeflip.experiments.presets import Preset
from spikeflip.experiments.rows import Rows, percent


def _cases(preset: Preset) -> Iterator[Case]:
    if "Gesture-DVS" in preset.data:
        for goal in GOALS:
            for threshold in preset.thresholds_of("Gesture-DVS"):
                labels, attack = at_threshold(threshold)
                yield Case("Gesture-DVS", labels, goal=goal, attack=attack)


def _high_somewhere(rows: Rows) -> Iterator[Part]:
    for goal in rows.values("goal"):
        best = rows.where(goal=goal).best("success")
        if best is not None:
            words = f"{goal}: {percent(best['success'])} of {best['n']} at {best['threshold']:g}"
            yield best["success"] >= 0.9, words


EXPERIMENT = Experiment(
    name="figure-17",
    title="Gesture-DVS against the penultimate threshold",
    about="MSE victim, unbounded (Fig. 17).",
    cases=_cases,
    columns=("data", "goal", "threshold", "n", "success", "verified", "mse", "steps"),
    findings=(Finding("At a suitable threshold success is high (90 % or more).", _high_somewhere),),
    pictures=(
        Curves("Success over the threshold, %.", "threshold", "success", lines=("goal",)),
        Curves("Mean mse of successes over the threshold.", "threshold", "mse", lines=("goal",)),
    ),
    trend="As on the other event data: a best threshold, at which success is high.",
)

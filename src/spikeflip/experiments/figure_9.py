"""Fig. 9b: spikes of the penultimate layer during the attack, by training loss."""

from collections.abc import Iterator

from spikeflip.experiments.declaration import Case, Experiment
from spikeflip.experiments.findings import Finding, Part
from spikeflip.experiments.pictures import Traces
from spikeflip.experiments.presets import Preset
from spikeflip.experiments.rows import Rows


def _cases(preset: Preset) -> Iterator[Case]:
    for name in preset.names("figure-9"):
        for loss in preset.data[name].losses:
            yield Case(name, loss=loss, attack={"tuning": False}, measure="trace")


_LEAST = 0.01
"""Share of the spikes by which a course rises or falls."""


def _course(loss: str, falls: bool) -> Finding:
    def check(rows: Rows) -> Iterator[Part]:
        for row in rows.where(loss=loss).known("penultimate_spikes"):
            first, last = row["first_spikes"], row["last_spikes"]
            change = last / max(first, 1e-9) - 1
            if len(row["penultimate_spikes"]) > 1:
                words = f"{row['data']}: {first:.0f} to {last:.0f} spikes ({100 * change:+.1f} %)"
                yield (change < -_LEAST if falls else change > _LEAST), words

    course = "fall" if falls else "rise"
    return Finding(f"In the {loss} victim the penultimate layer's spikes {course} during the attack.", check)


EXPERIMENT = Experiment(
    name="figure-9",
    title="Penultimate spikes during the attack, by training loss",
    about="Untargeted, the threshold untouched; averaged over all attacked inputs, of which those that are done keep "
    "their last count, that before the last update (Fig. 9b).",
    cases=_cases,
    columns=("data", "loss", "n", "first_spikes", "last_spikes", "success", "verified"),
    findings=(_course("MSE", True), _course("CE", False)),
    pictures=(Traces("Spikes of the penultimate layer by iteration.", "loss"),),
    trend="N-MNIST: MSE falls steadily; CE rises first and then stays.",
)

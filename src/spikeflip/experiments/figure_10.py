"""Fig. 10: spikes of the penultimate layer at raised thresholds."""

from collections.abc import Iterator
from itertools import pairwise
from statistics import fmean

from spikeflip.experiments.declaration import Case, Experiment, at_threshold
from spikeflip.experiments.findings import Finding, Part
from spikeflip.experiments.pictures import Traces
from spikeflip.experiments.presets import Preset
from spikeflip.experiments.rows import Row, Rows


def _cases(preset: Preset) -> Iterator[Case]:
    for name in preset.names("figure-10"):
        if "ce" in preset.data[name].losses:
            for threshold in preset.thresholds_of(name):
                labels, attack = at_threshold(threshold)
                yield Case(name, labels, "ce", attack=attack, measure="trace")


def _mean_spikes(row: Row) -> float:
    return fmean(row["penultimate_spikes"])


def _fewer(rows: Rows) -> Iterator[Part]:
    for data in rows.values("data"):
        group = sorted(rows.where(data=data).known("penultimate_spikes"), key=lambda row: float(row["threshold"]))
        if len(group) > 1:
            counts = [_mean_spikes(row) for row in group]
            falling = counts[0] > counts[-1] and all(before >= after for before, after in pairwise(counts))
            low, high = (f"{_mean_spikes(row):.0f} at {row['threshold']:g}" for row in (group[0], group[-1]))
            yield falling, f"{data}: {low}, {high}"


EXPERIMENT = Experiment(
    name="figure-10",
    title="Penultimate spikes at raised thresholds",
    about="CE victims, untargeted; as figure-9, at each penultimate threshold (Fig. 10).",
    cases=_cases,
    columns=("data", "threshold", "n", "first_spikes", "last_spikes", "success", "verified"),
    findings=(
        Finding("A higher threshold lowers the penultimate layer's spikes, on average over the iterations.", _fewer),
    ),
    pictures=(Traces("Spikes of the penultimate layer by iteration.", "threshold"),),
    trend="N-MNIST, CE: clearly fewer spikes than at the threshold 0.3.",
)

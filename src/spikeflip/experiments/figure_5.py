"""Fig. 5: how the input gradients of the first iteration are distributed."""

from collections.abc import Iterator

from spikeflip.experiments.declaration import Case, Experiment
from spikeflip.experiments.findings import Finding, Part
from spikeflip.experiments.pictures import GradientSizes
from spikeflip.experiments.presets import Preset
from spikeflip.experiments.rows import Rows, percent


def cases(preset: Preset) -> Iterator[Case]:
    """First gradients of MSE victims of event data, of an untargeted attack; the rows of Fig. 5 and 7."""
    for name in preset.names("figure-5", "events"):
        yield Case(name, measure="gradients")


def _most_are_zero(rows: Rows) -> Iterator[Part]:
    for row in rows.known("zero"):
        yield row["zero"] > 0.5, f"{row['data']}: {percent(row['zero'])} are zero"


EXPERIMENT = Experiment(
    name="figure-5",
    title="Input gradients of the first iteration",
    about="MSE victims, untargeted, the threshold untouched: the sizes of all elements of the input gradient, relative "
    "to the largest (Fig. 5).",
    cases=cases,
    columns=("data", "n", "elements", "zero"),
    findings=(Finding("Most input gradients are zero.", _most_are_zero),),
    pictures=(
        GradientSizes(
            "Elements by size relative to the largest gradient; the first bar holds all below, zeros are left out."
        ),
    ),
    trend="A histogram over 500 N-MNIST inputs: most elements are zero.",
)

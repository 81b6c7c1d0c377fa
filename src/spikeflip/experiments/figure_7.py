"""Fig. 7: how many elements probabilistic sampling leaves."""

from collections.abc import Iterator

from spikeflip.experiments.declaration import Experiment
from spikeflip.experiments.figure_5 import cases
from spikeflip.experiments.findings import Finding, Part
from spikeflip.experiments.pictures import BeforeAndAfter
from spikeflip.experiments.rows import Rows, percent


def _masked(rows: Rows) -> Iterator[Part]:
    for row in rows.known("masked"):
        yield row["masked"] > 0.96, f"{row['data']}: {percent(row['masked'])} masked out"


EXPERIMENT = Experiment(
    name="figure-7",
    title="Non-zero gradients before and after sampling",
    about="The gradients of figure-5, before and after Eq. 10, by class (Fig. 7). Inputs whose gradient vanished count "
    "as 0.",
    cases=cases,
    columns=("data", "n", "before_mean", "after_mean", "masked"),
    findings=(Finding("Sampling masks out more than 96 % of the non-zero gradients.", _masked),),
    pictures=(BeforeAndAfter("Non-zero elements of an input's gradient, by class."),),
    trend="About 2^10 non-zero elements before sampling, over 96 % of them masked out.",
)

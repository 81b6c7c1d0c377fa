"""Fig. 13: how often the flipper is needed, against its turnover rate."""

from collections.abc import Iterator

from spikeflip.experiments.declaration import Experiment
from spikeflip.experiments.figure_12 import cases
from spikeflip.experiments.findings import Finding, Part
from spikeflip.experiments.pictures import Curves
from spikeflip.experiments.rows import Rows


def _falls(rows: Rows) -> Iterator[Part]:
    for (data, goal), group in rows.known("vanished_steps").groups("data", "goal"):
        if len(group) > 1:
            low, high = (pick(group, key=lambda row: float(row["gamma"])) for pick in (min, max))
            before, after = low["vanished_steps"], high["vanished_steps"]
            yield before > after, f"{data}, {goal}: {before:.2f} at {low['gamma']:g}, {after:.2f} at {high['gamma']:g}"


EXPERIMENT = Experiment(
    name="figure-13",
    title="Flipper iterations against the turnover rate",
    about="The mean number of iterations whose gradient had vanished; the runs of figure-12 (Fig. 13).",
    cases=cases,
    columns=("data", "goal", "gamma", "n", "vanished_steps", "success", "verified"),
    findings=(Finding("A smaller turnover rate needs more flipper iterations.", _falls),),
    pictures=(Curves("Flipper iterations of an input.", "gamma", "vanished_steps", lines=("goal",), panels="data"),),
    trend="About one flipper iteration at large rates, more as the rate falls.",
)

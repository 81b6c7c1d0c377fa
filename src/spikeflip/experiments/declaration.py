"""What an experiment is: the rows to measure, what the paper says of them, and what it concludes."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from spikeflip.experiments.findings import Finding
from spikeflip.experiments.pictures import Picture
from spikeflip.experiments.presets import Preset

Goal = Literal["untargeted", "targeted"]
GOALS: tuple[Goal, ...] = ("untargeted", "targeted")
Measure = Literal["attack", "trace", "gradients", "transfer"]
BOUND = 0.08
"""The paper's strict bound on the perturbation, in mse (Fig. 14)."""
OWN_THRESHOLD = 0.3
"""At which the victims' neurons fire (Table VI)."""
TUNED = {"images": 1.0, "events": 0.7}
"""Raised penultimate thresholds, by the kind of data."""
WIDE = {"images": 3.0, "events": 2.0}
"""Surrogate widths of the output layer that are wide: three and four times the victims' own."""


@dataclass(frozen=True)
class Case:
    """One row of an experiment: a victim that is attacked in one way.

    Args:
        data: key of a data set of the preset.
        labels: what tells the row from others, beside data, loss and goal.
        loss: the victim's training loss.
        goal: of the attack.
        victim: training options that differ from the preset's recipe for the data.
        attack: options of the attack that differ from its defaults, named as in ``spikeflip attack``.
        measure: ``attack``: rates and means of a run. ``trace``: also the spikes of the penultimate layer at each
            iteration. ``gradients``: the input gradients of the first iteration, before and after sampling.
            ``transfer``: how many adversarial inputs of ``source`` fool this victim.
        source: whose adversarial inputs are transferred.
        random_start: whether the victim begins with random weights, also where the data's others begin with a twin's.
        examples: also keep a few inputs before and after the attack, to be shown.
    """

    data: str
    labels: Mapping[str, Any] = field(default_factory=dict)
    loss: Literal["mse", "ce"] = "mse"
    goal: Goal = "untargeted"
    victim: Mapping[str, Any] = field(default_factory=dict)
    attack: Mapping[str, Any] = field(default_factory=dict)
    measure: Measure = "attack"
    source: "Case | None" = None
    random_start: bool = False
    examples: bool = False


def at_threshold(threshold: float | None) -> tuple[dict[str, float], dict[str, Any]]:
    """The label of a row at a penultimate threshold, the victim's own when None; and the attack's option."""
    if threshold is None:
        return {"threshold": OWN_THRESHOLD}, {"tuning": False}
    return {"threshold": threshold}, {"threshold": threshold}


@dataclass(frozen=True)
class Printed:
    """A number that the paper prints: of the rows with these labels, in the units of the measure."""

    where: Mapping[str, Any]
    measure: str
    value: float


@dataclass(frozen=True)
class Experiment:
    """A table or figure of the paper, or a question it leaves open.

    Args:
        name: as in ``spikeflip reproduce table-7``.
        title: one line.
        about: what is measured, in a sentence or two, with the paper's section.
        cases: from a preset to the rows to measure.
        columns: labels and measures of the table, see :data:`spikeflip.experiments.rows.COLUMNS`.
        paper: what the paper prints.
        findings: what the paper concludes, each with a check.
        pictures: beside the table.
        trend: what the paper only draws, in words.
    """

    name: str
    title: str
    about: str
    cases: Callable[[Preset], Iterable[Case]]
    columns: tuple[str, ...]
    paper: tuple[Printed, ...] = ()
    findings: tuple[Finding, ...] = ()
    pictures: tuple[Picture, ...] = ()
    trend: str = ""

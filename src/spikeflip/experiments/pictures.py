"""What the figure beside a table shows, as data: drawn by ``drawing.py``, which alone needs matplotlib."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Curves:
    """A measure over a numeric label.

    Args:
        caption: one line.
        x: the label.
        y: the measure.
        lines: labels of which each combination is a line.
        panels: a label of which each value is a panel; one panel when not given.
        where: labels of the rows that are drawn.
    """

    caption: str
    x: str
    y: str
    lines: tuple[str, ...]
    panels: str | None = None
    where: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Bars:
    """A measure as groups of bars.

    Args:
        caption: one line.
        measure: the height of a bar; of several rows their mean, with their range.
        across: labels of which each combination is a group.
        beside: a label of which each value is a bar of a group.
    """

    caption: str
    measure: str
    across: tuple[str, ...]
    beside: str


@dataclass(frozen=True)
class Traces:
    """Spikes of the penultimate layer by iteration: a line for each value of a label, a panel for each data set."""

    caption: str
    label: str


@dataclass(frozen=True)
class GradientSizes:
    """How many elements of the input gradients have which size, a panel for each data set."""

    caption: str


@dataclass(frozen=True)
class BeforeAndAfter:
    """How many elements of the input gradients are not zero before and after sampling, by class."""

    caption: str


@dataclass(frozen=True)
class Examples:
    """Inputs before and after the attack, a line for each data set."""

    caption: str


Picture = Curves | Bars | Traces | GradientSizes | BeforeAndAfter | Examples

"""Measured rows: chosen by their labels, and shown as cells of a table."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

Row = Mapping[str, Any]

COLUMNS: dict[str, str] = {
    "data": "data",
    "loss": "victim's loss",
    "goal": "goal",
    "gamma": "turnover rate",
    "n": "n",
    "success": "success %",
    "verified": "verified %",
    "vanished_first_step": "vanished at step 1",
    "vanished_in_500": "per 500 inputs",
    "vanishing_failures": "failed, vanished %",
    "other_failures": "failed otherwise %",
    "mse": "mse",
    "linf": "L∞",
    "steps": "steps",
    "vanished_steps": "vanished steps",
    "passes_a_step": "passes a step",
    "passes": "passes",
    "accuracy": "victim's test accuracy %",
    "clean": "clean accuracy %",
    "accuracy_loss": "accuracy loss %",
    "vanished_first_step_loss": "of these, loss at its minimum",
    "vanished_first_step_output": "output outside its window",
    "elements": "elements",
    "zero": "zero %",
    "masked": "masked out %",
    "before_mean": "non-zero before",
    "after_mean": "after",
    "first_spikes": "spikes at the first iteration",
    "last_spikes": "at the last",
}
"""Headings of labels and measures; any other label goes by its own name."""

RATES = frozenset(
    {
        "success",
        "verified",
        "accuracy",
        "clean",
        "accuracy_loss",
        "vanishing_failures",
        "other_failures",
        "zero",
        "masked",
    }
)
"""Measures in [0, 1] that are shown in percent."""
_DECIMALS = {
    "mse": 4,
    "linf": 3,
    "steps": 1,
    "vanished_steps": 2,
    "passes": 0,
    "passes_a_step": 1,
    "vanished_first_step": 0,
    "vanished_in_500": 0,
    "before_mean": 1,
    "after_mean": 1,
    "first_spikes": 1,
    "last_spikes": 1,
}
"""Of measures; labels are shown with as many as they have."""


class Rows(Sequence[Row]):
    """Rows in the order of their declaration.

    >>> rows = Rows([{"data": "a", "loss": "mse", "success": 1.0}, {"data": "a", "loss": "ce", "success": 0.5}])
    >>> rows.where(loss="ce").one("success")
    0.5
    """

    def __init__(self, rows: Sequence[Row]) -> None:
        self._rows = tuple(rows)

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, at: Any) -> Any:
        return Rows(self._rows[at]) if isinstance(at, slice) else self._rows[at]

    def where(self, **labels: Any) -> "Rows":
        """The rows with these labels."""
        return Rows([row for row in self._rows if all(row.get(name) == value for name, value in labels.items())])

    def one(self, measure: str) -> float | None:
        """A measure of the only row; None where there is none, or it has no such figure."""
        return self._rows[0].get(measure) if len(self._rows) == 1 else None

    def values(self, name: str) -> list[Any]:
        """The different values of a label, in order."""
        return list(dict.fromkeys(row[name] for row in self._rows if name in row))

    def groups(self, *labels: str) -> Iterator[tuple[tuple[Any, ...], "Rows"]]:
        """The rows apart by the values of some labels."""
        for key in dict.fromkeys(tuple(row.get(name) for name in labels) for row in self._rows):
            yield key, self.where(**dict(zip(labels, key, strict=True)))

    def known(self, measure: str) -> "Rows":
        """The rows that have a figure for a measure."""
        return Rows([row for row in self._rows if row.get(measure) not in (None, [])])

    def best(self, measure: str) -> Row | None:
        """The row of the largest figure, the first of equal ones; None where no row has one."""
        return max(self.known(measure), key=lambda row: float(row[measure]), default=None)

    def mean(self, measure: str) -> float | None:
        """The mean over the rows that have a figure; None where no row has one."""
        known = self.known(measure)
        return sum(float(row[measure]) for row in known) / len(known) if known else None


def heading(name: str) -> str:
    """Of a column."""
    return COLUMNS.get(name, name.replace("_", " "))


def cell(row: Row, name: str) -> str:
    """A row's entry in a column: rates in percent with their interval, where there is one."""
    value = row.get(name)
    if value is None:
        return "–"
    if name in RATES:
        interval = row.get(f"{name}_interval")
        bounds = "" if interval is None else f" ({100 * interval[0]:.1f}–{100 * interval[1]:.1f})"
        return f"{100 * value:.1f}{bounds}"
    return figure(name, value)


def percent(rate: float) -> str:
    """``97.4 %``."""
    return f"{100 * rate:.1f} %"


def figure(name: str, value: Any) -> str:
    """A value of a label or measure as text."""
    if name in RATES:
        return percent(value)
    if isinstance(value, float):
        return f"{value:,.{_DECIMALS[name]}f}" if name in _DECIMALS else f"{value:g}"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)

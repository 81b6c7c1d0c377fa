"""Whether a stated finding holds on the rows that were measured."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

from spikeflip.experiments.rows import Rows, figure

State = Literal["held", "held in part", "did not hold", "not tested"]
MARKS: dict[State, str] = {"held": "✓", "held in part": "◐", "did not hold": "✗", "not tested": "–"}
Part = tuple[bool, str]
"""Whether a statement holds for some rows, and their figures."""
Check = Callable[[Rows], Iterable[Part]]
"""From all rows of an experiment to one part for each group of them that says anything."""


@dataclass(frozen=True)
class Outcome:
    """Whether a finding holds, and the figures that say so."""

    state: State
    words: str


@dataclass(frozen=True)
class Finding:
    """A statement of the paper, or one of our own, and how rows decide on it."""

    text: str
    parts: Check
    ours: bool = False
    mostly: bool = False
    """Whether it is stated of most cases, so that it holds where more than half of them do."""

    def check(self, rows: Rows) -> Outcome:
        """Whether the statement holds on these rows."""
        return verdict(self.parts(rows), mostly=self.mostly)


def verdict(parts: Iterable[Part], *, mostly: bool = False) -> Outcome:
    """One outcome of several: held where all hold, or most if that is enough, in part where some do.

    >>> verdict([(True, "MNIST: 97 %"), (False, "N-MNIST: 12 %")])
    Outcome(state='held in part', words='MNIST: 97 %; N-MNIST: 12 % (no)')
    """
    parts = list(parts)
    if not parts:
        return Outcome("not tested", "no row says anything about it")
    held = [good for good, _ in parts]
    enough = 2 * sum(held) > len(held) if mostly else all(held)
    state: State = "held" if enough else "held in part" if any(held) else "did not hold"
    mixed = any(held) and not all(held)
    return Outcome(state, "; ".join(f"{words}{' (no)' if mixed and not good else ''}" for good, words in parts))


def smaller(measure: str, by: tuple[str, ...], label: str, first: object, second: object, **where: object) -> Check:
    """Check that, in every group of rows, ``measure`` at ``label = first`` is below that at ``label = second``.

    Args:
        measure: of the rows.
        by: labels whose values make the groups.
        label: in which the two rows of a group differ.
        first: value of the label where the measure should be smaller.
        second: value where it should be larger.
        where: labels of the rows that count; all when not given.
    """

    def check(rows: Rows) -> Iterator[Part]:
        for key, group in rows.where(**where).groups(*by):
            pair = [group.where(**{label: value}) for value in (first, second)]
            low, high = (rows.one(measure) for rows in pair)
            if low is not None and high is not None:
                words = f"{named(key)}: {first} {figure(measure, low)}, {second} {figure(measure, high)}"
                yield low < high, words + (", intervals overlap" if _overlap(pair, f"{measure}_interval") else "")

    return check


def _overlap(pair: Iterable[Rows], interval: str) -> bool:
    """Whether the confidence intervals of two rows have values in common; false where there are none."""
    bounds = [row[interval] for rows in pair for row in rows.known(interval)]
    return len(bounds) == 2 and max(low for low, _ in bounds) <= min(high for _, high in bounds)


def named(key: Iterable[object]) -> str:
    """The name of a group of rows."""
    return ", ".join(str(part) for part in key if part is not None)

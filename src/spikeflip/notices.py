"""What a reader must know beside a number, so that the number does not mislead."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

_WARNINGS = frozenset(
    {
        "confidence-not-reached",
        "gradients-vanished",
        "labels-of-another-victim",
        "learned-on-the-same",
        "nothing-correct",
        "nothing-moved",
        "one-class",
        "one-draw-overstates",
        "own-labels",
        "pattern-of-another-goal",
        "pattern-of-another-victim",
        "silent-victim",
        "victim-at-chance",
        "victim-did-not-learn",
    }
)


@dataclass(frozen=True)
class Notice:
    """A fact that changes what a result means.

    Args:
        code: names the kind of fact for programs, in lower case with hyphens, such as ``"silent-victim"``. It stays the
            same from version to version.
        text: one sentence for people: the fact, what it means, and what helps.
        figure: the number that the sentence is about, such as the share of silent neurons; None where there is none.

    >>> Notice("one-class", "all 5 inputs are of class 3: accuracy says nothing of the others", 1).as_json()
    {'code': 'one-class', 'text': 'all 5 inputs are of class 3: accuracy says nothing of the others', 'figure': 1}
    """

    code: str
    text: str
    figure: float | None = None

    @property
    def is_warning(self) -> bool:
        """Whether a figure misleads who does not know it; else it says what the figures are of."""
        return self.code in _WARNINGS

    def as_json(self) -> dict[str, Any]:
        """The notice as plain values."""
        return asdict(self)


def as_json(notices: Iterable[Notice]) -> list[dict[str, Any]]:
    """Notices as plain values, each once, in the order in which they were first given."""
    return [notice.as_json() for notice in dict.fromkeys(notices)]

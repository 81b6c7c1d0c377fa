"""The one exception a user can cause: what is wrong, the value, and the fix, in one sentence."""

from collections.abc import Iterable, Sequence
from difflib import get_close_matches

_LONGEST_NAME = 80
"""Longer ones are compared up to there: that takes the square of their length."""


class SpikeflipError(ValueError):
    """An input, file or option that cannot be used; the message names the rule, the value and the fix."""


class NotFiniteError(SpikeflipError):
    """A victim's input gradient is infinite or not a number for some samples.

    Args:
        samples: their ids, at least one.
    """

    def __init__(self, samples: Sequence[int]) -> None:
        super().__init__(samples)
        self.samples = tuple(samples)

    def __str__(self) -> str:
        return f"the victim's input gradient is not finite for sample {self.samples[0]}: check its weights"


class NoMemoryError(SpikeflipError):
    """What was asked for does not fit into memory; the message says what to lower."""


def choose_from(given: object, known: Iterable[str]) -> str:
    """What can be given instead of a name that there is not, for the end of a message.

    >>> choose_from("sgc", ["scg", "bim"])
    'did you mean scg? choose from scg, bim'
    >>> choose_from("x", ["scg", "bim"])
    'choose from scg, bim'
    """
    names = list(known)
    near = nearest(given, names)
    return f"{f'did you mean {near}? ' if near else ''}choose from {', '.join(names)}"


def nearest(given: object, known: Iterable[str]) -> str | None:
    """The name that a misspelt one is likeliest to mean, whatever its capitals; None where none is like it."""
    names = {name.lower(): name for name in known}
    near = get_close_matches(str(given)[:_LONGEST_NAME].lower(), names, n=1)
    return names[near[0]] if near else None

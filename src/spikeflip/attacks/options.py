"""The settings of an attack as options: the one place that knows their types, ranges, defaults and help.

A setting is a field of the attack's frozen dataclass. :func:`option` gives it a range; its help is what the dataclass's
docstring says of it. The command line and configurations are made of these.
"""

import inspect
import math
import re
from dataclasses import dataclass, field, fields
from functools import cache
from numbers import Integral, Real
from typing import Any, Literal, get_args, get_origin, get_type_hints

import numpy as np

from spikeflip.errors import SpikeflipError

_RANGE = "range"


@dataclass(frozen=True)
class Range:
    """What a number must be."""

    gt: float | None = None
    ge: float | None = None
    le: float | None = None

    def holds(self, value: object) -> bool:
        """Whether it is a number in the range; infinity and NaN are none."""
        if not isinstance(value, Real):
            return False
        number = float(value)
        return (
            math.isfinite(number)
            and (self.gt is None or number > self.gt)
            and (self.ge is None or number >= self.ge)
            and (self.le is None or number <= self.le)
        )

    def __str__(self) -> str:
        if self.le is not None:
            least = f"({self.gt:g}" if self.ge is None else f"[{self.ge:g}"
            return f"a number in {least}, {self.le:,g}]"
        if self.gt is not None:
            return "a positive number" if self.gt == 0 else f"a number above {self.gt:g}"
        return f"at least {self.ge:g}"


@dataclass(frozen=True)
class Option:
    """A setting of an attack."""

    name: str
    type: Any
    """As annotated, such as ``float | None``."""
    default: Any
    range: Range | None
    help: str

    @property
    def words(self) -> tuple[str, ...]:
        """What may stand in place of a number."""
        return tuple(word for kind in get_args(self.type) if get_origin(kind) is Literal for word in get_args(kind))


def option(default: Any, *, gt: float | None = None, ge: float | None = None, le: float | None = None) -> Any:
    """A field of an attack's settings that holds a number in a range, or None where its type allows it."""
    return field(default=default, metadata={_RANGE: Range(gt, ge, le)})


def options_of(settings: type) -> dict[str, Option]:
    """The options of an attack by name, in order."""
    hints, helps = get_type_hints(settings), _helps(settings)
    return {
        known.name: Option(
            known.name, hints[known.name], known.default, known.metadata.get(_RANGE), helps.get(known.name, "")
        )
        for known in fields(settings)
    }


def check_options(settings: Any) -> None:
    """Raise a SpikeflipError if a number is not in the range of its option; numbers of NumPy become Python's."""
    for known in options_of(type(settings)).values():
        value, kinds = getattr(settings, known.name), get_args(known.type) or (known.type,)
        if isinstance(value, np.generic):
            value = value.item()
            object.__setattr__(settings, known.name, value)  # they are frozen for everybody else
        if value is None or known.range is None or value in known.words:
            continue
        is_whole = isinstance(value, Integral) and not isinstance(value, bool)
        if known.range.holds(value) and (float in kinds or is_whole):
            continue
        what = str(known.range) if float in kinds or is_whole else "a whole number"
        example = f", such as {known.default:g}" if isinstance(known.default, float | int) else ""
        leave = ", or leave it out" if type(None) in kinds else ""
        raise SpikeflipError(f"{known.name} is {value}: give {what}{example}{leave}")


@cache
def _helps(settings: type) -> dict[str, str]:
    """What the docstrings of a dataclass and its bases say of each argument."""
    found: dict[str, str] = {}
    for cls in reversed(settings.__mro__):
        text = inspect.cleandoc(cls.__dict__.get("__doc__") or "")
        section = re.search(r"^Args:\n(.*?)(?:\n\n|\Z)", text, re.M | re.S)
        for name, said in re.findall(r"^    (\w+): (.*?)(?=^    \w|\Z)", section[1] if section else "", re.M | re.S):
            found[name] = " ".join(said.split())
    return found

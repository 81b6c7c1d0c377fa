"""The pages' templates, and how numbers and rates are written in them."""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jinja2
from markupsafe import Markup, escape

from spikeflip.rates import RATES

_OPTION = re.compile("(--[a-z][a-z-]*)")


@dataclass(frozen=True)
class Rate:
    """A share in [0, 1], its number of inputs and its 95 % interval, each None where the run does not say."""

    key: str
    value: float | None
    n: int | None
    low: float | None
    high: float | None


def rates(summary: Mapping[str, Any]) -> list[Rate]:
    """Collects the rates of a summary: the known ones in the page's order, then any other that has an interval."""
    others = [key.removesuffix("_interval") for key in summary if key.endswith("_interval")]
    found = []
    for key in dict.fromkeys((*RATES, *others)):
        if key in summary:
            ends = summary.get(f"{key}_interval")
            low, high = ends if isinstance(ends, list) and len(ends) == 2 else (None, None)
            n = summary.get(f"{key}_n")
            found.append(
                Rate(
                    key,
                    real_number(summary[key]),
                    n if isinstance(n, int) else None,
                    real_number(low),
                    real_number(high),
                )
            )
    return found


def real_number(value: object) -> float | None:
    """A number that can be shown; None for anything else, infinity and NaN too."""
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None


def percent(value: object) -> str:
    """Writes a share with one decimal of a percent: 41.2."""
    real = real_number(value)
    return "–" if real is None else f"{100 * real:.1f}"


def number(value: object) -> str:
    """Writes a number with three significant digits, whole ones in full: 1,654 and 0.0301."""
    real = real_number(value)
    if real is None:
        return "–"
    if isinstance(value, int) or abs(real) >= 1000:
        return f"{real:,.0f}"
    return f"{real:#.3g}".rstrip(".") if abs(real) >= 1e-4 or real == 0 else f"{real:.2e}"


def plain(value: object) -> str:
    """Writes any value of a configuration for a reader, cut to a length that cannot break the page."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return (" × " if all(isinstance(part, int) for part in value) else ", ").join(plain(part) for part in value)[
            :400
        ]
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, dict):
        return ", ".join(f"{name}: {plain(inner)}" for name, inner in value.items())[:400]
    return "–" if value is None else str(value)[:400]


def fact_and_rest(text: str) -> tuple[Markup, Markup]:
    """A notice's fact, and what follows from it, as sentences."""
    fact, _, rest = text.partition(": ")
    return _sentence(fact), _sentence(rest)


def _sentence(text: str) -> Markup:
    """Escaped, with the options of the command as such: no line ends within one."""
    if not text:
        return Markup("")
    parts = _OPTION.split(f"{text[:1].upper()}{text[1:]}.")
    shown = (
        Markup('<span class="option">{}</span>').format(part) if at % 2 else escape(part)
        for at, part in enumerate(parts)
    )
    return Markup("").join(shown)


@functools.cache
def environment() -> jinja2.Environment:
    """The pages' templates, which escape every value."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("spikeflip.report", "."),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"percent": percent, "number": number, "plain": plain, "fact_and_rest": fact_and_rest}
    return environment

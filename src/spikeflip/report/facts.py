"""The figures of a run's summary: what stands for a number, and whether the rates are any."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from spikeflip.errors import SpikeflipError

_MOST = 1 << 53
_RATES = ("attack_success_rate", "verified_success_rate")


def real(value: object) -> float | None:
    """A finite number; None for anything else."""
    is_real = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return float(value) if is_real else None  # type: ignore[arg-type]


def count(value: object) -> int | None:
    """A whole number from 0 on that a float holds; None for anything else."""
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < _MOST else None


def check_figures(summary: Mapping[str, Any], path: Path) -> None:
    """Raise a SpikeflipError where a summary, in the file ``path``, says a number of inputs or a rate that is none."""
    wrong = f"n is {_short(summary['n'])}" if count(summary.get("n", 0)) is None else None
    for name in _RATES:
        rate, n = real(summary.get(name)), summary.get(f"{name}_n")
        if wrong is None and rate is not None and (count(n) is None or not 0 <= rate <= 1):
            wrong = f"{name} is {rate:g} of {_short(n)}"
    if wrong is not None:
        raise SpikeflipError(f"{path} is damaged ({wrong}): delete it and attack again")


def _short(value: object) -> str:
    return str(value)[:200]

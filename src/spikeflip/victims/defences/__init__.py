"""Defences that come with the package, by the names under which the command knows them."""

import inspect
from collections.abc import Callable
from typing import Any

from spikeflip.errors import SpikeflipError
from spikeflip.victims.defence import Defence
from spikeflip.victims.defences.filters import BackgroundActivityFilter, DensityFilter, MedianFilter
from spikeflip.victims.defences.gating import StochasticGate
from spikeflip.victims.victim import Victim

__all__ = [
    "DEFENCES",
    "BackgroundActivityFilter",
    "DensityFilter",
    "MedianFilter",
    "StochasticGate",
    "named_defence",
]

DEFENCES: dict[str, type[Defence]] = {
    "background-activity": BackgroundActivityFilter,
    "density": DensityFilter,
    "median": MedianFilter,
    "stochastic-gate": StochasticGate,
}


def named_defence(written: str) -> Callable[[Victim], Victim]:
    """What ``NAME`` or ``NAME:OPTION=VALUE,OPTION=VALUE`` makes of a victim.

    Raises:
        SpikeflipError: there is no such defence or option, or a value is no number of its kind.

    >>> from spikeflip import SpikingNetwork
    >>> named_defence("density:least=2,bins=0")(SpikingNetwork("4FC-3FC", (5,))).least
    2
    """
    name, _, said = written.partition(":")
    if name not in DEFENCES:
        raise SpikeflipError(
            f"there is no defence {name!r}: choose from {', '.join(DEFENCES)}, or name code of your own as "
            "PACKAGE.MODULE:CLASS"
        )
    kind: Any = DEFENCES[name]
    options = options_of(kind)
    given: dict[str, int | float] = {}
    for part in said.split(",") if said else ():
        option, _, value = part.partition("=")
        if option not in options:
            raise SpikeflipError(f"the defence {name} has no option {option!r}: choose from {', '.join(options)}")
        if option in given:
            raise SpikeflipError(f"the defence {name} has the option {option} twice: give it once")
        kind_of_number = type(options[option])
        try:
            given[option] = kind_of_number(value)
        except ValueError:
            number = "a whole number" if kind_of_number is int else "a number"
            raise SpikeflipError(
                f"the option {option} of the defence {name} is {value!r}: give {number}, such as "
                f"{name}:{option}={options[option]}"
            ) from None
    return lambda victim: kind(victim, **given)


def options_of(kind: type[Defence]) -> dict[str, int | float]:
    """The options of a defence of this package with their defaults."""
    parameters = list(inspect.signature(kind).parameters.values())[1:]  # the first is the victim
    return {parameter.name: parameter.default for parameter in parameters}

"""An attack's settings as options of a configuration and the command line, made from its dataclass."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import fields
from functools import cache
from pathlib import Path
from typing import Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, create_model
from pydantic.fields import FieldInfo

from spikeflip.attacks import Budget, Pattern
from spikeflip.attacks.metrics import METRICS
from spikeflip.attacks.options import Option, Range, options_of
from spikeflip.attacks.tuned import THRESHOLD
from spikeflip.errors import SpikeflipError, nearest
from spikeflip.interop import EVERY_ATTACK
from spikeflip.snn.losses import LOSSES

_STRICT = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)
OF_GRADIENTS = ("surrogate", "surrogate_width")
"""Options of all runs that change nothing but gradients."""
_Options = dict[str, tuple[Any, FieldInfo]]


@cache
def options_model(attack: str) -> type[BaseModel]:
    """A model with the options of an attack: two of a budget, a switch beside what can be left out but has a default.

    Raises:
        KeyError: there is no such attack.
    """
    made: _Options = {}
    settings = EVERY_ATTACK[attack].settings
    for option in options_of(settings).values():
        made |= _made(option, getattr(settings, "budget_in", None))
    found: type[BaseModel] = create_model(
        f"Options of {attack}",
        __config__=_STRICT,
        **made,  # type: ignore[call-overload]
    )
    return found


def refuse_others(attack: str, names: Iterable[str]) -> None:
    """Raise a SpikeflipError for the first of these options that other attacks have, and this one has not."""
    others = {name for other in EVERY_ATTACK for name in options_model(other).model_fields}
    for name in sorted(set(names) & (others - options_model(attack).model_fields.keys())):
        raise SpikeflipError(f"{_dashed(name)} is no option of {attack}: leave it out")


def refuse_unknown(attack: str, names: Iterable[str], of_runs: Iterable[str]) -> None:
    """Raise a SpikeflipError for the first of these options that neither the attack nor all runs have."""
    refuse_others(attack, names)
    known = [*options_model(attack).model_fields, *of_runs]
    for name in sorted({*names}.difference(known)):
        near = nearest(name, known)
        do = "leave it out" if near is None else f"did you mean {_dashed(near)}?"
        raise SpikeflipError(f"{_dashed(name)} is no option of {attack}: {do}")


def refuse_surrogate(attack: str, given: Mapping[str, Any]) -> None:
    """Raise a SpikeflipError for a surrogate where the attack follows no gradient of the victim."""
    if EVERY_ATTACK[attack].settings.follows_gradient:
        return
    for name in OF_GRADIENTS:
        if given.get(name) is not None:
            raise SpikeflipError(
                f"{_dashed(name)} is for attacks that follow the victim's gradient, and {attack} does not: leave it out"
            )


def _dashed(name: str) -> str:
    return "--" + name.replace("_", "-")


def _made(option: Option, metric: str | None) -> _Options:
    """The fields of an option; a number as budget bounds ``metric``, that of the default budget if None."""
    if Budget in get_args(option.type):
        own = option.default
        metric = metric or (own.metric if own else "mse")
        unless = "unbounded when not given" if own is None else f"{own.limit:.4g} in {own.metric} when not given"
        return {
            "epsilon": _option(
                float | None,
                None,
                f"Budget, in units of --metric; {unless}; 0 for the clean row of a table.",
                Range(ge=0),
            ),
            "metric": _option(Literal[tuple(METRICS)], metric, "What --epsilon bounds."),
        }
    if Pattern in get_args(option.type):
        return {option.name: _option(Path | None, None, "File that learn-pattern wrote.")}
    if option.name == "loss":
        names: Any = Literal[(*LOSSES, "victim")]
        default = "victim" if option.default == "mse" else option.default
        return {"loss": _option(names, default, "Attack loss; 'victim' is its training loss.")}
    if option.name == "threshold":
        words = "Penultimate firing threshold while generating; the victim's own with --no-tuning, or if it has none."
        return {
            "threshold": _option(float | None, THRESHOLD, words, option.range),
            "tuning": _option(bool, True, "Raise the penultimate threshold to --threshold."),
        }
    return {option.name: _option(option.type, option.default, _plain(option.help), option.range)}


def _option(of: Any, default: Any, help: str, allowed: Range | None = None) -> tuple[Any, FieldInfo]:
    allowed = allowed or Range()
    made: FieldInfo = Field(default, description=help, gt=allowed.gt, ge=allowed.ge, le=allowed.le)
    return of, made


def _plain(help: str) -> str:
    """The words of a docstring as the command line shows them."""
    text = re.sub(r":\w+:`~?([^`]*)`", r"\1", help).replace("``", "")
    return text[:1].upper() + text[1:]


def settings_of(attack: str, said: Mapping[str, Any], *, victim_loss: str, tunable: bool = True) -> dict[str, Any]:
    """What an attack's dataclass is made with: of its settings, those that are said, but for a pattern in a file.

    Args:
        attack: its name.
        said: values of :func:`options_model`, those that were given alone.
        victim_loss: what the victim was trained with.
        tunable: whether it has a penultimate threshold; where it has none, none is asked for unless it is said.
    """
    known = {field.name for field in fields(EVERY_ATTACK[attack].settings)}
    found = {name: value for name, value in said.items() if name in known - {"pattern"} and value is not None}
    if "loss" in known and said.get("loss", options_model(attack).model_fields["loss"].default) == "victim":
        found["loss"] = victim_loss
    if "threshold" in known:
        tuned = said.get("tuning", True) and (tunable or "threshold" in said)
        found["threshold"] = said.get("threshold", THRESHOLD) if tuned else None
    if said.get("epsilon") is not None:
        metric = said.get("metric", options_model(attack).model_fields["metric"].default)
        found["budget"] = Budget(said["epsilon"], metric)
    return found

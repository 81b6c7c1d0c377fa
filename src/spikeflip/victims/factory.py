"""Code of the user's own, by the name under which Python imports it: a model's factory, a defence.

Defences of this package are named beside it.
"""

import importlib
import os
import sys
from collections.abc import Callable
from typing import Any

from spikeflip.errors import SpikeflipError
from spikeflip.streams import foreign_numbers
from spikeflip.victims.defences import DEFENCES, named_defence
from spikeflip.victims.examining.checks import raised
from spikeflip.victims.victim import Victim, is_victim


def load_factory(place: str) -> Any:
    """The model that ``package.module:function`` returns; modules of the current folder come before installed ones.

    Raises:
        SpikeflipError: there is no such thing, or it raises.
    """
    made = _named(place, "a function in it that returns the model")
    if hasattr(made, "named_modules") and not isinstance(made, type):
        return made  # the model itself
    if not callable(made):
        raise SpikeflipError(
            f"{place} is a value of type {type(made).__name__}: name a function without arguments that returns the "
            "model"
        )
    try:
        return made()
    except (Exception, SystemExit) as error:
        raise SpikeflipError(
            f"{place} raised an error ({raised(error)}): mend it; it is called without arguments and returns the model"
        ) from error


def load_defence(place: str) -> Callable[[Victim], Victim]:
    """The class or function ``package.module:name`` that makes a victim of a victim, or a defence of this package.

    The latter is ``name`` or ``name:option=value``; see :func:`spikeflip.victims.defences.named_defence`.

    Raises:
        SpikeflipError: there is no such thing; or, when it is called, it raises or returns no victim.
    """
    if ":" not in place or "=" in place or place.partition(":")[0] in DEFENCES:
        return named_defence(place)
    made = _named(place, "a class or function in it that takes a victim and gives one")

    def defend(victim: Victim) -> Victim:
        try:
            with foreign_numbers(0):  # the same each time that it is made
                defended = made(victim)
        except (Exception, SystemExit) as error:
            raise SpikeflipError(
                f"the defence {place} raised an error ({raised(error)}): mend it; it is called with the victim"
            ) from error
        if not is_victim(defended):
            raise SpikeflipError(
                f"the defence {place} gives a {type(defended).__name__}: derive it from spikeflip.Defence, or return a "
                "victim"
            )
        return defended

    return defend


def _named(place: str, wanted: str) -> Any:
    module_name, _, path = place.partition(":")
    if not all(part.isidentifier() for part in (*module_name.split("."), *path.split("."))):
        raise SpikeflipError(f"{place!r} names no code: write PACKAGE.MODULE:FUNCTION, such as models.digits:build")
    found: Any = _imported(module_name)
    for name in path.split("."):
        if not hasattr(found, name):
            raise SpikeflipError(f"there is no {path!r} in {module_name}: name {wanted}")
        found = getattr(found, name)
    return found


def _imported(name: str) -> object:
    folder = os.getcwd()
    if folder not in sys.path:
        sys.path.insert(0, folder)
    importlib.invalidate_caches()
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and f"{name}.".startswith(f"{error.name}."):
            raise SpikeflipError(
                f"there is no module {name!r}, neither installed nor in this folder ({folder}): check its name, or go "
                "to the folder that holds it"
            ) from error
        raise SpikeflipError(f"importing {name} needs the module {error.name!r}: install it") from error
    except (Exception, SystemExit) as error:
        raise SpikeflipError(f"importing {name} raised an error ({raised(error)}): mend it") from error

"""What a run's ``config.json`` says of it beside its options, against what it should say."""

import json
from collections.abc import Mapping
from typing import Any

from spikeflip.runs.plan import PLACES, Plan

_PARTS = ("settings", "data", "victim", "pattern", "given")
_SENTENCES = frozenset({"source", "data.source", "data.notes", "victim.source", "victim.code"})
"""Words of a version, and of where files were."""
_FILES = ("folder ", "file ")
"""What the names of recordings that a user gave begin with; the rest says where they were."""


def wrong_facts(stored: Mapping[str, Any], plan: Plan) -> list[dict[str, Any]]:
    """What a ``config.json`` says otherwise than a plan that is made of its options.

    A fact that only one of the two has is of another version, and not compared. Nor are sentences, and the name of a
    folder of recordings, which may lie elsewhere now.

    Args:
        stored: what the file holds.
        plan: of its options, with its victim and data.

    Returns:
        One dict a fact with ``row`` ``"config"``, ``column`` (its name, such as ``settings.threshold``), ``stored``
        and ``recomputed``.
    """
    made = json.loads(json.dumps(plan.describe()))
    of_files = next((kind for kind in _FILES if made["data"]["name"].startswith(kind)), None)
    data = stored.get("data")
    name = data.get("name") if isinstance(data, dict) else None
    if of_files and isinstance(name, str) and name.startswith(of_files):
        made["data"]["name"], made["name"] = name, f"{name}, {made['goal']}"
    made["given"] = _as_options(stored)
    theirs, ours = _flat(stored), _flat(made)
    return [
        {"row": "config", "column": name, "stored": theirs[name], "recomputed": value}
        for name, value in ours.items()
        if name in theirs and name not in _SENTENCES and theirs[name] != value
    ]


def _flat(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Facts by name, those of a part behind the part's; the rest is made of the options."""
    flat = {name: value for name, value in facts.items() if name not in (*_PARTS, "options", "identity")}
    for part in _PARTS:
        values = facts.get(part)
        flat |= {f"{part}.{name}": value for name, value in values.items()} if isinstance(values, dict) else {}
    return flat


def _as_options(stored: Mapping[str, Any]) -> dict[str, Any]:
    """The options that a file says were given, with the values that it says are theirs."""
    given, options = stored.get("given"), stored.get("options")
    if not isinstance(given, dict) or not isinstance(options, dict):
        return {}
    return {name: options.get(name) for name in given if name not in PLACES}

"""How a reader repeats a run, and cites it: the command as a shell takes it, and references."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from typing import Any

from spikeflip.report.tables import one_line

_PLACES = {
    "victim": "the folder with the victim’s weights",
    "root": "the folder with the data set’s files",
    "input": "the recordings",
    "pattern": "the file with the pattern",
}
_SHORTEST_MARGIN = 88
PAPER = """@article{liang2021exploring,
  title   = {Exploring Adversarial Attack in Spiking Neural Networks with Spike-Compatible Gradient},
  author  = {Liang, Ling and Hu, Xing and Deng, Lei and Wu, Yujie and Li, Guoqi and Ding, Yufei and Li, Peng
             and Xie, Yuan},
  journal = {IEEE Transactions on Neural Networks and Learning Systems},
  year    = {2021}
}"""


def repeated(config: Mapping[str, Any], manifest: Mapping[str, Any]) -> dict[str, Any] | None:
    """How to run an attack again.

    Args:
        config: Of the run.
        manifest: Of the run.

    Returns:
        `command`, the words that stand for `places`, `version` of spikeflip and `commit`, where known, and all
        `options` as JSON; None of a run that does not say its options.
    """
    given = config.get("given")
    options = config.get("options")
    if not isinstance(given, dict):
        given = {"victim": "VICTIM", **options} if isinstance(options, dict) else None
    if not given:
        return None
    versions = manifest.get("versions")
    version = versions.get("spikeflip") if isinstance(versions, dict) else None
    return {
        "command": command({**given, "out": "RUN"}),
        "places": [(name.upper(), words) for name, words in _PLACES.items() if given.get(name) == name.upper()],
        "version": version,
        "commit": manifest.get("git"),
        "options": json.dumps(options, indent=1, ensure_ascii=False) if isinstance(options, dict) else None,
    }


def command(options: Mapping[str, Any]) -> str:
    r"""The command of an attack, one line or several that a shell joins; what is None is left out.

    >>> command({"attack": "scg", "tuning": False, "samples": None, "defence": ["a:B", "c:D"], "data": "my set"})
    "spikeflip attack --attack scg --no-tuning --defence a:B --defence c:D --data 'my set'"
    """
    parts = [part for name, value in options.items() if value is not None for part in _option(one_line(name), value)]
    lines = ["spikeflip attack"]
    for part in parts:
        if len(lines[-1]) + len(part) > _SHORTEST_MARGIN:
            lines.append(part)
        else:
            lines[-1] += f" {part}"
    return " \\\n  ".join(lines)


def _option(name: str, value: object) -> list[str]:
    flag = shlex.quote(f"--{name.replace('_', '-')}")
    if isinstance(value, bool):
        return [flag if value else shlex.quote(f"--no-{name.replace('_', '-')}")]
    several = value if isinstance(value, list) else [value]
    return [f"{flag} {shlex.quote(one_line(str(part)))}" for part in several]


def software(version: object) -> str:
    """The reference of this software in BibTeX."""
    known = f",\n  version = {{{one_line(str(version))}}}" if version else ""
    return f"@software{{spikeflip,\n  title   = {{spikeflip}},\n  author  = {{{{The spikeflip authors}}}}{known}\n}}"

"""The command ``spikeflip certify``: how far images may be changed without changing the vote."""

from collections.abc import Mapping
from typing import Annotated, Any

from cyclopts import Parameter
from pydantic import BaseModel, create_model

from spikeflip.cli.command_line import AsJson, Quiet, foreign_prints, grouped
from spikeflip.cli.terminal import Bars, note, print_json, say
from spikeflip.runs.certify_config import CertifyConfig

_OF_RECORDINGS = ("simulate_events", "sensor", "columns", "time_unit", "bins", "time_bin")
"""What a victim that codes images has no use for."""
_Options: type[BaseModel] = create_model(
    "CertifyOptions", __base__=CertifyConfig, **grouped(CertifyConfig, hidden=_OF_RECORDINGS)
)


def certify(
    *,
    options: Annotated[_Options, Parameter(name="*")],
    quiet: Quiet = False,
    json: AsJson = False,
) -> None:
    """Certify the vote over random encodings of each image: how far no change of it can change the vote.

    Writes no folder: --json has a row for each image.
    """
    from spikeflip.runs import run_certification

    assert isinstance(options, CertifyConfig)
    with Bars(quiet or json) as bars, foreign_prints():
        found = run_certification(options, progress=bars.stage)
    if json:
        print_json(found)
    elif not quiet:
        print_certificate(found)


def print_certificate(found: Mapping[str, Any]) -> None:
    """Write the accuracy of the vote, and how much of it is certified at some distances, and notes."""
    accuracy, abstained = _rate(found["accuracy"]), _rate(found["abstained"])
    say(f"accuracy of the vote: {accuracy} of {found['n']:,}; no class has half of it: {abstained}")
    for row in found["certified_accuracy"]:
        say(f"  certified for all changes up to {row['radius']:.4f} in L1: {_rate(row)}")
    for notice in found["notices"]:
        note(notice["text"])


def _rate(of: Mapping[str, Any]) -> str:
    low, high = of["interval"]
    return f"{of['rate']:.1%} ({low:.1%} to {high:.1%})"

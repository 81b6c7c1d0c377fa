"""The command ``spikeflip learn-pattern``: what the attacks universal and patch put on every input."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from pydantic import BaseModel, create_model

from spikeflip.cli.command_line import AsJson, Quiet, foreign_prints, grouped
from spikeflip.cli.groups import OUTPUT
from spikeflip.cli.terminal import Bars, note, print_json, say
from spikeflip.runs.pattern_config import PatternConfig

_Options: type[BaseModel] = create_model("PatternOptions", __base__=PatternConfig, **grouped(PatternConfig))


def learn_pattern(
    *,
    options: Annotated[_Options, Parameter(name="*")],
    out: Annotated[Path, Parameter(group=OUTPUT, help="File to write, such as pattern.safetensors.")],
    quiet: Quiet = False,
    json: AsJson = False,
) -> None:
    """Learn a universal perturbation or a patch, for attack --attack universal or patch --pattern FILE."""
    from spikeflip.runs import run_learning

    assert isinstance(options, PatternConfig)
    with Bars(quiet or json) as bars, foreign_prints():
        found = run_learning(options, out, progress=bars.stage)
    if json:
        print_json(found)
    elif not quiet:
        what = f"{found['cells']:,} cells" if found["kind"] == "universal" else f"a patch of {found['cells']:,} cells"
        say(f"{out}: {what}, fools {found['success']:.1%} of the {found['inputs']:,} inputs that it was learned on")
        for notice in found["notices"]:
            note(notice["text"])

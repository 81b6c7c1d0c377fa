"""The commands ``spikeflip evaluate`` and ``leaderboard``: the worst case per threat model, and cards of it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter
from pydantic import BaseModel, create_model
from rich.console import Console

from spikeflip.cli.command_line import AsJson, ExecutionOptions, Quiet, foreign_prints, grouped
from spikeflip.cli.groups import OUTPUT
from spikeflip.cli.terminal import Bars, note, print_json, say
from spikeflip.runs.evaluate_config import EvaluateConfig

_Options: type[BaseModel] = create_model("EvaluateOptions", __base__=EvaluateConfig, **grouped(EvaluateConfig))


def evaluate(
    *,
    options: Annotated[_Options, Parameter(name="*")],
    out: Annotated[Path, Parameter(group=OUTPUT, help="Folder to write; an unfinished evaluation in it goes on.")],
    execution: Annotated[ExecutionOptions, Parameter(name="*")] = ExecutionOptions(),  # noqa: B008 - frozen
    card: Annotated[
        Path | None, Parameter(group=OUTPUT, help="File for a result card, too, such as card.json.")
    ] = None,
    quiet: Quiet = False,
    json: AsJson = False,
) -> None:
    """Find the worst case of every input within a budget, by all attacks of a threat model's suite.

    Run the same command again to go on after an interruption.
    """
    from spikeflip.runs import is_evaluated, run_evaluation

    evaluated = is_evaluated(out)
    assert isinstance(options, EvaluateConfig)
    with Bars(quiet or json) as bars, foreign_prints():
        summary = run_evaluation(options, out, card=card, execution=execution, progress=bars.stage)
    if json:
        print_json(summary)
    elif not quiet:
        if evaluated:
            say(f"{out} was evaluated already; this is its summary")
        print_evaluation(summary, judged=options.verdict)
        say(f"page: {out / 'report.html'}")
        if card is not None:
            say(f"card: {card}")


def print_evaluation(summary: Mapping[str, Any], *, judged: bool) -> None:
    """Write the figures of an evaluation, a line for each attack, and what a reader must know of them."""
    from spikeflip.evaluation.outcome import headline, table_lines

    say(headline(summary))
    for line in table_lines(summary["members"], Console().width):
        say(line)
    for notice in summary.get("notices", ()):
        note(notice["text"])
    if summary["broken_by_controls_alone"]:
        count = summary["broken_by_controls_alone"]
        note(f"{count:,} of the broken inputs were broken by a control alone: an attack should have done so")
    if summary["verdict"] is None:
        why = "that takes 8 inputs that are right, and a budget that changes them" if judged else "give --verdict"
        note(f"whether gradients are masked was not looked at: {why}")
    else:
        say(f"masking: {summary['verdict']['word']}")
        for finding in summary["verdict"]["findings"]:
            say(f"  {finding['weight']}: {finding['sentence']}")
    for member in summary["members"]:
        if member["left_out"] is not None:
            what = "left some inputs out" if member["attempted"] else "was left out"
            note(f"{member['name']} {what}: {member['left_out']}")


def leaderboard(
    cards: Annotated[Path, Parameter(help="Folder with cards that evaluate --card wrote.")],
    /,
    *,
    out: Annotated[Path, Parameter(help="File to write.")] = Path("leaderboard.html"),
    quiet: Quiet = False,
) -> None:
    """Write one page with a table of result cards, the most robust victim first."""
    from spikeflip.report.leaderboard import write_leaderboard

    write_leaderboard(cards, out)
    if not quiet:
        say(f"page: {out}")

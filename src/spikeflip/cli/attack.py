"""The command ``attack``, whose options are those of a run and of the attack that is named."""

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Group, Parameter
from pydantic import BaseModel, ConfigDict, create_model

from spikeflip.cli.command_line import AsJson, ExecutionOptions, Quiet, foreign_prints, grouped
from spikeflip.cli.groups import OUTPUT
from spikeflip.cli.terminal import Bars, print_json, print_summary, say
from spikeflip.errors import SpikeflipError, choose_from
from spikeflip.runs.config import AttackConfig

_HELP = ("--help", "-h")
_OF_IMAGES = frozenset({"encodings"})
"""Options that can be at their default alone where an attack is on spikes: its help does without them."""


def attack_command(arguments: Sequence[str], file: Mapping[str, Any]) -> Callable[..., None]:
    """The command with the options of the attack that its arguments or its file of options name.

    The attacks are not imported for other commands, nor for help without a name, which has what all runs have.
    """
    named = values_of("--attack", arguments)
    asked = arguments[:1] == ["attack"] and bool(named or not set(arguments) & set(_HELP))
    options = _options([*named, "scg"][0], [*_names(arguments), *map(_name, file)]) if asked else _model({})

    def attack(
        *,
        options: Annotated[options, Parameter(name="*")],  # type: ignore[valid-type]
        execution: Annotated[ExecutionOptions, Parameter(name="*")] = ExecutionOptions(),  # noqa: B008 - frozen
        out: Annotated[Path, Parameter(group=OUTPUT, help="Run folder to write; an unfinished run in it goes on.")],
        quiet: Quiet = False,
        json: AsJson = False,
    ) -> None:
        """Attack a victim on a data set or on recordings, judge what was saved, and write a run folder with a page.

        Run the same command again to go on after an interruption.
        """
        from spikeflip.runs import is_finished, run_attack

        given: BaseModel = options
        config = AttackConfig(**{name: getattr(given, name) for name in given.model_fields_set})
        finished = is_finished(out)
        with Bars(quiet or json) as bars, foreign_prints():
            summary = run_attack(config, out, execution=execution, progress=bars.stage)
        if json:
            print_json(summary)
        elif not quiet:
            if finished:
                say(f"{out} was finished already; this is its summary")
            print_summary(out.name, summary)
            say(f"page: {out / 'report.html'}")

    return attack


def values_of(option: str, arguments: Sequence[str]) -> list[str]:
    """What is given to an option, as ``--option value`` or ``--option=value``."""
    after = [value for argument, value in pairwise(arguments) if argument == option]
    return after or [argument.partition("=")[2] for argument in arguments if argument.startswith(f"{option}=")]


def _names(arguments: Sequence[str]) -> list[str]:
    """The options that are given, named as in Python."""
    given = [argument[2:].partition("=")[0] for argument in arguments if argument.startswith("--")]
    return [_name(name.removeprefix("no-")) for name in given]


def _name(option: str) -> str:
    return option.replace("-", "_")


def _options(attack: str, given: Sequence[str]) -> type[BaseModel]:
    from spikeflip.interop import EVERY_ATTACK
    from spikeflip.runs.attack_options import OF_GRADIENTS, options_model, refuse_others

    if attack not in EVERY_ATTACK:
        raise SpikeflipError(f"--attack is {attack!r}: {choose_from(attack, EVERY_ATTACK)}")
    refuse_others(attack, given)
    group, on_images = Group(f"Options of {attack}", sort_key=5), "images" in EVERY_ATTACK[attack].inputs
    own = options_model(attack).model_fields
    shown = {name: Parameter(group=group, show=on_images or name not in _OF_IMAGES) for name in own}
    hidden = () if EVERY_ATTACK[attack].settings.follows_gradient else OF_GRADIENTS
    return _model({name: (Annotated[known.annotation, shown[name]], known) for name, known in own.items()}, hidden)


def _model(own: Mapping[str, Any], hidden: Sequence[str] = ()) -> type[BaseModel]:
    """All options of a run, some of them not in the help, and those of its attack beside them."""
    run = grouped(AttackConfig, hidden)
    del run["settings"]
    strict = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)
    found: type[BaseModel] = create_model("AttackOptions", __config__=strict, **run, **own)
    return found

"""What all commands share: options for what they say, a file of options, the one line that a mistake ends in."""

import sys
import tomllib
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Annotated, Any, Literal, NoReturn, get_args, get_origin

import cyclopts
from cyclopts import Parameter
from pydantic import BaseModel, ValidationError, create_model

from spikeflip.cli.ending import READER_GONE, leave_output
from spikeflip.cli.groups import OUTPUT, group_of
from spikeflip.errors import NoMemoryError, SpikeflipError
from spikeflip.limits import LARGEST_OPTIONS, ran_out
from spikeflip.reading import small_text
from spikeflip.report.tables import one_line
from spikeflip.runs.config import Execution, TrainConfig, VictimConfig, explain, names_code

Quiet = Annotated[bool, Parameter(help="No progress, no summary.", negative="", group=OUTPUT)]
AsJson = Annotated[
    bool, Parameter(name="--json", help="Print the summary as JSON, alone, on stdout.", negative="", group=OUTPUT)
]

Columns = Annotated[
    str | None, Parameter(help="Columns of a text file, such as x,y,p,t; a dash is one that is not read.")
]
TimeUnit = Annotated[
    Literal["s", "ms", "us", "ns"] | None, Parameter(help="Unit of the times of a text, .npz or .npy file.")
]

_LONGEST_LINE = 1000
_WHAT_TO_LOWER = {
    "memory": "memory ran out: give a smaller --micro-batch, fewer --workers or a smaller --width or --size, where the "
    "command has them, or use a larger machine",
    "threads": "the system starts no more threads: give fewer --workers, set OMP_NUM_THREADS to 1, or raise the limit "
    "(ulimit -u)",
}


def grouped(kind: type[BaseModel], hidden: Collection[str] = ()) -> dict[str, Any]:
    """The fields of a configuration, as pydantic makes a model of, in the groups of the help; some are not shown."""
    return {
        name: (Annotated[known.annotation, Parameter(group=group_of(name, kind), show=name not in hidden)], known)
        for name, known in kind.model_fields.items()
    }


def split_options(arguments: Sequence[str]) -> tuple[list[str], Path | None]:
    """Take ``-c FILE`` out of the arguments."""
    rest: list[str] = []
    file: str | None = None
    remaining = iter(arguments)
    for argument in remaining:
        if argument in ("-c", "--config"):
            file = next(remaining, None)
            if file is None:
                raise SpikeflipError(f"{argument} has no value: give a TOML file with the command's options")
        elif argument.startswith("--config="):
            file = argument.removeprefix("--config=")
        else:
            rest.append(argument)
    return rest, None if file is None else Path(file)


def read_options(file: Path) -> dict[str, Any]:
    """The options in a TOML file."""
    if not file.is_file():
        what = "is no file" if file.exists() else "does not exist"
        raise SpikeflipError(f"-c {file} {what}: give a TOML file with the command's options")
    try:
        values = tomllib.loads(small_text(file, LARGEST_OPTIONS))
    except (ValueError, RecursionError) as error:
        raise SpikeflipError(f"-c {file} is no TOML file with options ({error}): mend it") from error
    for name, value in values.items():
        if isinstance(value, dict) or (isinstance(value, list) and any(isinstance(part, dict) for part in value)):
            raise SpikeflipError(f"-c {file}: [{name}] is a table, as files for 'sweep' have them: write plain options")
        parts = value if isinstance(value, list) else [value]
        if any(not isinstance(part, str | bool | int | float) or "\0" in str(part) for part in parts):
            raise SpikeflipError(f"-c {file}: {name} is no text, number, truth value or list of these: write one")
        option = name.replace("_", "-")
        code = option == "victim" and isinstance(value, str) and names_code(Path(value))
        code = code or (option == "defence" and any(names_code(part) for part in parts))
        if code or option == "run-code":
            raise SpikeflipError(f"-c {file}: a file cannot name code to be run: give --{option} on the command line")
    return _without_negatives(values, file)


def _without_negatives(values: dict[str, Any], file: Path) -> dict[str, Any]:
    """The options with ``name = false`` for ``no-name = true``, whose value cyclopts would take for ``name``."""
    found: dict[str, Any] = {}
    for name, value in values.items():
        positive = name[3:] if name.startswith(("no-", "no_")) else name
        if positive != name and not isinstance(value, bool):
            raise SpikeflipError(f"-c {file}: {name} is {value!r:.80}: give true or false")
        if positive in found:
            raise SpikeflipError(f"-c {file}: {positive} is given twice, once as no-{positive}: leave one of them out")
        found[positive] = value if positive == name else not value
    return found


VictimOptions: type[VictimConfig] = create_model("VictimOptions", __base__=VictimConfig, **grouped(VictimConfig))
TrainOptions: type[TrainConfig] = create_model("TrainOptions", __base__=TrainConfig, **grouped(TrainConfig))
ExecutionOptions: type[Execution] = create_model("ExecutionOptions", __base__=Execution, **grouped(Execution))


@contextmanager
def foreign_prints() -> Iterator[None]:
    """What a model's own code prints is no part of the answer: it goes to stderr."""
    with redirect_stdout(sys.stderr):
        yield


@contextmanager
def one_sentence() -> Iterator[None]:
    """Turn what a user can cause into one line on stderr and exit status 2."""
    try:
        yield
        sys.stdout.flush()
    except (SpikeflipError, cyclopts.CycloptsError, ValidationError) as error:
        causes = [e for e in (error, error.__cause__, error.__context__) if e is not None]
        if not isinstance(error, NoMemoryError) and any(map(ran_out, causes)):
            _fail_without(causes)  # "damaged" and the like is not what such an error means
        _fail(_said(error, causes))
    except (OSError, MemoryError, RuntimeError) as error:
        if ran_out(error) is not None:
            _fail_without([error])
        if isinstance(error, RuntimeError | MemoryError):
            raise
        if error.filename is None:
            leave_output()
        if isinstance(error, BrokenPipeError):
            raise SystemExit(READER_GONE) from None
        _fail(f"{error.filename or 'the output'}: {error.strerror or error}")
    except SystemExit as stop:
        if isinstance(stop.__context__, BrokenPipeError):  # as Rich tells it
            raise SystemExit(READER_GONE) from None
        raise


def _said(error: Exception, causes: Sequence[BaseException]) -> str:
    if isinstance(error, cyclopts.MissingArgumentError) and error.argument is not None:
        return _missing(error.argument, " ".join(error.command_chain or ()))
    if isinstance(error, SpikeflipError):
        return str(error)  # whatever led to it, it says itself where and what is wrong
    cause = next((e for e in causes if isinstance(e, ValidationError)), None)
    return str(error) if cause is None else explain(cause)


def _missing(argument: cyclopts.Argument, command: str) -> str:
    """What a command was not given, and what that is."""
    choices = get_args(argument.hint) if get_origin(argument.hint) is Literal else ()
    says = (argument.parameter.help or "").rstrip(".")
    what = f"choose from {', '.join(choices)}" if choices else f"{says[:1].lower()}{says[1:]}"
    return f"{command} needs {argument.name}: {what}" if argument.required else f"{argument.name} needs a value: {what}"


def _fail_without(causes: Sequence[BaseException]) -> NoReturn:
    _fail(_WHAT_TO_LOWER[next(what for what in map(ran_out, causes) if what is not None)])


def _fail(text: str) -> NoReturn:
    """Say in one line what is wrong, whatever names from elsewhere hold, and end."""
    line = one_line(" ".join(text.split()))
    sys.stderr.write(f"spikeflip: {line if len(line) <= _LONGEST_LINE else line[:_LONGEST_LINE] + ' ...'}\n")
    raise SystemExit(2) from None

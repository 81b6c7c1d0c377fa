"""The command ``spikeflip``: train a victim, attack it, show the result."""

import io
import os
import sys
import tomllib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Literal, NoReturn

import cyclopts
from cyclopts import App, Parameter
from pydantic import ValidationError

import spikeflip
from spikeflip.errors import SpikeflipError
from spikeflip.listing import listed
from spikeflip.report.tables import one_line
from spikeflip.runs.config import AttackConfig, Execution, TrainConfig, explain, sides
from spikeflip.terminal import (
    Bars,
    print_comparison,
    print_differences,
    print_json,
    print_names,
    print_points,
    print_recording,
    print_runs,
    print_summary,
    print_verdicts,
    say,
    training_label,
)

_LARGEST_CONFIG = 1 << 20
_LONGEST_LINE = 1000


def _version() -> str:
    from spikeflip.snn.engines.event import native

    engine = "none, installed without a C++ compiler" if native is None else native.instructions()
    return f"spikeflip {spikeflip.__version__} (event engine: {engine})"


app = App(
    name="spikeflip",
    help="Attack spiking neural networks with spike-compatible perturbations, and judge the result honestly.",
    version=_version,
    help_format="plaintext",
    result_action="return_value",
    suppress_keyboard_interrupt=False,
)

Out = Annotated[Path, Parameter(help="Folder to write; must not exist yet, or be empty.")]
RunOut = Annotated[Path, Parameter(help="Run folder to write; an unfinished run in it goes on.")]
Quiet = Annotated[bool, Parameter(help="No progress, no summary.", negative="")]
AsJson = Annotated[bool, Parameter(name="--json", help="Print the summary as JSON, alone, on stdout.", negative="")]


@app.command
def demo(*, out: Out = Path("spikeflip-demo"), quiet: Quiet = False, json: AsJson = False) -> None:
    """Train two small victims on the bundled digits, attack them in four ways, and write a page (1 to 2 minutes)."""
    from spikeflip.demo import run_demo

    with Bars(quiet or json) as bars:
        summaries = run_demo(out, progress=bars.stage)
    if json:
        print_json(summaries)
    elif not quiet:
        for name, summary in summaries.items():
            print_summary(name, summary)
        say(f"page: {out / 'report.html'}")


@app.command
def train(
    options: Annotated[TrainConfig, Parameter(name="*")] = TrainConfig(),  # noqa: B008 - frozen
    *,
    out: Out,
    quiet: Quiet = False,
    json: AsJson = False,
) -> None:
    """Train a spiking victim; run the same command again to go on after an interruption."""
    from spikeflip.runs import run_training

    with Bars(quiet or json) as bars:
        checkpoint = run_training(
            options, out, progress=lambda now: bars.stage(training_label(now), now.update, now.updates)
        )
    facts = {name: checkpoint.facts[name] for name in ("accuracy", "accuracy_n", "loss", "validation_accuracy")}
    if json:
        print_json({"architecture": checkpoint.network.architecture, **facts})
    elif not quiet:
        data = checkpoint.facts["data"]
        if "events" in data:
            say(f"{data['source']}; {data['frames']}; {data['events_outside']:,} of {data['events']:,} events outside")
        right = (
            "no test inputs" if facts["accuracy"] is None else f"{facts['accuracy']:.2%} of {facts['accuracy_n']} right"
        )
        say(f"{checkpoint.network.architecture}: {right}")
        say(f"victim: {out}")


@app.command
def attack(
    options: Annotated[AttackConfig, Parameter(name="*")],
    execution: Annotated[Execution, Parameter(name="*")] = Execution(),  # noqa: B008 - frozen
    *,
    out: RunOut,
    quiet: Quiet = False,
    json: AsJson = False,
) -> None:
    """Attack a victim on a data set or on recordings, judge what was saved, and write a run folder with a page.

    Run the same command again to go on after an interruption.
    """
    from spikeflip.runs import is_finished, run_attack

    finished = is_finished(out)
    with Bars(quiet or json) as bars:
        summary = run_attack(options, out, execution=execution, progress=bars.stage)
    if json:
        print_json(summary)
    elif not quiet:
        if finished:
            say(f"{out} was finished already; this is its summary")
        print_summary(out.name, summary)
        say(f"page: {out / 'report.html'}")


@app.command
def sweep(
    file: Annotated[Path, Parameter(help="TOML file: [base] options, [grid] lists of values, [[points]].")],
    /,
    execution: Annotated[Execution, Parameter(name="*")] = Execution(),  # noqa: B008 - frozen
    *,
    out: Annotated[Path, Parameter(help="Folder to write, with a run folder a point; done ones are skipped.")],
    quiet: Quiet = False,
    json: AsJson = False,
) -> None:
    """Attack at every point of a grid or list of options and compare them on a page; goes on when run again."""
    from spikeflip.runs import run_sweep

    with Bars(quiet or json) as bars:
        rows = run_sweep(file, out, execution=execution, progress=bars.stage)
    if json:
        print_json(rows)
    elif not quiet:
        print_points(rows)
        say(f"page: {out / 'report.html'}")


@app.command
def judge(
    files: Annotated[list[Path], Parameter(help="Event recordings, or folders of them.", consume_multiple=True)],
    /,
    *,
    victim: Annotated[Path, Parameter(help="Folder that 'train' wrote.")],
    sensor: Annotated[str | None, Parameter(help="Sensor of files that do not say it: WIDTHxHEIGHT.")] = None,
    json: AsJson = False,
) -> None:
    """Say what a victim makes of event recordings, read afresh."""
    from spikeflip.runs import judge_files

    answers = judge_files(victim, files, sensor=sensor)
    if json:
        print_json(answers)
    else:
        print_verdicts(answers)


events = App(name="events", help="Describe an event recording, or convert it to another format.")
app.command(events)


@events.default
def describe(
    file: Annotated[Path, Parameter(help="Event recording.")],
    /,
    *,
    sensor: Annotated[str | None, Parameter(help="Sensor, if the file does not say it: WIDTHxHEIGHT.")] = None,
    picture: Annotated[Path | None, Parameter(help="Also write the picture to this PNG file.")] = None,
    json: AsJson = False,
) -> None:
    """Describe a recording: format, sensor, duration, events by polarity, rate, and a picture."""
    from spikeflip.data import read_recording
    from spikeflip.report import recording as page

    height, width = sides(sensor)
    recording = read_recording(file, height=height, width=width)
    facts = page.describe(recording, file)
    if picture is not None:
        page.save_picture(recording, picture)
    if json:
        print_json(facts)
    else:
        print_recording(facts, page.picture(recording))


@events.command
def convert(
    source: Annotated[Path, Parameter(help="Event recording.")],
    target: Annotated[Path, Parameter(help="File to write; must not exist yet.")],
    /,
    *,
    format: Annotated[str | None, Parameter(help="Format (see 'list formats'); by the ending when not given.")] = None,
    sensor: Annotated[str | None, Parameter(help="Sensor, if the file does not say it: WIDTHxHEIGHT.")] = None,
    quiet: Quiet = False,
) -> None:
    """Convert a recording to another format, event for event."""
    from spikeflip.data import read_recording, write_recording

    if target.exists():
        raise SpikeflipError(f"{target} exists: give another name, or delete it")
    height, width = sides(sensor)
    recording = read_recording(source, height=height, width=width)
    notes = (*recording.notes, *write_recording(recording, target, format=format))
    if not quiet:
        say(f"{target}: {len(recording):,} events")
        for note in notes:
            say(f"note: {note}")


@app.command
def report(
    runs: Annotated[list[Path], Parameter(help="Run folders.", consume_multiple=True)],
    /,
    *,
    out: Annotated[Path, Parameter(help="File to write.")] = Path("report.html"),
    quiet: Quiet = False,
) -> None:
    """Write one page about one or several runs."""
    from spikeflip.report import write_report

    write_report(runs, out)
    if not quiet:
        say(f"page: {out}")


@app.command
def runs(
    folders: Annotated[
        list[Path] | None,
        Parameter(help="Run folders, or folders with runs in them; this folder when not given.", consume_multiple=True),
    ] = None,
    /,
    *,
    format: Annotated[Literal["table", "csv", "json", "markdown"], Parameter(help="What to write.")] = "table",
    merge: Annotated[
        list[str] | None,
        Parameter(help="One row for runs that differ in this option alone, such as seed.", negative=""),
    ] = None,
    compare: Annotated[bool, Parameter(help="Compare two runs input by input.", negative="")] = False,
) -> None:
    """List runs as a table, pool those of several seeds, or compare two."""
    from spikeflip.report import tables
    from spikeflip.runs import compare_runs, list_runs

    if compare:
        if len(folders or ()) != 2 or merge or format in ("csv", "markdown"):
            raise SpikeflipError("--compare takes two run folders, as a table or as json: leave the rest out")
        found = compare_runs(*(folders or ()))
        (print_json if format == "json" else print_comparison)(found)
        return
    rows = list_runs(folders or [Path()], merge=merge or [])
    if format == "table":
        print_runs(rows)
    elif format == "json":
        print_json(rows)
    else:
        sys.stdout.write(tables.to_csv(rows) if format == "csv" else tables.to_markdown(rows))


@app.command
def verify(
    run: Annotated[Path, Parameter(help="Run folder.")],
    /,
    *,
    victim: Annotated[Path, Parameter(help="Folder of the victim that was attacked.")],
    root: Annotated[Path | None, Parameter(help="Folder with the data set's files, as for attack.")] = None,
    input: Annotated[Path | None, Parameter(help="Recordings that were attacked, as for attack.")] = None,
    samples: Annotated[int, Parameter(help="How many rows.")] = 20,
    seed: Annotated[int, Parameter(help="Which rows: seed of their choice.")] = 0,
    quiet: Quiet = False,
    json: AsJson = False,
) -> None:
    """Attack some inputs of a run again and say what differs; exit status 1 where something does."""
    from spikeflip.runs import verify_run

    with Bars(quiet or json) as bars:
        found = verify_run(run, victim=victim, root=root, input=input, samples=samples, seed=seed, progress=bars.stage)
    if json:
        print_json(found)
    elif not quiet:
        print_differences(found)
    if found["differences"]:
        raise SystemExit(1)


@app.command(name="list")
def list_(
    what: Annotated[Literal["attacks", "networks", "data", "formats"], Parameter(help="What to list.")],
    /,
    *,
    json: AsJson = False,
) -> None:
    """List what is there to choose from."""
    entries = listed(what)
    if json:
        print_json(entries)
        return
    print_names(entries)


def _split_config(arguments: Sequence[str]) -> tuple[list[str], Path | None]:
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


def _read_config(file: Path) -> dict[str, Any]:
    """The options in a TOML file."""
    if not file.is_file():
        raise SpikeflipError(f"-c {file} does not exist: give a TOML file with the command's options")
    try:
        if file.stat().st_size > _LARGEST_CONFIG:
            raise ValueError(f"it has more than {_LARGEST_CONFIG:,} bytes")
        values = tomllib.loads(file.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise SpikeflipError(f"-c {file} is no TOML file with options ({error}): mend it") from error
    for name, value in values.items():
        parts = value if isinstance(value, list) else [value]
        if any(not isinstance(part, str | bool | int | float) or "\0" in str(part) for part in parts):
            raise SpikeflipError(f"-c {file}: {name} is no text, number, truth value or list of these: write one")
    return values


def _fail(text: str) -> NoReturn:
    """Say in one line what is wrong, whatever names from elsewhere hold, and end."""
    line = one_line(" ".join(text.split()))
    sys.stderr.write(f"spikeflip: {line if len(line) <= _LONGEST_LINE else line[:_LONGEST_LINE] + ' ...'}\n")
    raise SystemExit(2) from None


@contextmanager
def _one_sentence() -> Iterator[None]:
    """Turn what a user can cause into one line on stderr and exit status 2."""
    try:
        yield
    except (SpikeflipError, cyclopts.CycloptsError, ValidationError) as error:
        cause = next((e for e in (error, error.__cause__, error.__context__) if isinstance(e, ValidationError)), None)
        _fail(str(error) if cause is None else explain(cause))
    except OSError as error:
        _fail(f"{error.filename or 'file'}: {error.strerror or error}")
    except MemoryError:
        _fail("out of memory: lower --micro-batch or the size of what is asked for, or use a larger machine")
    except KeyboardInterrupt:
        sys.stderr.write(
            "spikeflip: interrupted; nothing is half-written, and train, attack and sweep go on when run again\n"
        )
        raise SystemExit(130) from None


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command; exit status 0 when done, 2 for a mistake in what was asked, 130 when interrupted."""
    if isinstance(sys.stdout, io.TextIOWrapper):  # a file's name may hold bytes that are no text
        sys.stdout.reconfigure(errors="backslashreplace")
    with _one_sentence():
        rest, file = _split_config(sys.argv[1:] if arguments is None else arguments)
        for argument in rest:
            if "\0" in argument or any("\ud800" <= letter <= "\udfff" for letter in argument):
                raise SpikeflipError(f"the argument {argument[:80]!a} is no UTF-8 text: rename what it names")
        options = {} if file is None else _read_config(file)
        app.config = () if file is None else (cyclopts.config.Dict(options, use_commands_as_keys=False),)
        # Huge pages make large buffers cheap; PyTorch reads this when it first allocates.
        os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
        app(rest, exit_on_error=False, print_error=False)


if __name__ == "__main__":
    main()

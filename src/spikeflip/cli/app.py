"""The command ``spikeflip``: train a victim, attack it, show the result."""

import io
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import cyclopts
from cyclopts import App, Parameter

import spikeflip
from spikeflip.cli.attack import attack_command, values_of
from spikeflip.cli.certify import certify
from spikeflip.cli.command_line import (
    AsJson,
    Columns,
    ExecutionOptions,
    Quiet,
    TimeUnit,
    TrainOptions,
    VictimOptions,
    foreign_prints,
    one_sentence,
    read_options,
    split_options,
)
from spikeflip.cli.compare import compare
from spikeflip.cli.doctor import doctor
from spikeflip.cli.ending import ends_told
from spikeflip.cli.evaluate import evaluate, leaderboard
from spikeflip.cli.events import events
from spikeflip.cli.figures import animate, plot
from spikeflip.cli.groups import OUTPUT
from spikeflip.cli.learn_pattern import learn_pattern
from spikeflip.cli.listing import listed
from spikeflip.cli.reproduce import reproduce
from spikeflip.cli.run_lists import print_comparison, print_differences, print_points, print_runs
from spikeflip.cli.terminal import (
    Bars,
    note,
    print_json,
    print_names,
    print_summary,
    print_training,
    print_verdicts,
    say,
    training_facts,
    training_label,
)
from spikeflip.errors import SpikeflipError


def _version() -> str:
    from spikeflip.snn.engines.event import native

    engine = "none, installed without a C++ compiler" if native is None else native.instructions()
    return f"spikeflip {spikeflip.__version__} (event engine: {engine})"


app = App(
    name="spikeflip",
    help="Attack spiking neural networks with spike-compatible perturbations, and judge the result honestly.",
    version=_version,
    help_format="plaintext",
    default_parameter=Parameter(negative_iterable=""),
    help_epilogue="Any command takes -c FILE: a TOML file with its options, named as here.",
    result_action="return_value",
    suppress_keyboard_interrupt=False,
)


@app.command
def demo(
    *,
    out: Annotated[Path, Parameter(help="Folder to write; must not exist yet, or be empty.")] = Path("spikeflip-demo"),
    quiet: Quiet = False,
    json: AsJson = False,
) -> None:
    """Train two small victims on the bundled digits, attack them in four ways, and write a page (1 to 2 minutes)."""
    from spikeflip.demo import next_commands, run_demo

    with Bars(quiet or json) as bars:
        summaries = run_demo(out, progress=bars.stage)
    if json:
        print_json(summaries)
    elif not quiet:
        for name, summary in summaries.items():
            print_summary(name, summary)
        say(f"page: {out / 'report.html'}")
        say(f"victims: {out / 'victims'}; attack them again, such as with")
        for command in next_commands(out):
            say(f"  {command}")


@app.command
def train(
    *,
    options: Annotated[TrainOptions, Parameter(name="*")] = TrainOptions(),  # noqa: B008 - frozen
    out: Annotated[Path, Parameter(group=OUTPUT, help="Folder to write; an unfinished training in it goes on.")],
    quiet: Quiet = False,
    json: AsJson = False,
) -> None:
    """Train a spiking victim; run the same command again to go on after an interruption."""
    from spikeflip.runs import is_trained, run_training

    trained = is_trained(out)
    with Bars(quiet or json) as bars:
        checkpoint = run_training(
            options,
            out,
            progress=lambda now: bars.stage(training_label(now), now.update, now.updates),
            announce=bars.note,
        )
    if json:
        print_json(training_facts(checkpoint))
    elif not quiet:
        if trained:
            say(f"{out} was trained already, and the data are not read again; this is its summary")
        print_training(checkpoint, out)


@app.command
def sweep(
    file: Annotated[Path, Parameter(help="TOML file: [base] options, [grid] lists of values, [[points]].")],
    /,
    *,
    execution: Annotated[ExecutionOptions, Parameter(name="*")] = ExecutionOptions(),  # noqa: B008 - frozen
    out: Annotated[
        Path, Parameter(group=OUTPUT, help="Folder to write, with a run folder a point; done ones are skipped.")
    ],
    run_code: Annotated[
        bool, Parameter(help="Run code that the file names as victims or defences.", negative="")
    ] = False,
    quiet: Quiet = False,
    json: AsJson = False,
) -> None:
    """Attack at every point of a grid or list of options and compare them on a page; goes on when run again."""
    from spikeflip.runs import run_sweep

    with Bars(quiet or json) as bars, foreign_prints():
        rows = run_sweep(file, out, execution=execution, run_code=run_code, progress=bars.stage)
    if json:
        print_json(rows)
    elif not quiet:
        print_points(rows)
        say(f"page: {out / 'report.html'}")


@app.command
def transfer(
    run: Annotated[Path, Parameter(help="Run folder.")],
    /,
    *,
    victim: Annotated[VictimOptions, Parameter(name="*")],
    every: Annotated[
        bool, Parameter(name="--all", help="Also those that did not fool their own victim.", negative="")
    ] = False,
    draws: Annotated[int, Parameter(help="Fresh encodings of each image.")] = 20,
    device: Annotated[str, Parameter(help="Where the victim runs: cpu, cuda or cuda:N.")] = "cpu",
    quiet: Quiet = False,
    json: AsJson = False,
) -> None:
    """Say how many adversarial inputs of a finished run fool another victim, of those that it classifies right."""
    from spikeflip.runs import transfer_run

    with Bars(quiet or json) as bars, foreign_prints():
        found = transfer_run(run, victim, successes=not every, draws=draws, device=device, progress=bars.stage)
    if json:
        print_json(found)
    elif not quiet:
        behind = "".join(f" behind {name}" for name in victim.defence or ())
        print_summary(f"{run.name} on {victim.victim.name}{behind}", found)
        if found["n"] < found["of"]:
            note(
                f"these are the {found['n']} of {found['of']} inputs that fooled the victim they were made on, so the "
                "rates say how well successes transfer, not how robust this victim is; --all shows it the others too"
            )


@app.command
def judge(
    files: Annotated[list[Path], Parameter(help="Event recordings, or folders of them.", consume_multiple=True)],
    /,
    *,
    victim: Annotated[VictimOptions, Parameter(name="*")],
    sensor: Annotated[str | None, Parameter(help="Sensor of files that do not say it: WIDTHxHEIGHT.")] = None,
    columns: Columns = None,
    time_unit: TimeUnit = None,
    json: AsJson = False,
) -> None:
    """Say what a victim makes of event recordings, read afresh."""
    from spikeflip.runs import judge_files

    with foreign_prints():
        answers = judge_files(victim, files, sensor=sensor, columns=columns, time_unit=time_unit)
    if json:
        print_json(answers)
    else:
        print_verdicts(answers)


app.command(reproduce)
app.command(events)
app.command(doctor)
app.command(learn_pattern)
app.command(evaluate)
app.command(certify)
app.command(leaderboard)
app.command(plot)
app.command(animate)


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


app.command(compare)


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
    victim: Annotated[VictimOptions, Parameter(name="*")],
    root: Annotated[Path | None, Parameter(help="Folder with the data set's files, as for attack.")] = None,
    data: Annotated[
        Path | None, Parameter(help="Folder of recordings that was attacked, where --data was one for attack.")
    ] = None,
    input: Annotated[Path | None, Parameter(help="Recordings that were attacked, as for attack.")] = None,
    pattern: Annotated[Path | None, Parameter(help="The pattern of the run, as for attack.")] = None,
    device: Annotated[str, Parameter(help="Where the victim runs: cpu, cuda or cuda:N.")] = "cpu",
    samples: Annotated[int, Parameter(help="How many rows.")] = 20,
    seed: Annotated[int, Parameter(help="Which rows: seed of their choice.")] = 0,
    quiet: Quiet = False,
    json: AsJson = False,
) -> None:
    """Attack some inputs of a run again and say what differs; exit status 1 where something does."""
    from spikeflip.runs import verify_run

    with Bars(quiet or json) as bars, foreign_prints():
        found = verify_run(
            run,
            victim=victim,
            root=root,
            data=data,
            input=input,
            pattern=pattern,
            device=device,
            samples=samples,
            seed=seed,
            progress=bars.stage,
        )
    if json:
        print_json(found)
    elif not quiet:
        print_differences(found)
    if found["differences"]:
        raise SystemExit(1)


@app.command(name="list")
def list_(
    what: Annotated[
        Literal["attacks", "victims", "networks", "data", "defences", "formats"], Parameter(help="What to list.")
    ],
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


def take_options(arguments: Sequence[str], file: Path | None) -> list[str]:
    """Let the commands have the options of a file, and ``attack`` those of the attack that is named.

    Returns the arguments, with the attack that the file names: cyclopts would take its key for that of a command.
    """
    options = {} if file is None else read_options(file)
    named = options.pop("attack", None)
    if named is not None and list(arguments[:1]) == ["attack"] and not values_of("--attack", arguments):
        arguments = ["attack", "--attack", str(named), *arguments[1:]]
    given = cyclopts.config.Dict(options, use_commands_as_keys=False, source=f"-c {file}")
    app.config = () if file is None else (given,)
    if "attack" in app:
        del app["attack"]  # of an earlier call in this process
    app.command(attack_command(arguments, options), name="attack")
    return list(arguments)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command; exit status 0 when done, 2 for a mistake in what was asked, 128 and more when interrupted."""
    with ends_told(), one_sentence():
        if isinstance(sys.stdout, io.TextIOWrapper):  # a file's name may hold bytes that are no text
            sys.stdout.reconfigure(errors="backslashreplace")
        rest, file = split_options(sys.argv[1:] if arguments is None else arguments)
        for argument in rest:
            if "\0" in argument or any("\ud800" <= letter <= "\udfff" for letter in argument):
                raise SpikeflipError(f"the argument {argument[:80]!a} is no UTF-8 text: rename what it names")
        rest = take_options(rest, file)
        # Huge pages make large buffers cheap; PyTorch reads this when it first allocates.
        os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
        app(rest, exit_on_error=False, print_error=False)

"""The command ``spikeflip``: train a victim, attack it, show the result."""

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Literal

import cyclopts
from cyclopts import App, Parameter
from pydantic import ValidationError

import spikeflip
from spikeflip.errors import SpikeflipError
from spikeflip.runs.config import AttackConfig, TrainConfig, explain, sides
from spikeflip.terminal import (
    Bars,
    print_json,
    print_names,
    print_recording,
    print_summary,
    print_verdicts,
    say,
    training_label,
)


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
    *,
    out: Out,
    quiet: Quiet = False,
    json: AsJson = False,
) -> None:
    """Attack a victim on a data set or on recordings, judge what was saved, and write a run folder with a page."""
    from spikeflip.runs import run_attack

    with Bars(quiet or json) as bars:
        summary = run_attack(options, out, progress=bars.stage)
    if json:
        print_json(summary)
    elif not quiet:
        print_summary(out.name, summary)
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


@app.command(name="list")
def list_(
    what: Annotated[Literal["attacks", "networks", "data", "formats"], Parameter(help="What to list.")],
    /,
    *,
    json: AsJson = False,
) -> None:
    """List what is there to choose from."""
    entries = _entries(what)
    if json:
        print_json(entries)
        return
    print_names(entries)


def _entries(what: str) -> dict[str, str]:
    if what == "attacks":
        from spikeflip.attacks import ATTACKS

        return {
            name: f"{info.summary}; on {' and '.join(info.inputs)}, {' and '.join(info.goals)} ({info.source})"
            for name, info in ATTACKS.items()
        }
    if what == "networks":
        from spikeflip.snn.presets import PRESETS

        return {name: f"{preset.architecture}; {preset.summary}" for name, preset in PRESETS.items()}
    if what == "formats":
        from spikeflip.data import FORMATS

        return {name: f"{' '.join(entry.endings)}: {entry.summary}" for name, entry in FORMATS.items()}
    from spikeflip.data import EVENT_SETS, IMAGE_SETS

    return {**IMAGE_SETS, **EVENT_SETS}


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


@contextmanager
def _one_sentence() -> Iterator[None]:
    """Turn what a user can cause into one line on stderr and exit status 2."""
    try:
        yield
    except (SpikeflipError, cyclopts.CycloptsError, ValidationError) as error:
        cause = next((e for e in (error, error.__cause__, error.__context__) if isinstance(e, ValidationError)), None)
        text = " ".join((str(error) if cause is None else explain(cause)).split())
        sys.stderr.write(f"spikeflip: {text}\n")
        raise SystemExit(2) from None
    except OSError as error:
        sys.stderr.write(f"spikeflip: {error.filename or 'file'}: {error.strerror or error}\n")
        raise SystemExit(2) from None
    except KeyboardInterrupt:
        sys.stderr.write("spikeflip: interrupted; nothing is half-written, and train goes on when run again\n")
        raise SystemExit(130) from None


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command; exit status 0 when done, 2 for a mistake in what was asked, 130 when interrupted."""
    with _one_sentence():
        rest, file = _split_config(sys.argv[1:] if arguments is None else arguments)
        if file is not None and not file.is_file():
            raise SpikeflipError(f"-c {file} does not exist: give a TOML file with the command's options")
        app.config = () if file is None else (cyclopts.config.Toml(file, use_commands_as_keys=False),)
        # Huge pages make large buffers cheap; PyTorch reads this when it first allocates.
        os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
        app(rest, exit_on_error=False, print_error=False)


if __name__ == "__main__":
    main()

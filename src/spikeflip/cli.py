"""The command ``spikeflip``: train a victim, attack it, show the result."""

import json as jsonlib
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Literal

import cyclopts
from cyclopts import App, Parameter
from pydantic import ValidationError
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Table

import spikeflip
from spikeflip.errors import SpikeflipError
from spikeflip.runs.config import AttackConfig, TrainConfig, explain

app = App(
    name="spikeflip",
    help="Attack spiking neural networks with spike-compatible perturbations, and judge the result honestly.",
    version=spikeflip.__version__,
    help_format="plaintext",
    result_action="return_value",
    suppress_keyboard_interrupt=False,
)

Out = Annotated[Path, Parameter(help="Folder to write; must not exist yet, or be empty.")]
Quiet = Annotated[bool, Parameter(help="No progress, no summary.", negative="")]
AsJson = Annotated[bool, Parameter(name="--json", help="Print the summary as JSON, alone, on stdout.", negative="")]

_RATES = {
    "clean_accuracy": "clean accuracy",
    "attack_success_rate": "attack success rate",
    "verified_success_rate": "verified success rate",
    "robust_accuracy": "robust accuracy",
    "tie_rate": "ties",
    "vanished_first_step_rate": "vanished first steps",
}


@app.command
def demo(*, out: Out = Path("spikeflip-demo"), quiet: Quiet = False, json: AsJson = False) -> None:
    """Train two small victims on the bundled digits, attack them in four ways, and write a page (two minutes)."""
    from spikeflip.demo import run_demo

    with _Bars(quiet or json) as bars:
        summaries = run_demo(out, progress=bars.stage)
    if json:
        _print_json(summaries)
    elif not quiet:
        for name, summary in summaries.items():
            _print_summary(name, summary)
        _say(f"page: {out / 'report.html'}")


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

    with _Bars(quiet or json) as bars:
        checkpoint = run_training(
            options, out, progress=lambda now: bars.stage(_training_label(now), now.update, now.updates)
        )
    facts = {name: checkpoint.facts[name] for name in ("accuracy", "accuracy_n", "loss", "validation_accuracy")}
    if json:
        _print_json({"architecture": checkpoint.network.architecture, **facts})
    elif not quiet:
        _say(f"{checkpoint.network.architecture}: {facts['accuracy']:.2%} of {facts['accuracy_n']} test inputs right")
        _say(f"victim: {out}")


@app.command
def attack(
    options: Annotated[AttackConfig, Parameter(name="*")],
    *,
    out: Out,
    quiet: Quiet = False,
    json: AsJson = False,
) -> None:
    """Attack a victim on a data set's test inputs, judge the saved result, and write a run folder with a page."""
    from spikeflip.runs import run_attack

    with _Bars(quiet or json) as bars:
        summary = run_attack(options, out, progress=bars.stage)
    if json:
        _print_json(summary)
    elif not quiet:
        _print_summary(out.name, summary)
        _say(f"page: {out / 'report.html'}")


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
        _say(f"page: {out}")


@app.command(name="list")
def list_(
    what: Annotated[Literal["attacks", "networks", "data"], Parameter(help="What to list.")],
    /,
    *,
    json: AsJson = False,
) -> None:
    """List what is there to choose from."""
    entries = _entries(what)
    if json:
        _print_json(entries)
        return
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(no_wrap=True, style="bold")
    table.add_column()
    for name, description in entries.items():
        table.add_row(name, description)
    Console().print(table)


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
    from spikeflip.data import IMAGE_SETS

    return dict(IMAGE_SETS)


class _Bars:
    """Progress bars on a terminal, one a stage; silent elsewhere."""

    def __init__(self, quiet: bool) -> None:
        console = Console(stderr=True)
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=None),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeRemainingColumn(),
            console=console,
            disable=quiet or not console.is_terminal,
        )
        self._tasks: dict[str, TaskID] = {}

    def __enter__(self) -> "_Bars":
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def stage(self, name: str, done: int, every: int) -> None:
        """Show that ``done`` of ``every`` steps of a stage are done; text after a ``|`` is not part of its name."""
        key = name.partition("|")[0]
        if key not in self._tasks:
            self._tasks[key] = self._progress.add_task(key, total=every, rate="")
        task = self._tasks[key]
        speed = self._progress.tasks[task].speed
        rate = f"{speed:.1f}/s" if speed else ""
        self._progress.update(task, completed=done, total=every, rate=rate, description=name.replace("|", " "))


def _training_label(now: Any) -> str:
    accuracy = "" if now.validation_accuracy is None else f" val {now.validation_accuracy:.0%}"
    return f"train|loss {now.loss:.3f}{accuracy}"


def _print_summary(name: str, summary: dict[str, Any]) -> None:
    table = Table(title=f"{name}, n = {summary['n']}", title_justify="left", title_style="bold")
    for heading, side in (("", "left"), ("rate", "right"), ("95 % interval", "right"), ("of", "right")):
        table.add_column(heading, justify=side)  # type: ignore[arg-type]
    for key, label in _RATES.items():
        value, (low, high) = summary[key], summary[f"{key}_interval"]
        if value is not None:
            table.add_row(label, f"{value:.1%}", f"{low:.1%} – {high:.1%}", str(summary[f"{key}_n"]))
    Console().print(table)
    if summary["mse_mean"] is not None:
        _say(f"successes: mse {summary['mse_mean']:.4f}, {summary['steps_mean']:.1f} steps on average")


def _say(text: str) -> None:
    Console(soft_wrap=True, highlight=False).print(text, markup=False)


def _print_json(values: Any) -> None:
    sys.stdout.write(jsonlib.dumps(values, indent=2) + "\n")


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

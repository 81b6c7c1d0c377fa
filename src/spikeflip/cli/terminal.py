"""What the command draws: progress bars, tables and small pictures."""

import json
import logging
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.style import Style
from rich.table import Table
from rich.text import Text

from spikeflip.cli.heartbeat import Heartbeat
from spikeflip.experiments.findings import MARKS
from spikeflip.notices import Notice
from spikeflip.rates import RATES
from spikeflip.report.tables import one_line


class _Notes(logging.Handler):
    """Shows what a run wants the user to know, above the bars."""

    def __init__(self, console: Console) -> None:
        super().__init__(logging.WARNING)
        self._console = console

    def emit(self, record: logging.LogRecord) -> None:
        if record.levelno < logging.ERROR:  # an error also ends the command, in its own sentence
            self._console.print(
                f"spikeflip: {one_line(record.getMessage())}", markup=False, highlight=False, soft_wrap=True
            )


WIDE = 120


class Bars:
    """Progress bars on a terminal, one a stage; elsewhere, as in the log of a batch job, a line now and then."""

    def __init__(self, quiet: bool) -> None:
        console = Console(stderr=True)
        self._console, self._quiet = console, quiet
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
        self._notes = _Notes(console)
        self._heartbeat = Heartbeat(self.note) if self._progress.disable and not quiet else None

    def __enter__(self) -> "Bars":
        logging.getLogger("spikeflip.runs").addHandler(self._notes)
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()
        logging.getLogger("spikeflip.runs").removeHandler(self._notes)

    def note(self, text: str) -> None:
        """Show a line above the bars; nothing where they are hidden from the user."""
        if not self._quiet:
            self._console.print(one_line(text), markup=False, highlight=False, soft_wrap=True)

    def stage(self, name: str, done: int, every: int) -> None:
        """Show that ``done`` of ``every`` steps of a stage are done; text after a ``|`` is not part of its name."""
        if self._heartbeat is not None:
            self._heartbeat.stage(name, done, every)
            return
        key = name.partition("|")[0]
        if key not in self._tasks:
            self._tasks[key] = self._progress.add_task(key, total=every, rate="")
        task = self._tasks[key]
        speed = self._progress.tasks[task].speed
        rate = f"{speed:.1f}/s" if speed else ""
        self._progress.update(task, completed=done, total=every, rate=rate, description=name.replace("|", " "))


def training_label(now: Any) -> str:
    """The training bar's text, from a TrainingProgress: the layer with most silent neurons says how it is alive."""
    label = f"{now.stage}|loss {now.loss:.3f}"
    if now.validation_accuracy is not None:
        label += f" val {now.validation_accuracy:.0%}"
    if now.firing is not None:
        quiet, output = now.firing.quietest, now.firing.output
        label += f" silent {quiet.silent_neurons:.0%} of layer {quiet.layer.split()[0]}"
        if output.silent_samples:
            label += f" no output {output.silent_samples:.0%}"
    return label


_TRAINING_FACTS = (
    "accuracy",
    "accuracy_n",
    "robust_accuracy",
    "robust_accuracy_n",
    "training_accuracy",
    "training_accuracy_n",
    "learned",
    "loss",
    "recipe",
    "firing",
    "validation_accuracy",
    "notices",
)


def training_facts(checkpoint: Any) -> dict[str, Any]:
    """What ``train --json`` says of a victim; victims of earlier versions know less."""
    known = {name: checkpoint.facts[name] for name in _TRAINING_FACTS if name in checkpoint.facts}
    return {"architecture": checkpoint.network.architecture, **known}


def print_training(checkpoint: Any, out: Path) -> None:
    """Write what was trained on what, how good it is, where it is, and what a reader of that must know."""
    facts = checkpoint.facts
    data, found = facts["data"], []
    if "events" in data:
        say(f"{data['source']}; {data['frames']}; {data['events_outside']:,} of {data['events']:,} events outside")
    for name, what in (("accuracy", "test inputs"), ("training_accuracy", "training samples")):
        if name in facts:  # victims of earlier versions know less
            rate, n = facts[name], facts[f"{name}_n"]
            found.append(f"no {what}" if rate is None else f"{rate:.2%} of {n:,} {what} right")
    if facts.get("robust_accuracy") is not None:
        limit, rate, n = facts["config"]["adversarial"], facts["robust_accuracy"], facts["robust_accuracy_n"]
        what, how = "images", f"attacked within {limit:g}"
        if "share" in facts["recipe"]["adversarial"]:
            what, how = "recordings", f"up to {limit:g} of their events are flipped"
        found.append(f"{rate:.2%} of {n:,} test {what} right when {how}")
    say(f"{checkpoint.network.architecture}: {', '.join(found)}")
    say(f"victim: {out}")
    for notice in facts.get("notices", ()):
        note(notice["text"])


def say(text: str) -> None:
    """Write a line of plain text."""
    Console(soft_wrap=True, highlight=False).print(one_line(text), markup=False)


def note(text: str) -> None:
    """Write a line that a reader must not miss."""
    Console(soft_wrap=True).print(Text.assemble(("note: ", "bold yellow"), one_line(text)))


def plain(text: str, style: str = "") -> Text:
    """A cell or title with text from elsewhere, in which nothing is markup."""
    return Text(one_line(text), style)


def print_json(values: Any) -> None:
    """Write JSON alone on stdout."""
    sys.stdout.write(json.dumps(values, indent=2) + "\n")


def print_summary(name: str, summary: Mapping[str, Any]) -> None:
    """Write the rates of a run as a table, and below it what must be known of them."""
    table = Table(title=plain(f"{name}, n = {summary['n']}", "bold"), title_justify="left")
    for heading, side in (("", "left"), ("rate", "right"), ("95 % interval", "right"), ("of", "right")):
        table.add_column(heading, justify=side)  # type: ignore[arg-type]
    for key, rate in RATES.items():
        value = summary.get(key)
        if value is not None:
            low, high = summary[f"{key}_interval"]
            table.add_row(rate.words, f"{value:.1%}", f"{low:.1%} – {high:.1%}", str(summary[f"{key}_n"]))
    if table.row_count:
        Console().print(table)
    else:
        say(f"{name}, n = {summary['n']}: no rates")
    if any(key.endswith("_trials") for key in summary):
        say("intervals count the targets of an input as no more trials than they are worth together")
    if summary["mse_mean"] is not None:
        cells = f", {summary['l0_mean']:,.1f} cells" if summary.get("kind") == "spikes" else ""
        steps = f", {summary['steps_mean']:.1f} steps" if "steps_mean" in summary else ""
        say(f"successes: mse {summary['mse_mean']:.4f}{cells}{steps} on average")
    if summary.get("events_added_mean") is not None:
        added, removed, of = (summary[f"events{part}_mean"] for part in ("_added", "_removed", ""))
        moved = summary.get("events_moved_mean")
        more = "" if moved is None else f", {moved:,.0f} moved"
        say(f"events: {added:,.0f} added and {removed:,.0f} removed{more} of {of:,.0f} on average{_seen(summary)}")
    for notice in summary.get("notices", ()):
        note(notice["text"])


def _seen(summary: Mapping[str, Any]) -> str:
    """How much of a recording was changed of what the victim saw, where it did not see all."""
    of_all, of_seen = (summary.get(f"events_changed_of_{part}") for part in ("all", "seen"))
    seen = summary.get("events_seen_mean")
    if of_all is None or of_seen is None or seen is None or of_all == of_seen:
        return ""
    return f", {of_all:.1%}, and {of_seen:.1%} of the {seen:,.0f} that the victim saw"


def print_findings(results: Sequence[Mapping[str, Any]]) -> None:
    """Write whether the findings of experiments hold; with the figures that say so, where lines are long enough."""
    console = Console()
    found = [(result["experiment"], finding) for result in results for finding in result["findings"]]
    table = Table(box=None, pad_edge=False, show_header=False)
    for wraps in (False, False, True):
        table.add_column(no_wrap=not wraps)
    for name, finding in found:
        wide = not console.is_terminal or console.width >= WIDE
        text = f"{finding['text']} {finding['words']}" if wide else finding["text"]
        cells = (f"{MARKS[finding['state']]} {finding['state']}", name, text)
        if console.is_terminal:
            table.add_row(*map(plain, cells))
        else:
            say(f"{cells[0]:<14} {cells[1]:<10} {cells[2]}")
    if console.is_terminal and found:
        console.print(table)


def print_names(entries: Mapping[str, str]) -> None:
    """Write names with their descriptions."""
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(no_wrap=True, style="bold")
    table.add_column()
    for name, description in entries.items():
        table.add_row(plain(name), plain(description))
    Console().print(table)


def print_verdicts(answers: Sequence[Mapping[str, Any]]) -> None:
    """Write what a victim makes of each recording, and what is remarkable in reading and binning them."""
    from spikeflip.runs.data_checks import together

    table = Table(box=None, pad_edge=False)
    for heading, side in (
        ("recording", "left"),
        ("says", "left"),
        ("rate", "right"),
        ("next", "left"),
        ("seen", "right"),
    ):
        table.add_column(heading, justify=side, overflow="fold")  # type: ignore[arg-type]
    for answer in answers:
        (_, rate), (runner_up, runner_rate) = ([*sorted(answer["rates"].items(), key=lambda item: -item[1])] * 2)[:2]
        unsaid = "tie" if any(answer["rates"].values()) else "nothing"
        said = plain(answer["prediction"] or unsaid, "italic" if answer["prediction"] is None else "bold")
        seen = f"{answer['events'] - answer['events_outside']:,} of {answer['events']:,} events"
        table.add_row(plain(answer["file"]), said, f"{rate:.2f}", plain(f"{runner_up} {runner_rate:.2f}"), seen)
    Console().print(table)
    say(f"frames: {answers[0]['frames']}")
    for notice in together([(answer["file"], [Notice(**one) for one in answer["notices"]]) for answer in answers]):
        note(notice.text)


def print_recording(facts: Mapping[str, Any], pixels: Any) -> None:
    """Write the facts of a recording and, on a terminal, its picture ``(H, W, 3)`` uint8."""
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    duration, rate = facts["duration_us"], facts["events_per_second"]
    rows = {
        "file": facts["file"],
        "format": facts["format"],
        "sensor": f"{facts['width']} × {facts['height']}",
        "events": f"{facts['events']:,} ({facts['on']:,} ON, {facts['off']:,} OFF)",
        "duration": f"{duration:,} µs" if duration < 10_000 else f"{duration / 1000:,.1f} ms",
        "first event": f"{facts['first_us']:,} µs" if facts["first_us"] is not None else "–",
        "t0": f"{facts['t0_us']:,} µs",
        "rate": "–" if rate is None else f"{rate:,.0f} events a second",
    }
    for name, value in rows.items():
        table.add_row(name, plain(value))
    for text in facts["notes"]:
        table.add_row("note", plain(text))
    console = Console()
    console.print(table)
    if console.is_terminal and console.color_system and not console.no_color:  # the picture is its colours alone
        console.print(_half_blocks(pixels))


def _half_blocks(pixels: Any) -> Text:
    """Two pixels a character: the upper as foreground, the lower as background."""
    text = Text()
    for top in range(0, len(pixels), 2):
        for column in range(pixels.shape[1]):
            upper = tuple(pixels[top, column].tolist())
            lower = tuple(pixels[min(top + 1, len(pixels) - 1), column].tolist())
            text.append("▀", Style(color=f"rgb{upper}".replace(" ", ""), bgcolor=f"rgb{lower}".replace(" ", "")))
        text.append("\n")
    return text

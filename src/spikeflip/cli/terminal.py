"""What the command draws: progress bars, tables and small pictures."""

import json
import logging
import sys
from collections.abc import Container, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.cells import cell_len
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.style import Style
from rich.table import Table
from rich.text import Text

from spikeflip.experiments.findings import MARKS
from spikeflip.notices import Notice
from spikeflip.rates import RATES
from spikeflip.report.tables import COLUMNS, WORDS, cells, common, describe_settings, hints, one_line


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


_WIDE, _NARROWEST_NAME = 120, 12
_BETWEEN = 2  # blanks between two columns


class Bars:
    """Progress bars on a terminal, one a stage; silent elsewhere."""

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
    Console(soft_wrap=True, highlight=False).print(Text.assemble(("note: ", "bold yellow"), one_line(text)))


def _console() -> Console:
    """Where a table goes; what is no terminal has long lines, so that names stay whole."""
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = max(console.width, _WIDE)
    return console


def _plain(text: str, style: str = "") -> Text:
    """A cell or title with text from elsewhere, in which nothing is markup."""
    return Text(one_line(text), style)


def print_json(values: Any) -> None:
    """Write JSON alone on stdout."""
    sys.stdout.write(json.dumps(values, indent=2) + "\n")


def print_summary(name: str, summary: Mapping[str, Any]) -> None:
    """Write the rates of a run as a table, and below it what must be known of them."""
    table = Table(title=_plain(f"{name}, n = {summary['n']}", "bold"), title_justify="left")
    for heading, side in (("", "left"), ("rate", "right"), ("95 % interval", "right"), ("of", "right")):
        table.add_column(heading, justify=side)  # type: ignore[arg-type]
    for key, rate in RATES.items():
        value = summary.get(key)
        if value is not None:
            low, high = summary[f"{key}_interval"]
            table.add_row(rate.words, f"{value:.1%}", f"{low:.1%} – {high:.1%}", str(summary[f"{key}_n"]))
    Console().print(table)
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


def print_runs(rows: Sequence[Mapping[str, Any]]) -> None:
    """Write the rows of a list of runs as a table, and a line for each that is damaged."""
    whole = [row for row in rows if row["state"] != "damaged"]
    same = common(whole, ("victim", "goal"))
    unset = [] if any(row["settings"] for row in whole) else ["settings"]
    console = _console()
    if console.width < _WIDE:
        print_points(whole, leave_out=same)
    elif whole:
        table = Table(box=None, pad_edge=False)
        kept = [at for at, name in enumerate(COLUMNS) if name not in (*same, *unset)]
        for at in kept:
            words = COLUMNS[at] in WORDS
            table.add_column(COLUMNS[at], justify="left" if words else "right", overflow="fold", no_wrap=not words)
        lines = [[one_line(line[at]) for at in kept] for line in map(cells, whole)]
        table.columns[0].width = _name_width([COLUMNS[at] for at in kept], lines, console.width)
        for line in lines:
            table.add_row(*map(_plain, line))
        console.print(table)
        for row in filter(hints, whole):
            note(f"{row['name']}: {hints(row)}")
        _explain_hints(whole)
    for name, value in same.items():
        say(f"{name}: {value}")
    for row in rows:
        if row["state"] == "damaged":
            say(f"damaged: {row['note']}")


def _name_width(headings: Sequence[str], lines: Sequence[Sequence[str]], together: int) -> int:
    """Of the first column: what figures and, up to a fair share, the other words leave, but never too narrow to read.

    A least width by itself would be given to it after the others had got theirs, and cut the last figures.
    """
    widths = [max(map(cell_len, column)) for column in zip(headings, *lines, strict=True)]
    words = [width for heading, width in zip(headings, widths, strict=True) if heading in WORDS]
    room = together - _BETWEEN * (len(widths) - 1) - (sum(widths) - sum(words))
    fair = room // len(words)
    return min(widths[0], max(_NARROWEST_NAME, room - sum(min(width, fair) for width in words[1:])))


def print_points(rows: Sequence[Mapping[str, Any]], leave_out: Container[str] = WORDS) -> None:
    """Write runs as a line each; without ``leave_out``, for the points of a sweep all that their names say.

    A run with notices has them in a few words at the end of its line.
    """
    for row in rows:
        line = dict(zip(COLUMNS, map(one_line, cells(row)), strict=True))
        n, success, verified = (line[column] for column in ("n", "success %", "verified %"))
        words = [line[column] for column in ("victim", "goal", "settings") if column not in leave_out]
        words.append(f"n = {n}, success {success} %, verified {verified} %" if success else n)
        told = f"; note: {one_line(hints(row))}" if hints(row) else ""
        say(f"{line['name']}: {', '.join(filter(None, words))}{told}")
    _explain_hints(rows)


def _explain_hints(rows: Sequence[Mapping[str, Any]]) -> None:
    if any(map(hints, rows)):
        say("what the notes mean is in the report.html and the summary.json of each run")


def print_comparison(found: Mapping[str, Any]) -> None:
    """Write how two runs compare on the inputs that they share."""
    table = Table(box=None, pad_edge=False)
    for heading in ("", *found["runs"]):
        table.add_column(_plain(heading), justify="right" if heading else "left", overflow="fold")
    rows = {"victim": found["victims"], **found["settings"]}
    rows |= {name: [_percent(rate) for rate in found[name]] for name in ("success", "verified")}
    told = [hints({"notices": codes}) for codes in found.get("notices", ())]
    rows |= {"notes": told} if any(told) else {}
    rows |= {"only this one fooled": [found["only_first"], found["only_second"]]}
    for name, digits in (("mse", 4), ("steps", 1)):
        rows[name] = ["–" if value is None else f"{value:.{digits}f}" for value in found[name]]
    for name, pair in rows.items():
        table.add_row(_plain(name), *(_plain(describe_settings({"": v})[1:]) for v in pair))
    Console(highlight=False).print(table)
    say(
        f"{found['attacked']:,} of {found['shared']:,} shared inputs were attacked by both: both fooled "
        f"{found['both']:,}, neither {found['neither']:,}; mse over those that both fooled"
    )
    if found["second_better"] is not None:
        low, high = found["second_better_low"], found["second_better_high"]
        shown = "no difference in success is shown" if low <= 0.5 <= high else "the difference in success is real"
        share = f"{found['second_better']:.1%} ({low:.1%} – {high:.1%})"
        say(f"of those that one alone fooled, {share} went to the second: {shown}")


def print_differences(found: Mapping[str, Any]) -> None:
    """Write what differs between a run and its recomputation."""
    rows = {difference["row"] for difference in found["differences"]}
    checked = f"{len(found['checked']):,} of {found['rows']:,} rows of {found['run']} attacked again"
    for notice in found.get("notices", ()):
        note(notice["text"])
    if not rows:
        say(f"{checked}: all equal, adversarials, values and summary")
        return
    table = Table(box=None, pad_edge=False)
    for heading in ("row", "column", "stored", "recomputed"):
        table.add_column(heading, justify="right" if heading == "row" else "left", overflow="fold")
    for difference in found["differences"]:
        shown = {**difference, "row": "summary" if difference["row"] is None else difference["row"]}
        table.add_row(*(_plain(str(shown[name])) for name in ("row", "column", "stored", "recomputed")))
    Console(highlight=False).print(table)
    summary = ", and the summary is not that of the rows" if None in rows else ""
    hint = "see docs/reproducibility.md for what may change the last bits"
    say(f"{checked}: {len(rows - {None}):,} differ{summary}; {hint}")


def _percent(rate: float | None) -> str:
    return "–" if rate is None else f"{rate:.1%}"


def print_findings(results: Sequence[Mapping[str, Any]]) -> None:
    """Write whether the findings of experiments hold; with the figures that say so, where lines are long enough."""
    console = Console(highlight=False)
    found = [(result["experiment"], finding) for result in results for finding in result["findings"]]
    table = Table(box=None, pad_edge=False, show_header=False)
    for wraps in (False, False, True):
        table.add_column(no_wrap=not wraps)
    for name, finding in found:
        wide = not console.is_terminal or console.width >= _WIDE
        text = f"{finding['text']} {finding['words']}" if wide else finding["text"]
        cells = (f"{MARKS[finding['state']]} {finding['state']}", name, text)
        if console.is_terminal:
            table.add_row(*map(_plain, cells))
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
        table.add_row(_plain(name), _plain(description))
    _console().print(table)


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
        said = _plain(answer["prediction"] or unsaid, "italic" if answer["prediction"] is None else "bold")
        seen = f"{answer['events'] - answer['events_outside']:,} of {answer['events']:,} events"
        table.add_row(_plain(answer["file"]), said, f"{rate:.2f}", _plain(f"{runner_up} {runner_rate:.2f}"), seen)
    _console().print(table)
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
        table.add_row(name, _plain(value))
    for text in facts["notes"]:
        table.add_row("note", _plain(text))
    console = Console(highlight=False)
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

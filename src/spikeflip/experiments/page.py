"""The page of the experiments: each table and figure with ours, the paper's, and what was found."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from spikeflip.errors import SpikeflipError
from spikeflip.experiments.findings import MARKS
from spikeflip.experiments.presets import IN_PAPER
from spikeflip.experiments.registry import EXPERIMENTS
from spikeflip.experiments.rows import RATES, Row, Rows, cell, figure, heading
from spikeflip.report.loading import read_json
from spikeflip.report.tables import escape_markdown
from spikeflip.writing import make_folder, write_bytes

_MOST_ROWS = 24
"""Of a table that is not folded, and apart by data set."""
_INK = {"var(--ink, #1a1c20)": "#1a1c20", "var(--accent, #1f5f8b)": "#1f5f8b", "var(--sans, sans-serif)": "sans-serif"}
"""What an inline figure leaves to its page."""

_KEYS = (
    "experiment",
    "title",
    "about",
    "preset",
    "preset_summary",
    "width",
    "notes",
    "left_out",
    "columns",
    "rows",
    "paper",
    "trend",
    "findings",
    "victims",
    "manifest",
)

HEADING = "# The paper, reproduced"
"""What the page begins with, and tells it from a file that is not to be written over."""
Result = Mapping[str, Any]
Drawn = tuple[str, str]
"""A figure's caption and its file, as the page names it."""


def write_page(results: Path, page: Path) -> None:
    """Write the page of all result files in a folder, and its figures beside it.

    Args:
        results: folder of the files that :func:`spikeflip.experiments.reproduce` wrote.
        page: Markdown file to write; the figures go into a folder of its name beside it.

    Raises:
        SpikeflipError: a file is damaged, or there is none.
    """
    found = load_results(results)
    folder = page.with_suffix("")
    make_folder(folder)
    drawn = {name: list(_write_figures(result, folder)) for name, result in found.items()}
    write_bytes(page, render(found, drawn).encode())


def load_results(folder: Path) -> dict[str, Result]:
    """The result files in a folder, in the order of the registry."""
    found: dict[str, Result] = {
        name: _loaded(path) for name in EXPERIMENTS if (path := folder / f"{name}.json").is_file()
    }
    if not found:
        raise SpikeflipError(f"{folder} holds no results of experiments: run spikeflip reproduce first")
    return found


def render(results: Mapping[str, Result], drawn: Mapping[str, Sequence[Drawn]]) -> str:
    """The page as Markdown.

    Args:
        results: by the experiments' names.
        drawn: the figures of each.
    """
    parts = [_head(results), _overview(results), _victims(results)]
    parts += [_section(result, drawn.get(name, ())) for name, result in results.items()]
    return "\n\n".join(parts) + "\n"


def _loaded(path: Path) -> Result:
    result = read_json(path)
    lacking = [name for name in _KEYS if name not in result]
    if lacking:
        raise SpikeflipError(
            f"{path} is no result of an experiment (it lacks {', '.join(lacking)}): delete it, and run spikeflip "
            f"reproduce {path.stem} again"
        )
    return result


def _write_figures(result: Result, folder: Path) -> Iterator[Drawn]:
    from spikeflip.experiments.drawing import draw  # matplotlib takes its time
    from spikeflip.report.pictures import to_svg

    name = result["experiment"]
    for number, picture in enumerate(EXPERIMENTS[name].pictures, 1):
        drawing = draw(picture, Rows(result["rows"]))
        if drawing is not None:
            svg = _standalone(to_svg(drawing, title=picture.caption, prefix=f"{name}-{number}-"))
            write_bytes(folder / f"{name}-{number}.svg", svg.encode())
            yield picture.caption, f"{folder.name}/{name}-{number}.svg"


def _standalone(svg: str) -> str:
    """An inline figure as a file of its own, with the size and colours that a page would give it."""
    for wanted, colour in _INK.items():
        svg = svg.replace(wanted, colour)
    return re.sub(
        r'viewBox="0 0 ([0-9.]+) ([0-9.]+)"',
        r'\g<0> width="\1pt" height="\2pt" style="background: white"',
        svg,
        count=1,
    )


def _head(results: Mapping[str, Result]) -> str:
    versions = {_versions(result["manifest"]) for result in results.values()}
    sizes: dict[str, list[str]] = {}
    for name, r in results.items():
        size = f"`--preset {escape_markdown(r['preset'])}` ({escape_markdown(r['preset_summary'])})"
        size += _width(r) + _precision(r)
        sizes.setdefault(size, []).append(name)
    most, *others = sorted(sizes, key=lambda size: len(sizes[size]), reverse=True)
    run_with = most + "".join(f"; {', '.join(sizes[size])} with {size}" for size in others)
    left_out = [set(result["left_out"]) for result in results.values()]
    nowhere = [name for name in IN_PAPER if all(name in names for names in left_out)]
    absent = f" Without {', '.join(map(escape_markdown, nowhere))}." if nowhere else ""
    if missing := [name for name in EXPERIMENTS if name not in results]:
        absent += f" Not run: {', '.join(missing)}."
    notes = "".join(f"\n\n{note}" for note in _notes(item for r in results.values() for item in r["notes"].items()))
    presets = ", ".join(sorted({escape_markdown(r["preset"]) for r in results.values()}))
    width, _ = Counter(r["width"] for r in results.values()).most_common(1)[0]
    at_width = "" if width is None else f", width {width:g}"
    return f"""{HEADING}: preset {presets}{at_width}

The tables and figures of Liang et al. (2021) that report an experiment, run again with `spikeflip reproduce`, beside
what the paper prints or, where it only draws, its trend in words; then experiments of our own on the questions that it
leaves open. A finding is judged on the data sets of its table, which are not always all that the paper has.
This page is generated from files of results; no measured number in it is typed by hand.

Run with {run_with}; {"; ".join(sorted(versions))}.{absent}

*Success* is the paper's: over originally correct inputs, one encoding decides. *Verified* is the mean share of fresh
encodings of the final image that fool the untouched victim; on spikes both are the same. In brackets 95 % Wilson
intervals; {_of_targets(results)}. mse is the
mean of squared differences over all elements, of successes, as are steps; for spikes it is the share of flipped cells.
Passes and vanished steps are of all attacked inputs.{notes}"""


def _of_targets(results: Mapping[str, Any]) -> str:
    """How intervals take the targets of an input; rows of earlier versions do not say what these are worth."""
    rows = [row for result in results.values() for row in result["rows"] if row.get("goal") == "targeted"]
    if all("trials" in row for row in rows):
        return "the targets of one input count there as the trials that they are worth"
    return "the targets of one input count as independent there, so those of targeted rows are too narrow"


def _versions(manifest: Mapping[str, Any]) -> str:
    of = manifest["versions"]
    device = manifest.get("device", "cpu")
    machine = manifest["cpu"] if device == "cpu" else f"{device} beside {manifest['cpu']}"
    return f"Python {of['python']}, PyTorch {of['torch']}, spikeflip {of['spikeflip']}, on {escape_markdown(machine)}"


def _overview(results: Mapping[str, Result]) -> str:
    lines = ["## Findings at a glance", "", "| outcome | finding | from |", "|---|---|---|"]
    for name, result in results.items():
        for finding in result["findings"]:
            by = ", our own" if finding["ours"] else ""
            lines.append(
                f"| {_state(finding)} | {escape_markdown(finding['text'])} | [{name}](#{_anchor(result)}){by} |"
            )
    return "\n".join(lines)


def _section(result: Result, drawn: Sequence[Drawn]) -> str:
    parts = [
        f"({_anchor(result)})=\n## {result['experiment']}: {escape_markdown(result['title'])}",
        escape_markdown(result["about"]),
    ]
    parts.append(_tables(result))
    parts += [f"![{escape_markdown(caption)}]({path})\n\n*{escape_markdown(caption)}*" for caption, path in drawn]
    if result["trend"]:
        parts.append(f"The paper: {escape_markdown(result['trend'])}")
    if agreement := _agreement(result):
        parts.append(agreement)
    if result["findings"]:
        parts.append("\n".join(_found(finding) for finding in result["findings"]))
    return "\n\n".join(parts)


def _anchor(result: Result) -> str:
    """Of an experiment's section; pages of two presets, or widths, may stand in one set of documents."""
    width = "" if result["width"] is None else f"-{result['width']:g}"
    return f"{escape_markdown(result['preset'])}{width}-{result['experiment']}"


def _notes(notes: Iterable[tuple[str, str]]) -> Iterator[str]:
    """A sentence for each note, with all data sets that it is on; results of several machines may differ in them.

    What experiments that attack nothing say of a data set is left out where others say that and more.
    """
    on: dict[str, dict[str, None]] = {}
    every = dict.fromkeys(notes)
    for data, note in every:
        if not any(name == data and set(note.split()) < set(other.split()) for name, other in every):
            on.setdefault(note, {})[data] = None
    for note, names in on.items():
        of = ", ".join(names)
        yield f"{escape_markdown(of)}: {escape_markdown(note)}."


def _found(finding: Mapping[str, Any]) -> str:
    words = finding["words"]
    return f"- {_state(finding)}: {escape_markdown(finding['text'])} {escape_markdown(words[:1].upper() + words[1:])}."


def _state(finding: Mapping[str, Any]) -> str:
    return f"{MARKS[finding['state']]} **{finding['state']}**"


def _tables(result: Result) -> str:
    """The table of an experiment; a long one is folded, a part for each data set."""
    rows, columns = Rows(result["rows"]), result["columns"]
    if len(rows) <= _MOST_ROWS:
        return _table(rows, columns, result["paper"])
    parts = []
    for data in rows.values("data"):
        part = rows.where(data=data)
        table = _table(part, [name for name in columns if name != "data"], result["paper"])
        parts.append(f"<details>\n<summary>{escape(data)}: {len(part)} rows</summary>\n\n{table}\n\n</details>")
    return "\n\n".join(parts)


def _table(rows: Rows, names: Sequence[str], printed: Sequence[Mapping[str, Any]]) -> str:
    """Rows in columns; a measure that the paper prints has its figures beside it, one that no row has is left out."""
    measures = {entry["measure"] for entry in printed}
    columns: list[tuple[str, ...]] = []
    for name in names:
        if rows.known(name):
            side = "---" if _is_label(rows, name) else "---:"
            columns.append((heading(name), side, *(cell(row, name) for row in rows)))
            if name in measures:
                theirs = (_printed(printed, row, name) for row in rows)
                columns.append((f"the paper's {heading(name)}", "---:", *theirs))
    return "\n".join(f"| {' | '.join(map(escape_markdown, line))} |" for line in zip(*columns, strict=True))


def _is_label(rows: Rows, name: str) -> bool:
    return any(isinstance(row.get(name), str) for row in rows)


def _printed(printed: Sequence[Mapping[str, Any]], row: Row, measure: str) -> str:
    value = _paper_value(printed, row, measure)
    if value is None:
        return "–"
    return f"{100 * value:.2f}" if measure in RATES else figure(measure, value)


def _paper_value(printed: Sequence[Mapping[str, Any]], row: Row, measure: str) -> float | None:
    for entry in printed:
        if entry["measure"] == measure and all(_in_paper(row, name) == of for name, of in entry["where"].items()):
            return float(entry["value"])
    return None


def _in_paper(row: Row, label: str) -> Any:
    """A row's label as the paper has it."""
    return row.get("in_paper", row["data"]) if label == "data" else row.get(label)


def _agreement(result: Result) -> str | None:
    """How far our figures are from those the paper prints, in a sentence."""
    rows, printed = Rows(result["rows"]), result["paper"]
    measures = dict.fromkeys(entry["measure"] for entry in printed)
    pairs = [
        (abs(row[measure] - theirs), measure, row, theirs)
        for measure in measures
        for row in rows.known(measure)
        if (theirs := _paper_value(printed, row, measure)) is not None
    ]
    if not pairs:
        return None
    _, measure, row, theirs = max(pairs, key=lambda pair: pair[0])
    near = sum(distance for distance, *_ in pairs) / len(pairs)
    apart = f"{100 * near:.1f} points" if measure in RATES else f"{near:.1f}"
    labels = {name for entry in printed for name in entry["where"]}
    where = ", ".join(figure(name, row[name]) for name in result["columns"] if name in labels)
    return (
        f"Of the {len(pairs)} figures that both give, ours differ from the paper's by {apart} on average, most for "
        f"{escape_markdown(where)}: {figure(measure, row[measure])}, the paper's {figure(measure, theirs)}."
    )


def _victims(results: Mapping[str, Result]) -> str:
    victims: dict[str, Mapping[str, Any]] = {}
    for result in results.values():
        victims |= result["victims"]
    lines = [
        "## Victims",
        "",
        "| victim | network | T | accuracy % | of | samples seen in training |",
        "|---|---|---:|---:|---:|---:|",
    ]
    for name, facts in victims.items():
        # What train chose where nothing was said; earlier results say all themselves.
        made, accuracy = facts.get("recipe") or facts["config"], facts["accuracy"]
        seen = made["updates"] * made["batch_size"]
        shown = "–" if accuracy is None else f"{100 * accuracy:.2f}"
        cells = (
            name.rpartition(",")[0],
            facts["architecture"],
            facts["time_steps"],
            shown,
            facts["accuracy_n"] or "–",
            f"{seen:,}",
        )
        lines.append(f"| {' | '.join(escape_markdown(str(value)) for value in cells)} |")
    return "\n".join(lines)


def _precision(result: Result) -> str:
    """In what gradients were computed where it was not float32; results of an earlier version do not say."""
    precision = result.get("precision", "float32")
    return "" if precision == "float32" else f", gradients in bfloat16 (`--precision {precision}`)"


def _width(result: Result) -> str:
    """What a width given on the command line makes of the preset's."""
    width = result["width"]
    return (
        "" if width is None else f", but with hidden layers of {width:g} times the paper's width (`--width {width:g}`)"
    )

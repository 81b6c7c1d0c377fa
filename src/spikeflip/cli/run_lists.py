"""Lists of runs, two runs beside each other, and a run beside its recomputation, as tables."""

from collections.abc import Container, Mapping, Sequence
from typing import Any

from rich.cells import cell_len
from rich.console import Console
from rich.table import Table

from spikeflip.cli.terminal import WIDE, note, plain, say
from spikeflip.report.tables import COLUMNS, WORDS, cells, common, describe_settings, hints, in_short, one_line

_NARROWEST_NAME, _NARROWEST_WORDS = 12, 8
_BETWEEN = 2  # blanks between two columns
_WANTED_NAME = 16  # rather than another figure
_LEAST_WANTED = ("s", "passes", "steps", "mse")
"""Figures that a table does without where lines are short, the first first."""
_MOST_FOLDS = 3
"""Lines of a table that words take on average, at most: more are no longer read as a table."""


def print_runs(rows: Sequence[Mapping[str, Any]]) -> None:
    """Write the rows of a list of runs as a table, and a line for each that is damaged.

    Figures that lines have no room for are left out and named; where there is no room for the rates, or words would be
    folded into many lines, each run has a line of its own.
    """
    whole = in_short([row for row in rows if row["state"] != "damaged"])
    same = common(whole, ("victim", "goal"))
    unset = [] if any(row["settings"] for row in whole) else ["settings"]
    lines = [dict(zip(COLUMNS, map(one_line, cells(row)), strict=True)) for row in whole]
    wanted = {name: [line[name] for line in lines] for name in COLUMNS if name not in (*same, *unset)}
    out = Console()
    kept = _fitting(wanted, out.width)
    if not kept or _folds(kept, out.width) > _MOST_FOLDS:
        print_points(whole, leave_out=same)
    elif whole:
        out.print(_table(kept, out.width))
        if left := [name for name in wanted if name not in kept]:
            say(f"no room for {', '.join(left)}: a wider terminal, or COLUMNS={WIDE}, shows them")
        for row in filter(hints, whole):
            note(f"{row['name']}: {hints(row)}")
        _explain_hints(whole)
    for name, value in same.items():
        say(f"{name}: {value}")
    for note_of_damaged in (row["note"] for row in rows if row["state"] == "damaged"):
        say(f"damaged: {note_of_damaged}")


def _table(columns: Mapping[str, Sequence[str]], width: int) -> Table:
    """A table of columns, in lines of a width."""
    table = Table(box=None, pad_edge=False)
    for name in columns:
        words = name in WORDS
        table.add_column(name, justify="left" if words else "right", overflow="fold", no_wrap=not words)
    table.columns[0].width = _name_width(columns, width)
    for line in zip(*columns.values(), strict=True):
        table.add_row(*map(plain, line))
    return table


def _fitting(columns: Mapping[str, Sequence[str]], width: int) -> dict[str, Sequence[str]]:
    """The columns that lines of a width have room for; none where not even the rates have."""
    kept = dict(columns)
    widths = {name: min(wide, _narrowest(name, wide)) for name, wide in _widths(columns).items()}
    for name in (*_LEAST_WANTED, ""):
        if sum(widths[of] for of in kept) + _BETWEEN * (len(kept) - 1) <= width:
            return kept
        kept.pop(name, None)
    return {}


def _folds(columns: Mapping[str, Sequence[str]], width: int) -> float:
    """Into how many lines of a width words are folded, on average."""
    widths = _widths(columns)
    words = sum(widths[name] for name in columns if name in WORDS)
    return words / (width - _BETWEEN * (len(columns) - 1) - (sum(widths.values()) - words))


def _narrowest(column: str, wide: int) -> int:
    """How narrow a column is made for others to fit: words may be folded, figures may not."""
    if column == "name":
        return _WANTED_NAME
    return _NARROWEST_WORDS if column in WORDS else wide


def _widths(columns: Mapping[str, Sequence[str]]) -> dict[str, int]:
    return {name: max(map(cell_len, (name, *column))) for name, column in columns.items()}


def _name_width(columns: Mapping[str, Sequence[str]], together: int) -> int:
    """Of the first column: what figures and, up to a fair share, the other words leave, but never too narrow to read.

    A least width by itself would be given to it after the others had got theirs, and cut the last figures.
    """
    widths = _widths(columns)
    first, *words = [width for name, width in widths.items() if name in WORDS]
    room = together - _BETWEEN * (len(widths) - 1) - (sum(widths.values()) - sum((first, *words)))
    fair = room // (1 + len(words))
    return min(first, max(_NARROWEST_NAME, room - sum(min(width, fair) for width in words)))


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
        table.add_column(plain(heading), justify="right" if heading else "left", overflow="fold")
    rows = {"victim": found["victims"], **found["settings"]}
    rows |= {name: [_percent(rate) for rate in found[name]] for name in ("success", "verified")}
    told = [hints({"notices": codes}) for codes in found.get("notices", ())]
    rows |= {"notes": told} if any(told) else {}
    rows |= {"only this one fooled": [found["only_first"], found["only_second"]]}
    for name, digits in (("mse", 4), ("l0", 1), ("steps", 1)):
        rows[name] = ["–" if value is None else f"{value:.{digits}f}" for value in found[name]]
    for name, pair in rows.items():
        table.add_row(plain(name), *(plain(describe_settings({"": v})[1:]) for v in pair))
    Console().print(table)
    say(
        f"{found['attacked']:,} of {found['shared']:,} shared inputs were attacked by both: both fooled "
        f"{found['both']:,}, neither {found['neither']:,}; mse and l0 over those that both fooled"
    )
    if found["second_better"] is not None:
        low, high = found["second_better_low"], found["second_better_high"]
        shown = "no difference in success is shown" if low <= 0.5 <= high else "the difference in success is real"
        share = f"{found['second_better']:.1%} ({low:.1%} – {high:.1%})"
        say(f"of the inputs that one alone fooled, or towards more targets, {share} went to the second: {shown}")


def print_differences(found: Mapping[str, Any]) -> None:
    """Write what differs between a run and its recomputation."""
    rows = {difference["row"] for difference in found["differences"]}
    whole = {None: ", and the summary is not that of the rows", "config": ", and config.json is not that of the run"}
    checked = f"{len(found['checked']):,} of {found['rows']:,} rows of {found['run']} attacked again"
    for notice in found.get("notices", ()):
        note(notice["text"])
    if not rows:
        say(f"{checked}: all equal, adversarials, values, summary and settings")
        return
    table = Table(box=None, pad_edge=False)
    for heading in ("row", "column", "stored", "recomputed"):
        table.add_column(heading, justify="right" if heading == "row" else "left", overflow="fold")
    for difference in found["differences"]:
        shown = {**difference, "row": "summary" if difference["row"] is None else difference["row"]}
        table.add_row(*(plain(f"{shown[name]!s:.200}") for name in ("row", "column", "stored", "recomputed")))
    Console().print(table)
    other = "".join(words for part, words in whole.items() if part in rows)
    of_rows = len(rows - whole.keys())
    hint = "; see docs/reproducibility.md for what may change the last bits" if of_rows else ""
    say(f"{checked}: {of_rows:,} differ{other}{hint}")


def _percent(rate: float | None) -> str:
    return "–" if rate is None else f"{rate:.1%}"

"""Runs as text for other programs: CSV and Markdown, with names from strangers made harmless in both."""

import csv
import io
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

COLUMNS = ("name", "victim", "goal", "settings", "n", "success %", "verified %", "mse", "steps", "passes", "s")
"""Of a table for people; rates in percent with their 95 % interval, means over successes, seconds."""
WORDS = frozenset({"name", "victim", "goal", "settings"})
"""The columns that are no numbers."""
_MOST_VALUES = 8
_FORMULA = ("=", "+", "-", "@")


def to_csv(rows: Sequence[Mapping[str, Any]], options: Sequence[str] = ()) -> str:
    """Write rows of :func:`spikeflip.runs.list_runs` as CSV: full precision, settings as ``name=value; ...``.

    With ``options`` each of these settings has a column of its own instead; one that has the name of another column,
    as ``steps``, is ``option_steps``.

    Notices are their codes, as ``silent-victim; nothing-moved``. Text that a spreadsheet would take for a formula gets
    an apostrophe before it, and every text is one line without control characters.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    rows = [{name: value for name, value in row.items() if name != "given"} for row in rows]
    rows = [_apart(row, options) for row in rows] if options else rows
    writer.writerow(rows[0] if rows else [])
    for row in rows:
        values = (_as_text(name, value) for name, value in row.items())
        writer.writerow([harmless(value) for value in values])
    return text.getvalue()


def _apart(row: Mapping[str, Any], options: Sequence[str]) -> dict[str, Any]:
    """A row with columns of options in the place of its settings."""
    settings = row["settings"] or {}
    own = {f"option_{name}" if name in row else name: _single(settings.get(name)) for name in options}
    names = list(row)
    at = names.index("settings")
    before, after = ({name: row[name] for name in part} for part in (names[:at], names[at + 1 :]))
    return before | own | after


def _single(value: object) -> object:
    return value if value is None or isinstance(value, bool | int | float) else _value(value)


def _as_text(name: str, value: Any) -> Any:
    if name == "settings":
        return describe_settings(value, "; ")
    return "; ".join(value or ()) if name == "notices" else value


def harmless(value: object) -> object:
    """A value for a cell of CSV: text as :func:`to_csv` says, all else as it is."""
    if not isinstance(value, str):
        return value
    # Spreadsheets leave blanks out, and take a full-width sign for the usual one.
    first = unicodedata.normalize("NFKC", value.lstrip()[:1])
    return ("'" if first.startswith(_FORMULA) else "") + one_line(value)


def to_markdown(rows: Sequence[Mapping[str, Any]]) -> str:
    """Write rows of :func:`spikeflip.runs.list_runs` as a table of Markdown, and below it the notices of each."""
    lines = [f"| {' | '.join(COLUMNS)} |", f"|{'---|' * 4}{'---:|' * (len(COLUMNS) - 4)}"]
    lines += [f"| {' | '.join(escape_markdown(cell) for cell in cells(row))} |" for row in in_short(rows)]
    told = [f"- {escape_markdown(row['name'])}: {escape_markdown(hints(row))}" for row in rows if hints(row)]
    return "\n".join([*lines, "", *told] if told else lines) + "\n"


def hints(row: Mapping[str, Any]) -> str:
    """The notices of a run in a few words, of which its page has the sentences: ``silent victim, nothing moved``."""
    return ", ".join(code.replace("-", " ") for code in row.get("notices") or ())


def cells(row: Mapping[str, Any]) -> list[str]:
    """A row of a table for people: name, victim, goal, settings, n, and the figures with their intervals."""
    name = row["name"] if (row["runs"] or 1) == 1 else f"{row['name']}, {row['runs']} runs"
    if row["success_lowest"] is not None:
        name += f" of {100 * row['success_lowest']:.1f}–{100 * row['success_highest']:.1f} %"
    if row["state"] == "damaged":
        return [name, f"damaged: {row['note']}", *[""] * (len(COLUMNS) - 2)]
    if row["state"] == "unfinished":
        share = "" if row["done"] is None else f", {row['done']:.0%} done"
        what = [row["victim"], row["goal"], describe_settings(row["settings"])]
        return [name, *what, f"unfinished{share}", *[""] * (len(COLUMNS) - 5)]
    return [
        name,
        row["victim"],
        row["goal"],
        describe_settings(row["settings"]),
        f"{row['n']:,}",
        _rate(row, "success"),
        _rate(row, "verified"),
        _figure(row["mse"], ".4f"),
        _figure(row["steps"], ".1f"),
        _figure(row["passes"], ".1f"),
        _figure(row["seconds"], ",.0f"),
    ]


def in_short(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Rows of :func:`spikeflip.runs.list_runs` whose settings are what a reader tells the runs apart by.

    Of runs of several attacks, whose options are others, that is what was given. What a run does not set is left out,
    unless it sets nothing.
    """
    several = len({str((row["settings"] or {}).get("attack")) for row in rows}) > 1
    short = []
    for row in rows:
        settings = row["settings"] or {}
        if several and row["given"] is not None:
            settings = {name: value for name, value in settings.items() if name in row["given"]}
        short.append(dict(row) | {"settings": {k: v for k, v in settings.items() if v is not None} or settings})
    return short


def common(rows: Sequence[Mapping[str, Any]], columns: Iterable[str]) -> dict[str, Any]:
    """Those of some columns that say the same in every row, with what they say: a table can do without them."""
    found = {name: {row[name] for row in rows} for name in columns}
    return {name: values.pop() for name, values in found.items() if len(values) == 1 and None not in values}


def said_once(same: Mapping[str, Any]) -> str:
    """What is common in words: ``victim 8C3-10FC, untargeted, n = 100``."""
    how = {"victim": "victim {}", "goal": "{}", "n": "n = {:,}"}
    return ", ".join(one_line(how[name].format(value)) for name, value in same.items())


def names_say_settings(rows: Sequence[Mapping[str, Any]]) -> bool:
    """Whether the name of every row says all its settings, as those of a sweep's points do: ``gamma=0.05,seed=0``."""
    return all(_says(row["name"], row["settings"] or {}) for row in rows)


def _says(name: str, settings: Mapping[str, Any]) -> bool:
    said = dict(part.partition("=")[::2] for part in name.split(","))
    return all(_same(said.get(option), value) for option, value in settings.items())


def _same(text: str | None, value: object) -> bool:
    if text is None or isinstance(value, list):
        return False
    if isinstance(value, bool) or not isinstance(value, int | float):
        return text.lower() == str(value).lower()
    try:
        return float(text) == value
    except ValueError:
        return False


def folder_names(folders: Sequence[Path]) -> list[str]:
    """What runs are called by their folders: as many of the last parts of the path as tell them apart."""
    paths = [folder.resolve().parts for folder in folders]
    for depth in range(1, max(map(len, paths), default=1)):
        names = [one_line("/".join(path[-depth:])) for path in paths]
        if len(set(names)) == len(names):
            return names
    return [one_line("/".join(path)) for path in paths]


def describe_settings(settings: Mapping[str, Any] | None, between: str = ", ") -> str:
    """``gamma=0.05, seed=0``."""
    return between.join(f"{name}={_value(value)}" for name, value in (settings or {}).items())


def one_line(text: str) -> str:
    r"""Text from a stranger for a terminal or a cell: one line, with ``\x1b`` and the like written out."""
    return "".join(c if c.isprintable() else " " if c.isspace() else ascii(c)[1:-1] for c in text)


def _value(value: object) -> str:
    if isinstance(value, list):
        return "/".join(map(_value, value)) if len(value) <= _MOST_VALUES else f"({len(value)} values)"
    if isinstance(value, float):
        return f"{value:.12g}"
    return "–" if value is None else str(value)


def _rate(row: Mapping[str, Any], name: str) -> str:
    if row[name] is None:
        return "–"
    return f"{100 * row[name]:.1f} ({100 * row[f'{name}_low']:.1f}–{100 * row[f'{name}_high']:.1f})"


def _figure(value: float | None, how: str) -> str:
    return "–" if value is None else format(value, how)


def escape_markdown(text: str) -> str:
    """As it reads: no cell ends early, and nothing becomes a tag, a link or an image."""
    for sign in "\\`*_[]|":
        text = text.replace(sign, f"\\{sign}")
    return one_line(text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;"))

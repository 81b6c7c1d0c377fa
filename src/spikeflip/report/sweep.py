"""The page of a sweep: curves over each numeric option that it sweeps, and a table of its runs."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

from markupsafe import Markup, escape

from spikeflip.report import curves, pictures
from spikeflip.report.tables import (
    COLUMNS,
    WORDS,
    cells,
    common,
    describe_settings,
    hints,
    names_say_settings,
    one_line,
    said_once,
)
from spikeflip.report.templates import environment

_Row = Mapping[str, Any]


def render_sweep(title: str, rows: Sequence[_Row], pooled: Sequence[_Row], swept: Sequence[str]) -> str:
    """Makes the page of a sweep as a string.

    Args:
        title: Its heading.
        rows: The runs, from :func:`spikeflip.runs.list_runs`; each lies in the folder of its name beside the page.
        pooled: The same with their seeds taken together, for the curves.
        swept: The options that differ from run to run.
    """
    shown: list[dict[str, Any]] = []
    for option in swept:
        lines, left_out = curve_lines(option, pooled)
        if lines:
            figure = curves.option_curve(option, lines)
            words = f"Success and verified success over {option}"
            drawn = Markup(pictures.to_svg(figure, title=words, prefix=f"s{len(shown)}-"))
            shown.append({"option": option, "picture": drawn, "left_out": left_out})
    whole, harmed = ([row for row in rows if (row["state"] == "damaged") is state] for state in (False, True))
    same = common(whole, ("victim", "goal", "n")) if len(whole) > 1 else {}
    told = {*same, *(["settings"] if names_say_settings(whole) else [])}
    kept = [at for at, name in enumerate(COLUMNS) if name not in told]
    columns = [{"name": COLUMNS[at], "words": COLUMNS[at] in WORDS} for at in kept]
    table = [
        {
            "link": _page(row["name"]),
            "name": _breakable(row["name"]),
            "notes": one_line(hints(row)),
            "cells": _shown(row, kept),
        }
        for row in whole
    ]
    damaged = [{"name": one_line(row["name"]), "note": one_line(row["note"])} for row in harmed]
    page = environment().get_template("sweep.html.j2")
    return page.render(title=title, curves=shown, same=said_once(same), columns=columns, rows=table, damaged=damaged)


def _page(name: str) -> str:
    return f"{quote(name)}/report.html"


def _breakable(name: str) -> Markup:
    """A name that may go on in the next line after each setting."""
    return Markup("<wbr>").join(escape(part) for part in re.split("(?<=,)", one_line(name)))


def _shown(row: _Row, kept: Sequence[int]) -> list[str]:
    """The cells of a row but for its name."""
    line = cells(row)
    return [one_line(line[at]) for at in kept if COLUMNS[at] != "name"]


def curve_lines(option: str, rows: Sequence[_Row]) -> tuple[dict[str, list[dict[str, Any]]], int]:
    """Sorts runs into lines over an option: one for each victim, goal, data and setting of the other options.

    Returns:
        The lines with at least two values of the option, by what tells them apart, at most as many as can be told
        apart; and how many more there are.
    """
    lines: dict[tuple[str, ...], list[dict[str, Any]]] = {}
    for row in rows:
        settings = row["settings"] or {}
        x = settings.get(option)
        if option == "seed" or isinstance(x, bool) or not isinstance(x, int | float) or row["success"] is None:
            continue
        others = describe_settings({name: value for name, value in settings.items() if name not in (option, "seed")})
        key = (others, row["victim"], row["goal"], f"data {row['data_sha256'][:12]}")
        values = {
            f"{rate}{end}": row[f"{rate}{end}"] for rate in ("success", "verified") for end in ("", "_low", "_high")
        }
        lines.setdefault(key, []).append({"x": x, **values})
    whole = {
        key: sorted(points, key=lambda point: point["x"])
        for key, points in lines.items()
        if len({point["x"] for point in points}) > 1
    }
    first = dict(zip(_labels(list(whole)), list(whole.values())[: curves.MOST_LINES], strict=False))
    return first, len(whole) - len(first)


def _labels(keys: Sequence[tuple[str, ...]]) -> list[str]:
    """Lines by their settings and their victims where these differ; by goal and data where they are still alike."""
    several = len({victim for _, victim, *_ in keys}) > 1
    said = [[others, victim] if several else [others] for others, victim, *_ in keys]
    for part in (2, 3):
        if len({tuple(words) for words in said}) < len(keys) and len({key[part] for key in keys}) > 1:
            said = [[*words, key[part]] for words, key in zip(said, keys, strict=True)]
    return [one_line(", ".join(filter(None, words))) for words in said]

"""The page of a sweep: curves over each numeric option that it sweeps, and a table of its runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

from markupsafe import Markup

from spikeflip.report import curves, pictures
from spikeflip.report.page import environment
from spikeflip.report.tables import COLUMNS, cells, describe_settings, one_line

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
    table = [
        {"link": f"{quote(row['name'])}/report.html", "cells": [one_line(cell) for cell in cells(row)]} for row in rows
    ]
    return environment().get_template("sweep.html.j2").render(title=title, curves=shown, columns=COLUMNS, rows=table)


def curve_lines(option: str, rows: Sequence[_Row]) -> tuple[dict[str, list[dict[str, Any]]], int]:
    """Sorts runs into lines over an option: one for each setting of the others.

    Returns:
        The lines with at least two points, by their settings, at most as many as can be told apart; and how many more
        there are.
    """
    lines: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        settings = row["settings"] or {}
        x = settings.get(option)
        if option == "seed" or isinstance(x, bool) or not isinstance(x, int | float) or row["success"] is None:
            continue
        label = describe_settings({name: value for name, value in settings.items() if name not in (option, "seed")})
        values = {name: row[name] for name in ("success", "success_low", "success_high", "verified")}
        lines.setdefault(label, []).append({"x": x, **values})
    whole = {label: sorted(points, key=lambda point: point["x"]) for label, points in lines.items() if len(points) > 1}
    first = dict(list(whole.items())[: curves.MOST_LINES])
    return first, len(whole) - len(first)

"""The page: one self-contained HTML file that shows what one or several attack runs found.

What `loading` read of a run folder is handed as plain strings and numbers to `page.html.j2`, which escapes all of it:
names in a run folder may come from strangers.
"""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeGuard

import jinja2
import numpy as np
from markupsafe import Markup, escape
from matplotlib.figure import Figure

from spikeflip.errors import SpikeflipError
from spikeflip.judging.notices import one_draw
from spikeflip.notices import Notice
from spikeflip.rates import RATES
from spikeflip.reading import may_replace
from spikeflip.report import pictures, pixels
from spikeflip.report.loading import Example, Run, load_run
from spikeflip.report.tables import hints
from spikeflip.writing import write_bytes

GENERATOR = b'<meta name="generator" content="spikeflip">'
"""What all pages begin with, and tells them from a file that is not to be written over."""

_OPTION = re.compile("(--[a-z][a-z-]*)")


@dataclass(frozen=True)
class Rate:
    """A share in [0, 1], its number of inputs and its 95 % interval, each None where the run does not say."""

    key: str
    value: float | None
    n: int | None
    low: float | None
    high: float | None


def write_report(runs: Sequence[Path], out: Path, *, title: str | None = None) -> Path:
    """Writes the page of one or several runs; the file appears whole or not at all.

    Args:
        runs: Run folders, shown in this order.
        out: The HTML file; its folder must exist.
        title: The page's heading; made from the runs' names if None.

    Returns:
        `out`.

    Raises:
        SpikeflipError: A folder is no run, one of its files is missing or damaged, or `out` cannot be written or is
            a file that is not a page.
    """
    out = Path(out)
    page = render_report(runs, title=title)
    try:
        if out.is_file() and not may_replace(out, GENERATOR):
            raise SpikeflipError(f"{out} exists and is not a page of spikeflip: give another name, or delete it")
        write_bytes(out, page.encode())
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise SpikeflipError(
            f"cannot write the page {out} ({reason}); name a file in an existing folder that you may write to"
        ) from error
    return out


def render_report(runs: Sequence[Path], *, title: str | None = None) -> str:
    """Makes the page of one or several runs as a string; see `write_report`."""
    loaded = [load_run(Path(run)) for run in runs]
    if not loaded:
        raise SpikeflipError("a page needs at least one run and got 0 run folders; name the folder of a finished run")
    heading = title or (loaded[0].name if len(loaded) == 1 else f"{len(loaded)} attack runs")
    used = {key for run in loaded for key, value in run.summary.items() if value is not None}
    views = [_view(run, number) for number, run in enumerate(loaded, start=1)]
    colours = {name: f"rgb{getattr(pixels, name)}" for name in ("ON", "OFF", "ADDED", "REMOVED", "MOVED", "KEPT")}
    template = environment().get_template("page.html.j2")
    page = template.render(title=heading, runs=views, used=used, colours=colours, rate_words=_rate_words(loaded))
    return page.encode("utf-8", "backslashreplace").decode("utf-8")  # half a character of a stranger's is no text


def rates(summary: Mapping[str, Any]) -> list[Rate]:
    """Collects the rates of a summary: the known ones in the page's order, then any other that has an interval."""
    others = [key.removesuffix("_interval") for key in summary if key.endswith("_interval")]
    found = []
    for key in dict.fromkeys((*RATES, *others)):
        if key in summary:
            ends = summary.get(f"{key}_interval")
            low, high = ends if isinstance(ends, list) and len(ends) == 2 else (None, None)
            n = summary.get(f"{key}_n")
            found.append(Rate(key, _real(summary[key]), n if isinstance(n, int) else None, _real(low), _real(high)))
    return found


def notices(run: Run) -> list[Notice]:
    """The notices of a run's summary, and that one draw overstates it, which earlier versions do not write there."""
    stored = [Notice(**notice) for notice in run.summary.get("notices", ())]
    found = _overstated(run)
    known = {notice.code for notice in stored}
    return stored if found is None or found.code in known else [*stored, found]


def _overstated(run: Run) -> Notice | None:
    ends = {rate.key: (rate.value, rate.low, rate.high) for rate in rates(run.summary)}
    claimed, verified = (ends.get(name) for name in ("attack_success_rate", "verified_success_rate"))
    if not (_is_whole(claimed) and _is_whole(verified)):
        return None
    return one_draw(run.kind, _draws(run), claimed, verified)


def _is_whole(ends: tuple[float | None, ...] | None) -> TypeGuard[tuple[float, float, float]]:
    return ends is not None and None not in ends


def _draws(run: Run) -> int | None:
    """How many encodings judged an input of the run, where its summary says it."""
    draws = run.summary.get("draws")
    return draws if isinstance(draws, int) and draws >= 1 else None


def _is_random(run: Run) -> bool:
    """Whether another encoding of an input can be another input: not where the victim's coding is known to be fixed."""
    victim = run.config.get("victim")
    victim = victim if isinstance(victim, dict) else {}
    return run.kind == "images" and victim.get("kind") != "relu" and victim.get("coding", "rate") == "rate"


def _rate_words(runs: Sequence[Run]) -> dict[str, tuple[str, str]]:
    """What each rate is called on the page, and what it means there."""
    again = _judged_again(runs)
    return {name: (rate.words.capitalize(), rate.meaning.format(again=again)) for name, rate in RATES.items()}


def _judged_again(runs: Sequence[Run]) -> str:
    """What the verified success of these runs was judged on: ``images over 20 or 100 fresh encodings of ...``."""
    drawn = [run for run in runs if _is_random(run)]
    counts = sorted({draws for run in drawn if (draws := _draws(run)) is not None})
    many = " or ".join(f"{count:,}" for count in counts)
    kinds = {
        " ".join(filter(None, ("images over", many, _fresh_word(counts), "of the final image"))): drawn,
        "images whose coding draws nothing over their one encoding": [
            run for run in runs if run.kind == "images" and not _is_random(run)
        ],
        "recordings read back from the saved file": [run for run in runs if run.kind != "images"],
    }
    return ", ".join(words for words, those in kinds.items() if those)


def _fresh_word(counts: Sequence[int]) -> str:
    return "fresh encoding" if list(counts) == [1] else "fresh encodings"


def _view(run: Run, number: int) -> dict[str, Any]:
    """Everything the template shows of a run, as plain values and finished pictures."""
    rows, settings, data = run.rows, run.config.get("settings"), run.config.get("data")
    attacked = ~rows["already_wrong"].astype(bool)
    won = attacked & rows["success"].astype(bool)
    sizes = rows["mse"][won & np.isfinite(rows["mse"])]
    last = settings.get("steps") if isinstance(settings, dict) else None
    last = last if isinstance(last, int) and last < 1 << 31 else None
    curve = histogram = None
    # Of an attack that goes on after a success, all steps tell nothing.
    against_cells = bool(run.kind == "spikes" and run.examples and won.any() and (rows["steps"][won] == last).all())
    told = notices(run)
    if attacked.any():
        steps = rows["steps"][attacked]
        if against_cells:
            cells = np.rint(np.where(won, rows["mse"], 0) * run.examples[0].original.size)[attacked]
            figure = pictures.success_curve(cells, won[attacked], len(steps), against="changed cells")
        else:
            figure = pictures.success_curve(steps, won[attacked], len(steps), last=last)
        over = "changed cells" if against_cells else "the steps"
        curve = _inline(figure, f"Cumulative attack success over {over}, of {len(steps)} inputs", f"r{number}c-")
    if sizes.size:
        figure = pictures.perturbation_histogram(sizes)
        histogram = _inline(figure, f"Histogram of mse over {sizes.size} successful attacks", f"r{number}h-")
    return {
        "number": number,
        "name": run.name,
        "kind": run.kind,
        "polarities": any(example.original.ndim == 4 and example.original.shape[1] == 2 for example in run.examples),
        "simulated": isinstance(data, dict) and data.get("simulated") is True,
        "config": {key: value for key, value in run.config.items() if value is not None},
        "summary": run.summary,
        "rates": rates(run.summary),
        "notices": [_in_two(notice.text) for notice in told],
        "hints": hints({"notices": [notice.code for notice in told]}),
        "fresh": _fresh(run),
        "curve": curve,
        "against_cells": against_cells,
        "histogram": histogram,
        "successes": int(won.sum()),
        "sizes": int(sizes.size),
        "examples": [_example_view(run, example, f"r{number}e{i}") for i, example in enumerate(run.examples)],
        "manifest": list(flat(run.manifest)),
    }


def _in_two(text: str) -> dict[str, Markup]:
    """A notice's fact, and what follows from it, as sentences."""
    fact, _, rest = text.partition(": ")
    return {"fact": _sentence(fact), "rest": _sentence(rest)}


def _sentence(text: str) -> Markup:
    """Escaped, with the options of the command as such: no line ends within one."""
    if not text:
        return Markup("")
    parts = _OPTION.split(f"{text[:1].upper()}{text[1:]}.")
    shown = (
        Markup('<span class="option">{}</span>').format(part) if at % 2 else escape(part)
        for at, part in enumerate(parts)
    )
    return Markup("").join(shown)


def _fresh(run: Run) -> str:
    """What a rate of verified success is over: ``100 fresh encodings``; empty where there is nothing to draw."""
    if not _is_random(run):
        return ""
    draws = _draws(run)
    return "fresh encodings" if draws is None else f"{draws:,} {_fresh_word([draws])}"


def _example_view(run: Run, example: Example, prefix: str) -> dict[str, Any]:
    row = {name: column[example.row].item() for name, column in run.rows.items()}
    label, prediction = _class_name(run, row["label"]), _class_name(run, row["prediction"])
    before, after = example.original, example.adversarial
    words = f"Original, adversarial and difference of input {row['input']}: {label}, taken for {prediction}"
    strip, width = None, 0.0
    if run.kind == "spikes":
        picture = pictures.spike_example(before, after)
        if before.ndim in (3, 4):  # (T, F) is drawn as a raster, which shows time already
            figure = pictures.time_strip(before, after)
            strip, width = _inline(figure, f"{words}, step by step", f"{prefix}s-"), figure.get_figwidth()
    else:
        picture = pictures.image_example(before, after)
    return {
        **row,
        "label": label,
        "prediction": prediction,
        "target": _class_name(run, row["target"]) if row["target"] >= 0 else None,
        "change": float(np.abs(after.astype(np.float64) - before).max(initial=0)),
        "cells": before.size,
        "picture": _inline(picture, words, f"{prefix}p-"),
        "strip": strip,
        "strip_inches": width,
    }


def _inline(figure: Figure, title: str, prefix: str) -> Markup:
    return Markup(pictures.to_svg(figure, title=title, prefix=prefix))


def _class_name(run: Run, index: int) -> str:
    classes = run.config.get("classes")
    if index < 0:
        return "tie"
    return str(classes[index]) if isinstance(classes, list) and index < len(classes) else str(index)


def flat(value: object, path: str = "") -> Iterator[tuple[str, str]]:
    """Yields the leaves of nested dicts, and of lists of them, as dotted names and short texts."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from flat(inner, f"{path}.{key}" if path else str(key))
    elif isinstance(value, list) and any(isinstance(inner, dict) for inner in value):
        for number, inner in enumerate(value, start=1):
            yield from flat(inner, f"{path}.{number}")
    else:
        yield path, _plain(value)


def _real(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None


def _percent(value: object) -> str:
    real = _real(value)
    return "–" if real is None else f"{100 * real:.1f}"


def _number(value: object) -> str:
    """Writes a number with three significant digits, whole ones in full: 1,654 and 0.0301."""
    real = _real(value)
    if real is None:
        return "–"
    if isinstance(value, int) or abs(real) >= 1000:
        return f"{real:,.0f}"
    return f"{real:#.3g}".rstrip(".") if abs(real) >= 1e-4 or real == 0 else f"{real:.2e}"


def _plain(value: object) -> str:
    """Writes any value of a configuration for a reader, cut to a length that cannot break the page."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return (" × " if all(isinstance(part, int) for part in value) else ", ").join(_plain(part) for part in value)[
            :400
        ]
    if isinstance(value, float):
        return f"{value:.6g}"
    return "–" if value is None else str(value)[:400]


@functools.cache
def environment() -> jinja2.Environment:
    """The pages' templates, which escape every value."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("spikeflip.report", "."),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"percent": _percent, "number": _number, "plain": _plain}
    return environment

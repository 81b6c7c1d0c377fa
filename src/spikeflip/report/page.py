"""The page: one self-contained HTML file that shows what one or several attack runs found.

What `loading` read of a run folder is handed as plain strings and numbers to `page.html.j2`, which escapes all of it:
names in a run folder may come from strangers.
"""

from __future__ import annotations

import base64
import functools
import hashlib
from collections.abc import Iterator, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any, TypeGuard

import numpy as np
from markupsafe import Markup
from matplotlib.figure import Figure

from spikeflip.errors import SpikeflipError
from spikeflip.judging.notices import one_draw
from spikeflip.notices import Notice
from spikeflip.rates import RATES
from spikeflip.reading import may_replace
from spikeflip.report import comparison, curves, pictures, pixels, playing, repeating
from spikeflip.report.confusion import confusion
from spikeflip.report.gallery import MOST_CHARACTERS, Gallery, read_gallery
from spikeflip.report.loading import Example, Run, load_run
from spikeflip.report.tables import hints
from spikeflip.report.templates import environment as environment
from spikeflip.report.templates import plain, rates
from spikeflip.report.trace import read_course
from spikeflip.writing import write_bytes

GENERATOR = b'<meta name="generator" content="spikeflip">'
"""What all pages begin with, and tells them from a file that is not to be written over."""


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
    return save_page(render_report(runs, title=title), Path(out))


def save_page(page: str, out: Path) -> Path:
    """Writes a page; the file appears whole or not at all, and nothing but a page is written over.

    Raises:
        SpikeflipError: It cannot be written, or is there and is not a page.
    """
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
    views = [_view(run, number, MOST_CHARACTERS // len(loaded)) for number, run in enumerate(loaded, start=1)]
    colours = {name: f"rgb{getattr(pixels, name)}" for name in ("ON", "OFF", "ADDED", "REMOVED", "MOVED", "KEPT")}
    template = environment().get_template("page.html.j2")
    script = _script()
    page = template.render(
        title=heading,
        runs=views,
        used=used,
        colours=colours,
        rate_words=_rate_words(loaded),
        compared=comparison.figures(loaded, comparison.short_names(loaded)) if len(loaded) > 1 else [],
        sources=_sources(loaded),
        software=repeating.software(_one_version(loaded)),
        paper=repeating.PAPER,
        script=script,
        checksum=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
    )
    return page.encode("utf-8", "backslashreplace").decode("utf-8")  # half a character of a stranger's is no text


@functools.cache
def _script() -> str:
    """All that the page runs; nothing else may run in it, as its policy has the checksum."""
    return files("spikeflip.report").joinpath("page.js").read_text(encoding="utf-8")


def _sources(runs: Sequence[Run]) -> list[str]:
    """Where the attacks of some runs come from, as far as these say it."""
    said = [(run.config.get("attack"), run.config.get("source")) for run in runs]
    return list(dict.fromkeys(f"{attack}: {source}" for attack, source in said if isinstance(source, str)))


def _one_version(runs: Sequence[Run]) -> object:
    """The version of spikeflip that made all of some runs; None where they differ or do not say it."""
    versions = [run.manifest.get("versions") for run in runs]
    found = {str(one.get("spikeflip")) if isinstance(one, dict) else None for one in versions}
    return found.pop() if len(found) == 1 else None


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


def _view(run: Run, number: int, characters: int = MOST_CHARACTERS) -> dict[str, Any]:
    """Everything the template shows of a run, as plain values and finished pictures."""
    rows, data = run.rows, run.config.get("data")
    attacked = ~rows["already_wrong"].astype(bool)
    won = attacked & rows["success"].astype(bool)
    sizes = rows["mse"][won & np.isfinite(rows["mse"])]
    curve = histogram = None
    against_cells = run.kind == "spikes" and bool(run.examples) and comparison.takes_all_steps(run)
    told = notices(run)
    gallery = read_gallery(
        run.folder, run.saved, [example.row for example in run.examples], run.kind, characters=characters
    )
    if attacked.any():
        steps = rows["steps"][attacked]
        if against_cells:
            cells = np.rint(np.where(won, rows["mse"], 0) * run.examples[0].original.size)[attacked]
            figure = pictures.success_curve(cells, won[attacked], len(steps), against="changed cells")
        else:
            figure = pictures.success_curve(steps, won[attacked], len(steps), last=comparison.last_step(run))
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
        "notices": told,
        "shared": any(key.endswith("_trials") for key in run.summary),
        "hints": hints({"notices": [notice.code for notice in told]}),
        "fresh": _fresh(run),
        "curve": curve,
        "against_cells": against_cells,
        "histogram": histogram,
        "successes": int(won.sum()),
        "sizes": int(sizes.size),
        "examples": [
            {
                **_example_view(run, example, f"r{number}e{i}"),
                "row": example.row,
                "playable": gallery is not None and example.row in gallery.rows,
            }
            for i, example in enumerate(run.examples)
        ],
        "gallery": None if gallery is None else _gallery_view(run, gallery),
        "course": _course(run, number),
        "confusion": confusion(rows, functools.partial(_class_name, run)),
        "repeat": repeating.repeated(run.config, run.manifest),
        "manifest": list(flat(run.manifest)),
    }


def _gallery_view(run: Run, gallery: Gallery) -> dict[str, Any]:
    high, wide = gallery.pooled
    return {
        "shown": len(gallery.rows),
        "all": len(run.saved.samples),
        "pooled": f"{high} × {wide}" if high * wide > 1 else "",
        "json": playing.told(run, gallery, functools.partial(_class_name, run)),
    }


def _course(run: Run, number: int) -> list[dict[str, Any]]:
    """What a trace shows by step: the inputs without a gradient, and the spikes of the penultimate layer."""
    course, found = read_course(run.folder), []
    if course is not None and course.vanished is not None:
        figure = curves.vanished_curve(course.steps, course.vanished, course.running)
        words = "Share of the inputs still attacked whose gradient was zero everywhere, with its 95 % interval."
        picture = _inline(figure, "Share of inputs without a gradient, by step", f"r{number}v-")
        found.append({"title": "Vanished gradients by step", "words": words, "picture": picture})
    if course is not None and course.spikes is not None:
        figure = curves.spikes_curve(course.steps, course.spikes)
        words = (
            "Spikes of the layer before the output while the gradient is made: median and middle half of the inputs."
        )
        picture = _inline(figure, "Spikes of the penultimate layer, by step", f"r{number}n-")
        found.append({"title": "Penultimate spikes by step", "words": words, "picture": picture})
    return found


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
        yield path, plain(value)

"""The page is one safe file: names are text, nothing is loaded, and equal runs give equal bytes."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import matplotlib
import pytest
from own_scripts import without_scripts
from page_reader import Reader
from run_folders import make_run

from spikeflip.report import render_report, write_report


def test_hostile_names_are_text(tmp_path: Path) -> None:
    evil = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)> $\\frac{1}{2}$"
    config = {
        "name": evil,
        "classes": [evil] * 3,
        "attack": evil,
        "goal": evil,
        "data": {"name": evil, evil: evil},
        "victim": {"architecture": evil},
        "settings": {evil: evil},
    }
    folder = make_run(tmp_path / "run", config=config, summary={f"{evil}_interval": [0, 1], evil: 0.5})
    (folder / "manifest.json").write_text(json.dumps({evil: {evil: [evil]}}))
    reader = Reader(without_scripts(render_report([folder, folder])))
    assert {"script", "img"}.isdisjoint(tag for tag, _ in reader.tags)
    assert not any(name.startswith("on") for _, attrs in reader.tags for name in attrs)
    assert evil in "".join(reader.words)


@pytest.mark.parametrize(("kind", "shape"), [("images", (3, 5, 5)), ("spikes", (20, 2, 6, 6))])
def test_the_page_loads_nothing(tmp_path: Path, kind: str, shape: tuple[int, ...]) -> None:
    html = without_scripts(render_report([make_run(tmp_path / "run", kind, shape)]))
    reader = Reader(html)
    assert {"script", "link", "iframe", "img", "object", "base"}.isdisjoint(tag for tag, _ in reader.tags)
    for tag, attrs in reader.tags:
        for name in ("src", "href", "xlink:href", "srcset", "action", "poster"):
            value = attrs.get(name) or "#"
            assert value.startswith(("#", "data:image/png;base64,")), (tag, name, value[:80])
    rest = html.replace("http://www.w3.org/2000/svg", "").replace("http://www.w3.org/1999/xlink", "")
    assert "://" not in rest
    assert not re.search(r"@import|url\((?!#)", html)


def test_ids_are_unique_and_every_reference_has_its_id(tmp_path: Path) -> None:
    runs = [make_run(tmp_path / "a"), make_run(tmp_path / "b", "spikes", (4, 2, 6, 6)), make_run(tmp_path / "c")]
    html = render_report(runs)
    ids = re.findall(r'\sid="([^"]+)"', html)
    assert len(ids) == len(set(ids))
    assert set(re.findall(r'(?:href="|url\()#([^")]+)', html)) <= set(ids)


def test_equal_runs_give_equal_bytes_whatever_the_users_matplotlib_settings(tmp_path: Path) -> None:
    runs = [make_run(tmp_path / "a"), make_run(tmp_path / "b", "spikes", (4, 2, 6, 6))]
    first = write_report(runs, tmp_path / "1.html").read_bytes()
    settings: dict[Any, Any] = {
        "font.size": 31,
        "svg.fonttype": "path",
        "axes.facecolor": "red",
        "image.origin": "lower",
    }
    with matplotlib.rc_context(settings):
        before = dict(matplotlib.rcParams)
        assert write_report(runs, tmp_path / "2.html").read_bytes() == first
        assert dict(matplotlib.rcParams) == before


@pytest.mark.slow
def test_four_runs_stay_small(tmp_path: Path) -> None:
    shapes = [
        ("images", (1, 28, 28)),
        ("images", (3, 32, 32)),
        ("spikes", (15, 2, 34, 34)),
        ("spikes", (60, 2, 128, 128)),
    ]
    runs = [make_run(tmp_path / str(i), kind, shape) for i, (kind, shape) in enumerate(shapes)]
    assert write_report(runs, tmp_path / "report.html").stat().st_size < 5_000_000

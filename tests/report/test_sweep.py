"""The page of a sweep: what all points share is said once, the rest is a table; no line of a curve hides another."""

import re

import numpy as np
import pytest

from spikeflip.report.curves import option_curve
from spikeflip.report.sweep import render_sweep
from spikeflip.report.tables import common, names_say_settings


def row(name="gamma=0.1,seed=0", **known):
    settings = {"gamma": 0.1, "seed": 0}
    rates = {"success": 0.9, "success_low": 0.8, "success_high": 0.95}
    rates |= {"verified": 0.7, "verified_low": 0.6, "verified_high": 0.8}
    figures = {"mse": 0.05, "steps": 1.5, "passes": 4.0, "seconds": 3.0}
    about = {"state": "finished", "runs": 1, "victim": "8C3-10FC (0123abcd)", "goal": "untargeted", "n": 1000}
    about |= {"data_sha256": "0" * 64}
    empty = dict.fromkeys(("success_lowest", "success_highest", "done", "note"))
    return {"name": name, "settings": settings, **about, **rates, **figures, **empty, **known}


def table(html):
    """The cells of the page's table as text, a list a line."""
    lines = re.findall("<tr>(.*?)</tr>", html, re.DOTALL)
    return [
        [re.sub("<[^>]*>", "", cell) for cell in re.findall("<t[hd].*?>(.*?)</t[hd]>", line, re.DOTALL)]
        for line in lines
    ]


def test_what_all_points_share_is_said_once_and_is_no_column():
    second = row("gamma=0.2,seed=0", settings={"gamma": 0.2, "seed": 0}, success=0.5, success_low=0.4, success_high=0.6)
    html = render_sweep("a sweep", [row(), second], [row(), second], ["gamma"])
    assert table(html) == [
        ["name", "success %", "verified %", "mse", "steps", "passes", "s"],
        ["gamma=0.1,seed=0", "90.0 (80.0–95.0)", "70.0 (60.0–80.0)", "0.0500", "1.5", "4.0", "3"],
        ["gamma=0.2,seed=0", "50.0 (40.0–60.0)", "70.0 (60.0–80.0)", "0.0500", "1.5", "4.0", "3"],
    ]
    assert html.count("8C3-10FC (0123abcd)") == 1
    assert "All points: victim 8C3-10FC (0123abcd), untargeted, n = 1,000." in html


def test_what_differs_is_a_column():
    other = row("gamma=0.2,seed=0", settings={"gamma": 0.2, "seed": 0}, victim="other", goal="targeted", n=7)
    html = render_sweep("a sweep", [row(), other], [], [])
    assert table(html)[0][:4] == ["name", "victim", "goal", "n"]
    assert [line[1:4] for line in table(html)[1:]] == [
        ["8C3-10FC (0123abcd)", "untargeted", "1,000"],
        ["other", "targeted", "7"],
    ]
    assert "All points:" not in html


def test_settings_that_a_name_does_not_say_are_a_column():
    cut = row("victim=a-b,0123abcd", settings={"gamma": 0.2, "seed": 0})
    html = render_sweep("a sweep", [row(), cut], [], [])
    assert [line[1] for line in table(html)] == ["settings", "gamma=0.1, seed=0", "gamma=0.2, seed=0"]


def test_an_unfinished_or_damaged_point_says_so():
    empty = dict.fromkeys(("n", "success", "verified", "mse", "steps", "passes", "seconds"))
    unfinished = row("gamma=0.2,seed=0", state="unfinished", settings={"gamma": 0.2, "seed": 0}, done=0.25, **empty)
    damaged = row("<b>", state="damaged", note="it is <script>", victim=None, goal=None, settings=None, **empty)
    html = render_sweep("a sweep", [row(), unfinished, damaged], [], [])
    assert [line[1] for line in table(html)] == ["n", "1,000", "unfinished, 25% done"]
    assert "&lt;b&gt; is damaged: it is &lt;script&gt;" in html
    assert "<script" not in html


def test_names_break_after_a_setting_and_are_escaped():
    html = render_sweep("a sweep", [row("data=<i>,seed=0"), row()], [], [])
    assert '<a href="data%3D%3Ci%3E%2Cseed%3D0/report.html">data=&lt;i&gt;,<wbr>seed=0</a>' in html


@pytest.mark.parametrize(
    ("name", "settings", "said"),
    [
        ("gamma=1,seed=0", {"gamma": 1.0, "seed": 0}, True),
        ("tuning=true,target=all", {"tuning": True, "target": "all"}, True),
        ("gamma=0.1", {"gamma": 0.2}, False),
        ("gamma=0.1", {"gamma": 0.1, "seed": 0}, False),
        ("gamma=x", {"gamma": 0.1}, False),
        ("gamma=0.1", None, True),
    ],
)
def test_names_say_settings(name, settings, said):
    assert names_say_settings([row(name, settings=settings)]) is said


def test_only_one_value_is_common():
    assert common([row(), row(n=7)], ("victim", "n", "note")) == {"victim": "8C3-10FC (0123abcd)"}
    assert common([], ("victim",)) == {}


def test_equal_lines_lie_beside_each_other_and_the_legend_below():
    points = [{"x": x, "success": 1.0, "success_low": 0.6, "success_high": 1.0} for x in (0.5, 1.0, 2)]
    points = [point | {"verified": 0.8, "verified_low": 0.5, "verified_high": 0.9} for point in points]
    figure = option_curve("threshold", {f"gamma={n}": points for n in range(4)})
    (axes,) = figure.axes
    at = np.array([line.get_xdata() for line in axes.lines if line.get_linestyle() == "-"])
    assert np.allclose(at.mean(axis=0), [0.5, 1.0, 2.0])  # about the values themselves
    assert np.allclose(np.diff(at, axis=0), 0.018)
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["0.5", "1", "2"]
    figure.draw_without_rendering()
    (legend,) = figure.legends
    assert legend.get_window_extent().y1 < axes.xaxis.get_tightbbox().y0


def test_a_single_value_is_drawn_too():
    point = {"x": 0.5, "success": 1.0, "success_low": 0.6, "success_high": 1.0, "verified": None}
    figure = option_curve("threshold", {"a": [point], "b": [point]})
    drawn = [line for line in figure.axes[0].lines if line.get_linestyle() == "-"]
    assert [line.get_xdata().tolist() for line in drawn] == [[0.5], [0.5]]

"""Classes before and after, the course of a traced attack, the command to repeat it, and runs on one set of axes."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable
from dataclasses import replace
from html import unescape
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
from run_folders import make_run

from spikeflip.cli.app import main
from spikeflip.errors import SpikeflipError
from spikeflip.report import comparison, curves, pictures, render_report
from spikeflip.report.confusion import confusion
from spikeflip.report.loading import load_run
from spikeflip.report.repeating import command, repeated
from spikeflip.report.tables import folder_names
from spikeflip.report.trace import read_course
from spikeflip.runs import write_comparison
from spikeflip.snn.checkpoint import save_checkpoint

# ---------------------------------------------------------------- from which class to which


def rows_of(label: list[int], prediction: list[int], wrong: list[int]) -> dict[str, np.ndarray[Any, Any]]:
    return {"label": np.array(label), "prediction": np.array(prediction), "already_wrong": np.array(wrong)}


def test_the_matrix_counts_attacked_inputs_by_both_classes() -> None:
    found = confusion(rows_of([0, 0, 0, 2, 2, 1], [1, 1, 0, -1, 0, 1], [0, 0, 0, 0, 0, 1]), lambda at: f"c{at}")
    assert found is not None
    assert found["n"] == 5
    assert found["columns"] == ["c0", "c1", "c2", "c-1"]
    assert [(line["name"], line["n"]) for line in found["lines"]] == [("c0", 3), ("c2", 2)]
    assert [[cell["count"] for cell in line["cells"]] for line in found["lines"]] == [[1, 2, 0, 0], [1, 0, 0, 1]]
    assert [[cell["kept"] for cell in line["cells"]].index(True) for line in found["lines"]] == [0, 2]
    assert found["lines"][0]["cells"][1]["share"] == pytest.approx(2 / 3)


def test_of_many_classes_the_most_frequent_changes_are_named() -> None:
    labels = [*range(21), 5, 5]
    found = confusion(rows_of(labels, [(label + 1) % 21 for label in labels], [0] * 23), str)
    assert found is not None
    assert found["pairs"][0] == ("5", "6", 3)
    assert len(found["pairs"]) == 10
    assert confusion(rows_of([1], [2], [1]), str) is None


@pytest.mark.usefixtures("undrawn")
def test_the_page_has_the_matrix(tmp_path: Path) -> None:
    html = render_report([make_run(tmp_path / "run")])
    table = html[html.index('<table class="confusion">') :]
    lines = re.findall("<tr>(.*?)</tr>", table[: table.index("</table>")], re.DOTALL)
    cells = [re.sub("<[^>]+>", "|", line).split("|") for line in lines]
    assert [[cell for cell in line if cell.strip()] for line in cells] == [
        ["True class", "cat", "dog", "owl", "tie", "all"],
        ["cat", "·", "3", "·", "·", "3"],
        ["dog", "·", "1", "3", "·", "4"],
        ["owl", "3", "·", "·", "1", "4"],
    ]


# ---------------------------------------------------------------- by step


def traced(folder: Path, **columns: list[int]) -> Path:
    pyarrow.parquet.write_table(pyarrow.table(columns), folder / "trace.parquet")
    return folder


def test_a_trace_is_told_by_step(tmp_path: Path) -> None:
    folder = traced(
        make_run(tmp_path / "run"),
        sample=[40, 40, 40, 41, 42, 42],
        iteration=[0, 1, 2, 0, 0, 1],
        penultimate_spikes=[10, 12, 7, 20, 30, 14],
        rule=[1, 2, 1, 2, 0, 1],
    )
    course = read_course(folder)
    assert course is not None
    assert course.vanished is not None
    assert course.spikes is not None
    assert (course.steps.tolist(), course.running.tolist()) == ([1, 2, 3], [3, 2, 1])
    assert course.vanished.tolist() == pytest.approx([2 / 3, 1 / 2, 0])
    assert course.spikes.tolist() == [[15, 20, 25], [12.5, 13, 13.5], [7, 7, 7]]
    html = render_report([folder])
    assert "Vanished gradients by step" in html
    assert "Penultimate spikes by step" in html


def test_attacks_without_a_gradient_and_victims_without_such_a_layer_have_no_curve(tmp_path: Path) -> None:
    folder = traced(make_run(tmp_path / "run"), sample=[40], iteration=[0], penultimate_spikes=[-1], rule=[4])
    course = read_course(folder)
    assert course is not None
    assert (course.vanished, course.spikes) == (None, None)
    assert read_course(make_run(tmp_path / "none")) is None
    empty: dict[str, list[int]] = {"sample": [], "iteration": [], "penultimate_spikes": [], "rule": []}
    table = pyarrow.table(empty).cast(pyarrow.schema([(name, pyarrow.int64()) for name in empty]))
    pyarrow.parquet.write_table(table, folder / "trace.parquet")
    assert read_course(folder) is None


@pytest.mark.parametrize(
    ("columns", "reason"),
    [
        ({"sample": [1], "iteration": [0], "rule": [1]}, "no column penultimate_spikes"),
        ({"sample": [1], "iteration": [-1], "penultimate_spikes": [1], "rule": [1]}, "iteration is -1"),
        ({"sample": [1], "iteration": [None], "penultimate_spikes": [1], "rule": [1]}, "gaps|iteration"),
        ({"sample": [1], "iteration": ["a"], "penultimate_spikes": [1], "rule": [1]}, ""),
    ],
)
def test_a_damaged_trace_is_one_line(tmp_path: Path, columns: dict[str, list[Any]], reason: str) -> None:
    folder = traced(make_run(tmp_path / "run"), **columns)
    with pytest.raises(SpikeflipError, match=rf"trace\.parquet is damaged \(.*({reason})") as caught:
        read_course(folder)
    assert "\n" not in str(caught.value)


# ---------------------------------------------------------------- again


def test_the_command_on_the_page_repeats_the_run(digit_victim: Any, tmp_path: Path) -> None:
    save_checkpoint(digit_victim, tmp_path / "victim", {"loss": "mse"})
    options = ["--gamma", "0.1", "--samples", "3", "--target", "next", "--draws", "2"]
    options += ["--no-tuning", "--trace", "--quiet"]
    main(["attack", "--victim", str(tmp_path / "victim"), *options, "--out", str(tmp_path / "run")])
    again = repeated(*(json.loads((tmp_path / "run" / f"{name}.json").read_text()) for name in ("config", "manifest")))
    assert again is not None
    assert again["places"] == [("VICTIM", "the folder with the victim’s weights")]
    given = set(re.findall(r"--[a-z-]+", again["command"]))
    assert given == {name for name in options if name.startswith("--")} - {"--quiet"} | {
        "--attack",
        "--victim",
        "--out",
    }
    words = shlex.split(again["command"].replace("\\\n", ""))
    words = [{"VICTIM": str(tmp_path / "victim"), "RUN": str(tmp_path / "again")}.get(word, word) for word in words]
    main([*words[1:], "--quiet"])
    for name in ("rows.parquet", "adversarials.safetensors", "outputs.safetensors", "trace.parquet"):
        assert (tmp_path / "run" / name).read_bytes() == (tmp_path / "again" / name).read_bytes()
    page = (tmp_path / "run" / "report.html").read_text()
    assert "spikeflip attack --attack scg --victim VICTIM" in page


def test_a_strangers_option_is_one_word_of_a_shell() -> None:
    evil = "$(touch x); `rm` 'a' \"b\"\n-x"
    words = shlex.split(command({"name": evil, evil: "y"}).replace("\\\n", ""))
    assert words == ["spikeflip", "attack", "--name", evil.replace("\n", " "), f"--{evil}".replace("\n", " "), "y"]


def test_runs_of_earlier_versions_give_all_their_options() -> None:
    found = repeated({"options": {"attack": "scg", "reduce": None, "steps": 3}}, {"versions": {"spikeflip": "0.0.9"}})
    assert found is not None
    assert found["command"] == "spikeflip attack --victim VICTIM --attack scg --steps 3 --out RUN"
    assert found["version"] == "0.0.9"
    assert repeated({}, {}) is None


@pytest.mark.usefixtures("undrawn")
def test_the_page_says_how_to_cite(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run")
    (folder / "manifest.json").write_text('{"versions": {"spikeflip": "9.8.7"}}')
    html = render_report([folder])
    assert "version = {9.8.7}" in html
    assert "liang2021exploring" in html
    assert "scg: Liang et al., IEEE TNNLS 2021" in html


# ---------------------------------------------------------------- on one set of axes


def test_curves_of_several_runs_are_shares_of_their_own_inputs() -> None:
    figure = curves.compared("step", {"a": ([1, 1, 4], 4, 4), "b": ([2], 2, 2)}, whole=True)
    (axes,) = figure.axes
    lines = [(np.asarray(line.get_xdata()).tolist(), np.asarray(line.get_ydata()).tolist()) for line in axes.lines]
    assert lines == [([0, 1, 4, 4], [0, 50, 75, 75]), ([0, 2, 4], [0, 50, 50])]


def test_what_is_compared_is_what_the_runs_say(tmp_path: Path, monkeypatch: Any) -> None:
    drawn: list[tuple[str, Any]] = []
    real = curves.compared
    monkeypatch.setattr(
        curves, "compared", lambda what, lines, **o: drawn.append((what, lines)) or real(what, lines, **o)
    )
    runs = [make_run(tmp_path / name, "spikes", (3, 2, 4, 4)) for name in ("a", "b")]
    comparison.figures([load_run(run) for run in runs], ["a", "b"])
    rows = pyarrow.parquet.read_table(runs[0] / "rows.parquet").to_pydict()
    won = [row for row in range(12) if rows["success"][row]]
    assert [what for what, _ in drawn] == ["step", "changed cells"]
    steps, n, worth = drawn[0][1]["a"]
    assert (steps.tolist(), n, worth) == ([rows["steps"][row] for row in won], 11, 11)
    assert drawn[1][1]["b"][0].tolist() == [round(96 * rows["mse"][row]) for row in won]


def test_targets_of_one_input_make_wide_bands(tmp_path: Path, monkeypatch: Any) -> None:
    run, drawn, real = make_run(tmp_path / "a", "spikes", (3, 2, 4, 4)), [], curves.compared
    rows = pyarrow.parquet.read_table(run / "rows.parquet").to_pydict()
    pyarrow.parquet.write_table(pyarrow.table(rows | {"input": [7] * 12}), run / "rows.parquet")
    monkeypatch.setattr(curves, "compared", lambda what, lines, **o: drawn.append(lines) or real(what, lines, **o))
    comparison.figures([load_run(run)], ["a"])
    assert drawn[0]["a"][1:] == (11, 1)


def test_an_attack_that_takes_all_its_steps_is_not_drawn_against_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[Any] = []
    real = curves.compared
    monkeypatch.setattr(
        curves, "compared", lambda what, lines, **o: drawn.append((what, [*lines])) or real(what, lines, **o)
    )
    goes_on, stops = (load_run(make_run(tmp_path / name)) for name in ("a", "b"))
    last = np.full_like(goes_on.rows["steps"], goes_on.config["settings"]["steps"])
    goes_on = replace(goes_on, rows={**goes_on.rows, "steps": last})
    step, size = comparison.figures([goes_on, stops], ["a", "b"])
    assert drawn == [("step", ["b"]), ("mse", ["a", "b"])]
    assert "take all steps" in step["words"]
    assert "take all steps" not in size["words"]
    assert [one["title"] for one in comparison.figures([goes_on], ["a"])] == ["Success against size"]


def test_runs_of_one_name_are_told_apart(tmp_path: Path) -> None:
    runs = [load_run(make_run(tmp_path / name)) for name in ("a", "b")]
    assert comparison.short_names(runs) == ["1. a small run", "2. a small run"]
    folders = [run.folder for run in runs]
    assert folder_names(folders) == ["a", "b"]
    assert folder_names([folders[0], tmp_path / "x" / "a"]) == [f"{tmp_path.name}/a", "x/a"]


@pytest.mark.parametrize(
    ("names", "shown"),
    [
        (["a" * 48 + "b", "c" * 50], ["a" * 48, "c" * 48]),
        ([f"{'a' * 48},seed={seed}" for seed in (0, 1)], [f"…{'a' * 40},seed={seed}" for seed in (0, 1)]),
        ([f"x/{end}/{'a' * 50}" for end in "bc"], [f"{number}. …{'a' * 47}" for number in (1, 2)]),
    ],
)
def test_runs_whose_names_are_too_long_for_a_legend_are_all_drawn(
    names: list[str], shown: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[list[str]] = []
    real = curves.compared
    monkeypatch.setattr(curves, "compared", lambda what, lines, **o: drawn.append([*lines]) or real(what, lines, **o))
    runs = [load_run(make_run(tmp_path / name)) for name in ("a", "b")]
    found = comparison.figures(runs, names)
    assert drawn == [shown, shown]
    assert not any("left out" in figure["words"] for figure in found)


def test_the_command_compares_runs_on_a_page(digit_victim: Any, tmp_path: Path, run: Callable[..., Any]) -> None:
    save_checkpoint(digit_victim, tmp_path / "victim", {"loss": "mse"})
    for name, steps in (("short", 1), ("long", 8)):
        options = ["--samples", "12", "--draws", "2", "--steps", str(steps), "--quiet", "--out", str(tmp_path / name)]
        main(["attack", "--victim", str(tmp_path / "victim"), *options])
    out = tmp_path / "page.html"
    assert run("compare", tmp_path / "short", tmp_path / "long", "--out", out) == (0, f"page: {out}\n", "")
    html = out.read_text()
    text = re.sub(r"\s+", " ", unescape(re.sub("<[^>]+>", " ", html[html.index("<main>") :])))
    assert "short steps=1" in text
    assert "long steps=8" in text
    for name in ("short", "long"):
        summary = json.loads((tmp_path / name / "summary.json").read_text())
        low, high = summary["attack_success_rate_interval"]
        assert f"{100 * summary['attack_success_rate']:.1f} % {100 * low:.1f}–{100 * high:.1f}" in text
    rows = [
        pyarrow.parquet.read_table(tmp_path / name / "rows.parquet")["success"].to_pylist()
        for name in ("short", "long")
    ]
    alone = sum(second and not first for first, second in zip(*rows, strict=True))
    both = sum(first and second for first, second in zip(*rows, strict=True))
    attacked = json.loads((tmp_path / "short" / "summary.json").read_text())["attack_success_rate_n"]
    assert re.search(rf"short long {attacked} {both} \d+ {alone} ", text)
    assert len(re.findall("<svg", html)) == 2


@pytest.mark.usefixtures("undrawn")
def test_what_cannot_be_compared_is_one_sentence(tmp_path: Path, run: Callable[..., Any]) -> None:
    one = make_run(tmp_path / "one")
    with pytest.raises(SpikeflipError, match="a comparison is of 2 to 50 runs and here are 1"):
        write_comparison([one], tmp_path / "page.html")
    assert not (tmp_path / "page.html").exists()


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize(
    ("numbers", "words"), [("12", "One pair of runs is not"), ("123", "3 pairs of runs are not")], ids=["two", "three"]
)
def test_runs_on_other_data_are_named_as_such(tmp_path: Path, numbers: str, words: str) -> None:
    about = {"attack": "scg", "victim": {"weights_sha256": "a" * 64}}
    runs = [make_run(tmp_path / n, config=about | {"data": {"name": "d", "sha256": n * 64}}) for n in numbers]
    html = write_comparison(runs, tmp_path / "page.html").read_text()
    text = re.sub(r"\s+", " ", unescape(re.sub("<[^>]+>", " ", html)))
    assert f"{words} compared input by input: they have other data, or share no input with the same target." in text


# ---------------------------------------------------------------- room for every label


@pytest.mark.parametrize("high", [0.0325, 0.9, 1e-4, 0.1, 0.15])
def test_no_label_of_a_plot_is_cut_off(high: float) -> None:
    values = np.linspace(high / 20, high, 30)
    for figure in (
        pictures.perturbation_histogram(values),
        curves.compared("mse", {"a": (values, 40, 40)}, whole=False),
    ):
        figure.draw_without_rendering()
        (axes,) = figure.axes
        for label in (*axes.get_xticklabels(), *axes.get_yticklabels()):
            box = label.get_window_extent()
            inside = axes.get_xlim()[0] <= label.get_position()[0] <= axes.get_xlim()[1]
            if label in axes.get_xticklabels() and inside:
                assert box.x1 <= figure.bbox.x1
                assert box.x0 >= 0

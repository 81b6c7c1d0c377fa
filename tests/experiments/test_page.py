"""The page that is generated from results, and the figures beside it."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from spikeflip import SpikeflipError
from spikeflip.experiments import EXPERIMENTS, write_page
from spikeflip.experiments.drawing import draw
from spikeflip.experiments.examples import _packed, unpacked
from spikeflip.experiments.page import load_results, render
from spikeflip.experiments.rows import Rows

HOME = Path(__file__).parents[2]


def result(experiment="table-7", rows=(), **given):
    facts = {
        "experiment": experiment,
        "title": "Title",
        "about": "About.",
        "preset": "cpu",
        "preset_summary": "small",
        "width": None,
        "notes": {},
        "left_out": [],
        "columns": list(EXPERIMENTS[experiment].columns),
        "rows": list(rows),
        "paper": [],
        "trend": "",
        "findings": [],
        "victims": {},
        "manifest": {"versions": {"python": "3", "torch": "2", "spikeflip": "0"}, "cpu": "a processor"},
    }
    return facts | given


def row(data="MNIST", **given):
    return {
        "data": data,
        "loss": "MSE",
        "goal": "targeted",
        "n": 9,
        "success": 0.5,
        "success_interval": [0.4, 0.6],
    } | given


def table_of(page):
    return [line for line in page.splitlines() if line.startswith("|")]


def test_the_page_says_where_gradients_were_coarse():
    exact = {name: result(name, precision="float32") for name in ("figure-9", "twins")}
    found = exact | {"table-7": result("table-7", precision="bf16-gradient")}
    (line,) = [line for line in render(found, {}).splitlines() if line.startswith("Run with")]
    assert "table-7 with `--preset cpu` (small), gradients in bfloat16 (`--precision bf16-gradient`)" in line
    assert line.count("bfloat16") == 1


def test_what_train_chose_counts_as_seen_in_training(smoke):
    said = {"architecture": "10FC", "time_steps": 4, "accuracy": 0.5, "accuracy_n": 8}
    chosen = {"recipe": {"updates": 30, "batch_size": 50}, "config": {"updates": None, "batch_size": None}}
    earlier = {"recipe": None, "config": {"updates": 70, "batch_size": 10}}
    page = render({"table-7": result(victims={"a,1": said | chosen, "b,2": said | earlier})}, {})
    assert "| a | 10FC | 4 | 50.00 | 8 | 1,500 |" in page
    assert "| b | 10FC | 4 | 50.00 | 8 | 700 |" in page
    _, results = smoke
    assert all(victim["recipe"]["updates"] for found in results for victim in found["victims"].values())


def test_the_page_says_which_experiments_were_run_at_another_width():
    found = {name: result(name, width=width) for name, width in (("table-7", 0.5), ("figure-9", 0.5), ("twins", None))}
    (line,) = [line for line in render(found, {}).splitlines() if line.startswith("Run with")]
    assert line.startswith("Run with `--preset cpu` (small), but with hidden layers of 0.5 times")
    assert "; twins with `--preset cpu` (small); Python 3" in line


def test_a_note_that_another_holds_is_left_out():
    few, more = (
        "1,000 training recordings were at hand",
        "1,000 training recordings and 100 test recordings were at hand",
    )
    notes = {"table-7": {"MNIST": few, "N-MNIST": more}, "figure-5": {"N-MNIST": few}}
    page = render({name: result(name, notes=said) for name, said in notes.items()}, {})
    assert f"\n\nMNIST: {few}.\n\nN-MNIST: {more}.\n" in page
    assert page.count("were at hand") == 2


@pytest.mark.parametrize("name", ["reproduction", "reproduction-quarter-width", "reproduction-full-width"])
def test_the_committed_pages_are_what_their_results_give(name, tmp_path):
    write_page(HOME / "results" / name, tmp_path / f"{name}.md")
    assert (tmp_path / f"{name}.md").read_text() == (HOME / "docs" / f"{name}.md").read_text()
    assert {path.name for path in (tmp_path / name).iterdir()} == {
        path.name for path in (HOME / "docs" / name).iterdir()
    }


def test_the_same_results_give_the_same_bytes(smoke, tmp_path):
    out, _ = smoke
    shutil.copytree(out / "results", tmp_path / "results")
    write_page(tmp_path / "results", tmp_path / "reproduction.md")
    for path in (out / "reproduction.md", *(out / "reproduction").iterdir()):
        assert (tmp_path / path.relative_to(out)).read_bytes() == path.read_bytes()


def test_ours_stands_beside_what_the_paper_prints():
    paper = [{"where": {"data": "MNIST", "goal": "targeted"}, "measure": "success", "value": 0.5533}]
    page = render({"table-7": result(rows=[row(), row(goal="untargeted", success=0.9)], paper=paper)}, {})
    header, _, first, second = table_of(page.split("## table-7")[1].split("## Victims")[0])
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in (header, first, second)]
    assert cells[0][3:6] == ["n", "success %", "the paper's success %"]
    assert cells[1][3:6] == ["9", "50.0 (40.0–60.0)", "55.33"]
    assert cells[2][5] == "–"
    sentence = (
        "Of the 1 figures that both give, ours differ from the paper's by 5.3 points on average, most for MNIST, "
    )
    assert sentence in page
    assert "targeted: 50.0 %, the paper's 55.3 %." in page


def test_a_row_without_a_figure_shows_a_dash():
    page = render({"table-7": result(rows=[row(success=None), row(mse=0.01)])}, {})
    lines = [line for line in table_of(page) if "MNIST" in line]
    assert lines[0].count("–") >= 2
    assert "0.0100" in lines[1]
    assert "steps" not in page.split("## table-7")[1].split("## Victims")[0]  # which no row has


def test_labels_are_text_and_nothing_else():
    label = "a|b <script>alert(1)</script> [x](y) *z* `q` \\ \n new"
    rows = [row("MNIST", method=label), row(label, method="m")]
    found = [{"state": "held", "text": label, "words": label, "ours": False}]
    facts = result("table-1", rows, findings=found, title=label, about=label, notes={label: label}, trend=label)
    page = render({"table-1": facts}, {"table-1": [(label, "reproduction/x.svg")]})
    assert "<script" not in page
    assert not re.search(r"(?<!\\)\[x(?<!\\)\]", page)
    lines = [line for line in table_of(page) if "alert" in line]
    assert len(lines) == 3
    assert all(line.replace("\\|", "").count("|") == lines[1].replace("\\|", "").count("|") for line in lines[1:])


def test_a_note_names_all_its_data_sets():
    page = render({"table-7": result(rows=[row()], notes={"MNIST": "few", "N-MNIST": "tiny", "CIFAR10": "few"})}, {})
    assert "\n\nMNIST, CIFAR10: few.\n\nN-MNIST: tiny.\n\n" in page


def test_notes_of_results_that_differ_all_stand_on_the_page():
    results = {
        name: result(name, [row()], notes={"MNIST": note}) for name, note in (("table-3", "few"), ("table-7", "many"))
    }
    assert "\n\nMNIST: few.\n\nMNIST: many.\n\n" in render(results, {})


def test_long_tables_are_folded_by_data_set():
    rows = [row(data, goal=str(number)) for data in ("MNIST", "N-MNIST & <b>") for number in range(13)]
    page = render({"table-7": result(rows=rows)}, {})
    assert page.count("<details>") == page.count("</details>") == 2
    assert "<summary>N-MNIST &amp; &lt;b&gt;: 13 rows</summary>\n\n|" in page
    assert len([line for line in table_of(page) if "50.0 (" in line]) == 26


def test_findings_are_listed_with_their_state():
    findings = [
        {"state": state, "text": f"Text {number}.", "words": "mnist: 3", "ours": number == 3}
        for number, state in enumerate(("held", "held in part", "did not hold", "not tested"))
    ]
    page = render({"table-7": result(rows=[row()], findings=findings)}, {})
    assert "| ✗ **did not hold** | Text 2. | [table-7](#cpu-table-7) |" in page
    assert "| – **not tested** | Text 3. | [table-7](#cpu-table-7), our own |" in page
    assert "- ◐ **held in part**: Text 1. Mnist: 3." in page


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "table-7.json"),
        ("{}", r"is no result of an experiment \(it lacks experiment, title, .*run spikeflip reproduce table-7 again"),
    ],
)
def test_damaged_results_are_one_sentence(content, message, tmp_path):
    (tmp_path / "table-7.json").write_text(content)
    with pytest.raises(SpikeflipError, match=message):
        load_results(tmp_path)


def test_no_results_are_one_sentence(tmp_path):
    with pytest.raises(SpikeflipError, match="holds no results of experiments: run spikeflip reproduce first"):
        write_page(tmp_path, tmp_path / "reproduction.md")


# --- figures ----------------------------------------------------------------------------------------------------------


def heights(figure):
    return [round(patch.get_height(), 6) for axes in figure.axes for patch in axes.patches]


def test_bars_stand_for_rows():
    rows = [
        row(data, sampling=kind, success=value)
        for data, kind, value in (("A", "with", 0.5), ("A", "without", 0.25), ("B", "with", 1.0))
    ]
    figure = draw(EXPERIMENTS["figure-11"].pictures[0], Rows(rows))
    assert heights(figure) == [50, 100, 25]
    (axes,) = figure.axes
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["A\ntargeted", "B\ntargeted"]
    assert axes.get_xlim()[1] >= 1.8  # where the bar would be that B lacks
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["with", "without"]


def test_curves_are_in_the_order_of_their_label():
    rows = [row(gamma=gamma, vanished_steps=steps) for gamma, steps in ((0.2, 1.0), (0.05, 3.0), (0.1, 2.0))]
    figure = draw(EXPERIMENTS["figure-13"].pictures[0], Rows([*rows, row("B", gamma=0.1, vanished_steps=1.0)]))
    (axes,) = figure.axes  # of B there is no line
    line = axes.get_lines()[0]
    assert line.get_ydata().tolist() == [3.0, 2.0, 1.0]
    assert axes.get_title() == "MNIST"
    assert figure.legends == []


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_nothing_is_drawn_of_nothing(name):
    assert [draw(picture, Rows([])) for picture in EXPERIMENTS[name].pictures] == [None] * len(
        EXPERIMENTS[name].pictures
    )


def test_examples_are_kept_as_they_were(some_spikes):
    spikes, image = some_spikes(4, 2, 3, 3).numpy(), np.linspace(0, 1, 27, dtype=np.float32).reshape(3, 3, 3)
    for values, whole in ((spikes, True), (image, False)):
        text = _packed(values, whole)
        kept = {"shape": list(values.shape), "spikes": whole, "before": text, "after": text}
        for found in unpacked(kept):
            assert found.shape == values.shape
            assert np.abs(found - values).max() <= (0 if whole else 0.5 / 255 + 1e-6)
    labels = {"label": "3", "prediction": "8"}
    figure = draw(EXPERIMENTS["figure-18"].pictures[0], Rows([row(examples=[kept | labels])]))
    assert figure.axes[0].get_title() == "3 read as 8"
    with pytest.raises(SpikeflipError, match="an example of a result is damaged"):
        unpacked(kept | {"shape": [10**9, 10**9]})
    with pytest.raises(SpikeflipError, match="an example of a result is damaged"):
        unpacked(kept | {"after": "AAAA"})


def test_examples_of_a_run(smoke):
    _, results = smoke
    rows = {row["data"]: row for row in results[-1]["rows"]}
    for example in (*rows["MNIST"]["examples"], *rows["N-MNIST"]["examples"]):
        assert example["label"] != example["prediction"]
        before, after = unpacked(example)
        assert (before != after).any()
        assert 0 <= after.min() <= after.max() <= 1
    assert json.dumps(results[-1])

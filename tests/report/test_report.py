"""The page says what the run folder says, nothing more, and loads nothing."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest
from page_reader import Reader
from run_folders import MEANS, RATES, make_run

from spikeflip import rates
from spikeflip.errors import SpikeflipError
from spikeflip.report import loading, page, pictures, render_report, templates, write_report


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The page of a run of images."""
    return render_report([make_run(tmp_path_factory.mktemp("shown") / "run")])


# ---------------------------------------------------------------- the page says what the run says


def test_every_rate_is_shown_with_its_interval_and_n(shown: str) -> None:
    table = Reader(shown[shown.index("<h3>Rates") : shown.index('<div class="plots">')]).text
    for (value, n, (low, high)), name in zip(
        RATES.values(),
        [kind.words.capitalize() for kind in rates.RATES.values()],
        strict=True,
    ):
        row = table[table.index(name) :]
        assert re.search(rf"{100 * value:.1f} % {100 * low:.1f}–{100 * high:.1f} % {n}\b", row[:90]), row[:90]


def test_every_exact_value_of_the_summary_is_in_the_page(shown: str) -> None:
    values = {float(attrs["value"] or "nan") for tag, attrs in Reader(shown).tags if tag == "data"}
    assert {value for value, _, _ in RATES.values()} <= values
    assert set(map(float, MEANS.values())) <= values


@pytest.mark.parametrize(
    ("value", "written"), [(1654.25, "1,654"), (0.030123, "0.0301"), (0.41234, "0.412"), (16, "16"), (None, "–")]
)
def test_numbers_keep_three_significant_digits(value: float | None, written: str) -> None:
    assert templates.number(value) == written


def test_every_figure_is_explained(shown: str) -> None:
    reader = Reader(shown)
    explained = {attrs["id"] for tag, attrs in reader.tags if tag == "dt" and "id" in attrs}
    assert explained == {f"means-{key}" for key in (*RATES, *MEANS)}
    linked = {attrs["href"] for tag, attrs in reader.tags if tag == "a" and "term" in (attrs.get("class") or "")}
    assert linked == {f"#{name}" for name in explained}


@pytest.mark.usefixtures("undrawn")
def test_unknown_rates_and_figures_of_a_summary_are_shown(tmp_path: Path) -> None:
    extra = {
        "worst_case_rate": 0.7312,
        "worst_case_rate_n": 53,
        "worst_case_rate_interval": [0.6, 0.83],
        "b1_mean": 12.5,
    }
    text = Reader(render_report([make_run(tmp_path / "run", summary=extra)])).text
    assert "Worst case rate 73.1 % 60.0–83.0 % 53" in text
    assert "B1 mean 12.5" in text


def test_victim_data_and_attack_are_named(shown: str) -> None:
    text = Reader(shown).text
    for fact in (
        "Architecture 128C3-AP2-10FC",
        "Input shape 1 × 4 × 4",
        "Accuracy 96.6 %",
        "Data set MNIST",
        "Origin real",
        "Gamma 0.05",
        "Seed 7",
        "Goal untargeted",
        "versions.torch 2.14.1",
    ):
        assert fact in text


def test_a_bare_run_is_shown_as_far_as_it_goes(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "bare", kind="spikes", shape=(3, 2, 4, 4))
    for name in ("config", "manifest", "summary"):
        (folder / f"{name}.json").write_text("{}")
    html = render_report([folder])
    assert "<h1>bare</h1>" in html
    assert 'class="examples spikes"' in html


@pytest.mark.usefixtures("undrawn")
def test_nulls_and_broken_intervals_become_dashes(tmp_path: Path) -> None:
    odd = {"verified_success_rate": None, "verified_success_rate_interval": None, "tie_rate_interval": ["a", 1]}
    text = Reader(render_report([make_run(tmp_path / "run", summary=odd | {"mse_mean": None})])).text
    assert "Verified success rate – 53" in text
    assert "Ties 1.9 % 53" in text


@pytest.mark.usefixtures("undrawn")
def test_several_runs_have_an_overview(tmp_path: Path) -> None:
    runs = [
        make_run(tmp_path / "a", config={"name": "first"}),
        make_run(tmp_path / "b", "spikes", (3, 2, 4, 4), config={"name": "second"}),
    ]
    reader = Reader(render_report(runs))
    links = [attrs["href"] for tag, attrs in reader.tags if tag == "a" and (attrs["href"] or "").startswith("#run-")]
    assert links == ["#run-1", "#run-2"]
    assert reader.text.startswith("2 attack runs · attack report")
    assert "<h1>both</h1>" in render_report(runs, title="both")


# ---------------------------------------------------------------- each figure beside its own name


def cells_of(table: str) -> list[list[str]]:
    """The cells of a table of HTML as text, a list a line."""
    lines = re.findall("<tr>(.*?)</tr>", table, re.DOTALL)
    return [[Reader(cell).text for cell in re.findall("<t[hd].*?</t[hd]>", line, re.DOTALL)] for line in lines]


def test_the_overview_has_every_rate_under_its_own_heading(tmp_path: Path) -> None:
    second = {key: value - 0.05 * at for at, (key, (value, _, _)) in enumerate(RATES.items(), 1) if value > 0.8}
    second |= {f"{key}_interval": [second[key] - 0.01, second[key] + 0.02] for key in list(second)}
    runs = [make_run(tmp_path / "a"), make_run(tmp_path / "b", summary=second | {"mse_mean": 0.0777})]
    html = render_report(runs)
    headings, *lines = cells_of(html[html.index("<table>") : html.index("</table>")])
    of = {
        "Clean accuracy": "clean_accuracy",
        "Attack success": "attack_success_rate",
        "Verified": "verified_success_rate",
    }
    for run, line in zip(runs, lines, strict=True):
        summary = json.loads((run / "summary.json").read_text())
        shown = dict(zip(headings, line, strict=True))
        for heading, key in of.items():
            low, high = (f"{100 * end:.1f}" for end in summary[f"{key}_interval"])
            expected = f"{100 * summary[key]:.1f} %"
            assert shown[heading] == (expected if key == "clean_accuracy" else f"{expected} {low}–{high} %")
        assert shown["Mean mse"] == templates.number(summary["mse_mean"])


def test_every_mean_and_count_is_beside_its_own_name(tmp_path: Path) -> None:
    recordings = {"events": 3001.0, "events_added": 151.0, "events_removed": 72.0, "events_outside": 43.0}
    extra = {f"{name}_mean": value for name, value in recordings.items()}
    extra |= {"files": 57, "files_exact": 55, "lost_in_judging": 3}
    html = render_report([make_run(tmp_path / "run", "spikes", (3, 2, 4, 4), summary=extra)])
    shown = {
        Reader(name).text: float(value)
        for name, value in re.findall(r'<div><dt>(.*?)</dt><dd><data value="([^"]+)">', html)
    }
    names = {
        "n": "Inputs",
        "mse_mean": "mse",
        "rms_mean": "rms",
        "l0_mean": "ℓ0, cells changed",
        "l2_mean": "ℓ2 norm",
        "linf_mean": "ℓ∞ norm",
        "steps_mean": "Steps",
        "vanished_mean": "Vanished steps",
        "vanished_first_step": "Inputs vanished at the first step",
        "events_mean": "Events",
        "events_added_mean": "Events added",
        "events_removed_mean": "Events removed",
        "events_outside_mean": "Events outside",
        "files": "Recordings written",
        "files_exact": "Recordings exact",
        "lost_in_judging": "Lost in judging",
    }
    assert {name: shown[name] for name in names.values()} == {name: (MEANS | extra)[key] for key, name in names.items()}


@pytest.mark.parametrize(("kind", "shape"), [("images", (1, 4, 4)), ("spikes", (3, 2, 4, 4))])
def test_the_first_sentence_names_both_rates_in_their_order(tmp_path: Path, kind: str, shape: tuple[int, ...]) -> None:
    text = Reader(render_report([make_run(tmp_path / "run", kind, shape)])).text
    claimed, verified = (f"{100 * RATES[key][0]:.1f} %" for key in ("attack_success_rate", "verified_success_rate"))
    of = RATES["attack_success_rate"][1]
    assert re.search(rf"fooled the victim with {claimed} of {of} originally correct [^.]*;[^.]* {verified} ?\.", text)


def test_every_example_has_the_figures_of_its_own_row(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run")
    rows = pyarrow.parquet.read_table(folder / "rows.parquet").to_pydict()
    captions = re.findall("<figcaption>(.*?)</figcaption>", render_report([folder]), re.DOTALL)
    told = [Reader(caption) for caption in captions if "input " in caption]
    assert len(told) == 6
    for caption in told:
        at = rows["input"].index(int(re.findall(r"input (\d+)", caption.text)[0]))
        (mse,) = (float(attrs["value"] or "nan") for tag, attrs in caption.tags if tag == "data")
        steps = rows["steps"][at]
        assert mse == rows["mse"][at]
        assert f" {steps} {'step' if steps == 1 else 'steps'} " in f"{caption.text} "
        assert f"fools {100 * rows['verified'][at]:.1f} %" in caption.text
        label, prediction = (("cat", "dog", "owl", "tie")[rows[name][at]] for name in ("label", "prediction"))
        assert f"{label} → {prediction}" in caption.text
        assert (" failed " in caption.text) is not rows["success"][at]


def test_an_attack_that_makes_all_steps_is_drawn_against_changed_cells(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn = []
    whole = pictures.success_curve
    monkeypatch.setattr(pictures, "success_curve", lambda *a, **k: drawn.append((a, k)) or whole(*a, **k))
    for name, shape, steps, said in (
        ("spikes", (5, 2, 4, 4), 25, "changed cells"),
        ("spikes", (5, 2, 4, 4), 3, "step"),
        ("images", (1, 4, 4), 25, "step"),
    ):
        folder = make_run(tmp_path / f"{name}{steps}", name, shape)
        table = pyarrow.parquet.read_table(folder / "rows.parquet")
        rows = table.to_pydict()
        rows["steps"] = [steps if won else 25 for won in rows["success"]]
        pyarrow.parquet.write_table(pyarrow.table(rows), folder / "rows.parquet")
        text = Reader(render_report([folder])).text
        assert f"Success against {said}." in text
        (at, won, n), options = drawn.pop()
        assert n == 11
        if said == "changed cells":
            assert options == {"against": "changed cells"}
            flips = [round(mse * 160) for mse, won in zip(rows["mse"][1:], rows["success"][1:], strict=True) if won]
            assert at[won].tolist() == flips
            assert max(flips) > 1


# ---------------------------------------------------------------- warnings


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize(
    ("claimed", "verified", "warned"),
    [
        ([0.90, 0.98], [0.70, 0.80], True),
        ([0.90, 0.98], [0.80, 0.8999], True),
        ([0.90, 0.98], [0.80, 0.90], False),
        ([0.90, 0.98], [0.88, 0.95], False),
        ([0.70, 0.80], [0.90, 0.98], False),
        ([0.90, 0.98], None, False),
        (None, [0.1, 0.2], False),
    ],
)
def test_the_warning_appears_exactly_when_the_intervals_are_disjoint(
    tmp_path: Path, claimed: list[float] | None, verified: list[float] | None, warned: bool
) -> None:
    ends = {"attack_success_rate_interval": claimed, "verified_success_rate_interval": verified}
    text = Reader(render_report([make_run(tmp_path / "run", summary=ends)])).text
    assert ("One draw overstates this attack." in text) == warned


@pytest.mark.usefixtures("undrawn")
def test_of_spikes_the_warning_speaks_of_the_saved_file(tmp_path: Path) -> None:
    ends = {"attack_success_rate_interval": [0.9, 0.98], "verified_success_rate_interval": [0.5, 0.6]}
    text = Reader(render_report([make_run(tmp_path / "run", "spikes", (3, 2, 4, 4), summary=ends)])).text
    assert "The saved recordings do worse than the attack claims." in text
    assert "One draw overstates" not in text


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize(("simulated", "said"), [(True, True), (False, False), (None, False)])
def test_simulated_data_are_called_so(tmp_path: Path, simulated: bool | None, said: bool) -> None:
    text = Reader(
        render_report([make_run(tmp_path / "run", config={"data": {"name": "x", "simulated": simulated}})])
    ).text
    assert ("The data are simulated." in text) == said


def test_pictures_and_plots_have_words_for_those_who_cannot_see_them(shown: str) -> None:
    reader = Reader(shown)
    labels = [attrs.get("aria-label") for tag, attrs in reader.tags if tag == "svg"]
    assert len(labels) == 10
    assert all(labels)
    assert "Cumulative attack success over the steps, of 11 inputs" in labels
    assert any(
        re.fullmatch(r"Original, adversarial and difference of input \d+: cat, taken for dog", x or "") for x in labels
    )


def test_captions_name_classes_ties_targets_and_failures(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run")
    examples = page._view(loading.load_run(folder), 1)["examples"]
    assert [(e["label"], e["prediction"]) for e in examples if e["success"]] == (
        [("cat", "dog")] * 2 + [("dog", "owl")] * 2 + [("owl", "cat")]
    )
    (failure,) = (e for e in examples if not e["success"])
    assert (failure["label"], failure["prediction"]) in {("dog", "dog"), ("owl", "tie")}
    text = Reader(render_report([folder])).text
    assert text.count(" failed ") == 1
    assert "cat → dog" in text
    assert "fools 87.5 % of fresh encodings" in text


@pytest.mark.usefixtures("undrawn")
def test_a_target_is_named(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run")
    rows = pyarrow.parquet.read_table(folder / "rows.parquet")
    at = rows.schema.get_field_index("target")
    pyarrow.parquet.write_table(rows.set_column(at, "target", pyarrow.array([2] * 12)), folder / "rows.parquet")
    assert "target owl" in Reader(render_report([folder])).text


# ---------------------------------------------------------------- writing


@pytest.mark.usefixtures("undrawn")
def test_writing_replaces_the_old_page_and_leaves_nothing_else(tmp_path: Path) -> None:
    run, out = make_run(tmp_path / "run"), tmp_path / "out" / "report.html"
    out.parent.mkdir()
    out.write_text('<head><meta name="generator" content="spikeflip"><title>old</title>')
    assert write_report([run], out) == out
    assert out.read_text(encoding="utf-8") == render_report([run])
    assert list(out.parent.iterdir()) == [out]


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize("out", ["missing/report.html", "run"])
def test_a_page_that_cannot_be_written_leaves_nothing(tmp_path: Path, out: str) -> None:
    run = make_run(tmp_path / "run")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(SpikeflipError, match="cannot write the page"):
        write_report([run], tmp_path / out)
    assert sorted(tmp_path.rglob("*")) == before


def test_no_runs_and_folders_that_are_none_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SpikeflipError, match="at least one run"):
        render_report([])
    with pytest.raises(SpikeflipError, match=r"is no run folder, it has no config\.json"):
        render_report([tmp_path])

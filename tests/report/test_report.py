"""The page says what the run folder says, nothing more, and loads nothing; the pictures have the promised colours."""

from __future__ import annotations

import base64
import io
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
from PIL import Image
from safetensors.numpy import save_file

from spikeflip.errors import SpikeflipError
from spikeflip.report import loading, page, pictures, render_report, write_report

RATES = {
    "clean_accuracy": (0.9137, 58, (0.8123, 0.9629)),
    "attack_success_rate": (0.9434, 53, (0.8463, 0.9806)),
    "verified_success_rate": (0.8721, 53, (0.7566, 0.9371)),
    "robust_accuracy": (0.0517, 58, (0.0177, 0.1414)),
    "tie_rate": (0.0189, 53, (0.0033, 0.0994)),
    "vanished_first_step_rate": (0.3019, 53, (0.1952, 0.4354)),
}
MEANS = {
    "n": 58,
    "mse_mean": 0.030123,
    "rms_mean": 0.173501,
    "l0_mean": 1654.25,
    "l2_mean": 4.8512,
    "linf_mean": 0.41234,
    "steps_mean": 4.3019,
    "vanished_first_step": 16,
    "vanished_mean": 0.5094,
}


def make_run(
    folder: Path,
    kind: str = "images",
    shape: tuple[int, ...] = (1, 4, 4),
    n: int = 12,
    summary: dict[str, Any] | None = None,
    config: dict[str, Any] | None = None,
) -> Path:
    """Writes a small run folder: row 0 wrong from the start, 1 a failure, 2 a tie, the rest fooled."""
    folder.mkdir()
    random = np.random.default_rng(0)
    before: np.ndarray[Any, Any]
    if kind == "spikes":
        before = (random.random((n, *shape)) < 0.2).astype(np.uint8)
        after = before ^ (random.random(before.shape) < 0.05)
    else:
        before = random.random((n, *shape), dtype=np.float32)
        after = np.clip(before + random.normal(0, 0.1, before.shape), 0, 1).astype(np.float32)
    label = np.arange(n) % 3
    wrong, success = np.arange(n) == 0, np.arange(n) > 2
    prediction = np.where(success, (label + 1) % 3, label)
    prediction[2] = -1
    mse = ((after.astype(float) - before) ** 2).reshape(n, -1).mean(axis=1)
    rows = {
        "sample": np.arange(n) + 40,
        "input": np.arange(n) + 40,
        "label": label,
        "target": np.full(n, -1),
        "prediction": prediction,
        "already_wrong": wrong,
        "success": success,
        "verified": np.where(success, 0.875, 0.0),
        "steps": np.where(wrong, 0, np.where(success, 1 + np.arange(n) % 4, 25)),
        "vanished": np.zeros(n, dtype=int),
        "vanished_first_step": np.zeros(n, dtype=bool),
        "mse": mse,
        "rms": np.sqrt(mse),
        "l0": np.ones(n),
        "l2": np.ones(n),
        "linf": np.ones(n),
    }
    pyarrow.parquet.write_table(pyarrow.table(rows), folder / "rows.parquet")
    tensors: dict[str, Any] = {
        "originals": before,
        "adversarials": after.astype(before.dtype),
        "samples": np.arange(n) + 40,
    }
    save_file(tensors, folder / "adversarials.safetensors")
    flat: dict[str, Any] = dict(MEANS)
    for key, (value, count, interval) in RATES.items():
        flat |= {key: value, f"{key}_n": count, f"{key}_interval": list(interval)}
    whole = {
        "name": "a small run",
        "attack": "scg",
        "settings": {"steps": 25, "gamma": 0.05, "threshold": 1.5, "loss": "mse", "budget": None},
        "data": {"name": "MNIST", "split": "test", "simulated": False, "source": "rasbt/mnist-pngs"},
        "victim": {"architecture": "128C3-AP2-10FC", "input_shape": list(shape), "steps": 15, "accuracy": 0.9664},
        "seed": 7,
        "goal": "untargeted",
        "kind": kind,
        "classes": ["cat", "dog", "owl"],
    }
    (folder / "summary.json").write_text(json.dumps(flat | (summary or {})), encoding="utf-8")
    (folder / "config.json").write_text(json.dumps(whole | (config or {})), encoding="utf-8")
    (folder / "manifest.json").write_text('{"versions": {"torch": "2.14.1"}, "git": "0f3a9c"}', encoding="utf-8")
    return folder


class Reader(HTMLParser):
    """Collects what a test asks about: tags with their attributes, and the text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).replace("\u00a0", " ").split())


# ---------------------------------------------------------------- the page says what the run says


def test_every_rate_is_shown_with_its_interval_and_n(tmp_path: Path) -> None:
    html = render_report([make_run(tmp_path / "run")])
    table = Reader(html[html.index("<h3>Rates") : html.index('<div class="plots">')]).text
    for (value, n, (low, high)), name in zip(
        RATES.values(),
        ("Clean accuracy", "Attack success rate", "Verified success rate", "Robust accuracy", "Ties", "Vanished at"),
        strict=True,
    ):
        row = table[table.index(name) :]
        assert re.search(rf"{100 * value:.1f} % {100 * low:.1f}–{100 * high:.1f} % {n}\b", row[:90]), row[:90]


def test_every_exact_value_of_the_summary_is_in_the_page(tmp_path: Path) -> None:
    html = render_report([make_run(tmp_path / "run")])
    shown = {float(attrs["value"] or "nan") for tag, attrs in Reader(html).tags if tag == "data"}
    assert {value for value, _, _ in RATES.values()} <= shown
    assert set(map(float, MEANS.values())) <= shown


@pytest.mark.parametrize(
    ("value", "written"), [(1654.25, "1,654"), (0.030123, "0.0301"), (0.41234, "0.412"), (16, "16"), (None, "–")]
)
def test_numbers_keep_three_significant_digits(value: float | None, written: str) -> None:
    assert page._number(value) == written


def test_every_figure_is_explained(tmp_path: Path) -> None:
    reader = Reader(render_report([make_run(tmp_path / "run")]))
    explained = {attrs["id"] for tag, attrs in reader.tags if tag == "dt" and "id" in attrs}
    assert explained == {f"means-{key}" for key in (*RATES, *MEANS)}
    linked = {attrs["href"] for tag, attrs in reader.tags if tag == "a" and "term" in (attrs.get("class") or "")}
    assert linked == {f"#{name}" for name in explained}


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


def test_victim_data_and_attack_are_named(tmp_path: Path) -> None:
    text = Reader(render_report([make_run(tmp_path / "run")])).text
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


def test_nulls_and_broken_intervals_become_dashes(tmp_path: Path) -> None:
    odd = {"verified_success_rate": None, "verified_success_rate_interval": None, "tie_rate_interval": ["a", 1]}
    text = Reader(render_report([make_run(tmp_path / "run", summary=odd | {"mse_mean": None})])).text
    assert "Verified success rate – 53" in text
    assert "Ties 1.9 % 53" in text


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


# ---------------------------------------------------------------- warnings


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


def test_of_spikes_the_warning_speaks_of_the_saved_file(tmp_path: Path) -> None:
    ends = {"attack_success_rate_interval": [0.9, 0.98], "verified_success_rate_interval": [0.5, 0.6]}
    text = Reader(render_report([make_run(tmp_path / "run", "spikes", (3, 2, 4, 4), summary=ends)])).text
    assert "The saved recordings do worse than the attack claims." in text
    assert "One draw overstates" not in text


@pytest.mark.parametrize(("simulated", "said"), [(True, True), (False, False), (None, False)])
def test_simulated_data_are_called_so(tmp_path: Path, simulated: bool | None, said: bool) -> None:
    text = Reader(
        render_report([make_run(tmp_path / "run", config={"data": {"name": "x", "simulated": simulated}})])
    ).text
    assert ("The data are simulated." in text) == said


# ---------------------------------------------------------------- one safe file


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
    reader = Reader(render_report([folder, folder]))
    assert {"script", "img"}.isdisjoint(tag for tag, _ in reader.tags)
    assert not any(name.startswith("on") for _, attrs in reader.tags for name in attrs)
    assert evil in "".join(reader.words)


@pytest.mark.parametrize(("kind", "shape"), [("images", (3, 5, 5)), ("spikes", (20, 2, 6, 6))])
def test_the_page_loads_nothing(tmp_path: Path, kind: str, shape: tuple[int, ...]) -> None:
    html = render_report([make_run(tmp_path / "run", kind, shape)])
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


def test_pictures_and_plots_have_words_for_those_who_cannot_see_them(tmp_path: Path) -> None:
    reader = Reader(render_report([make_run(tmp_path / "run")]))
    labels = [attrs.get("aria-label") for tag, attrs in reader.tags if tag == "svg"]
    assert len(labels) == 8
    assert "Cumulative attack success over the steps, of 11 inputs" in labels
    assert any(
        re.fullmatch(r"Original, adversarial and difference of input \d+: cat, taken for dog", x or "") for x in labels
    )


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


def test_four_runs_stay_small(tmp_path: Path) -> None:
    shapes = [
        ("images", (1, 28, 28)),
        ("images", (3, 32, 32)),
        ("spikes", (15, 2, 34, 34)),
        ("spikes", (60, 2, 128, 128)),
    ]
    runs = [make_run(tmp_path / str(i), kind, shape) for i, (kind, shape) in enumerate(shapes)]
    assert write_report(runs, tmp_path / "report.html").stat().st_size < 1_500_000


# ---------------------------------------------------------------- writing and errors


def test_writing_replaces_the_old_page_and_leaves_nothing_else(tmp_path: Path) -> None:
    run, out = make_run(tmp_path / "run"), tmp_path / "out" / "report.html"
    out.parent.mkdir()
    out.write_text("old")
    assert write_report([run], out) == out
    assert out.read_text(encoding="utf-8") == render_report([run])
    assert list(out.parent.iterdir()) == [out]


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


FILES = ("config.json", "manifest.json", "summary.json", "rows.parquet", "adversarials.safetensors")


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("harm", ["missing", "empty", "cut", "noise", "folder"])
def test_missing_and_damaged_files_are_named_in_one_line(tmp_path: Path, name: str, harm: str) -> None:
    folder = make_run(tmp_path / "run")
    path = folder / name
    whole = path.read_bytes()
    path.unlink()
    if harm == "folder":
        path.mkdir()
    elif harm != "missing":
        path.write_bytes({"empty": b"", "cut": whole[: len(whole) // 2], "noise": bytes(range(256)) * 9}[harm])
    with pytest.raises(SpikeflipError, match=re.escape(name)) as caught:
        render_report([folder])
    assert "\n" not in str(caught.value)


def test_a_column_of_words_is_damage(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run")
    rows = pyarrow.parquet.read_table(folder / "rows.parquet")
    at = rows.schema.get_field_index("steps")
    words = rows.set_column(at, "steps", pyarrow.array(["many"] * 12))
    pyarrow.parquet.write_table(words, folder / "rows.parquet")
    with pytest.raises(SpikeflipError, match=r"rows\.parquet is damaged"):
        render_report([folder])


def test_json_of_another_kind_is_refused(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run")
    (folder / "summary.json").write_text("[1]")
    with pytest.raises(SpikeflipError, match="it holds a list instead of an object"):
        render_report([folder])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"samples": np.arange(12)}, "its samples are not those of rows.parquet"),
        ({"samples": np.arange(11) + 40}, "do not fit each other"),
        ({"adversarials": np.zeros((12, 1, 4, 5), np.float32)}, "do not fit each other"),
        ({"originals": np.full((12, 1, 4, 4), 1.5, np.float32)}, r"images lie in \[0, 1\]"),
        ({"originals": np.full((12, 1, 4, 4), np.nan, np.float32)}, r"images lie in \[0, 1\]"),
    ],
)
def test_files_that_contradict_each_other_are_refused(tmp_path: Path, change: dict[str, Any], words: str) -> None:
    folder = make_run(tmp_path / "run")
    zeros = np.zeros((12, 1, 4, 4), np.float32)
    whole: dict[str, Any] = {"originals": zeros, "adversarials": zeros, "samples": np.arange(12) + 40}
    save_file(whole | change, folder / "adversarials.safetensors")
    with pytest.raises(SpikeflipError, match=words):
        render_report([folder])


def test_spikes_other_than_0_and_1_and_lacking_columns_are_refused(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run", "spikes", (3, 2, 4, 4))
    twos = np.full((12, 3, 2, 4, 4), 2, np.uint8)
    save_file(
        {"originals": twos, "adversarials": twos, "samples": np.arange(12) + 40}, folder / "adversarials.safetensors"
    )
    with pytest.raises(SpikeflipError, match=r"spikes are 0 or 1 and row \d+ has 2"):
        render_report([folder])
    rows = pyarrow.parquet.read_table(folder / "rows.parquet").drop_columns(["mse"])
    pyarrow.parquet.write_table(rows, folder / "rows.parquet")
    with pytest.raises(SpikeflipError, match="it has no column mse"):
        render_report([folder])


# ---------------------------------------------------------------- choosing examples


def rows_of(label: list[int], success: list[int], mse: list[float], wrong: list[int] | None = None) -> dict[str, Any]:
    return {
        "label": np.array(label),
        "success": np.array(success),
        "already_wrong": np.array(wrong or [0] * len(label)),
        "mse": np.array(mse),
    }


def test_examples_are_the_medians_of_their_classes_and_one_failure() -> None:
    rows = rows_of(
        label=[0, 0, 0, 1, 1, 1, 2, 2],
        success=[1, 1, 1, 1, 1, 1, 0, 0],
        mse=[0.9, 0.2, 0.1, 0.3, 0.8, 0.4, 0.5, 0.6],
        wrong=[0, 0, 0, 0, 0, 0, 1, 0],
    )
    assert loading.choose_examples(rows, 3) == [1, 5, 7]


def test_examples_come_from_classes_far_apart() -> None:
    rows = rows_of(label=list(range(10)), success=[1] * 10, mse=[0.1] * 10)
    assert loading.choose_examples(rows, 4) == [0, 3, 6, 9]


def test_few_classes_give_several_examples_each_and_none_twice() -> None:
    rows = rows_of(label=[0] * 5 + [1], success=[1] * 6, mse=[0.1, 0.2, 0.3, 0.4, float("nan"), 0.1])
    chosen = loading.choose_examples(rows, 4)
    assert len(set(chosen)) == 4
    assert 5 in chosen
    assert 4 not in chosen
    assert loading.choose_examples(rows_of([], [], []), 6) == []


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


def test_a_target_is_named(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run")
    rows = pyarrow.parquet.read_table(folder / "rows.parquet")
    at = rows.schema.get_field_index("target")
    pyarrow.parquet.write_table(rows.set_column(at, "target", pyarrow.array([2] * 12)), folder / "rows.parquet")
    assert "target owl" in Reader(render_report([folder])).text


# ---------------------------------------------------------------- pictures


def spikes(*cells: tuple[int, int, int, int], shape: tuple[int, int, int, int] = (4, 2, 3, 3)) -> np.ndarray[Any, Any]:
    """Spikes at the given (t, c, y, x) and nowhere else."""
    array = np.zeros(shape, dtype=np.uint8)
    for cell in cells:
        array[cell] = 1
    return array


def test_on_is_red_off_is_blue_both_are_purple_on_white() -> None:
    picture = pictures.squeeze(spikes((0, 0, 0, 0), (1, 1, 0, 1), (2, 0, 0, 2), (3, 1, 0, 2)))
    assert tuple(picture[0, 0]) == pictures.OFF
    assert tuple(picture[0, 1]) == pictures.ON
    assert tuple(picture[0, 2]) == tuple(round((a + b) / 2) for a, b in zip(pictures.OFF, pictures.ON, strict=True))
    assert (picture[1:] == 255).all()


def test_more_spikes_are_stronger_and_one_spike_stays_visible() -> None:
    cells = [(t, 0, 0, 0) for t in range(4)] + [(t, 0, 0, 1) for t in range(2)] + [(0, 0, 0, 2)]
    picture = pictures.squeeze(spikes(*cells)).astype(int)
    assert tuple(picture[0, 0]) == pictures.OFF
    assert picture[0, 0, 1] < picture[0, 1, 1] < picture[0, 2, 1] < 200


def test_one_channel_is_ink_three_are_colours() -> None:
    grey = pictures.squeeze(spikes((0, 0, 1, 1), shape=(4, 1, 3, 3)))
    assert tuple(grey[1, 1]) == pictures.SPIKE
    assert tuple(grey[0, 0]) == (255, 255, 255)
    rates = pictures.squeeze(
        spikes(*[(t, 0, 0, 0) for t in range(4)], *[(t, 2, 0, 0) for t in range(2)], shape=(4, 3, 3, 3))
    )
    assert tuple(rates[0, 0]) == (255, 0, 128)
    assert tuple(rates[2, 2]) == (0, 0, 0)


def test_audio_is_a_raster_with_time_to_the_right() -> None:
    raster = np.zeros((5, 3))
    raster[4, 0] = 1
    picture = pictures.squeeze(raster)
    assert picture.shape == (3, 5, 3)
    assert tuple(picture[0, 4]) == pictures.SPIKE


def test_large_pictures_are_pooled_and_no_spike_is_lost() -> None:
    picture = pictures.squeeze(spikes((0, 0, 200, 259), shape=(1, 2, 201, 260)))
    assert max(picture.shape[:2]) <= 64
    assert (picture != 255).any(axis=2).sum() == 1


def test_added_removed_moved_and_kept_cells_have_their_colours() -> None:
    original = spikes((0, 0, 0, 1), (0, 0, 0, 2), (0, 0, 1, 0))
    adversarial = spikes((0, 0, 0, 0), (1, 0, 0, 2), (0, 0, 1, 0))
    picture = pictures.difference(original, adversarial)
    half = [tuple(0.425 * 255 + 0.575 * part for part in rgb) for rgb in (pictures.ADDED, pictures.REMOVED)]
    assert tuple(picture[0, 0]) == pytest.approx(half[0], abs=1)
    assert tuple(picture[0, 1]) == pytest.approx(half[1], abs=1)
    assert tuple(picture[0, 2]) == pictures.MOVED
    assert tuple(picture[1, 0]) == pictures.KEPT
    assert (picture[2] == 255).all()
    alone = pictures.difference(spikes((0, 1, 1, 1)), spikes((0, 0, 0, 0)))
    assert tuple(alone[0, 0]) == pictures.ADDED
    assert tuple(alone[1, 1]) == pictures.REMOVED


def test_signed_difference_takes_the_channel_that_changed_most() -> None:
    original, adversarial = np.full((3, 1, 2), 0.5), np.full((3, 1, 2), 0.5)
    adversarial[:, 0, 0], adversarial[:, 0, 1] = (0.6, 0.2, 0.5), (0.4, 0.5, 0.75)
    assert pictures.signed_difference(original, adversarial) == pytest.approx(np.array([[-0.3, 0.25]]))


@pytest.mark.parametrize("steps", [1, 4, 15, 16, 17, 31, 40, 100])
def test_time_is_cut_evenly_and_wholly(steps: int) -> None:
    groups = pictures.group_steps(steps)
    sizes = [group.stop - group.start for group in groups]
    assert [t for group in groups for t in range(group.start, group.stop)] == list(range(steps))
    assert len(groups) <= (16 if steps <= 16 else 15)
    assert max(sizes) - min(sizes) <= 1
    if steps <= 16:
        assert set(sizes) == {1}


def embedded(svg: str) -> list[Image.Image]:
    found = re.findall(r"data:image/png;base64,([^\"]+)", svg)
    return [Image.open(io.BytesIO(base64.b64decode(data))).convert("RGBA") for data in found]


def test_a_spike_figure_holds_the_very_pictures_and_counts() -> None:
    original, adversarial = spikes((0, 0, 0, 0), (1, 1, 0, 1)), spikes((0, 0, 0, 0), (1, 1, 0, 1), (2, 0, 2, 2))
    svg = pictures.to_svg(pictures.spike_example(original, adversarial))
    before, after, change = (np.array(image)[..., :3] for image in embedded(svg))
    assert np.array_equal(before, pictures.squeeze(original))
    assert np.array_equal(after, pictures.squeeze(adversarial))
    assert np.array_equal(change, pictures.difference(original, adversarial))
    for words in ("1 OFF", "2 OFF", "1 ON", "1 added", "0 removed"):
        assert f">{words}</text>" in svg
    assert "both at one pixel" not in svg


def test_an_image_figure_has_a_difference_symmetric_about_white() -> None:
    original = np.full((1, 1, 3), 0.5)
    adversarial = original + np.array([[[0.2, 0.0, -0.1]]])
    svg = pictures.to_svg(pictures.image_example(original, adversarial))
    before, _, change = (np.array(image)[0, :, :3].astype(int) for image in embedded(svg))
    assert (before == 128).all()
    assert tuple(change[0]) == pictures.ADDED
    assert change[1].min() >= 254
    assert tuple(change[2]) == pytest.approx((128, 190, 186), abs=2)
    assert "to +0.200" in svg
    assert "to −0.100" in svg


def test_the_strip_shows_original_adversarial_and_flips_step_by_step() -> None:
    original, adversarial = spikes((0, 0, 0, 0)), spikes((0, 0, 0, 0), (3, 1, 2, 2))
    svg = pictures.to_svg(pictures.time_strip(original, adversarial))
    (mosaic,) = (np.array(image) for image in embedded(svg))
    size = (mosaic.shape[1] - 1) // 4  # a tile and its line; pixels of a tile are `size // 3` wide

    def pixel(row: int, step: int, y: int, x: int) -> tuple[int, ...]:
        return tuple(mosaic[row * size + 1 + y * (size // 3) + 2, step * size + 1 + x * (size // 3) + 2, :3])

    assert pixel(0, 0, 0, 0) == pixel(1, 0, 0, 0) == pictures.OFF
    assert pixel(0, 3, 2, 2) == (255, 255, 255)
    assert pixel(1, 3, 2, 2) == pictures.ON
    assert pixel(2, 3, 2, 2) == pictures.ADDED
    assert pixel(2, 0, 0, 0) == pictures.KEPT


def test_the_curve_is_cumulative_over_all_attacked_inputs() -> None:
    figure = pictures.success_curve([1, 3, 3, 25, 2], [True, True, True, False, True], 5, last=25)
    line = figure.axes[0].lines[0]
    assert np.asarray(line.get_xdata()).tolist() == [0, 1, 2, 3, 25]
    assert np.asarray(line.get_ydata()).tolist() == pytest.approx([0, 20, 40, 80, 80])
    assert figure.axes[0].texts[0].get_text() == "80.0 %"


def test_the_histogram_counts_every_input_also_when_all_are_equal() -> None:
    for values in ([0.01, 0.02, 0.02, 0.05], [0.03, 0.03]):
        axes = pictures.perturbation_histogram(values).axes[0]
        assert sum(bar.get_height() for bar in axes.patches) == len(values)  # type: ignore[attr-defined]
        assert axes.lines[0].get_xdata()[0] == pytest.approx(np.median(values))  # type: ignore[index]


def test_svg_titles_are_escaped_and_prefixes_kept_apart() -> None:
    figure = pictures.success_curve([1], [True], 1)
    svg = pictures.to_svg(figure, title='a < b & "c"', prefix="p7-")
    assert "<title>a &lt; b &amp; &quot;c&quot;</title>" in svg
    assert all(name.startswith("p7-") for name in re.findall(r'\sid="([^"]+)"', svg))
    assert pictures.to_svg(figure) == pictures.to_svg(pictures.success_curve([1], [True], 1))


def test_png_is_a_picture_in_an_address() -> None:
    figure = pictures.spike_example(spikes((0, 0, 0, 0)), spikes((0, 0, 0, 1)))
    uri = pictures.to_png_data_uri(figure, dpi=72)
    (image,) = embedded(uri)
    assert image.width == 330
    assert uri == pictures.to_png_data_uri(figure, dpi=72)

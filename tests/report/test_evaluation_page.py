"""The page of an evaluation says what its folder says, and loads nothing."""

import json
import re

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
import torch
from safetensors.torch import save_file

from spikeflip import SpikeflipError
from spikeflip.report.evaluation import render_evaluation

N = 12
RIGHT = [True] * 11 + [False]
BROKEN = [True] * 8 + [False] * 4
DISTANCES = [3.0, 1.0, 2.0, 4.0, 9.0, 8.0, 7.0, 6.0, 20.0, *[np.inf] * 3]
FINDINGS = [
    {"code": "black-box", "figure": 0.25, "threshold": 0.1, "sentence": "a search <b> wins", "weight": "masked"},
    {"code": "silent", "figure": 0.1, "threshold": 0.0, "sentence": "one was left again", "weight": "note"},
]


def verdict(word, findings=()):
    return {"word": word, "findings": [*findings], "rates": {}, "forwards": 5, "backwards": 2}


@pytest.fixture
def folder(tmp_path):
    """Makes the folder of an evaluation, of spikes or images."""

    def made(kind="spikes", classes=("cat", "<i>dog"), **other):
        shape = (N, 4, 2, 5, 5) if kind == "spikes" else (N, 1, 8, 8)
        random = torch.Generator().manual_seed(0)
        before = (torch.rand(shape, generator=random) < 0.3).to(torch.uint8 if kind == "spikes" else torch.float32)
        after = before.clone()
        after[:, 0] = 1 - after[:, 0]
        samples = torch.arange(N) * 3
        save_file(
            {"originals": before, "adversarials": after, "samples": samples}, tmp_path / "adversarials.safetensors"
        )
        table = {
            "input": range(100, 100 + N), "sample": samples.tolist(), "label": [row % 2 for row in range(N)],
            "target": [-1] * N, "right": RIGHT, "own": [50.0] * N, "limit": [10.0] * N, "broken": BROKEN,
            "distance": DISTANCES, "by_attack": BROKEN, "broken_by": ["scg"] * 5 + ["sda"] * 3 + [""] * 4,
        }  # fmt: skip
        pyarrow.parquet.write_table(pyarrow.table(table), tmp_path / "rows.parquet")
        member = {"attack": "scg", "view": "white box", "alone": None, "forwards": 1200, "backwards": 34}
        members = [
            {"name": "random-flips", "attempted": 11, "broken": 1, "left_out": None, **member, "view": "control"},
            {"name": "scg", "attempted": 11, "broken": 5, "left_out": None, **member},
            {"name": "sda", "attempted": 6, "broken": 3, "left_out": None, **member},
            {"name": "apart", "attempted": 0, "broken": 0, "left_out": "it needs <more>", **member},
        ]
        figures = {
            "suite": "binary-l0/1", "threat": "binary-l0", "metric": "l0" if kind == "spikes" else "linf",
            "budget": 0.2, "goal": "untargeted", "n": N, "draws": 1, "seed": 0, "every": False,
            "clean_accuracy": 11 / 12, "robust_accuracy": 0.25, "clean_accuracy_interval": [0.6, 0.99],
            "robust_accuracy_interval": [0.1, 0.5], "broken": 8, "broken_by_controls_alone": 0,
            "distance_median": 6.0, "members": members, "verdict": None,
            "curve": [{"budget": 0.0, "robust_accuracy": 11 / 12}, {"budget": 0.2, "robust_accuracy": 0.25}],
        } | other  # fmt: skip
        data = {"name": "digits <u>", "split": "test", "sha256": "b" * 64, "simulated": kind == "spikes"}
        config = {"classes": list(classes), "victim": {"architecture": "8C3-2FC"}, "data": data}
        manifest = {"versions": {"python": "3.12"}, "seconds_of_members": [1.0, 65.5, 7.25, 0.0]}
        for name, values in (("config", config), ("manifest", manifest), ("evaluation", figures)):
            (tmp_path / f"{name}.json").write_text(json.dumps(values))
        return tmp_path

    return made


def text_of(page):
    return " ".join(re.sub(r"<[^>]*>", " ", page.replace("&nbsp;", " ")).split())


def test_the_verdict_comes_first_with_its_findings(folder):
    page = render_evaluation(folder(verdict=verdict("masked", FINDINGS)))
    text = text_of(page)
    order = [text.index(part) for part in ("Masked.", "A search &lt;b&gt; wins", "Robust accuracy", "What broke what")]
    assert order == sorted(order)
    assert "A search &lt;b&gt; wins. black-box masked 0.250 0.100 " in text
    assert "One was left again. silent note 0.100 0.00 " in text


@pytest.mark.parametrize(
    ("given", "said", "tone"),
    [
        (None, "Whether gradients are masked was not looked at.", "note"),
        (verdict("trustworthy"), "Trustworthy.", "note"),
        (verdict("doubtful", FINDINGS[1:]), "Doubtful.", "warning"),
        (verdict("masked", FINDINGS), "Masked.", "warning"),
    ],
)
def test_the_word_of_a_verdict(folder, given, said, tone):
    page = render_evaluation(folder(verdict=given))
    assert f'<div class="notice {tone}" role="note"><p><strong>{said}' in page
    assert page.index(said) < page.index("The data are simulated.")


def test_its_notices_are_sentences_and_what_they_are_of_is_no_warning(folder):
    weak = {"code": "victim-did-not-learn", "text": "the victim did <not> learn: train it again", "figure": None}
    few = {"code": "fewer-inputs", "text": "there are 12 inputs, fewer than asked for: give more", "figure": 12.0}
    page = render_evaluation(folder(notices=[few, weak]))
    warning = page.index('<div class="notice warning" role="note">')
    note = page.index("<p><strong>There are 12 inputs, fewer than asked for.</strong> Give more.</p>")
    assert warning < page.index("<strong>The victim did &lt;not&gt; learn.</strong> Train it again.</p>") < note


def test_figures_and_attacks(folder):
    text = text_of(render_evaluation(folder()))
    assert "Of 12 inputs, 25.0 % are answered rightly whatever the suite tries within a budget of 0.2" in text
    assert "Right at first 91.7 % 60.0–99.0 %" in text
    assert "Robust 25.0 % 10.0–50.0 %" in text
    assert "random-flips nothing: control 11 1 0 1,234 1.00 " in text
    assert "scg white box 11 5 5 1,234 65.5 " in text
    assert "sda white box 6 3 3 1,234 7.25 " in text
    assert "apart white box left out: it needs &lt;more&gt;" in text
    assert "Alone" not in text
    assert "by a control alone" not in text


def test_where_no_input_is_right_nothing_is_drawn_as_broken(folder):
    made = folder(clean_accuracy=0.0, clean_accuracy_interval=[0.0, 0.3], robust_accuracy=0.0, broken=0, curve=[])
    table = pyarrow.parquet.read_table(made / "rows.parquet").to_pydict()
    table |= {"right": [False] * N, "broken": [False] * N, "broken_by": [""] * N}
    pyarrow.parquet.write_table(pyarrow.table(table), made / "rows.parquet")
    page = render_evaluation(made)
    assert "Success against budget" not in page
    assert "No input was right at first." in page


def test_the_band_of_the_curve_is_over_inputs_and_not_their_targets(folder, monkeypatch):
    made, asked = folder(), []
    table = pyarrow.parquet.read_table(made / "rows.parquet").to_pydict()
    pyarrow.parquet.write_table(pyarrow.table(table | {"input": [7] * N}), made / "rows.parquet")
    monkeypatch.setattr("spikeflip.report.evaluation.wilson", lambda _, n: asked.append(n) or (0.0, 1.0))
    render_evaluation(made)
    assert set(asked) == {1}


def test_what_attacks_break_alone(folder):
    made = folder(every=True, broken_by_controls_alone=2)
    figures = json.loads((made / "evaluation.json").read_text())
    figures["members"][2]["alone"] = 3
    (made / "evaluation.json").write_text(json.dumps(figures))
    text = text_of(render_evaluation(made))
    assert "Nearest Alone Passes" in text
    assert "sda white box 6 3 3 3 1,234" in text
    assert "2 of the broken inputs were broken by a control alone" in text


@pytest.mark.parametrize("kind", ["spikes", "images"])
def test_the_hardest_inputs(folder, kind):
    """The least changes, in order, and those that nothing broke; a wrong input is none of these."""
    page = render_evaluation(folder(kind))
    text = text_of(page)
    least, never = text[text.index("Broken by the least change") :].split("Never broken")
    assert re.findall(r"input (\d+) by", least) == ["101", "102", "100", "103", "107", "106"]
    unit = "spike flipped, 2.0 %" if kind == "spikes" else "largest change of a pixel"
    least_change = "1" if kind == "spikes" else "1.00"
    assert f"input 101 by scg {least_change} {unit}" in least
    assert kind == "images" or re.search(r"input 102 by .* ([2-9]|\d\d+) spikes flipped", least)
    assert "3 inputs that nothing broke" in never
    assert re.findall(r"(?:cat|dog): input (\d+)", never.split("What was evaluated")[0])[:3] == ["108", "109", "110"]
    assert ("ON spikes" in least) == (kind == "spikes")
    assert ("The data are simulated." in text) == (kind == "spikes")


def test_a_page_is_safe_and_alone(folder):
    page = render_evaluation(folder(verdict=verdict("masked", FINDINGS)))
    assert "<script" not in page
    assert "<u>" not in page
    assert "<i>dog" not in page
    assert not re.search(r'(src|href)="(?!#|data:)', page)
    assert "default-src 'none'" in page
    assert page == render_evaluation(folder(verdict=verdict("masked", FINDINGS)))


def test_every_input_is_broken_or_none_is(folder):
    made = folder()
    table = pyarrow.parquet.read_table(made / "rows.parquet").to_pydict()
    for broken, said in (
        (RIGHT, "Every input that was right at first is broken."),
        ([False] * N, "Nothing was broken."),
    ):
        pyarrow.parquet.write_table(pyarrow.table(table | {"broken": broken}), made / "rows.parquet")
        assert said in text_of(render_evaluation(made))


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("evaluation.json", b"{}", "holds no figures of spikeflip evaluate"),
        ("evaluation.json", None, "evaluation.json is missing"),
        ("rows.parquet", b"PAR1", "rows.parquet is damaged"),
        ("rows.parquet", None, "rows.parquet is damaged"),
        ("adversarials.safetensors", b"no", "adversarials.safetensors is damaged"),
        ("config.json", b"[", "config.json is damaged"),
    ],
)
def test_damage_is_one_sentence(folder, name, content, said):
    made = folder()
    (made / name).unlink()
    if content is not None:
        (made / name).write_bytes(content)
    with pytest.raises(SpikeflipError, match=said):
        render_evaluation(made)


def test_rows_of_other_inputs_are_refused(folder):
    made = folder()
    table = pyarrow.parquet.read_table(made / "rows.parquet").to_pydict()
    pyarrow.parquet.write_table(pyarrow.table(table | {"sample": range(N)}), made / "rows.parquet")
    with pytest.raises(SpikeflipError, match=r"its samples are not those of adversarials\.safetensors"):
        render_evaluation(made)

"""Run folders that are damaged or contradict themselves are one line; the examples to show are typical ones."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
from claims import ALL, PART, WHOLE, claim_rows
from run_folders import make_run
from safetensors.numpy import save_file

from spikeflip.errors import SpikeflipError
from spikeflip.report import loading, render_report
from spikeflip.runs import list_runs

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


@pytest.mark.parametrize("name", ["rows.parquet", "adversarials.safetensors", "outputs.safetensors", "trace.parquet"])
def test_a_file_that_the_run_ended_with_and_lost_is_missed(tmp_path: Path, name: str) -> None:
    """By the page and by a list of runs alike; whatever else a stranger's manifest names is not looked for."""
    folder = make_run(tmp_path / "run")
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / name).unlink(missing_ok=True)
    (folder / "manifest.json").write_text(json.dumps(manifest | {"files": ["/x", 3, "a\0b", name]}))
    said = f"run is no finished run, {name} is missing: give its attack command again"
    with pytest.raises(SpikeflipError, match=re.escape(said)):
        render_report([folder])
    (row,) = list_runs([folder])
    assert row["state"] == "damaged"
    assert row["note"].endswith(said)


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        ({"n": None}, "n is None"),
        ({"attack_success_rate": 1.5}, "attack_success_rate is 1.5 of 53"),
        ({"verified_success_rate": -1}, "verified_success_rate is -1 of 53"),
        ({"attack_success_rate_n": "many"}, "attack_success_rate is 0.9434 of many"),
    ],
)
def test_figures_that_cannot_be_are_not_shown(tmp_path: Path, harm: dict[str, Any], said: str) -> None:
    folder = make_run(tmp_path / "run", summary=harm)
    with pytest.raises(SpikeflipError, match=re.escape(f"summary.json is damaged ({said}): ")) as caught:
        render_report([folder])
    (row,) = list_runs([folder])
    assert (row["state"], row["note"]) == ("damaged", str(caught.value))


def test_a_column_of_words_is_damage(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run")
    rows = pyarrow.parquet.read_table(folder / "rows.parquet")
    at = rows.schema.get_field_index("steps")
    words = rows.set_column(at, "steps", pyarrow.array(["many"] * 12))
    pyarrow.parquet.write_table(words, folder / "rows.parquet")
    with pytest.raises(SpikeflipError, match=r"rows\.parquet is damaged"):
        render_report([folder])


@pytest.mark.parametrize("where", [WHOLE, PART, ALL])
@pytest.mark.parametrize("rows", [13, 10**9, 10**15])
def test_a_header_that_claims_more_rows_is_refused_before_any_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: slice, rows: int
) -> None:
    folder = make_run(tmp_path / "run")
    claim_rows(folder / "rows.parquet", rows, where)
    monkeypatch.delattr(pyarrow.parquet.ParquetFile, "read")
    with pytest.raises(SpikeflipError, match=r"rows\.parquet is damaged \(it (has|claims) [\d,]+ rows") as caught:
        render_report([folder])
    assert "\n" not in str(caught.value)


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

"""What the player is told: every sample unpacks to what the run saved, and a page keeps to its size."""

from __future__ import annotations

import base64
import json
import re
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
from run_folders import make_run
from safetensors.numpy import load_file, save_file

from spikeflip.errors import SpikeflipError
from spikeflip.report import render_report, write_report
from spikeflip.report.gallery import read_gallery, spread
from spikeflip.report.loading import open_inputs

pytestmark = pytest.mark.usefixtures("undrawn")


def told(html: str) -> dict[str, Any]:
    (text,) = re.findall(r'<script type="application/json" id="gallery-1-data">([^<]*)</script>', html)
    found: dict[str, Any] = json.loads(text)
    return found


def unpacked(text: str) -> bytes:
    return zlib.decompress(base64.b64decode(text))


def with_outputs(folder: Path, classes: int = 3, steps: int = 4) -> np.ndarray[Any, Any]:
    samples = load_file(folder / "adversarials.safetensors")["samples"]
    outputs = np.random.default_rng(1).integers(0, 2, (len(samples), 2, steps, classes), dtype=np.uint8)
    save_file({"outputs": outputs, "samples": samples}, folder / "outputs.safetensors")
    return outputs


def test_recordings_unpack_to_what_was_saved(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run", "spikes", (5, 2, 6, 7))
    outputs, saved = with_outputs(folder), load_file(folder / "adversarials.safetensors")
    found = told(render_report([folder]))
    assert (found["shape"], found["pooled"], found["outputs"]) == ([5, 2, 6, 7], [1, 1], [4, 3])
    assert [sample["row"] for sample in found["samples"]] == list(range(12))
    cells = 5 * 2 * 6 * 7
    for row, sample in enumerate(found["samples"]):
        content = np.frombuffer(unpacked(sample["data"]), dtype=np.uint8)
        end = -(-2 * cells // 8)
        before, flips = np.unpackbits(content[:end])[: 2 * cells].reshape(2, 5, 2, 6, 7)
        assert np.array_equal(before, saved["originals"][row])
        assert np.array_equal(before ^ flips, saved["adversarials"][row])
        assert np.array_equal(np.unpackbits(content[end:])[:24].reshape(2, 4, 3), outputs[row])


def test_large_recordings_are_pooled_and_keep_every_flip_visible(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run", "spikes", (2, 1, 65, 128), n=4)
    saved, found = load_file(folder / "adversarials.safetensors"), told(render_report([folder]))
    assert (found["shape"], found["pooled"]) == ([2, 1, 33, 64], [2, 2])
    before, after = saved["originals"][3] > 0, saved["adversarials"][3] > 0

    def pooled(cells: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        return np.pad(cells, ((0, 0), (0, 0), (0, 1), (0, 0))).reshape(2, 1, 33, 2, 64, 2).any((3, 5))

    planes = np.unpackbits(np.frombuffer(unpacked(found["samples"][3]["data"]), np.uint8)).reshape(4, 2, 1, 33, 64)
    expected = [pooled(before), pooled(before) ^ pooled(after), pooled(after & ~before), pooled(before & ~after)]
    assert np.array_equal(planes, np.array(expected))


def test_images_unpack_to_what_was_saved_within_a_shade(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run", "images", (3, 5, 6))
    saved, found = load_file(folder / "adversarials.safetensors"), told(render_report([folder]))
    assert (found["shape"], found["outputs"]) == ([3, 5, 6], None)
    for row, sample in enumerate(found["samples"]):
        values = np.frombuffer(unpacked(sample["data"]), dtype=np.uint8).astype(float)
        assert np.allclose(values[:90].reshape(3, 5, 6), 255 * saved["originals"][row], atol=0.51)
        assert np.allclose(values[90:180].reshape(3, 5, 6), 255 * saved["adversarials"][row], atol=0.51)
        change = saved["adversarials"][row].astype(float) - saved["originals"][row]
        largest = np.take_along_axis(change, np.abs(change).argmax(0)[None], 0)[0]
        assert sample["scale"] == pytest.approx(np.abs(largest).max(), abs=1e-6)
        assert np.allclose(
            (values[180:].reshape(5, 6) - 128) / 127 * sample["scale"], largest, atol=sample["scale"] / 200
        )


def test_samples_are_told_with_their_own_rows(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run", "spikes", (3, 2, 4, 4))
    table = pyarrow.parquet.read_table(folder / "rows.parquet")
    named = table.append_column("file", pyarrow.array([f"adversarial/{row}.bin" for row in range(12)]))
    pyarrow.parquet.write_table(named, folder / "rows.parquet")
    rows, found = named.to_pydict(), told(render_report([folder]))["samples"]
    names = ("cat", "dog", "owl", "tie")
    assert [one["outcome"] for one in found] == ["wrong", "held", "held", *["fooled"] * 9]
    for row, one in enumerate(found):
        expected = {"input": rows["input"][row], "steps": rows["steps"][row], "file": f"adversarial/{row}.bin"}
        expected |= {"label": names[rows["label"][row]], "said": names[rows["prediction"][row]], "target": None}
        assert one.items() >= (expected | {"mse": rows["mse"][row]}).items()


def test_a_gallery_keeps_to_its_size_and_to_the_examples(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run", "spikes", (6, 2, 12, 12), n=40)
    saved = open_inputs(folder)
    whole = read_gallery(folder, saved, [], "spikes")
    assert whole is not None
    assert whole.rows == tuple(range(40))
    room = sum(map(len, whole.packed)) // 2
    half = read_gallery(folder, saved, [7, 3], "spikes", characters=room)
    assert half is not None
    assert sum(map(len, half.packed)) <= room
    assert {3, 7} <= set(half.rows)
    assert 15 < len(half.rows) < 25
    assert max(np.diff([-1, *half.rows, 40])) <= 6  # spread over the run
    few = read_gallery(folder, saved, [39], "spikes", most=1)
    assert few is not None
    assert few.rows == (39,)
    assert read_gallery(folder, saved, [], "spikes", characters=10) is None


def test_rows_are_spread_from_the_beginning() -> None:
    order = spread(1000, [999])
    assert sorted(order) == list(range(1000))
    assert order[0] == 999
    for count in (20, 100, 500):
        assert max(np.diff(sorted(order[:count]))) < 4 * 1000 / count


@pytest.mark.parametrize(
    ("tensors", "reason"),
    [
        ({"outputs": np.zeros((11, 2, 3, 3), np.uint8), "samples": np.arange(12) + 40}, "its outputs are"),
        ({"outputs": np.zeros((12, 3, 3, 3), np.uint8), "samples": np.arange(12) + 40}, "its outputs are"),
        ({"outputs": np.zeros((12, 2, 3, 3), np.float32), "samples": np.arange(12) + 40}, "its outputs are"),
        ({"outputs": np.zeros((12, 2, 3, 3), np.uint8), "samples": np.arange(12)}, "its samples are not"),
        ({"samples": np.arange(12) + 40}, "outputs"),
    ],
)
def test_outputs_of_something_else_are_damage(tmp_path: Path, tensors: dict[str, Any], reason: str) -> None:
    folder = make_run(tmp_path / "run")
    save_file(tensors, folder / "outputs.safetensors")
    with pytest.raises(SpikeflipError, match=rf"outputs\.safetensors is damaged \(.*{reason}"):
        render_report([folder])


def test_outputs_of_too_many_classes_are_left_out(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run")
    with_outputs(folder, classes=1001)
    assert told(render_report([folder]))["outputs"] is None


@pytest.mark.slow
def test_the_page_of_500_recordings_stays_below_5_mb(tmp_path: Path) -> None:
    """Of N-MNIST's shape, and as random as no recording is."""
    run = make_run(tmp_path / "run", "spikes", (15, 2, 34, 34), n=500)
    page = write_report([run], tmp_path / "page.html")
    assert page.stat().st_size < 5_000_000
    assert len(told(page.read_text(encoding="utf-8"))["samples"]) > 100

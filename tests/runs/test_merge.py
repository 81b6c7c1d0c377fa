"""Figures of a run against a table made by hand with failures, and files that do not show how they were joined."""

import json

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
import torch
from safetensors.torch import load_file, save_file

from spikeflip.attacks.metrics import METRICS
from spikeflip.judging import Judgement
from spikeflip.runs import merge as merging
from spikeflip.runs.merge import merge, merge_tables, merge_tensors, summarise

# Fooled, fooled, wrong from the start, tied, held. Failures have changed much more.
ROWS = {
    "input": [0, 1, 2, 3, 4],
    "sample": [0, 11, 22, 33, 44],
    "label": [0, 0, 0, 0, 0],
    "target": [-1, -1, -1, -1, -1],
    "over_budget": [False, False, False, True, False],
    "success": [True, True, False, False, False],
    "already_wrong": [False, False, True, False, False],
    "prediction": [1, 2, 1, -1, 0],
    "verified": [1.0, 0.25, 0.0, 0.5, 0.0],
    "still_right": [0.0, 0.5, 0.0, 0.25, 1.0],
    "steps": [2, 4, 0, 25, 25],
    "forwards": [3, 5, 1, 26, 26],
    "backwards": [1, 4, 0, 20, 25],
    "vanished": [1, 0, 0, 5, 2],
    "vanished_first_step": [True, False, False, True, False],
    "first_vanishing": [1, 0, 0, 3, 0],
    "lost_in_judging": [False, True, False, True, False],
} | {name: [0.1 + at, 0.3 + at, 0.0, 70.0, 90.0] for at, name in enumerate(METRICS)}
OF_FILES = {
    "events": [100, 200, 1000, 2000, 3000],
    "events_added": [10, 30, 0, 800, 900],
    "events_removed": [5, 6, 0, 700, 701],
    "events_outside": [2, 4, 70, 80, 90],
    "file_exact": [True, False, True, True, False],
    "file": ["a", "b", "c", "d", "e"],
}


def table_of(path, rows):
    pyarrow.parquet.write_table(pyarrow.table(rows), path)
    return path


def test_every_mean_is_over_what_its_name_says(tmp_path):
    path = table_of(tmp_path / "rows.parquet", ROWS | OF_FILES)
    summary = summarise(path, goal="targeted", kind="spikes", draws=50)
    expected = {f"{name}_mean": 0.2 + at for at, name in enumerate(METRICS)}
    expected |= {"steps_mean": 3, "forwards_mean": 4, "backwards_mean": 2.5, "vanished_mean": 8 / 4}
    expected |= {"events_mean": 150, "events_added_mean": 20, "events_removed_mean": 5.5, "events_outside_mean": 3}
    assert {name: summary[name] for name in expected} == {name: pytest.approx(of) for name, of in expected.items()}
    counts = {"goal": "targeted", "kind": "spikes", "draws": 1, "n": 5, "files": 5, "files_exact": 3}
    counts |= {"lost_in_judging": 2, "attack_success_rate_n": 4, "attack_success_rate": 0.5, "tie_rate": 0.25}
    assert counts.items() <= summary.items()
    json.dumps(summary)


def test_a_run_on_images_has_no_events_and_its_draws(tmp_path):
    summary = summarise(table_of(tmp_path / "rows.parquet", ROWS), goal="untargeted", kind="images", draws=50)
    assert (summary["draws"], summary["kind"], summary["goal"]) == (50, "images", "untargeted")
    assert not [name for name in summary if name.startswith(("events", "files"))]
    rows = {name: torch.from_numpy(np.array(values)) for name, values in ROWS.items()}
    assert Judgement("images", 50, rows).summary().items() <= summary.items()


def test_means_of_no_success_are_none(tmp_path):
    failed = {name: values[2:] for name, values in (ROWS | OF_FILES).items()}
    summary = summarise(table_of(tmp_path / "rows.parquet", failed), goal="none", kind="spikes", draws=1)
    assert {value for name, value in summary.items() if name.startswith("events") and "_mean" in name} == {None}
    assert (summary["files"], summary["files_exact"], summary["mse_mean"]) == (3, 2, None)


def shards_of(folder, sizes, *, trace=True):
    """Shards of rows, traces of up to two iterations, and tensors of all three kinds; and what they hold together."""
    at, every = 0, {}
    for number, size in enumerate(sizes):
        shard = folder / f"{number:05}"
        shard.mkdir(parents=True)
        ids = torch.arange(at, at + size)
        tensors = {
            "samples": ids * 3,
            "originals": (4 * ids[:, None, None] + torch.arange(4).reshape(2, 2)) / 1000,
            "adversarials": (ids[:, None, None] + torch.arange(4).reshape(2, 2)).to(torch.uint8),
        }
        save_file(tensors, shard / "adversarials.safetensors")
        for name, value in tensors.items():
            every.setdefault(name, []).append(value)
        table_of(shard / "rows.parquet", {"sample": ids.numpy(), "mse": 0.5 * ids.double().numpy()})
        if trace:
            table_of(shard / "trace.parquet", {"sample": ids.repeat_interleave(2).numpy()})
        at += size
    return sorted(folder.iterdir()), {name: torch.cat(values) for name, values in every.items()}


def bytes_of(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_outputs_are_joined_where_all_shards_have_them(tmp_path):
    """An earlier version, which may have begun the run, wrote none."""
    shards, every = shards_of(tmp_path / "shards", [2, 3])
    fired = [torch.randint(0, 2, (len(ids), 2, 4, 3), dtype=torch.uint8) for ids in every["samples"].split([2, 3])]
    for shard, part, ids in zip(shards, fired, every["samples"].split([2, 3]), strict=True):
        save_file({"outputs": part, "samples": ids}, shard / "outputs.safetensors")
    (tmp_path / "whole").mkdir()
    merge(shards, tmp_path / "whole", steps=2)
    joined = load_file(tmp_path / "whole" / "outputs.safetensors")
    assert torch.equal(joined["outputs"], torch.cat(fired))
    assert torch.equal(joined["samples"], every["samples"])
    (shards[1] / "outputs.safetensors").unlink()
    (tmp_path / "begun").mkdir()
    merge(shards, tmp_path / "begun", steps=2)
    assert not (tmp_path / "begun" / "outputs.safetensors").exists()


@pytest.mark.parametrize("group", [1 << 16, 4])
def test_any_number_of_shards_gives_the_same_bytes(tmp_path, monkeypatch, group):
    monkeypatch.setattr(merging, "_ROWS_A_GROUP", group)
    found = []
    for name, sizes in (("one", [11]), ("many", [3, 5, 1, 2]), ("with none", [0, 8, 0, 3])):
        shards, every = shards_of(tmp_path / name / "shards", sizes)
        out = tmp_path / name / "out"
        out.mkdir()
        merge(shards, out, steps=2)
        found.append(bytes_of(out))
        tensors = load_file(out / "adversarials.safetensors")
        assert tensors.keys() == every.keys()
        assert all(torch.equal(tensors[key], every[key]) for key in every)
        rows = pyarrow.parquet.ParquetFile(out / "rows.parquet")
        assert rows.read()["sample"].to_pylist() == list(range(11))
        groups = [rows.metadata.row_group(at).num_rows for at in range(rows.num_row_groups)]
        assert groups == ([4, 4, 3] if group == 4 else [11])
    assert set(found[0]) == {"rows.parquet", "trace.parquet", "adversarials.safetensors"}
    assert found[0] == found[1] == found[2]
    start = int.from_bytes(found[0]["adversarials.safetensors"][:8], "little")
    header = json.loads(found[0]["adversarials.safetensors"][8 : 8 + start])
    # Numbers of eight bytes first, so that all are aligned.
    assert start % 8 == 0
    assert [(name, entry["dtype"], entry["data_offsets"]) for name, entry in header.items()] == [
        ("samples", "I64", [0, 88]),
        ("adversarials", "U8", [88, 132]),
        ("originals", "F32", [132, 308]),
    ]


@pytest.mark.parametrize(("rows", "groups"), [(3, [3]), (4, [4]), (5, [4, 1]), (8, [4, 4])])
def test_groups_are_full_but_the_last_and_none_is_empty(tmp_path, monkeypatch, rows, groups):
    monkeypatch.setattr(merging, "_ROWS_A_GROUP", 4)
    parts = [table_of(tmp_path / f"{at}", {"sample": np.arange(at, at + 1)}) for at in range(rows)]
    merge_tables(dict.fromkeys(parts, 1), tmp_path / "whole")
    file = pyarrow.parquet.ParquetFile(tmp_path / "whole")
    assert [file.metadata.row_group(at).num_rows for at in range(file.num_row_groups)] == groups
    assert file.read()["sample"].to_pylist() == list(range(rows))


def test_without_a_trace_and_without_a_row(tmp_path):
    for name, sizes in (("untraced", [2, 3]), ("empty", [0])):
        shards, _ = shards_of(tmp_path / name / "shards", sizes, trace=False)
        out = tmp_path / name / "out"
        out.mkdir()
        merge(shards, out, steps=2)
        assert set(bytes_of(out)) == {"rows.parquet", "adversarials.safetensors"}
        assert pyarrow.parquet.read_table(out / "rows.parquet").num_rows == sum(sizes)
        assert load_file(out / "adversarials.safetensors")["originals"].shape == (sum(sizes), 2, 2)


@pytest.mark.parametrize(("most", "fits"), [(3, True), (2, False)])
def test_a_part_has_no_more_rows_than_it_can_have(tmp_path, most, fits):
    part = table_of(tmp_path / "part.parquet", {"sample": [1, 2, 3]})
    if fits:
        merge_tables({part: most}, tmp_path / "whole.parquet")
        assert pyarrow.parquet.read_table(tmp_path / "whole.parquet")["sample"].to_pylist() == [1, 2, 3]
    else:
        with pytest.raises(ValueError, match="claims 3 rows"):
            merge_tables({part: most}, tmp_path / "whole.parquet")
        assert not (tmp_path / "whole.parquet").exists()


def test_an_input_has_one_row_and_in_a_trace_a_row_a_step(tmp_path):
    shards, _ = shards_of(tmp_path / "shards", [2])
    (tmp_path / "out").mkdir()
    with pytest.raises(ValueError, match="claims 4 rows"):
        merge(shards, tmp_path / "out", steps=1)
    table_of(shards[0] / "rows.parquet", {"sample": np.arange(3), "mse": np.zeros(3)})
    with pytest.raises(ValueError, match="claims 3 rows"):
        merge(shards, tmp_path / "out", steps=2)


def test_a_part_that_lacks_a_tensor_is_damage(tmp_path):
    save_file({"samples": torch.arange(2), "originals": torch.zeros(2, 3)}, tmp_path / "a")
    save_file({"samples": torch.arange(2)}, tmp_path / "b")
    with pytest.raises(merging.DAMAGE):
        merge_tensors([tmp_path / "a", tmp_path / "b"], tmp_path / "c")
    assert not (tmp_path / "c").exists()

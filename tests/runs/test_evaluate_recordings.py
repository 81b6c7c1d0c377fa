"""The command evaluate on recordings: events are counted as the camera counts them, and moved by whole bins."""

import json
import shutil
from dataclasses import replace

import pyarrow.parquet
import pytest
import torch
from safetensors.torch import load_file

from spikeflip import bin_events, read_recording
from spikeflip.evaluation import SUITES, Suite
from spikeflip.runs.config import VictimConfig
from spikeflip.runs.inputs import binning_for
from spikeflip.runs.victim import load_victim

KEPT = {"events/1": ("added events", "retiming", "scg"), "timing/2": ("random-retiming", "retiming")}


@pytest.fixture(autouse=True)
def small(monkeypatch):
    for name, kept in KEPT.items():
        members = tuple(replace(one, settings={"steps": 3}) for one in SUITES[name].members if one.name in kept)
        monkeypatch.setitem(SUITES, name, Suite(name, members))


@pytest.fixture
def given(small_recordings):
    victim, data = small_recordings
    of_data = ("--data", data, "--sensor", "8x8", "--split", "train")
    return ("evaluate", "--victim", victim, *of_data, "--shard-size", "4")


def test_events_are_counted_as_the_camera_counts(given, small_recordings, run, tmp_path):
    status, said, _ = run(*given, "--threat", "events", "--budget", "0.4", "--out", tmp_path / "e", "--json")
    assert status == 0
    assert json.loads(said)["metric"] == "l0_events"
    rows = pyarrow.parquet.read_table(tmp_path / "e" / "rows.parquet").to_pydict()
    stored = load_file(tmp_path / "e" / "adversarials.safetensors")
    loaded = load_victim(VictimConfig(victim=small_recordings[0]))
    paths = [path for path in small_recordings[1].rglob("*") if path.is_file()]
    known = [bin_events(read_recording(path, height=8, width=8), binning_for(loaded)) for path in paths]
    assert any(rows["broken"])
    for at, (own, limit) in enumerate(zip(rows["own"], rows["limit"], strict=True)):
        counts = next(one for one in known if torch.equal(one.frames, stored["originals"][at])).count_events()
        before, after = (stored[name][at] for name in ("originals", "adversarials"))
        assert own == int(counts.sum()) > int(before.sum())
        assert limit == int(0.4 * own + 1e-9)
        if rows["broken"][at]:
            changed = int(counts[(before == 1) & (after == 0)].sum()) + int(((before == 0) & (after == 1)).sum())
            assert changed == rows["distance"][at] <= limit


def test_times_change_and_nothing_else(given, run, tmp_path):
    status, _, _ = run(*given, "--threat", "timing", "--budget", "1", "--out", tmp_path / "e", "--json")
    assert status == 0
    stored = load_file(tmp_path / "e" / "adversarials.safetensors")
    before, after = stored["originals"].long(), stored["adversarials"].long()
    assert torch.equal(before.sum(1), after.sum(1))
    rows = pyarrow.parquet.read_table(tmp_path / "e" / "rows.parquet").to_pydict()
    moved = ((before == 1) & (after == 0)).flatten(1).sum(1)
    assert moved.tolist() == [d if b else 0 for d, b in zip(rows["distance"], rows["broken"], strict=True)]


def test_bins_that_move_with_their_events_are_refused(small_recordings, run, tmp_path):
    victim = tmp_path / "victim"
    shutil.copytree(small_recordings[0], victim)
    facts = json.loads((victim / "victim.json").read_text())
    facts["facts"]["binning"] |= {"rule": "events", "time_bin": None}
    (victim / "victim.json").write_text(json.dumps(facts))
    given = ("evaluate", "--victim", victim, "--data", small_recordings[1], "--sensor", "8x8", "--split", "train")
    for threat in ("events", "timing"):
        status, _, error = run(*given, "--threat", threat, "--budget", "0.1", "--out", tmp_path / "e")
        assert status == 2
        assert f"threat {threat} changes recordings, whose bins then move, as the victim's are by events" in error
    assert not (tmp_path / "e").exists()

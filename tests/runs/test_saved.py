"""What a run says is of what it saved: of a file that holds something else than the attack made, the rates are its."""

import json
from dataclasses import replace

import pyarrow.parquet
import pytest
import torch
from safetensors.torch import load_file

from spikeflip.data import bin_events, read_recording
from spikeflip.runs import AttackConfig, recordings, run_attack, shard
from spikeflip.runs.inputs import stored_binning
from spikeflip.snn.checkpoint import load_checkpoint, save_checkpoint
from spikeflip.snn.coding import winner


@pytest.fixture(scope="module")
def victim(digit_victim, tmp_path_factory):
    folder = tmp_path_factory.mktemp("victims") / "digits"
    save_checkpoint(digit_victim, folder, {"loss": "mse"})
    return folder


def finished(config, out):
    run_attack(config, out, page=False)
    return pyarrow.parquet.read_table(out / "rows.parquet").to_pydict(), json.loads((out / "summary.json").read_text())


def test_images_are_judged_from_the_file(victim, tmp_path, monkeypatch):
    config = AttackConfig(victim=victim, samples=6, steps=9, draws=2)
    rows, summary = finished(config, tmp_path / "whole")
    won = sum(rows["success"])
    assert won > 0
    assert summary["lost_in_judging"] == 0
    save = shard.save
    monkeypatch.setattr(shard, "save", lambda tensors: save(tensors | {"adversarials": tensors["originals"].clone()}))
    rows, summary = finished(config, tmp_path / "lost")
    assert (summary["attack_success_rate"], summary["verified_success_rate"]) == (0, pytest.approx(0, abs=0.4))
    assert summary["lost_in_judging"] == sum(rows["lost_in_judging"]) == won
    for size in ("mse", "l0", "l1", "l2", "linf"):
        assert set(rows[size]) == {0.0}


def test_recordings_are_judged_from_the_files(small_recordings, tmp_path, monkeypatch):
    """Files that hold every second event of what the attack made: the frames judged are those of the files."""
    victim, data = small_recordings
    write = recordings.write_recording
    monkeypatch.setattr(
        recordings,
        "write_recording",
        lambda made, path, **how: write(replace(made, events=made.events[::2]), path, **how),
    )
    config = AttackConfig(victim=victim, data=str(data), split="train", gamma=0.2, steps=8)
    rows, summary = finished(config, tmp_path / "run")
    saved, checkpoint = load_file(tmp_path / "run" / "adversarials.safetensors"), load_checkpoint(victim)
    again = [read_recording(tmp_path / "run" / file, height=8, width=8) for file in rows["file"]]
    frames = torch.stack([bin_events(recording, stored_binning(checkpoint)).frames for recording in again])
    assert torch.equal(saved["adversarials"], frames.to(torch.uint8))
    assert rows["prediction"] == winner(checkpoint.network.scores(frames.float())).tolist()
    assert rows["mse"] == (frames != saved["originals"]).double().flatten(1).mean(1).tolist()
    assert (summary["files"], summary["files_exact"]) == (len(again), 0)
    for events, added, removed, recording in zip(
        rows["events"], rows["events_added"], rows["events_removed"], again, strict=True
    ):
        assert events + added - removed == len(recording)

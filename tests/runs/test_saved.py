"""What a run says is of what it saved: of a file that holds something else than the attack made, the rates are its."""

import json
from dataclasses import replace

import pyarrow.parquet
import pytest
import torch
from safetensors.torch import load_file

from spikeflip import SpikeflipError
from spikeflip.attacks import AttackResult, Trace
from spikeflip.data import bin_events, event_set, read_recording
from spikeflip.runs import AttackConfig, recordings, run_attack, shard
from spikeflip.runs.inputs import binning_for
from spikeflip.runs.victim import as_config, load_victim
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

    def unchanged(tensors):
        return save(tensors | ({"adversarials": tensors["originals"].clone()} if "originals" in tensors else {}))

    monkeypatch.setattr(shard, "save", unchanged)
    rows, summary = finished(config, tmp_path / "lost")
    assert (summary["attack_success_rate"], summary["verified_success_rate"]) == (0, pytest.approx(0, abs=0.4))
    assert summary["lost_in_judging"] == sum(rows["lost_in_judging"]) == won
    for size in ("mse", "l0", "l1", "l2", "linf"):
        assert set(rows[size]) == {0.0}


def test_the_victim_itself_judges_whatever_ran_the_attack(victim, tmp_path, monkeypatch):
    """No other engine, and no surrogate of the attack's."""
    seen, judge = [], shard.judge
    monkeypatch.setattr(
        shard, "judge", lambda by, *given, **options: (seen.append(by), judge(by, *given, **options))[1]
    )
    for number, options in enumerate(({"engine": "event"}, {"surrogate": "atan"}, {"precision": "bf16-gradient"})):
        finished(AttackConfig(victim=victim, samples=2, steps=1, draws=1, **options), tmp_path / str(number))
    for by in seen:
        assert (by._engine_name, by._precision) == ("torch", "float32")
        assert by.neuron == load_checkpoint(victim).network.neuron
    assert len(seen) == 3


def test_a_trace_is_a_row_an_iteration_that_was_run():
    trace = Trace(
        torch.tensor([[7, 8, -1], [-1, -1, -1], [4, 5, 6]]), torch.tensor([[1, 2, -1], [-1, -1, -1], [3, 0, 1]])
    )
    found = shard._long(replace(AttackResult.blank(torch.zeros(3, 2), None), trace=trace), torch.tensor([30, 20, 10]))
    assert {name: values.tolist() for name, values in found.items()} == {
        "sample": [30, 30, 10, 10, 10],
        "iteration": [0, 1, 0, 1, 2],
        "penultimate_spikes": [7, 8, 4, 5, 6],
        "rule": [1, 2, 3, 0, 1],
    }


def test_events_are_counted_by_the_cells_that_changed(small_recordings, tmp_path):
    victim, data = small_recordings
    rows, _ = finished(AttackConfig(victim=victim, data=str(data), split="train", gamma=0.3, steps=3), tmp_path / "run")
    saved = load_file(tmp_path / "run" / "adversarials.safetensors")
    on = (saved["adversarials"] > saved["originals"]).flatten(1).sum(1).tolist()
    assert rows["events_added"] == on
    assert any(on)
    originals = [read_recording(data / file.removeprefix("adversarial/"), height=8, width=8) for file in rows["file"]]
    assert rows["events"] == list(map(len, originals))
    binned = [bin_events(recording, binning_for(load_victim(as_config(victim)))) for recording in originals]
    assert rows["events_outside"] == [one.outside for one in binned]
    for removed, before, after in zip(rows["events_removed"], saved["originals"], saved["adversarials"], strict=True):
        off = int((after < before).sum())
        assert removed >= off  # all events of a cell that was turned off
        assert bool(removed) is bool(off)


@pytest.mark.parametrize("attack", ["retiming", "random-retiming"])
def test_moved_spikes_take_their_events_with_them(small_recordings, tmp_path, attack):
    victim, data = small_recordings
    config = AttackConfig(victim=victim, data=str(data), split="train", attack=attack, steps=3, window=2)
    rows, summary = finished(config, tmp_path / "run")
    assert set(rows["events_added"]) == set(rows["events_removed"]) == {0}
    assert any(rows["events_moved"])
    assert (summary["files_exact"], "events_moved_mean" in summary) == (summary["files"], True)
    for file, moved, bins in zip(rows["file"], rows["events_moved"], rows["moved_bins_max"], strict=True):
        after = read_recording(tmp_path / "run" / file, height=8, width=8).events
        before = read_recording(data / file.removeprefix("adversarial/"), height=8, width=8).events
        assert (after["t"][1:] >= after["t"][:-1]).all()
        assert sorted(after[["x", "y", "p"]].tolist()) == sorted(before[["x", "y", "p"]].tolist())
        assert len(set(before.tolist()) - set(after.tolist())) == moved
        assert bins <= 2


def test_a_budget_in_another_unit_is_refused_before_anything_is_written(small_recordings, tmp_path):
    victim, data = small_recordings
    for given in ({"epsilon": 3, "metric": "mse"}, {"epsilon": 3, "metric": "l0_events"}):
        config = AttackConfig(victim=victim, data=str(data), split="train", attack="retiming", **given)
        with pytest.raises(SpikeflipError, match="what retiming does is measured in moved, moved_bins"):
            run_attack(config, tmp_path / "run")
        assert not (tmp_path / "run").exists()


def test_a_loss_of_more_classes_than_there_are_is_refused_before_anything_is_written(small_recordings, tmp_path):
    config = AttackConfig(victim=small_recordings[0], input=small_recordings[1], loss="dlr")
    with pytest.raises(SpikeflipError, match="dlr compares three classes, and the victim has 2: choose margin"):
        run_attack(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


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
    binning = binning_for(load_victim(as_config(victim)))
    frames = torch.stack([bin_events(recording, binning).frames for recording in again])
    assert torch.equal(saved["adversarials"], frames.to(torch.uint8))
    assert rows["prediction"] == winner(checkpoint.network.scores(frames.float())).tolist()
    assert rows["mse"] == (frames != saved["originals"]).double().flatten(1).mean(1).tolist()
    assert (summary["files"], summary["files_exact"]) == (len(again), 0)
    for events, added, removed, recording in zip(
        rows["events"], rows["events_added"], rows["events_removed"], again, strict=True
    ):
        assert events + added - removed == len(recording)


@pytest.mark.parametrize(("kept", "times"), [(1 << 24, 1), (0, 2)])
def test_recordings_are_decoded_once_where_they_fit_into_memory(small_recordings, tmp_path, monkeypatch, kept, times):
    victim, data = small_recordings
    read, real = [], event_set.read_recording
    monkeypatch.setattr("spikeflip.runs.recordings.MOST_KEPT_EVENTS", kept)
    monkeypatch.setattr(event_set, "read_recording", lambda path, **how: read.append(path.name) or real(path, **how))
    run_attack(AttackConfig(victim=victim, input=data / "left", steps=2, target="all", label="left"), tmp_path / "run")
    names = sorted(path.name for path in (data / "left").iterdir())
    again = names[:1] if times > 1 else []  # what says the shape of all
    assert sorted(read) == sorted(times * names + again)

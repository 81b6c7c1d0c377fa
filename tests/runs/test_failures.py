"""Runs that cannot write, lose a worker or run out of memory: one sentence, and what is finished stays."""

import errno
import multiprocessing
import os
import shutil

import pytest
import torch
from disturbances import change, full_disk, small_config

from spikeflip import writing
from spikeflip.errors import SpikeflipError
from spikeflip.runs import AttackConfig, Execution, run_attack, shard
from spikeflip.runs.plan import make_plan, open_task
from spikeflip.snn.checkpoint import load_checkpoint, save_checkpoint


@pytest.mark.slow
def test_a_full_disk_loses_nothing(small_victim, run, results, tmp_path, monkeypatch):
    command = ["attack", "--victim", small_victim, "--samples", "4", "--shard-size", "2", "--draws", "2", "--quiet"]
    assert run(*command, "--trace", "--out", tmp_path / "whole")[0] == 0
    at, failed = 0, []
    while True:
        at, out = at + 1, tmp_path / str(at + 1)
        with monkeypatch.context() as patch:
            opened = full_disk(patch, out, at)
            status, stdout, stderr = run(*command, "--trace", "--out", out)
        if status == 0:
            break
        failed.append(opened[-1].lstrip(".").rpartition(".")[0].rpartition(".")[0])
        assert (status, stdout, stderr.count("\n")) == (2, "", 1)
        assert "cannot be written (No space left on device)" in stderr
        assert f"{len(list(out.glob('shards/*/shard.json')))} of 2 shards are finished and stay" in stderr
        assert not list(out.rglob("*.partial"))
        assert run(*command, "--trace", "--out", out)[0] == 0
        assert results(out) == results(tmp_path / "whole")
    shard = ["adversarials.safetensors", "outputs.safetensors", "rows.parquet", "trace.parquet", "shard.json"]
    end = ["rows.parquet", "trace.parquet", "adversarials.safetensors", "outputs.safetensors"]
    end += ["manifest.json", "summary.json", "report.html"]
    assert failed == ["config.json", "manifest.json", *shard, *shard, *end]


def test_a_folder_that_cannot_be_made_is_one_sentence(command, run, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    status, out, err = run(*command, tmp_path / "file" / "run")
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert "cannot be made or written to (Not a directory): choose another folder" in err


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="nothing is read-only for root")
def test_a_read_only_folder_is_one_sentence(command, run, tmp_path, monkeypatch):
    (tmp_path / "run").mkdir(mode=0o500)
    status, out, err = run(*command, tmp_path / "run")
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert "cannot be made or written to (Permission denied)" in err


def test_a_read_only_disk_is_one_sentence(command, run, tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), "shards")

    monkeypatch.setattr(writing, "whole_file", refuse)
    status, out, err = run(*command, tmp_path / "run")
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert "cannot be written (Read-only file system)" in err


@pytest.mark.processes
def test_a_lost_worker_is_one_sentence_and_the_run_goes_on(small_victim, undisturbed, results, tmp_path):
    def kill(*_):
        for child in multiprocessing.active_children():
            if child.name.startswith("SpawnProcess"):
                child.kill()

    with pytest.raises(SpikeflipError, match=r"a worker process was lost \(signal SIGKILL, perhaps for lack of memory"):
        run_attack(small_config(small_victim), tmp_path / "run", execution=Execution(workers=2), progress=kill)
    run_attack(small_config(small_victim), tmp_path / "run")
    assert results(tmp_path / "run") == results(undisturbed)
    assert "a worker process was lost" in (tmp_path / "run" / "run.log").read_text()


@pytest.mark.parametrize("workers", [1, pytest.param(2, marks=pytest.mark.processes)])
def test_a_mistake_found_by_a_worker_is_its_sentence(small_victim, tmp_path, workers):
    network = load_checkpoint(small_victim).network
    with torch.no_grad():
        for weight in network.weights:
            weight *= 1e38  # finite, but its gradients are not
    save_checkpoint(network, tmp_path / "v", load_checkpoint(small_victim).facts)
    options = small_config(tmp_path / "v", output_window=1e38)
    with pytest.raises(SpikeflipError, match="the victim's input gradient is not finite for sample"):
        run_attack(options, tmp_path / "run", execution=Execution(workers=workers))
    assert "0 of 6 shards are finished and stay" in (tmp_path / "run" / "run.log").read_text()


def test_a_victim_that_is_not_finite_is_refused(small_victim, run, command, tmp_path):
    network = load_checkpoint(small_victim).network
    with torch.no_grad():
        network.weights[1][0] = float("nan")
    save_checkpoint(network, tmp_path / "v", load_checkpoint(small_victim).facts)
    status, _, err = run(*change(command, "--victim", tmp_path / "v"), tmp_path / "run")
    assert status == 2
    assert "the victim's parameter 'weights.1' holds the value nan: load weights that are finite" in err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("DefaultCPUAllocator: not enough memory: you tried")])
def test_without_memory_the_micro_batch_is_halved_once(
    command, undisturbed, results, run, tmp_path, monkeypatch, error
):
    judge, calls = shard.judge, []

    def failing(*given, **options):
        calls.append(options["micro_batch"])
        if len(calls) == 2:
            raise error
        return judge(*given, **options)

    monkeypatch.setattr(shard, "judge", failing)
    status, out, err = run(*command, tmp_path / "run")
    sentence = "memory ran out in shard 1: it goes on with half the micro-batch, 8"
    assert (status, out, err) == (0, "", f"spikeflip: {sentence}\n")
    assert sentence in (tmp_path / "run" / "run.log").read_text()
    assert calls == [64, 64, 32, 32, 32, 32, 32]
    assert results(tmp_path / "run") == results(undisturbed)


def test_without_memory_twice_the_run_ends_in_a_sentence(command, undisturbed, results, run, tmp_path, monkeypatch):
    judge, calls = shard.judge, []

    def failing(*given, **options):
        calls.append(options)
        if len(calls) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB")
        return judge(*given, **options)

    monkeypatch.setattr(shard, "judge", failing)
    status, out, err = run(*command, tmp_path / "run")
    assert (status, out) == (2, "")
    assert err.endswith(
        "memory ran out at a micro-batch of 8: give a smaller --micro-batch, or a device with more memory\n"
    )
    assert len(list(tmp_path.glob("run/shards/*/shard.json"))) == 2
    monkeypatch.undo()
    assert run(command[0], "--micro-batch", "4", *command[1:], tmp_path / "run") == (0, "", "")
    assert results(tmp_path / "run") == results(undisturbed)


def test_judging_holds_no_more_than_the_micro_batch_allows(command, run, tmp_path, monkeypatch):
    """Four times as much, as no gradients are kept."""
    judge, calls = shard.judge, []

    def counted(*given, **options):
        calls.append(options["micro_batch"])
        return judge(*given, **options)

    monkeypatch.setattr(shard, "judge", counted)
    assert run(command[0], "--micro-batch", "2", *command[1:], tmp_path / "run")[0] == 0
    assert set(calls) == {8}


def test_a_full_disk_loses_no_recording(small_recordings, results, tmp_path, monkeypatch):
    victim, data = small_recordings
    options = AttackConfig(victim=victim, input=data, shard_size=6, steps=3)
    run_attack(options, tmp_path / "whole")
    for at in (3, 8, 13):
        out = tmp_path / str(at)
        with monkeypatch.context() as patch:
            opened = full_disk(patch, out, at)
            with pytest.raises(SpikeflipError, match=r"cannot be written \(No space left on device\): see that"):
                run_attack(options, out)
        assert opened
        run_attack(options, out)
        assert results(out) == results(tmp_path / "whole")


def test_a_recording_that_went_away_is_named(small_recordings, tmp_path, monkeypatch):
    victim, data = small_recordings
    shutil.copytree(data, tmp_path / "data")
    monkeypatch.setattr("spikeflip.runs.recordings.MOST_KEPT_EVENTS", 0)  # as for a set that does not fit into memory
    plan = make_plan(open_task(AttackConfig(victim=victim, input=tmp_path / "data", steps=1)))
    (tmp_path / "data" / "left" / "0.npz").unlink()
    with pytest.raises(SpikeflipError, match=r"0\.npz is no file: give the file of an event recording"):
        plan.shard(0)

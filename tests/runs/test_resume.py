"""Runs that are killed, stopped or run in another way: nothing is lost, and the bytes are the same."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import pyarrow.parquet
import pytest
import torch
from claims import claim_rows
from disturbances import change, small_config, stop_after
from processes import heed_interrupts
from safetensors.torch import load_file

from spikeflip.errors import SpikeflipError
from spikeflip.runs import AttackConfig, Execution, attack, merge, run_attack, sharded
from spikeflip.runs.lock import locked
from spikeflip.snn.checkpoint import load_checkpoint, save_checkpoint

# --- going on, or not -------------------------------------------------------------------------------------------------


def test_a_finished_run_says_so_and_is_left_alone(command, undisturbed, run):
    before = {path: path.stat().st_mtime_ns for path in undisturbed.iterdir()}
    status, out, err = run(*(part for part in command if part != "--quiet"), undisturbed)
    assert (status, err) == (0, "")
    assert "was finished already" in out
    assert "attack success rate" in out
    assert {path: path.stat().st_mtime_ns for path in undisturbed.iterdir()} == before


@pytest.mark.parametrize("name", ["rows.parquet", "adversarials.safetensors", "manifest.json", "summary.json"])
def test_a_finished_run_that_lost_a_file_is_attacked_again(command, undisturbed, results, run, tmp_path, name):
    lost = shutil.copytree(undisturbed, tmp_path / "run")
    (lost / name).unlink()
    status, _, err = run("report", lost, "--out", tmp_path / "page.html")
    assert (status, f"{name} is missing: give its attack command again" in err) == (2, True)
    status, out, err = run(*(part for part in command if part != "--quiet"), lost)
    assert (status, err, "was finished already" in out) == (0, "", False)
    assert results(lost) == results(undisturbed)
    assert json.loads((lost / "manifest.json").read_text())["finished"]
    assert run("report", lost, "--out", tmp_path / "page.html")[0] == 0


@pytest.mark.parametrize("name", ["trace.parquet", "outputs.safetensors"])
def test_a_finished_run_that_lost_what_not_all_runs_have_is_attacked_again(
    command, undisturbed, results, run, tmp_path, name
):
    lost = shutil.copytree(undisturbed, tmp_path / "run")
    (lost / name).unlink()
    status, out, err = run(*(part for part in command if part != "--quiet"), lost)
    assert (status, err, "was finished already" in out) == (0, "", False)
    assert results(lost) == results(undisturbed)


def test_a_finished_run_that_lost_a_recording_is_attacked_again(small_recordings, results, tmp_path):
    victim, data = small_recordings
    options = AttackConfig(victim=victim, input=data, shard_size=2, steps=3)
    run_attack(options, tmp_path / "whole")
    lost = shutil.copytree(tmp_path / "whole", tmp_path / "lost")
    next((lost / "adversarial").rglob("*.npz")).unlink()
    assert attack.is_finished(tmp_path / "whole")
    assert not attack.is_finished(lost)
    run_attack(options, lost)
    assert results(lost) == results(tmp_path / "whole")


def test_recordings_of_a_run_that_lost_its_rows_are_written_again(small_recordings, results, tmp_path):
    victim, data = small_recordings
    options = AttackConfig(victim=victim, input=data, shard_size=2, steps=3)
    run_attack(options, tmp_path / "whole")
    lost = shutil.copytree(tmp_path / "whole", tmp_path / "lost")
    (lost / "rows.parquet").unlink()
    next((lost / "adversarial").rglob("*.npz")).unlink()
    run_attack(options, lost)
    assert results(lost) == results(tmp_path / "whole")


def test_other_options_are_refused_and_shown(command, undisturbed, run):
    status, out, err = run(*command, undisturbed, "--gamma", "0.1", "--seed", "3")
    assert (status, out) == (2, "")
    assert "holds a run with other options (seed: 0 -> 3; gamma: 0.05 -> 0.1): give the same" in err


def test_another_victim_is_refused(command, undisturbed, small_victim, run, tmp_path):
    network = load_checkpoint(small_victim).network
    with torch.no_grad():
        network.weights[0][0] += 0.1
    save_checkpoint(network, tmp_path / "v", load_checkpoint(small_victim).facts)
    status, _, err = run(*change(command, "--victim", tmp_path / "v"), undisturbed)
    assert status == 2
    assert "victim's weights:" in err


def test_the_victim_and_the_folder_can_have_moved(command, undisturbed, small_victim, run, tmp_path, monkeypatch):
    monkeypatch.chdir(small_victim.parent)
    assert run(*change(command, "--victim", small_victim.name), undisturbed)[0] == 0


@pytest.mark.processes
def test_a_second_process_is_refused(command, run, tmp_path):
    with locked(tmp_path / "run"):
        code = f"from spikeflip.cli.app import main; main({[*command, str(tmp_path / 'run')]!r})"
        answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert answer.returncode == 2
    assert answer.stderr.startswith(f"spikeflip: --out {tmp_path / 'run'} is in use by another process: ")
    assert answer.stderr.count("\n") == 1
    assert run(*command, tmp_path / "run") == (0, "", "")


def test_a_clock_that_was_set_back_changes_nothing(command, undisturbed, results, run, tmp_path, monkeypatch):
    stop_after(monkeypatch, 2)
    assert run(*command, tmp_path / "run")[0] == 130
    monkeypatch.undo()
    monkeypatch.setattr(attack, "moment", lambda: "1970-01-01T00:00:00+00:00")
    for path in (tmp_path / "run").rglob("*"):
        os.utime(path, (4e9, 4e9))
    assert run(*command, tmp_path / "run") == (0, "", "")
    assert results(tmp_path / "run") == results(undisturbed)


def test_a_damaged_shard_is_attacked_again(command, undisturbed, results, run, tmp_path, monkeypatch):
    stop_after(monkeypatch, 3)
    assert run(*command, tmp_path / "run")[0] == 130
    monkeypatch.undo()
    shards = sorted((tmp_path / "run" / "shards").iterdir())
    assert [path.name for path in shards] == ["00000", "00001", "00002"]
    (shards[0] / "rows.parquet").write_bytes(b"")
    (shards[1] / "shard.json").write_bytes(b"")
    status, _, err = run(*command, tmp_path / "run")
    said = [f"spikeflip: shard {n} is damaged or of another run, and is attacked again\n" for n in (0, 1)]
    assert (status, err) == (0, "".join(said))
    assert results(tmp_path / "run") == results(undisturbed)


@pytest.mark.parametrize("files", [None, 5, {}, [["rows.parquet"]], {"rows.parquet": 1}])
def test_a_shard_with_a_wrong_list_is_attacked_again(command, undisturbed, results, run, tmp_path, monkeypatch, files):
    stop_after(monkeypatch, 1)
    assert run(*command, tmp_path / "run")[0] == 130
    monkeypatch.undo()
    shard = tmp_path / "run" / "shards" / "00000"
    (shard / "shard.json").write_text(json.dumps({"seconds": 1, "files": files}))
    (shard / "adversarials.safetensors").unlink()
    assert run(*command, tmp_path / "run")[0] == 0
    assert results(tmp_path / "run") == results(undisturbed)


def test_a_file_that_is_removed_meanwhile_is_not_a_full_disk(small_victim, undisturbed, results, tmp_path, monkeypatch):
    joined = attack.merge

    def after_a_loss(shards, *given, **options):
        (shards[1] / "rows.parquet").unlink()
        joined(shards, *given, **options)

    monkeypatch.setattr(attack, "merge", after_a_loss)
    with pytest.raises(SpikeflipError, match=r"was removed meanwhile: give the same command again; 6 of 6 shards"):
        run_attack(small_config(small_victim), tmp_path / "run")
    monkeypatch.undo()
    run_attack(small_config(small_victim), tmp_path / "run")
    assert results(tmp_path / "run") == results(undisturbed)


@pytest.mark.parametrize("name", ["rows.parquet", "trace.parquet"])
def test_a_shard_that_claims_more_rows_is_one_sentence(small_victim, undisturbed, results, tmp_path, monkeypatch, name):
    """Damaged behind the last look at its checksum, so that only joining the shards can find it."""
    joined = attack.merge

    def after_a_claim(shards, *given, **options):
        claim_rows(shards[1] / name, 10**15)
        joined(shards, *given, **options)

    monkeypatch.setattr(attack, "merge", after_a_claim)
    with pytest.raises(
        SpikeflipError, match=r"damaged meanwhile \(it claims 1,000,000,000,000,000 rows.*: give the same"
    ):
        run_attack(small_config(small_victim), tmp_path / "run")
    monkeypatch.undo()
    run_attack(small_config(small_victim), tmp_path / "run")
    assert results(tmp_path / "run") == results(undisturbed)


def test_what_arrow_calls_an_error_of_the_disk_is_damage(small_victim, tmp_path, monkeypatch):
    """It has an OSError without a number for a page that does not unpack."""

    def refuse(*_, **__):
        raise OSError("Corrupt snappy compressed data.")

    monkeypatch.setattr(attack, "merge", refuse)
    with pytest.raises(SpikeflipError, match=r"damaged meanwhile \(Corrupt snappy compressed data.\): give the same"):
        run_attack(small_config(small_victim), tmp_path / "run")


# --- any way of running gives the same bytes --------------------------------------------------------------------------


@pytest.mark.processes
def test_workers_give_the_same_bytes(command, undisturbed, results, run, tmp_path):
    assert run(*command, tmp_path / "run", "--workers", 2) == (0, "", "")
    assert results(tmp_path / "run") == results(undisturbed)
    manifest = json.loads((tmp_path / "run" / "manifest.json").read_text())
    assert manifest["workers"] == 2


@pytest.mark.parametrize("size", [1, 7, 256])
def test_the_files_do_not_follow_the_shards(command, undisturbed, results, run, tmp_path, size):
    assert run(*change(command, "--shard-size", size), tmp_path / "run") == (0, "", "")
    assert results(tmp_path / "run") == results(undisturbed)


def test_row_groups_do_not_follow_the_shards_either(command, results, run, tmp_path, monkeypatch):
    monkeypatch.setattr(merge, "_ROWS_A_GROUP", 16)
    for size in (5, 20, 54):
        assert run(*change(command, "--shard-size", size), tmp_path / str(size)) == (0, "", "")
        assert results(tmp_path / str(size)) == results(tmp_path / "5")
    file = pyarrow.parquet.ParquetFile(tmp_path / "5" / "rows.parquet")
    assert [file.metadata.row_group(i).num_rows for i in range(file.num_row_groups)] == [16, 16, 16, 6]


def test_joined_tensors_are_those_of_the_shards(undisturbed):
    tensors = load_file(undisturbed / "adversarials.safetensors")
    rows = pyarrow.parquet.read_table(undisturbed / "rows.parquet").to_pydict()
    assert tensors["samples"].tolist() == rows["sample"]
    assert tensors["originals"].shape == tensors["adversarials"].shape == (54, 1, 8, 8)
    difference = (tensors["adversarials"].double() - tensors["originals"].double()).square().flatten(1).mean(1)
    assert difference.tolist() == rows["mse"]


@pytest.mark.processes
def test_workers_give_the_same_recordings(small_recordings, results, tmp_path):
    victim, data = small_recordings
    options = AttackConfig(victim=victim, input=data, shard_size=2, steps=3)
    run_attack(options, tmp_path / "whole")
    run_attack(options, tmp_path / "workers", execution=Execution(workers=2))
    assert results(tmp_path / "workers") == results(tmp_path / "whole")


def test_recordings_are_the_same_files_after_an_interruption(small_recordings, results, tmp_path, monkeypatch):
    victim, data = small_recordings
    options = AttackConfig(victim=victim, input=data, shard_size=2, steps=3)
    run_attack(options, tmp_path / "whole")
    stop_after(monkeypatch, 2)
    with pytest.raises(KeyboardInterrupt):
        run_attack(options, tmp_path / "stopped")
    monkeypatch.undo()
    assert len(list((tmp_path / "stopped" / "adversarial").rglob("*.*"))) == 4
    run_attack(options, tmp_path / "stopped")
    assert len([name for name in results(tmp_path / "whole") if name.startswith("adversarial/")]) == 12
    assert results(tmp_path / "stopped") == results(tmp_path / "whole")


def test_shards_may_end_in_any_order(small_victim, undisturbed, results, tmp_path, monkeypatch):
    in_order = sharded.in_this_process

    def backwards(job):
        in_order(type(job)(**{**vars(job), "todo": job.todo[::-1]}))

    monkeypatch.setattr(sharded, "in_this_process", backwards)
    run_attack(small_config(small_victim), tmp_path / "run")
    assert results(tmp_path / "run") == results(undisturbed)


def test_progress_counts_rows_of_all_shards(small_victim, tmp_path):
    seen = []
    run_attack(small_config(small_victim), tmp_path / "run", progress=lambda *now: seen.append(now))
    for stage in ("attack", "judge"):
        done = [now for name, now, _ in seen if name == stage]
        assert done == sorted(done)
        assert done[-1] == 54
    assert {every for _, _, every in seen} == {54}


@pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX signals")
@pytest.mark.processes
def test_interrupted_workers_end_and_the_run_goes_on(command, undisturbed, results, run, tmp_path):
    out = tmp_path / "run"
    arguments = [*command, str(out), "--workers", "2"]
    code = f"from spikeflip.cli.app import main\nif __name__ == '__main__': main({arguments!r})"
    (tmp_path / "script.py").write_text(code)
    process = subprocess.Popen(
        [sys.executable, tmp_path / "script.py"],
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=heed_interrupts,
    )
    while not list(out.glob("shards/*/shard.json")) and process.poll() is None:
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does
    _, err = process.communicate(timeout=60)
    if process.returncode != 0:  # it may have been faster
        assert process.returncode == 130
        assert err == (
            "spikeflip: interrupted; nothing is half-written, and train, attack, evaluate, sweep and reproduce go on "
            "when run again\n"
        )
    assert run(*command, out) == (0, "", "")
    assert results(out) == results(undisturbed)

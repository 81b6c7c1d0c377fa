"""The folder of a training: one process at a time, nothing stuck, nothing half-written, all stages gone on with."""

import json
import struct
from pathlib import Path

import numpy as np
import pytest
from disturbances import full_disk

from spikeflip.errors import SpikeflipError
from spikeflip.runs import TrainConfig, is_trained, recipe, run_training
from spikeflip.runs.lock import InUseError, locked
from spikeflip.snn import training

TINY = {"network": "4C3-AP2-10FC", "updates": 4, "batch_size": 8, "validate_every": 2, "validation": 10}
TINY |= {"test_samples": 10}
VICTIM = ["victim.json", "weights.safetensors"]


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def stop_at(update, stage="train"):
    def progress(now):
        if (now.update, now.stage) == (update, stage):
            raise KeyboardInterrupt

    return progress


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return run_training(TrainConfig(**TINY), tmp_path_factory.mktemp("whole") / "v").sha256


def test_two_trainings_of_one_folder_exclude_each_other(whole, tmp_path):
    refused = []

    def second(now):
        with pytest.raises(InUseError, match="is in use by another process"):
            run_training(TrainConfig(**TINY, seed=now.update), tmp_path / "v")
        refused.append(now.update)

    found = run_training(TrainConfig(**TINY), tmp_path / "v", progress=second)
    assert (refused, found.sha256) == ([1, 2, 3, 4], whole)
    assert names(tmp_path / "v") == VICTIM


def test_a_training_that_another_process_began_meanwhile_is_not_mixed_with(tmp_path, monkeypatch):
    """Between the look at the folder and the lock, while the data are loaded."""
    from spikeflip.runs import train

    compare = train.compare_splits

    def slowly(*given):
        monkeypatch.setattr(train, "compare_splits", compare)
        with pytest.raises(KeyboardInterrupt):
            run_training(TrainConfig(**TINY, seed=1), tmp_path / "v", progress=stop_at(3))
        return compare(*given)

    monkeypatch.setattr(train, "compare_splits", slowly)
    with pytest.raises(SpikeflipError, match=r"holds the unfinished training .* of other options \(seed: 1 -> 0\)"):
        run_training(TrainConfig(**TINY), tmp_path / "v")


def test_a_training_that_was_finished_meanwhile_is_taken(whole, tmp_path, monkeypatch):
    from spikeflip.runs import train

    compare = train.compare_splits

    def slowly(*given):
        monkeypatch.setattr(train, "compare_splits", compare)
        run_training(TrainConfig(**TINY), tmp_path / "v")
        return compare(*given)

    monkeypatch.setattr(train, "compare_splits", slowly)
    again = run_training(TrainConfig(**TINY), tmp_path / "v", progress=lambda _: pytest.fail("it was trained again"))
    assert again.sha256 == whole
    assert names(tmp_path / "v") == VICTIM


@pytest.mark.parametrize("update", [1, 2, 3, 4])
def test_an_interrupted_training_says_whose_it_is_and_goes_on(whole, tmp_path, update):
    with pytest.raises(KeyboardInterrupt):
        run_training(TrainConfig(**TINY), tmp_path / "v", progress=stop_at(update))
    assert not is_trained(tmp_path / "v")
    if update == 1:  # nothing was saved
        assert not (tmp_path / "v").exists()
    else:
        assert names(tmp_path / "v") == ["training.json", "training.safetensors"]
        with pytest.raises(SpikeflipError, match=r"of other options \(updates: 4 -> 5\): give the same"):
            run_training(TrainConfig(**TINY | {"updates": 5}), tmp_path / "v")
    assert run_training(TrainConfig(**TINY), tmp_path / "v").sha256 == whole
    assert names(tmp_path / "v") == VICTIM


def test_a_full_disk_loses_nothing_of_a_training(whole, tmp_path, monkeypatch):
    at, failed = 0, []
    while True:
        at, out = at + 1, tmp_path / str(at + 1)
        with monkeypatch.context() as patch:
            full_disk(patch, out, at)
            try:
                run_training(TrainConfig(**TINY), out)
                break
            except SpikeflipError as error:
                path, _, reason = str(error).partition(" cannot be written (No space left on device): ")
        assert reason.startswith("see that the disk has room")
        failed.append(Path(path).name)
        assert not list(out.rglob("*.partial"))
        assert out.exists() == (at > 2)  # where nothing was saved, nothing is left
        assert run_training(TrainConfig(**TINY), out).sha256 == whole
        assert names(out) == VICTIM
    assert failed == ["training.json", *["training.safetensors"] * 2, *VICTIM]


def test_what_was_killed_right_behind_the_victim_is_tidied(whole, tmp_path, monkeypatch):
    from spikeflip.runs import train

    with monkeypatch.context() as patch:
        patch.setattr(train, "_tidy", lambda _: None)
        run_training(TrainConfig(**TINY), tmp_path / "v")
    assert names(tmp_path / "v") == ["training.json", "training.safetensors", *VICTIM]
    assert run_training(TrainConfig(**TINY), tmp_path / "v").sha256 == whole
    assert names(tmp_path / "v") == VICTIM


def test_a_finished_victim_of_an_earlier_version_is_found(whole, tmp_path):
    """It did not know an option that there is now, and knew one that there is not any more."""
    run_training(TrainConfig(**TINY), tmp_path / "v")
    description = json.loads((tmp_path / "v" / "victim.json").read_text())
    del description["facts"]["config"]["twin_first"]
    description["facts"]["config"]["forgotten"] = 3
    (tmp_path / "v" / "victim.json").write_text(json.dumps(description))
    assert run_training(TrainConfig(**TINY), tmp_path / "v").sha256 == whole
    for option, value, change in (("twin_first", False, "None -> False"), ("seed", 1, "0 -> 1")):
        with pytest.raises(SpikeflipError, match=rf"a victim of other options \({option}: {change}\)"):
            run_training(TrainConfig(**TINY | {option: value}), tmp_path / "v")


def test_a_manifest_lists_where_else_a_training_went_on(tmp_path, monkeypatch):
    from spikeflip.runs import folder

    for version, update in (("9.1", 3), ("9.2", None)):
        monkeypatch.setattr(folder, "__version__", version)
        if update:
            with pytest.raises(KeyboardInterrupt):
                run_training(TrainConfig(**TINY), tmp_path / "v", progress=stop_at(update))
    manifest = run_training(TrainConfig(**TINY), tmp_path / "v").facts["manifest"]
    assert manifest["versions"]["spikeflip"] == "9.1"
    assert [one["versions"]["spikeflip"] for one in manifest["continued"]] == ["9.2"]


# --- colour images: the stage of the ReLU twin ------------------------------------------------------------------------


@pytest.fixture(scope="module")
def colours(tmp_path_factory):
    """Forty training images and eight test images in the files of CIFAR-10."""
    home = tmp_path_factory.mktemp("colours")
    folder, random = home / "cifar-10-batches-bin", np.random.default_rng(0)
    folder.mkdir()
    for name in (*(f"data_batch_{k}" for k in range(1, 6)), "test_batch"):
        images = [struct.pack("B", k % 10) + random.bytes(3 * 32 * 32) for k in range(8)]
        (folder / f"{name}.bin").write_bytes(b"".join(images))
    return home


@pytest.fixture
def few_updates(monkeypatch):
    monkeypatch.setattr(recipe, "_FEWEST_UPDATES", 4)
    monkeypatch.setitem(recipe._TWINS, "colour", recipe._Amount(8, 1, 32))


def colour_config(root):
    layers = {"network": "3C3-AP2-AP2-AP2-10FC", "time_steps": 5}
    return TrainConfig(data="cifar10", root=root, **TINY | layers | {"validate_every": 3})


@pytest.mark.parametrize(
    ("stage", "update", "saved"),
    [
        ("twin", 1, []),
        ("twin", 3, ["twin-training.safetensors"]),
        ("twin", 4, ["twin-training.safetensors"]),  # right behind the twin, which is finished
        ("train", 1, ["twin-training.safetensors"]),
        ("train", 3, ["training.safetensors", "twin-training.safetensors"]),
    ],
)
def test_a_colour_training_goes_on_in_and_behind_its_twin(few_updates, colours, tmp_path, stage, update, saved):
    config = colour_config(colours)
    seen = []
    whole = run_training(config, tmp_path / "whole", progress=lambda now: seen.append((now.stage, now.update)))
    assert seen == [(stage, n) for stage in ("twin", "train") for n in (1, 2, 3, 4)]
    with pytest.raises(KeyboardInterrupt):
        run_training(config, tmp_path / "v", progress=stop_at(update, stage))
    assert not saved or names(tmp_path / "v") == ["training.json", *saved]
    again = []
    found = run_training(config, tmp_path / "v", progress=lambda now: again.append((now.stage, now.update)))
    kept = (
        {"twin": update // 3 * 3 if update < 4 else 4, "train": 0}
        if stage == "twin"
        else {"twin": 4, "train": update // 3 * 3}
    )
    assert again == [(stage, n) for stage in ("twin", "train") for n in range(kept[stage] + 1, 5)]
    assert found.sha256 == whole.sha256
    assert names(tmp_path / "v") == VICTIM


def test_the_state_of_a_training_behind_another_twin_is_refused(few_updates, colours, tmp_path, monkeypatch):
    config = colour_config(colours)
    with pytest.raises(KeyboardInterrupt):
        run_training(config, tmp_path / "v", progress=stop_at(3))
    monkeypatch.setitem(recipe._TWINS, "colour", recipe._Amount(8, 2, 64))
    (tmp_path / "v" / "twin-training.safetensors").unlink()
    with pytest.raises(SpikeflipError, match="holds the unfinished training of another network, setting or data set"):
        run_training(config, tmp_path / "v")


def test_the_lock_is_held_until_the_victim_is_there(tmp_path, monkeypatch):
    save = training.save_state

    def saving(path, *given):
        with pytest.raises(InUseError), locked(tmp_path / "v"):
            pytest.fail("it was taken")
        save(path, *given)

    monkeypatch.setattr(training, "save_state", saving)
    run_training(TrainConfig(**TINY), tmp_path / "v")

"""Runs, trainings and reproductions that go on from what a power cut leaves: nothing is lost that was named done."""

import random
import sys

import pytest
import tiny_preset
from disturbances import small_config
from power_cuts import Disk

from spikeflip.experiments import presets, reproduce
from spikeflip.experiments import reproduction as reproducing
from spikeflip.runs import AttackConfig, TrainConfig, finished, is_finished, run_attack, run_training
from spikeflip.snn import training

pytestmark = [
    pytest.mark.skipif(sys.platform == "win32", reason="folders cannot be opened there"),
    pytest.mark.processes,
    pytest.mark.timeout(600),
]
CUTS = 10
TINY = TrainConfig(network="4C3-AP2-10FC", updates=4, batch_size=8, validate_every=2, validation=10, test_samples=10)


@pytest.fixture
def disk(monkeypatch, tmp_path):
    (tmp_path / "home").mkdir()
    found = Disk(monkeypatch, tmp_path / "home")
    yield found
    found.close()


def cuts(disk, tmp_path, monkeypatch):
    """Folders as cuts at random moments and at the end leave them, with what had been named done."""
    monkeypatch.undo()
    last = len(disk.moments)
    for number, moment in enumerate([*sorted(random.Random(3).sample(range(1, last), CUTS - 1)), last]):
        yield tmp_path / str(number), disk.cut(moment, tmp_path / str(number))


def noted(monkeypatch, where, name, note):
    """Call ``note`` with the arguments of a function each time that it has returned."""
    real = getattr(where, name)

    def noting(*given, **options):
        answer = real(*given, **options)
        note(*given)
        return answer

    monkeypatch.setattr(where, name, noting)


@pytest.mark.parametrize("recordings", [False, True])
def test_attacks(small_victim, small_recordings, results, disk, tmp_path, monkeypatch, recordings):
    victim, data = small_recordings
    config = (
        AttackConfig(victim=victim, input=data, shard_size=2, steps=2) if recordings else small_config(small_victim)
    )
    noted(monkeypatch, finished.Finished, "keep", lambda _, number, *__: disk.done(str(number)))
    run_attack(config, disk.home / "out" / "run")
    disk.done("all")
    whole, found = results(disk.home / "out" / "run"), []
    for home, named in cuts(disk, tmp_path, monkeypatch):
        found.append(len(named))
        assert (
            "all" not in named or is_finished(home / "out" / "run") or (home / "out" / "run" / "summary.json").exists()
        )
        with monkeypatch.context() as patch:
            again = []
            noted(patch, finished.Finished, "keep", lambda _, number, *__, again=again: again.append(str(number)))
            run_attack(config, home / "out" / "run")
        assert set(again).isdisjoint(named)
        assert results(home / "out" / "run") == whole
    assert found[0] < 4 < found[-1] == 7


def test_trainings(disk, tmp_path, monkeypatch):
    noted(monkeypatch, training, "save_state", lambda *given: disk.done(str(given[5])))
    run_training(TINY, disk.home / "out" / "v")
    disk.done("all")
    whole, found = (disk.home / "out" / "v" / "weights.safetensors").read_bytes(), []
    for home, named in cuts(disk, tmp_path, monkeypatch):
        found.append(len(named))
        updates = []
        run_training(TINY, home / "out" / "v", progress=lambda now, updates=updates: updates.append(now.update))
        last = TINY.updates if "all" in named else max(map(int, named), default=0)
        assert updates == list(range(last + 1, TINY.updates + 1)) or min(updates, default=0) > last
        assert (home / "out" / "v" / "weights.safetensors").read_bytes() == whole
        assert sorted(path.name for path in (home / "out" / "v").iterdir()) == ["victim.json", "weights.safetensors"]
    assert (found[0], found[-1]) == (0, 3)


def test_reproductions(disk, tmp_path, monkeypatch):
    def started(*given):
        monkeypatch.setitem(presets.PRESETS, "smoke", tiny_preset.PRESET)
        return reproduce(["table-7", "figure-18"], *given, preset="smoke")

    noted(monkeypatch, reproducing, "write_json", lambda path, _: disk.done(path.name))
    started(disk.home / "out")
    disk.done("reproduction.md")
    results = {path.name: path.read_bytes() for path in (disk.home / "out" / "results").iterdir()}
    found = []
    for home, named in cuts(disk, tmp_path, monkeypatch):
        found.append(len(named))
        for name in named:
            path = home / "out" / ("results" if name.endswith(".json") else "") / name
            assert path.read_bytes() == (disk.home / "out" / path.relative_to(home / "out")).read_bytes()
        started(home / "out")
        assert {path.name: path.read_bytes() for path in (home / "out" / "results").iterdir()} == results
    assert (found[0], found[-1]) == (0, 3)

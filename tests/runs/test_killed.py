"""Attacks, sweeps, trainings and reproductions that are killed at their file events: the bytes are the same."""

import random
import sys

import pytest
import tiny_preset
from kills import Kills

from spikeflip.experiments import presets

pytestmark = [
    pytest.mark.skipif(sys.platform == "win32", reason="needs a forkserver"),
    pytest.mark.timeout(1800),
]
CHANCE = random.Random(8)
MANY = pytest.param([CHANCE.random() for _ in range(40)], marks=pytest.mark.slow, id="40 kills")


def some(*moments):
    return pytest.param(list(moments), marks=pytest.mark.processes, id="some")


TRAIN = ["train", "--network", "4C3-AP2-10FC", "--updates", 6, "--batch-size", 8, "--validate-every", 2]
TRAIN += ["--validation", 10, "--test-samples", 10, "--quiet", "--out"]
REPRODUCE = ["reproduce", "table-7", "figure-18", "--preset", "smoke", "--quiet", "--out"]


def names(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


def check_killed(kills, moments, run, tmp_path, same):
    """Kill at each moment, go on, and compare; every kill must have happened."""
    for number, moment in enumerate(moments):
        out = tmp_path / str(number)
        assert kills.kill(out, moment), moment
        assert run(*kills.command, out) == (0, "", ""), moment
        same(out, kills.whole)


@pytest.fixture(scope="module")
def attack(command, tmp_path_factory):
    return Kills(command, tmp_path_factory.mktemp("attack"))


@pytest.fixture
def same_run(results):
    def same(out, whole):
        assert results(out) == results(whole)
        assert names(out) == names(whole)

    return same


class TestAttack:
    @pytest.mark.parametrize("moments", [some(0.02, 0.3, 0.75, 0.95), MANY])
    def test_a_killed_run_ends_with_the_same_bytes(self, attack, run, tmp_path, same_run, moments):
        check_killed(attack, moments, run, tmp_path, same_run)

    @pytest.mark.slow
    def test_killed_at_any_time(self, attack, run, tmp_path, same_run):
        for number in range(10):
            attack.kill(tmp_path / str(number), 1 + random.Random(number).random())
            assert run(*attack.command, tmp_path / str(number)) == (0, "", "")
            same_run(tmp_path / str(number), attack.whole)

    @pytest.mark.slow
    def test_killed_again_and_again(self, attack, run, tmp_path, same_run):
        for _ in range(12):
            attack.start(tmp_path / "run", last=25).join()
        assert run(*attack.command, tmp_path / "run") == (0, "", "")
        same_run(tmp_path / "run", attack.whole)

    @pytest.mark.slow
    def test_killed_with_workers(self, attack, run, tmp_path, same_run):
        for number, moment in enumerate((0.2, 0.35, 0.5)):
            assert attack.kill(tmp_path / str(number), moment, more=["--workers", "2"])
            assert run(*attack.command, tmp_path / str(number)) == (0, "", "")
            same_run(tmp_path / str(number), attack.whole)

    @pytest.mark.slow
    def test_a_killed_sweep_ends_with_the_same_bytes(self, small_victim, results, run, tmp_path):
        file = tmp_path / "sweep.toml"
        base = f'[base]\nvictim = "{small_victim}"\nsamples = 12\ndraws = 3\nshard-size = 5\n'
        file.write_text(f"{base}[grid]\ngamma = [0.05, 0.1]\nseed = [0, 1]\n")
        kills = Kills(["sweep", file, "--quiet", "--out"], tmp_path)
        points = [path.name for path in kills.whole.iterdir() if path.is_dir()]
        assert len(points) == 4

        def same(out, whole):
            assert all(results(out / point) == results(whole / point) for point in points)

        check_killed(kills, [random.Random(7).random() for _ in range(25)], run, tmp_path, same)


class TestTrain:
    @pytest.mark.parametrize("moments", [some(0.0, 0.3, 0.6, 0.9, 0.98), MANY])
    def test_a_killed_training_ends_with_the_same_weights(self, run, tmp_path, moments):
        kills = Kills(TRAIN, tmp_path)

        def same(out, whole):
            assert (out / "weights.safetensors").read_bytes() == (whole / "weights.safetensors").read_bytes()
            assert names(out) == names(whole) == ["victim.json", "weights.safetensors"]

        check_killed(kills, moments, run, tmp_path, same)

    @pytest.mark.slow
    def test_killed_again_and_again(self, run, tmp_path):
        kills, out = Kills(TRAIN, tmp_path), tmp_path / "v"
        for last in range(1, kills.events, max(1, kills.events // 8)):
            kills.start(out, last=last).join()
        assert run(*kills.command, out) == (0, "", "")
        assert (out / "weights.safetensors").read_bytes() == (kills.whole / "weights.safetensors").read_bytes()


class TestReproduce:
    @pytest.mark.parametrize("moments", [some(0.1, 0.9), MANY])
    def test_a_killed_reproduction_ends_with_the_same_results(self, run, results, tmp_path, monkeypatch, moments):
        kills = Kills(REPRODUCE, tmp_path, "import tiny_preset; tiny_preset.install()")
        monkeypatch.setitem(presets.PRESETS, "smoke", tiny_preset.PRESET)

        def same(out, whole):
            left = [
                name for name in names(out) if not name.endswith("/.lock")
            ]  # of what was finished when it was killed
            assert left == names(whole)
            for path in whole.rglob("*.json"):
                if path.parent.name in ("results", "measured"):
                    assert (out / path.relative_to(whole)).read_bytes() == path.read_bytes()
            for path in (whole / "runs").iterdir():
                assert results(out / "runs" / path.name) == results(path)

        check_killed(kills, moments, run, tmp_path, same)

"""Finished shards and saved trainings that were damaged or exchanged: the undisturbed result, or one sentence."""

import json
import shutil

import numpy as np
import pytest
from harm import MANY
from mutations import mutate

from spikeflip.cli.app import main
from spikeflip.errors import SpikeflipError
from spikeflip.runs import AttackConfig, TrainConfig, attack, run_attack, run_training

pytestmark = pytest.mark.usefixtures("undrawn")
FILES = ("rows.parquet", "adversarials.safetensors", "trace.parquet", "outputs.safetensors", "shard.json")
RESULTS = (*FILES[:4], "summary.json")
ATTACK = ["--samples", "3", "--shard-size", "1", "--steps", "2", "--draws", "2", "--trace", "--quiet"]
STATE, CLAIM = "training.safetensors", "training.json"
TRAIN = {"network": "4C3-AP2-10FC", "updates": 6, "batch_size": 8, "validate_every": 2, "validation": 10}
TRAIN |= {"test_samples": 10}


@pytest.fixture(scope="module")
def joined(small_victim, tmp_path_factory):
    """Runs of two seeds whose three shards are finished and not joined, and the bytes of the first when it ended."""
    home = tmp_path_factory.mktemp("shards")

    def stop(*_, **__):
        raise KeyboardInterrupt

    for seed in (0, 1):
        config = AttackConfig(victim=small_victim, samples=3, shard_size=1, steps=2, draws=2, trace=True, seed=seed)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(attack, "merge", stop)
            with pytest.raises(KeyboardInterrupt):
                run_attack(config, home / str(seed))
        if seed == 0:
            shutil.copytree(home / "0", home / "whole")
            run_attack(config, home / "whole", page=False)
    return home


def exchanged(run, other, random):
    """A shard, or a file of one, in the place of another."""
    first, second = (f"0000{n}" for n in random.permutation(3)[:2])
    own, theirs = run / "shards" / first, (run, other)[random.integers(2)] / "shards" / second
    if random.integers(2):
        shutil.rmtree(own)
        shutil.copytree(theirs, own)
    else:
        for name in random.permutation(FILES)[: random.integers(1, 4)]:
            shutil.copyfile(theirs / name, own / name)


def damaged(run, random):
    """A file of a shard that is another, shorter, gone, or lists what it never had."""
    shard = run / "shards" / f"0000{random.integers(3)}"
    path = shard / FILES[random.integers(5)]
    kind = random.integers(6)
    if kind == 0:
        path.unlink()
    elif kind == 1:
        content = bytearray(path.read_bytes())
        content[random.integers(len(content))] ^= 1 << random.integers(8)
        path.write_bytes(content)
    elif kind == 2:
        said = json.loads((shard / "shard.json").read_text())
        strange = ["../../../../around/precious.txt", "/dev/zero", "adversarial/../../x", "adversarial", ""]
        said["files"][strange[random.integers(5)]] = "00" * 32
        (shard / "shard.json").write_text(json.dumps(said))
    else:
        path.write_bytes(mutate(path.read_bytes(), random))


@MANY
def test_shards(ground, joined, many):
    random = np.random.default_rng(21)
    for n in range(160 if many else 8):
        run = ground.fresh() / "run"
        shutil.copytree(joined / "0", run)
        exchanged(run, joined / "1", random) if n % 3 == 0 else damaged(run, random)
        status, _ = ground.meet("shard to go on with", "attack", "--victim", ground.victim(), *ATTACK, "--out", run)
        assert status == 0
        assert all((run / name).read_bytes() == (joined / "whole" / name).read_bytes() for name in RESULTS)


@pytest.fixture(scope="module")
def stopped(tmp_path_factory):
    """Trainings of several options that were stopped after four of six updates, and the first one finished."""
    home = tmp_path_factory.mktemp("states")

    def stop(now):
        if now.update == 5:
            raise KeyboardInterrupt

    others = {"own": {}, "seed": {"seed": 1}, "layers": {"network": "6C3-AP2-10FC"}, "loss": {"loss": "ce"}}
    for name, options in (others | {"twin": {"twin": True}, "data": {"simulate_events": True}}).items():
        with pytest.raises(KeyboardInterrupt):
            run_training(TrainConfig(**TRAIN | options), home / name, progress=stop)
    run_training(TrainConfig(**TRAIN), home / "whole")
    return home


def victim(folder):
    """All that a victim is, but for when it was made."""
    said = json.loads((folder / "victim.json").read_text())
    del said["facts"]["manifest"]
    return said, (folder / "weights.safetensors").read_bytes()


@MANY
def test_states(ground, stopped, many):
    random = np.random.default_rng(22)
    options = [part for name, value in TRAIN.items() for part in (f"--{name.replace('_', '-')}", value)]
    done = 0
    for n in range(160 if many else 8):
        out = ground.fresh() / "v"
        shutil.copytree(stopped / "own", out)
        other = stopped / ("seed", "layers", "loss", "twin", "data")[n % 5]
        if n % 4 == 0:
            for name in ((STATE,), (STATE, CLAIM), (CLAIM,))[n // 4 % 3]:
                shutil.copyfile(other / name, out / name)
        else:
            name = CLAIM if n % 8 == 1 else STATE
            content = (out / name).read_bytes()
            flipped = bytearray(content)
            flipped[random.integers(len(content))] ^= 1 << random.integers(8)
            (out / name).write_bytes(bytes(flipped) if n % 2 else mutate(content, random))
        status, _ = ground.meet("state to go on with", "train", *options, "--quiet", "--out", out)
        done += status == 0
        assert status == 2 or victim(out) == victim(stopped / "whole")
    assert done < n


def test_a_state_of_an_earlier_version_is_one_sentence(stopped, tmp_path):
    from safetensors import safe_open
    from safetensors.torch import save_file

    shutil.copytree(stopped / "own", tmp_path / "v")
    with safe_open(stopped / "own" / STATE, "pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
        metadata = {name: value for name, value in file.metadata().items() if name != "sha256"}
    save_file(tensors, tmp_path / "v" / STATE, metadata)
    with pytest.raises(SpikeflipError, match="was written by another version of spikeflip: delete it to start anew"):
        run_training(TrainConfig(**TRAIN), tmp_path / "v")


def test_a_shard_that_is_damaged_each_time_ends_in_a_sentence(small_victim, tmp_path, monkeypatch):
    keep, kept = attack.Finished.keep, []

    def keeping(self, number, *given):
        keep(self, number, *given)
        kept.append(number)
        (self.folder(number) / "rows.parquet").write_bytes(b"")

    monkeypatch.setattr(attack.Finished, "keep", keeping)
    with pytest.raises(SpikeflipError, match="holds damaged shards each time they were written: see that the disk"):
        run_attack(AttackConfig(victim=small_victim, samples=1, steps=1, draws=1), tmp_path / "run")
    assert kept == [0, 0, 0]


def test_a_bit_that_flips_after_its_shard_was_finished_is_found(small_victim, tmp_path, monkeypatch, joined):
    """In the same process, hours before the shards are joined."""
    keep, kept = attack.Finished.keep, []

    def keeping(self, number, *given):
        keep(self, number, *given)
        kept.append(number)
        if len(kept) == 2:
            path = self.folder(0) / "adversarials.safetensors"
            content = bytearray(path.read_bytes())
            content[-1] ^= 1
            path.write_bytes(content)

    monkeypatch.setattr(attack.Finished, "keep", keeping)
    main(["attack", "--victim", str(small_victim), *ATTACK, "--out", str(tmp_path / "run")])
    assert kept == [0, 1, 2, 0]
    assert all((tmp_path / "run" / name).read_bytes() == (joined / "whole" / name).read_bytes() for name in RESULTS)

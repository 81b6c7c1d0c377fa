"""A ReLU twin: trained, attacked and verified by the command, and where a spiking victim begins."""

import json

import pyarrow.parquet
import pytest
import torch
from safetensors.torch import load_file

import spikeflip
from spikeflip.cli.app import main
from spikeflip.runs import TrainConfig, run_training

pytestmark = pytest.mark.usefixtures("undrawn")

TINY = ["--network", "12C3-AP2-32FC-10FC", "--updates", "40", "--dropout", "0", "--widest-dropout", "0"]


@pytest.fixture(scope="module")
def twin(tmp_path_factory):
    folder = tmp_path_factory.mktemp("victims") / "twin"
    main(["train", "--twin", *TINY, "--loss", "ce", "--learning-rate", "0.01", "--out", str(folder), "--quiet"])
    return folder


def test_a_twin_is_trained_attacked_and_verified(twin, tmp_path, run):
    checkpoint = spikeflip.load_checkpoint(twin)
    assert isinstance(checkpoint.network, spikeflip.ReluNetwork)
    assert checkpoint.facts["accuracy"] > 0.7
    options = ["--attack", "bim", "--samples", 8, "--step-size", 0.1, "--trace", "--shard-size", 3]
    assert run("attack", "--victim", twin, *options, "--out", tmp_path / "r")[0] == 0
    summary, config = (json.loads((tmp_path / "r" / f"{name}.json").read_text()) for name in ("summary", "config"))
    assert summary["draws"] == 1  # of the 100 asked for: an image is the same every time
    assert summary["attack_success_rate"] == summary["verified_success_rate"] > 0.5
    assert config["victim"] == {
        "architecture": "12C3-AP2-32FC-10FC",
        "input_shape": [1, 8, 8],
        "steps": 1,
        "kind": "relu",
        "loss": "ce",
        "accuracy": checkpoint.facts["accuracy"],
        "accuracy_n": 355,
        "weights_sha256": checkpoint.sha256,
        "description_sha256": config["identity"]["victim's description"],
    }
    assert config["settings"]["engine"] == "torch"
    tensors = load_file(tmp_path / "r" / "adversarials.safetensors")
    rows = pyarrow.parquet.read_table(tmp_path / "r" / "rows.parquet").to_pydict()
    said = checkpoint.network(tensors["adversarials"]).argmax(1).tolist()
    assert [i for i, wrong in enumerate(rows["already_wrong"]) if not wrong and said[i] != rows["prediction"][i]] == []
    assert run("verify", tmp_path / "r", "--victim", twin)[0] == 0
    assert "relu" in (tmp_path / "r" / "report.html").read_text()


def test_a_spiking_victim_begins_with_its_twins_weights(twin, tmp_path, run):
    still = ["--learning-rate", "1e-12", "--initial-share", 0, "--updates", 2]
    options = [*TINY[:2], "--time-steps", 2, *still, "--out", tmp_path / "v"]
    assert run("train", "--start", twin, *options)[0] == 0
    theirs, ours = spikeflip.load_checkpoint(twin), spikeflip.load_checkpoint(tmp_path / "v")
    assert isinstance(ours.network, spikeflip.SpikingNetwork)
    assert ours.facts["start_sha256"] == theirs.sha256
    assert str(twin) not in (tmp_path / "v" / "victim.json").read_text()
    for mine, given in zip(ours.network.weights, theirs.network.weights, strict=True):
        torch.testing.assert_close(mine, given, rtol=0, atol=1e-7)


def test_a_training_goes_on_only_from_the_same_start(twin, tmp_path):
    def stop(now):
        if now.update == 2:
            raise KeyboardInterrupt

    options = {"network": "12C3-AP2-32FC-10FC", "time_steps": 4, "updates": 3, "validate_every": 1}
    with pytest.raises(KeyboardInterrupt):
        run_training(TrainConfig(start=twin, **options), tmp_path / "v", progress=stop)
    with pytest.raises(spikeflip.SpikeflipError, match="unfinished training of a victim of other options"):
        run_training(TrainConfig(**options), tmp_path / "v")
    whole = run_training(TrainConfig(start=twin, **options), tmp_path / "whole")
    assert run_training(TrainConfig(start=twin, **options), tmp_path / "v").sha256 == whole.sha256


def test_an_unfinished_twin_goes_on(tmp_path):
    options = {"network": "4C3-AP2-10FC", "twin": True, "updates": 9, "validate_every": 3, "shift": 1}
    whole = run_training(TrainConfig(**options), tmp_path / "whole")

    def stop(now):
        if now.update == 7:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_training(TrainConfig(**options), tmp_path / "resumed", progress=stop)
    assert run_training(TrainConfig(**options), tmp_path / "resumed").sha256 == whole.sha256


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "scg turns gradients into spikes, but this victim takes images as they are"),
        (["--attack", "conversion"], "conversion needs the weights of a SpikingNetwork"),
        (["--attack", "bim", "--surrogate", "atan"], "--surrogate atan is for spiking victims"),
        (["--attack", "bim", "--surrogate-width", "2"], "--surrogate-width 2.0 is for spiking victims"),
        (["--attack", "bim", "--engine", "event"], "engine is 'event', but a ReLU network runs on torch"),
        (["--attack", "bim", "--simulate-events"], "the victim takes (1, 8, 8)"),
    ],
)
def test_what_cannot_be_done_to_a_twin(arguments, message, twin, tmp_path, run):
    status, out, err = run("attack", "--victim", twin, *arguments, "--out", tmp_path / "r")
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert message in err
    assert not (tmp_path / "r").exists()

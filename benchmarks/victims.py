"""Trained victims for the benchmarks: found in a folder that git ignores, or trained into it."""

import sys
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import Tensor

from spikeflip import SpikeflipError, SpikingNetwork, load_checkpoint
from spikeflip.runs.config import TrainConfig
from spikeflip.runs.inputs import binning_of, is_recordings, load_inputs
from spikeflip.runs.train import run_training
from spikeflip.snn.architecture import parse, scale
from spikeflip.snn.checkpoint import DESCRIPTION, Checkpoint
from spikeflip.snn.coding import encode, winner
from spikeflip.snn.presets import PRESETS
from spikeflip.snn.training import TrainingProgress

FOLDER = Path(__file__).parent / ".victims"
# All else is what `spikeflip train` chooses.
_RECIPES: dict[str, dict[str, object]] = {
    "nmnist": {"network": "paper-spike", "validate_every": 20},
    "mnist": {"network": "paper-image", "validation": 0, "validate_every": 20},
}
# So few that training and measuring are done in ten minutes on two cores, also where the torch engine trains.
_QUICK_UPDATES = 150
# Recordings as small as these, from images that the package brings along, train in seconds.
_SMALL: dict[str, object] = {
    "data": "digits",
    "simulate_events": True,
    "network": "paper-spike",
    "width": 0.25,
    "updates": 80,
    "batch_size": 32,
}


@dataclass(frozen=True)
class Subject:
    """A victim and inputs that it classifies correctly."""

    data: str
    name: str
    width: float
    network: SpikingNetwork
    loss: str
    accuracy: float
    accuracy_n: int
    values: Tensor
    labels: Tensor

    def first(self, n: int) -> tuple[Tensor, Tensor]:
        return self.values[:n], self.labels[:n]

    def facts(self) -> dict[str, object]:
        """For a row."""
        return {
            "data": self.data,
            "network": self.name,
            "width": self.width,
            "architecture": self.network.architecture,
            "clean_accuracy": self.accuracy,
            "clean_accuracy_n": self.accuracy_n,
        }


def trained(data: str, width: float, root: Path, *, quick: bool) -> Checkpoint:
    """The victim of that data set and width; a quick one is trained shortly, unless a full one is there."""
    recipe = _RECIPES[data]
    folder = FOLDER / f"{data}-{recipe['network']}-{width:g}"
    if quick and not (folder / DESCRIPTION).exists():
        folder, recipe = folder.with_name(f"{folder.name}-quick"), recipe | {"updates": _QUICK_UPDATES}
    if (folder / DESCRIPTION).exists():
        return load_checkpoint(folder)
    FOLDER.mkdir(exist_ok=True)
    (FOLDER / ".gitignore").write_text("*\n")
    print(f"training a victim into {folder.relative_to(FOLDER.parent)}", file=sys.stderr)
    config = TrainConfig.model_validate({"data": data, "root": root, "width": width} | recipe)
    return run_training(config, folder, progress=_say)


def small() -> Checkpoint:
    """A victim of simulated recordings, trained anew in seconds; needs no files."""
    with TemporaryDirectory() as folder:
        return run_training(TrainConfig.model_validate(_SMALL), Path(folder) / "victim")


def first_inputs(checkpoint: Checkpoint, root: Path | None, split: str, n: int | None) -> tuple[Tensor, Tensor]:
    """Inputs of the victim's own data set, prepared as for its training, with their labels."""
    config = TrainConfig.model_validate({**checkpoint.facts["config"], "root": root})
    binning = binning_of(config) if is_recordings(config) else None
    inputs = load_inputs(config, split, time_steps=checkpoint.network.time_steps, binning=binning, first=n)
    return inputs.values, inputs.labels


def subject(checkpoint: Checkpoint, root: Path | None, samples: int, device: str = "cpu") -> Subject:
    """A victim with its first ``samples`` correctly classified test inputs."""
    network, config = checkpoint.network.to(device), checkpoint.facts["config"]
    values, labels = first_inputs(checkpoint, root, "test", None)
    found = [torch.empty(0, dtype=torch.int64)]
    for rows in torch.arange(len(labels)).split(64):
        shape, steps = network.input_shape, network.time_steps
        spikes = encode(values[rows], shape, steps, coding=network.coding, seed=0, samples=rows)
        found.append(rows[winner(network.scores(spikes.to(device))).cpu() == labels[rows]])
        if sum(map(len, found)) >= samples:
            break
    chosen = torch.cat(found)[:samples]
    if not len(chosen):
        raise SpikeflipError(f"the victim of {config['data']} gets no test input right: train it again")
    return Subject(
        data=f"simulated {config['data']}" if config["simulate_events"] else config["data"],
        name=_preset(network, config["width"]),
        width=config["width"],
        network=network,
        loss=str(checkpoint.facts["loss"]),
        accuracy=checkpoint.facts["accuracy"],
        accuracy_n=checkpoint.facts["accuracy_n"],
        values=values[chosen].float(),
        labels=labels[chosen],
    )


def _preset(network: SpikingNetwork, width: float) -> str:
    """The preset that a network is of, else its network string; outputs are as many as the data have classes."""
    for name, preset in PRESETS.items():
        hidden = scale(parse(preset.architecture), width)[:-1]
        if hidden == network.layers[:-1]:
            return name
    return network.architecture


def _say(now: TrainingProgress) -> None:
    if now.update % 20 == 0 or now.update == now.updates:
        print(f"  update {now.update} of {now.updates}, loss {now.loss:.4f}", file=sys.stderr)

"""Training a victim into a folder."""

import time
from pathlib import Path

import torch

from spikeflip.errors import SpikeflipError
from spikeflip.runs.config import TrainConfig
from spikeflip.runs.folder import check_free, manifest
from spikeflip.runs.inputs import Inputs, load_inputs
from spikeflip.snn.checkpoint import DESCRIPTION, Checkpoint, save_checkpoint
from spikeflip.snn.network import SpikingNetwork
from spikeflip.snn.presets import PRESETS
from spikeflip.snn.training import Progress, Training, accuracy, train

_STATE = "training.safetensors"


def run_training(config: TrainConfig, out: Path, *, progress: Progress | None = None) -> Checkpoint:
    """Train a victim and write it to ``out``; an interrupted training in ``out`` goes on where it was.

    Raises:
        SpikeflipError: an option is wrong, or ``out`` holds something else.
    """
    if (out / DESCRIPTION).exists():
        raise SpikeflipError(f"--out {out} already holds a victim: choose another folder, or delete it")
    state = out / _STATE
    if not state.exists():
        check_free(out)
    started = time.monotonic()
    time_steps = PRESETS.get(config.network, PRESETS["paper-image"]).time_steps
    data = load_inputs(config, "train", time_steps=time_steps)
    held_out = load_inputs(config, "test", time_steps=time_steps)
    if config.validation >= len(data.values):
        raise SpikeflipError(
            f"--validation is {config.validation} of {len(data.values)} samples: leave some to train on"
        )
    network = _network(config, data)
    settings = Training(**config.model_dump(include=set(Training.__dataclass_fields__)))
    cut = len(data.values) - config.validation
    history = train(
        network,
        (data.values[:cut], data.labels[:cut]),
        (data.values[cut:], data.labels[cut:]),
        settings,
        progress=progress,
        state=state,
        fingerprint=f"{data.facts['sha256']} {config.simulate_events} {cut}",
    )
    seconds = time.monotonic() - started
    measured = accuracy(network, held_out.values, held_out.labels, seed=config.seed)
    facts = {
        "config": config.model_dump(mode="json", exclude={"root", "download"}),
        "loss": config.loss,
        "accuracy": measured,
        "accuracy_n": len(held_out.labels),
        "validation_accuracy": history.validation_accuracy,
        "data": data.facts,
        "classes": list(data.classes),
        "manifest": manifest(seconds, torch.device("cpu")),
    }
    digest = save_checkpoint(network, out, facts)
    state.unlink(missing_ok=True)
    return Checkpoint(network, facts, digest)


def _network(config: TrainConfig, data: Inputs) -> SpikingNetwork:
    """The preset of that name, or the network string with the neurons the paper uses for its kind of input."""
    kind = PRESETS["paper-spike" if config.simulate_events else "paper-image"]
    preset = PRESETS.get(config.network, kind)
    return SpikingNetwork(
        preset.architecture if config.network in PRESETS else config.network,
        data.values.shape[2:] if config.simulate_events else data.values.shape[1:],
        time_steps=preset.time_steps,
        neuron=preset.neuron,
        width=config.width,
        seed=config.seed,
    )

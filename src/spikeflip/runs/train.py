"""Training a victim into a folder."""

import time
from contextlib import suppress
from pathlib import Path
from typing import Any, TypedDict

from spikeflip.errors import SpikeflipError
from spikeflip.runs.config import TrainConfig
from spikeflip.runs.devices import placed
from spikeflip.runs.folder import check_free, manifest, moment
from spikeflip.runs.inputs import Inputs, binning_facts, binning_of, is_recordings, load_inputs
from spikeflip.runs.lock import locked
from spikeflip.snn.architecture import Shape, parse
from spikeflip.snn.checkpoint import DESCRIPTION, Checkpoint, load_checkpoint, save_checkpoint
from spikeflip.snn.network import Network, ReluNetwork, SpikingNetwork
from spikeflip.snn.presets import PRESETS
from spikeflip.snn.training import Progress, Training, accuracy, train
from spikeflip.snn.twin_training import train_twin
from spikeflip.writing import remove_partial

_STATE = "training.safetensors"
_MOST_HELD_OUT = 200
_RECORDINGS_RATE = 0.05


class _Kept(TypedDict):
    progress: Progress | None
    state: Path
    fingerprint: str


def run_training(config: TrainConfig, out: Path, *, progress: Progress | None = None) -> Checkpoint:
    """Train a victim and write it to ``out``; an interrupted training in ``out`` goes on where it was.

    Raises:
        SpikeflipError: an option is wrong, or ``out`` holds something else.
    """
    recordings = is_recordings(config)
    _check(config, recordings)
    if is_trained(out):
        return _trained(config, out)
    state = out / _STATE
    if not state.exists():
        check_free(out)
    started = time.monotonic()
    binning = binning_of(config) if recordings else None
    preset = PRESETS[_preset(config, recordings)]
    time_steps = binning.steps if binning else config.time_steps or preset.time_steps
    data = load_inputs(config, "train", time_steps=time_steps, binning=binning)
    held_out = load_inputs(config, "test", time_steps=time_steps, binning=binning, first=config.test_samples)
    n = len(data.values)
    validation = min(_MOST_HELD_OUT, n // 5) if config.validation is None else config.validation
    if validation >= n:
        raise SpikeflipError(f"--validation is {validation} of {n} samples: leave some to train on")
    cut = n - validation
    network = _network(config, data, recordings, time_steps)
    start = None if config.start is None else _begin_with(network, config.start)
    placed(network, config.device)
    options = config.model_dump(include=set(Training.__dataclass_fields__))
    if options["initial_rate"] is None:
        options["initial_rate"] = _RECORDINGS_RATE if recordings else 0.0
    settings = Training(**options)
    engine = network.best_engine() if config.engine == "auto" else config.engine
    runner = network.on(engine)
    fingerprint = f"{data.facts['sha256']} {data.facts.get('frames', config.simulate_events)} {cut} {engine}"
    if start is not None:
        fingerprint += f" {start}"
    parts = (data.values[:cut], data.labels[:cut]), (data.values[cut:], data.labels[cut:])
    kept: _Kept = {"progress": progress, "state": state, "fingerprint": fingerprint}
    _check_writable(out)
    if isinstance(runner, ReluNetwork):
        history = train_twin(runner, *parts, settings, **kept)
    else:
        history = train(runner, *parts, settings, **kept)
    seconds = time.monotonic() - started
    measured = len(held_out.labels) > 0
    facts = {
        "config": _stored(config),
        "start_sha256": start,
        "loss": config.loss,
        "accuracy": accuracy(runner, held_out.values, held_out.labels, seed=config.seed) if measured else None,
        "accuracy_n": len(held_out.labels),
        "validation_accuracy": history.validation_accuracy,
        "data": data.facts,
        "classes": list(data.classes),
        **binning_facts(data),
        "manifest": manifest(network.device) | {"finished": moment(), "seconds": round(seconds, 1)},
    }
    digest = save_checkpoint(network, out, facts)
    state.unlink(missing_ok=True)
    remove_partial(out)
    return Checkpoint(network, facts, digest)


def _check_writable(out: Path) -> None:
    """Raise a SpikeflipError, before hours of work, if a folder cannot be made or written to; makes none."""
    with locked(out):
        pass
    with suppress(OSError):
        out.rmdir()


def is_trained(out: Path) -> bool:
    """Whether a folder holds a finished victim."""
    return (out / DESCRIPTION).exists()


def _trained(config: TrainConfig, out: Path) -> Checkpoint:
    """The victim that is there, if it was trained with these options."""
    found = load_checkpoint(out)
    start = None if config.start is None else load_checkpoint(config.start).sha256
    if (found.facts.get("config"), found.facts.get("start_sha256")) != (_stored(config), start):
        raise SpikeflipError(
            f"--out {out} already holds a victim of other options: choose another folder, or delete it"
        )
    return found


def _stored(config: TrainConfig) -> dict[str, Any]:
    """The options that make a victim what it is."""
    return config.model_dump(mode="json", exclude={"root", "download", "device", "start"})


def _begin_with(network: Network, start: Path) -> str:
    """Give a network the weights of the victim in ``start``; returns their checksum."""
    checkpoint = load_checkpoint(start)
    theirs, ours = ((of.architecture, of.input_shape) for of in (checkpoint.network, network))
    if theirs != ours:
        raise SpikeflipError(
            f"--start {start} has the layers {theirs[0]} on {theirs[1]}, and this victim {ours[0]} on {ours[1]}: "
            "give a victim of the same layers"
        )
    network.load_state_dict(checkpoint.network.state_dict())
    return checkpoint.sha256


def _check(config: TrainConfig, recordings: bool) -> None:
    """Raise a SpikeflipError for options that need images, or exclude each other."""
    if config.network is not None and config.network not in PRESETS:
        parse(config.network)
    for name in () if recordings else ("sensor", "size", "time_bin"):
        if (value := getattr(config, name)) is not None:
            raise SpikeflipError(
                f"--{name.replace('_', '-')} {value} is for recordings, and --data {config.data} is of images: "
                "leave it out"
            )
    if config.twin and config.start is not None:
        raise SpikeflipError("--start is for spiking victims, and --twin trains a ReLU network: leave one out")
    option = "--twin" if config.twin else f"--coding {config.coding}"
    if (config.twin or config.coding != "rate") and (recordings or config.simulate_events):
        given = f"--data {config.data} is of recordings" if recordings else "--simulate-events makes recordings of them"
        raise SpikeflipError(f"{option} is for images, and {given}: leave one out")
    if config.twin and config.coding != "rate":
        raise SpikeflipError(
            f"--coding {config.coding} makes spikes of images, and --twin takes them as they are: leave one out"
        )


def _preset(config: TrainConfig, recordings: bool) -> str:
    """The preset that is named, or the one whose neurons and time steps suit the data."""
    if config.network in PRESETS:
        return config.network
    if recordings:
        return "paper-gesture" if config.data == "dvsgesture" else "paper-spike"
    if config.network is None:
        return "small-spike" if config.simulate_events else "small-image"
    return "paper-spike" if config.simulate_events else "paper-image"


def _network(config: TrainConfig, data: Inputs, recordings: bool, time_steps: int) -> Network:
    """The preset, with an output for each class of the data, or the network string with the preset's neurons."""
    name = _preset(config, recordings)
    hidden = PRESETS[name].architecture.rsplit("-", 1)[0]
    shape: Shape = tuple(data.values.shape[2:] if recordings or config.simulate_events else data.values.shape[1:])
    architecture = f"{hidden}-{len(data.classes)}FC" if config.network in (None, name) else str(config.network)
    if config.twin:
        return ReluNetwork(architecture, shape, width=config.width, seed=config.seed)
    return SpikingNetwork(
        architecture,
        shape,
        time_steps=time_steps,
        neuron=PRESETS[name].neuron,
        coding=config.coding,
        width=config.width,
        seed=config.seed,
    )

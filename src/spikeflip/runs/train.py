"""Training a victim into a folder."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from spikeflip.errors import SpikeflipError, choose_from, nearest
from spikeflip.notices import Notice, as_json
from spikeflip.report.loading import read_json
from spikeflip.runs.config import TrainConfig
from spikeflip.runs.data_checks import compare_splits
from spikeflip.runs.devices import placed
from spikeflip.runs.folder import (
    check_free,
    check_plain,
    differences,
    known_to,
    manifest,
    moment,
    went_on,
    write_trouble,
)
from spikeflip.runs.inputs import Inputs, binning_facts, binning_of, is_recordings, load_inputs
from spikeflip.runs.lock import LOCK, check_unlocked, locked
from spikeflip.runs.outcome import judge_training
from spikeflip.runs.recipe import Kind, check_adversarial, choose_recipe, held_out
from spikeflip.snn.architecture import Shape, parse
from spikeflip.snn.checkpoint import DESCRIPTION, WEIGHTS, Checkpoint, load_checkpoint, save_checkpoint
from spikeflip.snn.network import Network, ReluNetwork, SpikingNetwork
from spikeflip.snn.neuron import LIF
from spikeflip.snn.presets import PRESETS
from spikeflip.snn.training import Labelled, Progress, TrainingProgress, train
from spikeflip.snn.training_settings import Training
from spikeflip.snn.twin_training import train_twin
from spikeflip.writing import remove_partial, write_json

_STATE, _TWIN_STATE, _CLAIM = "training.safetensors", "twin-training.safetensors", "training.json"
_UNFINISHED = (_STATE, _TWIN_STATE, _CLAIM)
"""What only an unfinished training has; the last of it says whose the rest is, and is removed last."""
_WRITTEN = {*_UNFINISHED, DESCRIPTION, WEIGHTS}


def run_training(
    config: TrainConfig,
    out: Path,
    *,
    progress: Progress | None = None,
    announce: Callable[[str], None] | None = None,
) -> Checkpoint:
    """Train a victim and write it to ``out``; an interrupted training in ``out`` goes on where it was.

    Args:
        config: what is trained, and how; what it leaves open is chosen by :mod:`spikeflip.runs.recipe`.
        out: folder to write.
        progress: called after every update.
        announce: called with the network and the recipe in one line, at the first update.

    Returns:
        The victim. Its facts hold the recipe, how its layers fire, whether it ``learned``, and ``notices``.

    Raises:
        SpikeflipError: an option is wrong, ``out`` holds something else, or a layer cannot fire.
    """
    recordings = is_recordings(config)
    _check(config, recordings)
    if _has_victim(out):
        if any((out / name).exists() for name in (_CLAIM, LOCK)):  # a process was killed right behind its last write
            with locked(out):
                _tidy(out)
        return _trained(config, out)
    _check_folder(out)
    check_unlocked(out)
    _check_claim(out, {"options": _stored(config)})
    states = out / _STATE, out / _TWIN_STATE
    started = time.monotonic()
    binning = binning_of(config) if recordings else None
    preset = PRESETS[_preset(config, recordings)]
    time_steps = binning.steps if binning else config.time_steps or preset.time_steps
    data = load_inputs(config, "train", time_steps=time_steps, binning=binning)
    test = load_inputs(config, "test", time_steps=time_steps, binning=binning, first=config.test_samples)
    cut = len(data.values) - held_out(config, len(data.values))
    splits = compare_splits((data.values, data.labels), (test.values, test.labels), data.classes)
    found = (*data.notices, *test.notices, *splits)
    network = _network(config, data, recordings, time_steps)
    start = None if config.start is None else _begin_with(network, config.start)
    placed(network, config.device)
    kind: Kind = "recordings" if recordings else "simulated" if config.simulate_events else "images"
    fan_in = max(weight[0].numel() for weight in network.weights)
    recipe = choose_recipe(config, kind, cut, network.input_shape[0], fan_in, spiking_start=_is_spiking(config.start))
    engine = network.best_engine() if config.engine == "auto" else config.engine
    runner = network.on(engine)
    fingerprint = f"{data.facts['sha256']} {data.facts.get('frames', config.simulate_events)} {cut} {engine}"
    fingerprint += "" if start is None else f" {start}"
    progress = _announcing(f"{network.architecture}; {recipe.sentence(cut)}", announce, progress)
    parts = (data.values[:cut], data.labels[:cut]), (data.values[cut:], data.labels[cut:])
    claim = {"options": _stored(config), "start_sha256": start}
    with _claimed(out, claim, manifest(network.device)) as circumstances:
        if _has_victim(out):  # by another process, since the folder was looked at
            return _trained(config, out)
        if isinstance(runner, ReluNetwork):
            history = train_twin(
                runner,
                *parts,
                recipe.training,
                progress=progress,
                state=states[0],
                fingerprint=fingerprint,
                perturb=recipe.perturb,
            )
        else:
            if recipe.twin is not None:
                of_twin = _begin_with_twin(runner, parts, recipe.twin, states[1], fingerprint, progress)
                found = (*found, *of_twin)
                fingerprint += f" {asdict(recipe.twin)}"
            history = train(
                runner,
                *parts,
                recipe.training,
                progress=progress,
                state=states[0],
                fingerprint=fingerprint,
                perturb=recipe.perturb,
            )
        outcome = judge_training(
            runner, parts[0], (test.values, test.labels), history, seed=config.seed, limit=config.adversarial
        )
        facts = {
            "config": _stored(config),
            "recipe": recipe.as_json(),
            "start_sha256": start,
            "loss": config.loss,
            **outcome.as_json(),
            "validation_accuracy": history.validation_accuracy,
            "history": asdict(history),
            "data": data.facts,
            "classes": list(data.classes),
            **binning_facts(data),
            "notices": as_json((*found, *history.notices, *outcome.notices)),
            "manifest": circumstances | {"finished": moment(), "seconds": round(time.monotonic() - started, 1)},
        }
        digest = save_checkpoint(network, out, facts)
    return Checkpoint(network, facts, digest)


def _announcing(sentence: str, announce: Callable[[str], None] | None, progress: Progress | None) -> Progress | None:
    """Progress that says a sentence first, once: what is wrong with the options has been said by then."""
    if announce is None:
        return progress
    left = [sentence]

    def announced(now: TrainingProgress) -> None:
        if left:
            announce(left.pop())
        if progress is not None:
            progress(now)

    return announced


def _begin_with_twin(
    network: SpikingNetwork,
    parts: tuple[Labelled, Labelled],
    settings: Training,
    state: Path,
    fingerprint: str,
    progress: Progress | None,
) -> tuple[Notice, ...]:
    """Train the ReLU twin of a network, or take the finished one, and give the network its weights.

    Returns:
        What went wrong in the training of the twin, and what was done about it.
    """
    twin = ReluNetwork(network.architecture, network.input_shape, seed=settings.seed).to(network.device)

    def shown(now: TrainingProgress) -> None:
        if progress is not None:
            progress(replace(now, stage="twin"))

    history = train_twin(twin, *parts, settings, progress=shown, state=state, fingerprint=fingerprint)
    network.load_state_dict(twin.state_dict())
    return tuple(replace(notice, text=f"ReLU twin, {notice.text}") for notice in history.notices)


@contextmanager
def _claimed(out: Path, claim: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Hold a folder, which says from then on whose it is, as long as a training is under way.

    Yields:
        The manifest of the training: where it began, and where else it went on. When the block ends, what the training
        saved stays if it is not finished, and goes if it is; where nothing was saved, nothing is left.
    """
    existed = out.exists()
    try:
        with locked(out):
            _check_folder(out)  # another process may have begun since it was looked at
            _check_claim(out, claim)
            try:
                remove_partial(out, _WRITTEN)
                facts = went_on(read_json(out / _CLAIM)["manifest"], now) if _is_begun(out) else dict(now)
                if not _has_victim(out):
                    write_json(out / _CLAIM, {**claim, "manifest": facts})
                yield facts
            except OSError as error:
                message = f"{write_trouble(error, out)}; what was saved of the training stays"
                raise SpikeflipError(message) from error
            finally:
                if _has_victim(out) or not _is_begun(out):
                    _tidy(out)
    finally:
        if not existed:
            with suppress(OSError):  # not empty
                out.rmdir()


def _is_begun(out: Path) -> bool:
    """Whether there is something of a training to go on with."""
    return (out / _CLAIM).exists() and any((out / name).exists() for name in (_STATE, _TWIN_STATE))


def _tidy(out: Path) -> None:
    """Remove what only an unfinished training has, from a folder that says that it is one's."""
    with suppress(OSError, SpikeflipError):
        if _read_claim(out) is not None:
            remove_partial(out, _WRITTEN)
            for name in _UNFINISHED:
                (out / name).unlink(missing_ok=True)


def _check_folder(out: Path) -> None:
    """Raise a SpikeflipError if ``out`` holds anything but a training."""
    if not any((out / name).is_file() for name in (_CLAIM, DESCRIPTION)):
        check_free(out, frozenset({_CLAIM}))
    check_plain(out)


def _read_claim(out: Path) -> dict[str, Any] | None:
    """What a folder says of the training under way in it, None where there is none."""
    if not (out / _CLAIM).exists():
        return None
    try:
        claim = read_json(out / _CLAIM)
        if isinstance(claim.get("options"), dict) and isinstance(claim.get("manifest"), dict):
            return claim
        reason = "it lacks options or a manifest"
    except SpikeflipError as error:
        reason = str(error)
    raise SpikeflipError(
        f"{out / _CLAIM} is not what train writes ({reason}): restore it, empty the folder, or choose another"
    )


def _check_claim(out: Path, claim: Mapping[str, Any]) -> None:
    """Raise a SpikeflipError if ``out`` holds an unfinished training of other options."""
    theirs = _read_claim(out)
    if theirs is None:
        return
    options = theirs["options"]
    changed = differences(options, known_to(options, claim["options"], TrainConfig))
    if "start_sha256" in claim:
        changed += differences({"start": theirs.get("start_sha256")}, {"start": claim["start_sha256"]})
    if changed:
        raise SpikeflipError(
            f"--out {out} holds the unfinished training of a victim of other options ({'; '.join(changed)}): give the "
            "same, or choose another folder"
        )


def is_trained(out: Path) -> bool:
    """Whether a folder holds a finished victim, and nothing more of its training."""
    return _has_victim(out) and not (out / _CLAIM).exists()


def _has_victim(out: Path) -> bool:
    return (out / DESCRIPTION).exists()


def _trained(config: TrainConfig, out: Path) -> Checkpoint:
    """The victim that is there, if it was trained with these options as far as both sides know them."""
    found = load_checkpoint(out)
    start = None if config.start is None else load_checkpoint(config.start).sha256
    theirs, ours = found.facts.get("config"), _stored(config)
    if not isinstance(theirs, dict):
        raise SpikeflipError(f"--out {out} already holds a victim that train did not write: choose another folder")
    changed = differences(
        {"start": found.facts.get("start_sha256")} | {name: theirs[name] for name in theirs.keys() & ours.keys()},
        {"start": start} | known_to(theirs, ours, TrainConfig),
    )
    if changed:
        raise SpikeflipError(
            f"--out {out} already holds a victim of other options ({'; '.join(changed)}): choose another folder, or "
            "delete it"
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


def _check_network(name: str) -> None:
    """Raise a SpikeflipError for what is neither a preset nor layers."""
    if name not in PRESETS and nearest(name, PRESETS):
        known = choose_from(name, PRESETS)
        raise SpikeflipError(f"--network is {name!r}: {known}, or give layers, such as 128C3-AP2-10FC")
    if name not in PRESETS:
        parse(name)


def _is_spiking(start: Path | None) -> bool:
    return start is not None and isinstance(load_checkpoint(start).network, SpikingNetwork)


def _check(config: TrainConfig, recordings: bool) -> None:
    """Raise a SpikeflipError for options that need images, or exclude each other."""
    if config.network is not None:
        _check_network(config.network)
    for name in () if recordings else ("sensor", "columns", "time_unit", "size", "time_bin"):
        if (value := getattr(config, name)) is not None:
            raise SpikeflipError(
                f"--{name.replace('_', '-')} {value} is for recordings, and --data {config.data} is of images: "
                "leave it out"
            )
    check_adversarial(config)
    if config.twin and config.start is not None:
        raise SpikeflipError("--start is for spiking victims, and --twin trains a ReLU network: leave one out")
    option = "--twin" if config.twin else f"--coding {config.coding}"
    if (config.twin or config.coding != "rate") and (recordings or config.simulate_events):
        given = f"--data {config.data} is of recordings" if recordings else "--simulate-events makes recordings of them"
        raise SpikeflipError(f"{option} is for images, and {given}: leave one out")
    for name in ("firing_threshold", "initial_share", "initial_rate", "mse_first") if config.twin else ():
        if value := getattr(config, name):
            raise SpikeflipError(
                f"--{name.replace('_', '-')} {value:g} is for spiking neurons, and --twin has none: leave one out"
            )
    if config.mse_first and config.loss == "mse":
        raise SpikeflipError(f"--mse-first {config.mse_first:g} is for --loss ce: leave it out")
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
    size = "small" if config.network is None and config.data == "digits" else "paper"
    return f"{size}-spike" if config.simulate_events else f"{size}-image"


def _network(config: TrainConfig, data: Inputs, recordings: bool, time_steps: int) -> Network:
    """The preset, with an output for each class of the data, or the network string with the preset's neurons."""
    name = _preset(config, recordings)
    hidden = PRESETS[name].architecture.rsplit("-", 1)[0]
    shape: Shape = tuple(data.values.shape[2:] if recordings or config.simulate_events else data.values.shape[1:])
    architecture = f"{hidden}-{len(data.classes)}FC" if config.network in (None, name) else str(config.network)
    if (outputs := str(parse(architecture)[-1])) != f"{len(data.classes)}FC":
        raise SpikeflipError(
            f"--network ends with {outputs}, and {data.facts['name']} has {len(data.classes)} classes: end it with "
            f"{len(data.classes)}FC"
        )
    if config.twin:
        return ReluNetwork(architecture, shape, width=config.width, seed=config.seed)
    return SpikingNetwork(
        architecture,
        shape,
        time_steps=time_steps,
        neuron=_neuron(config, PRESETS[name].neuron),
        coding=config.coding,
        width=config.width,
        seed=config.seed,
    )


def _neuron(config: TrainConfig, neuron: LIF) -> LIF:
    """The preset's neuron, with the firing threshold that is asked for and its window scaled along."""
    threshold = config.firing_threshold
    if threshold is None:
        return neuron
    surrogate = neuron.surrogate.with_width(neuron.surrogate.width * threshold / neuron.threshold)
    return replace(neuron, threshold=threshold, surrogate=surrogate)

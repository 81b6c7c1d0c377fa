"""A trained victim on disk: a folder with ``weights.safetensors`` and ``victim.json``.

Neither file can execute code. The JSON names the architecture, so a network is built and its sizes are compared before
any weight is used. A ``kind`` of ``"relu"`` is a ReLU twin, which has no neuron, time steps or coding to be stored;
without a kind the network spikes.
"""

import errno
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save

from spikeflip.errors import SpikeflipError, choose_from
from spikeflip.limits import LARGEST_DESCRIPTION, MOST_STEPS, most_cells
from spikeflip.reading import small_text
from spikeflip.snn.architecture import Shape, count_weights, parse, shapes
from spikeflip.snn.bundled import located
from spikeflip.snn.losses import TRAINING_LOSSES
from spikeflip.snn.network import Network, ReluNetwork, SpikingNetwork
from spikeflip.snn.neuron import LIF
from spikeflip.snn.surrogate import SURROGATES, surrogate_name
from spikeflip.writing import make_folder, whole_file

WEIGHTS = "weights.safetensors"
DESCRIPTION = "victim.json"
_FORMAT = 1


@dataclass(frozen=True)
class Checkpoint:
    """A network and what is known of its training (loss, accuracy, data, versions; see ``facts``)."""

    network: Network
    facts: Mapping[str, Any] = field(default_factory=dict)
    sha256: str = ""
    """Of the weights file; empty for a network that was never saved."""


def save_checkpoint(network: Network, folder: Path, facts: Mapping[str, Any]) -> str:
    """Write a network and the facts of its training into ``folder``; returns the checksum of the weights file.

    Both files appear whole, the description last, and are on the disk itself when this returns: what they were made of
    may be removed. Weights are stored as float32.
    """
    described = describe(network)
    weights = {f"weights.{i}": value.detach().float().cpu().contiguous() for i, value in enumerate(network.weights)}
    content = save(weights)  # save_file keeps files from other users
    digest = hashlib.sha256(content).hexdigest()
    description = {"format": _FORMAT, **described, "weights_sha256": digest, "facts": dict(facts)}
    make_folder(folder)
    # The inner file gets its name first; a disk that has no room for both leaves the victim that was there.
    with whole_file(folder / DESCRIPTION) as outer, whole_file(folder / WEIGHTS) as inner:
        outer.write((json.dumps(description, indent=2) + "\n").encode())
        outer.flush()
        inner.write(content)
    return digest


def describe(network: Network) -> dict[str, Any]:
    """What a network is built from, but for its weights."""
    layers = {"architecture": network.architecture, "input_shape": list(network.input_shape)}
    if isinstance(network, ReluNetwork):
        return {"kind": "relu", **layers}
    neuron = network.neuron
    return {
        "kind": "spiking",
        **layers,
        "time_steps": network.time_steps,
        "coding": network.coding,
        "neuron": {
            "threshold": neuron.threshold,
            "decay": neuron.decay,
            "reset": neuron.reset,
            "surrogate": surrogate_name(neuron.surrogate),
            "surrogate_width": neuron.surrogate.width,
            **({} if neuron.centre is None else {"centre": neuron.centre}),
        },
    }


def load_checkpoint(folder: Path | str) -> Checkpoint:
    """Read what :func:`save_checkpoint` wrote, or a victim that comes with the package, by its name.

    Raises:
        SpikeflipError: a file is missing, truncated, no safetensors, or holds weights of another architecture.
    """
    folder = located(Path(folder))
    path = folder / DESCRIPTION
    if not path.is_file():
        raise SpikeflipError(
            f"there is no victim at {folder} ({DESCRIPTION} is missing): give a folder that train wrote"
        )
    try:
        description = json.loads(small_text(path, LARGEST_DESCRIPTION))
        architecture, input_shape = str(description["architecture"]), description["input_shape"]
        input_shape = tuple(int(size) for size in input_shape)
        _check_size(architecture, input_shape, int(description.get("time_steps", 1)), folder / WEIGHTS)
        network = _build(description, architecture, input_shape)
        facts = dict(description["facts"])
        _check_facts(facts, network.classes)
        expected = str(description["weights_sha256"])
    except FileNotFoundError as error:
        raise SpikeflipError(
            f"{error.filename} is missing: restore it beside {DESCRIPTION}, or train the victim again"
        ) from error
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, OverflowError) as error:
        raise SpikeflipError(f"{path} cannot be used ({_one_line(error)}): train the victim again") from error
    return Checkpoint(network, facts, _load_weights(network, folder / WEIGHTS, expected))


def load_victim(place: Path | str) -> Network:
    """Load a trained victim.

    Args:
        place: a folder that ``spikeflip train`` wrote, or the name of a victim that comes with the package,
            ``"demo-digits"`` or ``"demo-events"``.

    Returns:
        A :class:`spikeflip.SpikingNetwork`, or the :class:`spikeflip.ReluNetwork` that ``train --twin`` wrote;
        :func:`spikeflip.load_checkpoint` gives what is known of its training too.

    Raises:
        SpikeflipError: there is no such victim, or its files are damaged.

    >>> load_victim("demo-digits").input_shape
    (1, 8, 8)
    """
    return load_checkpoint(place).network


def _build(description: Mapping[str, Any], architecture: str, input_shape: Shape) -> Network:
    """The network of a description, with weights of its own; a ValueError for what no network has."""
    kind = description.get("kind", "spiking")
    if kind == "relu":
        if present := {"neuron", "time_steps", "coding"} & set(description):
            raise ValueError(f"a network of kind 'relu' has no {min(present)}")
        return ReluNetwork(architecture, input_shape)
    if kind != "spiking":
        raise ValueError(f"kind is {kind!r}, neither 'spiking' nor 'relu'")
    neuron, time_steps = dict(description["neuron"]), int(description["time_steps"])
    surrogate = neuron.get("surrogate", "rectangular")
    if surrogate not in SURROGATES:
        raise ValueError(f"surrogate is {surrogate!r}: {choose_from(surrogate, SURROGATES)}")
    return SpikingNetwork(
        architecture,
        input_shape,
        time_steps=time_steps,
        neuron=LIF(
            float(neuron["threshold"]),
            float(neuron["decay"]),
            neuron["reset"],
            SURROGATES[surrogate](float(neuron["surrogate_width"])),
            None if neuron.get("centre") is None else float(neuron["centre"]),
        ),
        coding=description.get("coding", "rate"),
    )


def _check_size(architecture: str, input_shape: Shape, time_steps: int, path: Path) -> None:
    """Compare the weights file with what the description asks for, before a network of that size is made."""
    if not path.is_file():
        raise FileNotFoundError(errno.ENOENT, "missing", str(path))
    if time_steps > MOST_STEPS:
        raise ValueError(f"time_steps is {time_steps}, at most {MOST_STEPS:,} are possible")
    layers = parse(architecture)
    check_cells(count_weights(layers, input_shape), (input_shape, *shapes(layers, input_shape)), time_steps)
    wanted = 4 * count_weights(layers, input_shape)
    if path.stat().st_size < wanted:
        raise ValueError(
            f"{WEIGHTS} has {path.stat().st_size} bytes but {architecture!r} needs at least {wanted}: "
            "the file is truncated or of another architecture"
        )


def check_cells(weights: int, shapes: Sequence[Shape], time_steps: int) -> None:
    """Raise a ValueError if one input of so many time steps takes more memory than such weights account for.

    Args:
        weights: how many there are.
        shapes: of the input and of every layer.
        time_steps: T.
    """
    cells, most = time_steps * sum(map(prod, shapes)), most_cells(weights)
    # An attack holds an input, its changes and their gradient several times.
    if cells > most or time_steps * prod(shapes[0]) > most // 4:
        raise ValueError(
            f"{time_steps} time steps of inputs {tuple(shapes[0])} give {cells:,} neurons and inputs, more than "
            f"{weights:,} weights account for"
        )


def _check_facts(facts: Mapping[str, Any], classes: int) -> None:
    """Raise a ValueError unless the facts that others rely on are what they should be; all may be missing."""
    names = facts.get("classes")
    if names is not None and not (
        isinstance(names, list) and len(names) == classes and all(isinstance(name, str) for name in names)
    ):
        raise ValueError(f"classes must be {classes} names")
    if facts.get("loss") not in (None, *TRAINING_LOSSES):
        raise ValueError(f"loss must be one of {', '.join(TRAINING_LOSSES)}")
    sensor = facts.get("sensor")
    if sensor is not None and not (
        isinstance(sensor, list)
        and len(sensor) == 2
        and all(type(side) is int and 0 < side <= 65536 for side in sensor)
    ):
        raise ValueError("sensor must be two whole numbers, height and width")


def _load_weights(network: Network, path: Path, expected: str) -> str:
    try:
        weights = load_file(path)
    except (SafetensorError, OSError) as error:
        raise SpikeflipError(f"{path} is no safetensors file ({_one_line(error)}): train the victim again") from error
    state = network.state_dict()
    for name, value in state.items():
        found = weights.get(name)
        if found is None or found.shape != value.shape or len(weights) != len(state):
            shape = "nothing" if found is None else str(tuple(found.shape))
            raise SpikeflipError(
                f"{path} holds weights of another architecture ({shape} for {name}, not {tuple(value.shape)} as in "
                f"{network.architecture!r}): give the {DESCRIPTION} that belongs to it"
            )
    digest = _sha256(path)
    if digest != expected:
        raise SpikeflipError(
            f"{path} is not the file its {DESCRIPTION} describes (sha256 {digest[:12]}, expected {expected[:12]}): "
            "restore it, or train the victim again"
        )
    network.load_state_dict(weights)
    return digest


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__

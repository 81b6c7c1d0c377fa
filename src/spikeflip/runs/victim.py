"""The victim that a run names: a folder of ``train``, a NIR graph or code of the user's own, in its defences."""

import hashlib
import json
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, reduce
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from spikeflip.errors import SpikeflipError
from spikeflip.notices import Notice
from spikeflip.runs.calling import as_options, calling_of, random_inputs, shape_of
from spikeflip.runs.config import CallingConfig, VictimConfig
from spikeflip.runs.devices import placed
from spikeflip.snn.checkpoint import DESCRIPTION, WEIGHTS, Checkpoint, describe, load_checkpoint
from spikeflip.snn.engines.choose import EngineName, Precision
from spikeflip.snn.network import ReluNetwork, SpikingNetwork
from spikeflip.snn.surrogate import SURROGATES, Rectangular, Surrogate
from spikeflip.victims import Defence, Victim, WrappedModel, load_nir, wrap
from spikeflip.victims.factory import load_defence, load_factory
from spikeflip.victims.modules import named_buffers, named_parameters
from spikeflip.victims.nir.file import read as read_graph
from spikeflip.victims.nir.metadata import KEY
from spikeflip.victims.victim import is_victim

NOT_KNOWN = "not known"
"""The checksum of weights that cannot be seen."""
_NIR_ENDINGS = (".nir", ".h5", ".hdf5")
_NOT_SEEN = Notice(
    "weights-not-known",
    "the victim's weights cannot be seen: nothing tells whether it is the same when the run goes on or is verified",
)
_NO_SURROGATE = Notice(
    "surrogate-not-said",
    "the NIR graph does not say how its firing function is differentiated: a rectangular window of width 1 around the "
    "threshold is used; --surrogate gives another",
)


@dataclass(frozen=True)
class LoadedVictim:
    """A victim with what is known of it."""

    config: VictimConfig
    plain: Victim
    """Without its defences, on its device."""
    description: Mapping[str, Any]
    """What a run's ``config.json`` holds of it."""
    facts: Mapping[str, Any] = field(default_factory=dict)
    """Of its training; see :class:`spikeflip.snn.checkpoint.Checkpoint`."""
    defences: tuple[Callable[[Victim], Victim], ...] = ()
    notices: tuple[Notice, ...] = ()
    """What a reader of its rates must know, beside what the victim itself says."""

    @cached_property
    def victim(self) -> Victim:
        """The victim as it is judged, behind its defences."""
        return self._behind(self.plain)

    @property
    def sha256(self) -> str:
        """Checksum of the weights."""
        return str(self.description["weights_sha256"])

    @property
    def description_sha256(self) -> str:
        """Checksum of all else that is known of it."""
        return str(self.description["description_sha256"])

    @property
    def is_network(self) -> bool:
        """Whether it is one of this package's networks, whose results do not depend on what is run with a sample."""
        return isinstance(self.plain, SpikingNetwork | ReluNetwork)

    def best_engine(self, precision: Precision, surrogate: Surrogate | None) -> EngineName:
        """What runs it fastest; foreign models have no engine but PyTorch."""
        if isinstance(self.plain, SpikingNetwork | ReluNetwork):
            return self.plain.best_engine(precision, surrogate)
        return "torch"

    def attacked(self, engine: EngineName, precision: Precision, surrogate: Surrogate | None) -> Victim:
        """The victim as attacks meet it.

        Raises:
            SpikeflipError: it has no such engine, precision or surrogate.
        """
        plain = self.plain
        if isinstance(plain, SpikingNetwork | ReluNetwork):
            return self._behind(plain.on(engine, precision=precision, surrogate=surrogate))
        for option, asked, only in (("engine", engine, "torch"), ("precision", precision, "float32")):
            if asked != only:
                raise SpikeflipError(f"--{option} {asked} is for victims that 'train' wrote: leave it out")
        if surrogate is None:
            return self.victim
        if not isinstance(plain, WrappedModel):
            raise SpikeflipError(
                f"--surrogate is given, and the victim is a {type(plain).__name__}, whose own it is: leave it out"
            )
        return self._behind(plain.with_surrogate(surrogate))

    def surrogate(self, name: str | None, width: float | None) -> Surrogate | None:
        """The derivative that is asked for, None for the victim's own; what is not said of it is the victim's own.

        Raises:
            SpikeflipError: the victim does not spike.
        """
        if name is None and width is None:
            return None
        if isinstance(self.plain, ReluNetwork):
            asked = f"--surrogate {name}" if name else f"--surrogate-width {width}"
            raise SpikeflipError(f"{asked} is for spiking victims, and this one is a ReLU network: leave it out")
        own = self.plain.neuron.surrogate if isinstance(self.plain, SpikingNetwork) else None
        if name is None and own is None:
            raise SpikeflipError(f"--surrogate-width is {width}, of no surrogate: give --surrogate too")
        found: Surrogate = own if name is None else SURROGATES[name](own.width if own else 1.0)  # type: ignore[assignment]
        return found if width is None else found.with_width(width)

    def _behind(self, plain: Victim) -> Victim:
        return reduce(lambda victim, defend: defend(victim), self.defences, plain)


def load_victim(config: VictimConfig, device: str = "cpu") -> LoadedVictim:
    """Load, or make with the user's code, the victim that a configuration names.

    Raises:
        SpikeflipError: there is no such victim, it cannot be attacked, an option is not for one of its kind, or there
            is no such device.
    """
    place = str(config.victim)
    defences = tuple(load_defence(name) for name in config.defence or ())
    if config.is_code:
        found = _of_code(place, config, device)
    elif config.victim.suffix in _NIR_ENDINGS and not config.victim.is_dir():
        found = _of_graph(config.victim, config, device)
    else:
        _leave_out(config, (*CallingConfig.model_fields,), "for models of your own, and 'train' wrote this victim")
        checkpoint = load_checkpoint(config.victim)
        network = placed(checkpoint.network, device)
        found = LoadedVictim(config, network, _describe_checkpoint(checkpoint), checkpoint.facts)
    if not defences:
        return found
    found = replace(found, defences=defences)
    both = json.dumps([found.description_sha256, config.defence, _seen_of_defences(found)])
    described = {"defences": config.defence, "description_sha256": hashlib.sha256(both.encode()).hexdigest()}
    return replace(found, description={**found.description, **described})


def _seen_of_defences(loaded: LoadedVictim) -> list[str]:
    """Checksums of the tensors and models that each defence holds, from the outermost on."""
    checksums, layer = [], loaded.victim
    while layer is not loaded.plain and hasattr(layer, "victim"):
        held = {name: value for name, value in vars(layer).items() if name != "victim"}
        inside = nn.Module()
        for name, value in held.items():
            if isinstance(value, nn.Module) and name.isidentifier():
                inside.add_module(name, value)
            elif isinstance(value, Tensor):
                inside.register_buffer(name, value.detach())
        checksums.append(weights_sha256(inside))
        layer = layer.victim
    return checksums


def files_of(config: VictimConfig) -> dict[str, NDArray[np.uint8]]:
    """What another process or machine needs to load the victim: its files by name, none for code."""
    if config.is_code:
        return {}
    if config.victim.is_dir():
        return {name: np.fromfile(config.victim / name, np.uint8) for name in (DESCRIPTION, WEIGHTS)}
    return {config.victim.name: np.fromfile(config.victim, np.uint8)}


def load_sent(
    config: VictimConfig, files: Mapping[str, NDArray[np.uint8]], device: str, *, expected: tuple[str, str]
) -> LoadedVictim:
    """The victim of a configuration and its files, on a machine that has been sent both.

    Raises:
        SpikeflipError: its weights, or what else is known of it, are not those that are expected.
    """
    with tempfile.TemporaryDirectory() as folder:
        for name, content in files.items():
            (Path(folder) / name).write_bytes(content.tobytes())
        if files:
            place = Path(folder) if DESCRIPTION in files else Path(folder) / next(iter(files))
            config = config.model_copy(update={"victim": place})
        found = load_victim(config, device)
    if found.sha256 != expected[0]:
        raise SpikeflipError(
            f"{config.victim} gives a model with other weights in each process (sha256 {found.sha256[:12]}, not "
            f"{expected[0][:12]}): load its weights from a file, or seed them"
        )
    if found.description_sha256 != expected[1]:
        raise SpikeflipError(
            f"{config.victim} or its defences are not the same in each process: make them without random numbers"
        )
    return found


def as_config(victim: Path | VictimConfig) -> VictimConfig:
    """The configuration of a victim that is named by its place alone."""
    return victim if isinstance(victim, VictimConfig) else VictimConfig(victim=victim)


def _leave_out(config: VictimConfig, names: Sequence[str], reason: str) -> None:
    for name in names:
        if (value := getattr(config, name)) is not None:
            raise SpikeflipError(f"--{name.replace('_', '-')} {value} is {reason}: leave it out")


def _describe_checkpoint(checkpoint: Checkpoint) -> dict[str, Any]:
    network, facts = checkpoint.network, checkpoint.facts
    neurons: dict[str, Any] = {"kind": "relu"}
    if not isinstance(network, ReluNetwork):
        neurons = {
            "coding": network.coding,
            "threshold": network.neuron.threshold,
            "decay": network.neuron.decay,
            "surrogate_width": network.neuron.surrogate.width,
        }
    known = {name: facts.get(name) for name in ("binning", "sensor", "loss", "classes")}
    all_else = json.dumps([describe(network), known], sort_keys=True)
    return {
        "architecture": network.architecture,
        "input_shape": list(network.input_shape),
        "steps": network.time_steps,
        "accuracy": facts.get("accuracy"),
        "accuracy_n": facts.get("accuracy_n"),
        "loss": facts.get("loss"),
        **neurons,
        "weights_sha256": checkpoint.sha256,
        "description_sha256": hashlib.sha256(all_else.encode()).hexdigest(),
    }


def _of_graph(file: Path, config: VictimConfig, device: str) -> LoadedVictim:
    """A NIR graph; what its file does not say is in ``--input-shape`` and ``--time-steps``."""
    _leave_out(config, ("layout", "output", "neurons"), "for models of your own, and not for NIR graphs")
    steps, shape = config.time_steps, None
    if config.input_shape is not None:
        said, *shape = shape_of(config)
        if steps not in (None, said):
            raise SpikeflipError(f"--time-steps is {steps}, and --input-shape says {said}: give one of them")
        steps = said
    try:
        says_surrogate = read_graph(file, KEY)[1] is not None
    except SpikeflipError as error:
        raise SpikeflipError(f"{file} cannot be attacked: {error}") from error
    victim = load_nir(
        file,
        input_shape=None if shape is None else tuple(shape),
        time_steps=steps,
        surrogate=None if says_surrogate else Rectangular(),
        readout=config.readout or "mean",
        penultimate=config.penultimate,
    )
    with file.open("rb") as raw:
        digest = hashlib.file_digest(raw, "sha256").hexdigest()
    described = _describe(_moved(victim, device), "NIR graph", digest, config)
    return LoadedVictim(config, victim, described, notices=() if says_surrogate else (_NO_SURROGATE,))


def _of_code(place: str, config: VictimConfig, device: str) -> LoadedVictim:
    model = load_factory(place)
    if is_victim(model):
        _leave_out(config, (*CallingConfig.model_fields,), f"for models, and {place} returns a victim")
        innermost: Any = model
        while isinstance(innermost, Defence):
            innermost = innermost.victim
        inside = getattr(innermost, "model", innermost)
        digest = weights_sha256(inside) if isinstance(inside, nn.Module) else NOT_KNOWN
        victim: Victim = model
    else:
        digest = weights_sha256(model) if isinstance(model, nn.Module) else NOT_KNOWN
        inputs, calling = random_inputs(model, config), calling_of(config, model)
        try:
            wrapped = wrap(model, inputs, **calling)
        except SpikeflipError as error:
            error.args = (as_options(str(error)),)
            raise
        wrapped.notices = tuple(replace(notice, text=as_options(notice.text)) for notice in wrapped.notices)
        victim = wrapped
    described = _describe(_moved(victim, device), place, digest, config)
    described["code"] = "the user's own, not part of a checksum"
    return LoadedVictim(config, victim, described, notices=(_NOT_SEEN,) if digest == NOT_KNOWN else ())


def _moved(victim: Victim, device: str) -> Victim:
    """The victim, whose model is moved to a device."""
    if isinstance(victim, SpikingNetwork | ReluNetwork):
        return placed(victim, device)
    if isinstance(inside := getattr(victim, "model", None), nn.Module):
        placed(inside, device)
    elif victim.device != torch.device(device):
        raise SpikeflipError(f"--device is {device}, and the victim is on {victim.device}: give that one")
    return victim


def _describe(victim: Victim, source: str, weights: str, config: VictimConfig) -> dict[str, Any]:
    said = {name: getattr(config, name) for name in CallingConfig.model_fields if getattr(config, name) is not None}
    model = getattr(victim, "model", victim)
    facts = {
        **said,
        "model": type(model).__name__,
        "input_shape": list(victim.input_shape),
        "steps": victim.time_steps,
        "coding": victim.coding,
        "threshold": victim.penultimate_threshold,
    }
    if isinstance(victim, WrappedModel):
        facts["layout"] = str(victim.calling.layout)
        facts["spiking_layers"] = {name: _mean(victim.layers[name].threshold) for name in victim.spiking_layers}
    all_else = json.dumps(facts, sort_keys=True)
    sha256 = hashlib.sha256(all_else.encode()).hexdigest()
    return {"source": source, **facts, "weights_sha256": weights, "description_sha256": sha256}


def _mean(threshold: Tensor | float | None) -> float | None:
    return float(threshold.float().mean()) if isinstance(threshold, Tensor) else threshold


def weights_sha256(model: nn.Module) -> str:
    """The checksum of a model's parameters and buffers, with their names."""
    digest = hashlib.sha256()
    for name, value in sorted([*named_parameters(model), *named_buffers(model)], key=lambda pair: pair[0]):
        flat = value.detach().cpu().contiguous()
        digest.update(f"{name} {flat.dtype} {tuple(flat.shape)};".encode())
        digest.update(flat.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()

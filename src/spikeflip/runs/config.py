"""What a run is told: validated once, and written beside its results."""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from spikeflip.errors import SpikeflipError, choose_from
from spikeflip.limits import MOST_STEPS
from spikeflip.snn.bundled import located

_SIZE = r"^[1-9][0-9]{0,4}x[1-9][0-9]{0,4}$"
_SHAPE = r"^[1-9][0-9]{0,8}(,[1-9][0-9]{0,8})*$"
PLACE = r"^[0-9]{1,5}(,[0-9]{1,5})?$"
"""First row and column, or the first of a run."""
Size = Annotated[str, Field(pattern=_SIZE)]
"""``WIDTHxHEIGHT``; see :func:`sides`."""
_BY_RECIPE = "chosen by the data and their number when not given"
_FORMS = {
    PLACE: "ROW,COLUMN, such as 4,12",
    _SIZE: "WIDTHxHEIGHT, such as 34x34",
    _SHAPE: "whole numbers from 1 with commas, T,C,H,W, such as 10,2,34,34",
}


class _Config(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    def stored(self, *, without: Iterable[str] = (), defaults: bool = True) -> dict[str, Any]:
        """The options as a file keeps them, those at their default only where asked for."""
        return self.model_dump(mode="json", exclude=set(without), exclude_defaults=not defaults)


def sides(size: str | None) -> tuple[int | None, int | None]:
    """Height and width of a ``WIDTHxHEIGHT``, None each where it is not given."""
    if size is None:
        return None, None
    if not re.fullmatch(_SIZE, size):
        raise SpikeflipError(f"size {size!r} is not WIDTHxHEIGHT: give two numbers, such as 128x128")
    width, height = size.split("x")
    return int(height), int(width)


def explain(error: ValidationError) -> str:
    """The first option that is wrong, its value and the rule, in one sentence."""
    first = error.errors()[0]
    if first["type"] == "value_error":
        return str(first["ctx"]["error"])
    option = "--" + "-".join(map(str, first["loc"])).replace("_", "-")
    if first["type"] == "missing":
        return f"{option} is missing: give it"
    if first["type"] == "string_pattern_mismatch":
        return f"{option} is {first['input']!r}: give {_FORMS[first['ctx']['pattern']]}"
    if first["type"] == "literal_error" and "'" in first["ctx"]["expected"]:
        known = re.findall(r"'([^']*)'", first["ctx"]["expected"])
        return f"{option} is {first['input']!r}: {choose_from(first['input'], known)}"
    return f"{option} is {first.get('input')!r}: {first['msg'][:1].lower()}{first['msg'][1:]}"


def names_code(place: object) -> bool:
    """Whether something is written as ``package.module:function``."""
    module, colon, path = str(place).partition(":")
    return bool(colon) and all(part.isidentifier() for part in (*module.split("."), *path.split(".")))


class DataConfig(_Config):
    """Where inputs come from."""

    data: str = Field(
        "digits", description="Data set (see 'list data'), or a folder of recordings with a sub-folder a class."
    )
    root: Path | None = Field(None, description="Folder with the data set's files; not needed for digits.")
    download: bool = Field(False, description="Download the data set into --root if it is not there.")
    simulate_events: bool = Field(
        False, description="Turn the images into simulated event recordings (saccades) instead of rate coding."
    )
    sensor: Size | None = Field(None, description="Sensor of recordings whose files do not say it: WIDTHxHEIGHT.")
    columns: str | None = Field(
        None, description="Columns of text recordings, such as x,y,p,t; a dash is one that is not read."
    )
    time_unit: Literal["s", "ms", "us", "ns"] | None = Field(
        None, description="Unit of the times of text recordings, .npz and .npy."
    )


class TrainConfig(DataConfig):
    """How a victim is trained."""

    network: str | None = Field(
        None, description="Preset (see 'list networks') or network string; chosen by the data when not given."
    )
    width: float = Field(1.0, gt=0, le=1000, description="Factor on the hidden layers' channels and features.")
    twin: bool = Field(
        False,
        description="Train the ReLU twin of the network instead: the same layers on images as they are, without time.",
    )
    coding: Literal["rate", "latency"] = Field(
        "rate", description="How images become spikes: at random by intensity, or once each, brightest first."
    )
    start: Path | None = Field(
        None,
        description="Begin with the weights of this victim of the same layers, or its twin; random if not given.",
    )
    twin_first: bool = Field(
        True,
        description="Colour images: train the ReLU twin first, with a recipe of its own, and begin with its weights.",
    )
    loss: Literal["mse", "ce"] = Field("mse", description="Training loss on the output rates, or a twin's logits.")
    mse_first: float | None = Field(
        None,
        ge=0,
        lt=1,
        description="Share of the updates that --loss ce begins with mse; 0.6 when not given, 0 for a twin.",
    )
    time_steps: int | None = Field(
        None, ge=1, le=MOST_STEPS, description="Time bins T; the paper's for the data when not given."
    )
    bins: Literal["time", "duration", "events"] = Field(
        "time",
        description="Recordings in bins of --time-bin from their start, in equal parts of their duration, or by "
        "equally many events.",
    )
    time_bin: float | None = Field(
        None, ge=0.001, le=1e9, description="Length of a time bin in ms; the paper's for the data when not given, or 5."
    )
    size: Size | None = Field(
        None, description="Recordings down-sampled to WIDTHxHEIGHT; the paper's for the data, or the sensor's."
    )
    updates: int | None = Field(None, ge=1, le=1 << 31, description=f"Optimiser steps; {_BY_RECIPE}.")
    batch_size: int | None = Field(None, ge=1, le=1 << 16, description=f"Samples an update; {_BY_RECIPE}.")
    learning_rate: float | None = Field(
        None,
        gt=0,
        le=100,
        description="Highest learning rate of Adam, one for all layers; --relative-rate instead when not given.",
    )
    relative_rate: float | None = Field(
        None,
        gt=0,
        lt=1,
        description=f"Highest learning rate as a share of each layer's weights; {_BY_RECIPE}.",
    )
    dropout: float | None = Field(
        None, ge=0, lt=1, description=f"Share of spikes dropped after a hidden weight layer; {_BY_RECIPE}."
    )
    widest_dropout: float | None = Field(
        None, ge=0, lt=1, description=f"The same after the widest convolution; {_BY_RECIPE}."
    )
    coding_steps: int | None = Field(
        None,
        ge=1,
        le=10_000,
        description=f"Most time steps that images are coded in while training; {_BY_RECIPE}.",
    )
    shift: int | None = Field(
        None, ge=0, le=1024, description=f"Augmentation: inputs are moved by up to so many cells; {_BY_RECIPE}."
    )
    initial_share: float | None = Field(
        None,
        ge=0,
        lt=0.5,
        description="Weights are first scaled until this share of each layer's potentials that receive input reaches "
        f"the threshold; 0: not at all; {_BY_RECIPE}.",
    )
    initial_rate: float | None = Field(
        None,
        ge=0,
        lt=1,
        description="The same for a share of all potentials, as earlier versions had it, instead of --initial-share.",
    )
    adversarial: float | None = Field(
        None,
        ge=0,
        le=1,
        description="Adversarial training: every update learns from images that were attacked within this distance of "
        "each pixel, which lies in [0, 1], such as 0.1; of recordings, simulated ones too, from those in which this "
        "share of the sample's own events was flipped, such as 0.02.",
    )
    adversarial_steps: int | None = Field(
        None, ge=1, le=1000, description="Steps of that attack in each update; 3 when not given."
    )
    adversarial_warm_up: float | None = Field(
        None,
        ge=0,
        le=1,
        description="Share of the updates over which the distance or share grows from 0; 0.3 when not given.",
    )
    orthogonality: float | None = Field(
        None,
        ge=0,
        lt=1,
        description="Regularisation: after every update each layer's weights move so far towards orthogonal ones, such "
        "as 0.01; 0 when not given.",
    )
    firing_threshold: float | None = Field(
        None, gt=0, le=1e6, description="Firing threshold of all neurons; that of the network's preset when not given."
    )
    validation: int | None = Field(
        None, ge=0, description="Training samples held out for validation; 200 of 5,000 and more when not given."
    )
    test_samples: int | None = Field(
        None, ge=1, description="Measure the accuracy on the first so many test inputs; on all when not given."
    )
    validate_every: int = Field(50, ge=1, description="Updates between validations and saved states.")
    micro_batch: int = Field(16, ge=1, le=1 << 16, description="Samples in memory at a time.")
    engine: Literal["auto", "torch", "event"] = Field(
        "auto", description="What runs the network: event skips zeros, on CPUs; auto takes it where it can."
    )
    device: str = Field("cpu", description="Where the victim is trained: cpu, cuda or cuda:N.")
    seed: int = Field(0, ge=0, lt=2**63, description="Seed of weights, batches, encodings and dropout.")


class CallingConfig(_Config):
    """How a model of the user's own is called and read, as for :func:`spikeflip.wrap`."""

    input_shape: Annotated[str, Field(pattern=_SHAPE)] | None = Field(
        None, description="Of one sample, without the batch: T,C,H,W or T,F; C,H,W with the layout static."
    )
    layout: Literal["TB", "BT", "steps", "steps+state", "flat-BT", "static", "T-last"] | None = Field(
        None, description="What the model takes; TB (time first) when not given."
    )
    output: str | None = Field(
        None, description="Part of what the model returns that holds the output: its place or its key."
    )
    readout: Literal["mean", "last", "max", "sum", "none"] | None = Field(
        None, description="From steps to scores; mean when not given."
    )
    time_steps: int | None = Field(
        None,
        ge=1,
        le=MOST_STEPS,
        description="Calls of the model with an image, where time is outside of it; with the layout static.",
    )
    neurons: list[str] | None = Field(
        None,
        description="Spiking layers of your own: CLASS=THRESHOLD,SPIKE_FUNCTION with names of attributes; or none, for "
        "a model in which no spiking layers can be found.",
    )
    penultimate: str | None = Field(None, description="Name of the penultimate spiking layer.")


class _PlaceConfig(_Config):
    victim: Path = Field(
        description="Folder that 'train' wrote; a victim that comes along (see 'list victims'); a NIR graph, FILE.nir; "
        "or PACKAGE.MODULE:FUNCTION, which returns a model and is run."
    )
    defence: list[str] | None = Field(
        None,
        description="In front of the victim: a name (see 'list defences'), with options as NAME:OPTION=VALUE, or "
        "PACKAGE.MODULE:CLASS, which is run; given more than once, the first is the innermost.",
    )


class VictimConfig(CallingConfig, _PlaceConfig):
    """Which victim, what defends it, and how it is called where it does not say that itself."""

    bins: Literal["time", "duration", "events"] | None = Field(
        None, description="How recordings become time bins, as for train, where the victim does not say it."
    )
    time_bin: float | None = Field(
        None, ge=0.001, le=1e9, description="Length of a time bin in ms, where the victim does not say it."
    )

    @field_validator("victim")
    @classmethod
    def _located(cls, given: Path) -> Path:
        return given if names_code(given) else located(given)

    @field_validator("defence", mode="before")
    @classmethod
    def _several(cls, given: Any) -> Any:
        """One may be given alone, and none as an empty list, as a sweep over defences does."""
        return ([given] if isinstance(given, str) else given) or None

    @property
    def is_code(self) -> bool:
        """Whether the victim is made by the user's code."""
        return names_code(self.victim) and not self.victim.exists()


class AttackConfig(DataConfig, VictimConfig):
    """What is attacked, and how; options of the attack are given beside the others, and kept in ``settings``."""

    input: Path | None = Field(
        None,
        description="Instead of --data: an event recording, or a folder of them, in sub-folders by class or not.",
    )
    label: int | str | None = Field(
        None,
        description="Class of the recordings of --input, by name or number from 0; what the victim says of them "
        "when not given.",
    )
    split: Literal["train", "test"] = Field("test", description="Which part of the data set.")
    attack: str = Field(
        "scg", description="Attack (see 'list attacks'); --attack NAME --help shows the options of that one too."
    )
    settings: dict[str, Any] = Field({}, description="Options of the attack that are given.")
    target: str = Field(
        "none",
        description="none: untargeted; all: every other class; next: label + 1; or a class, by name or number from 0.",
    )
    samples: int | None = Field(
        None, ge=1, le=1 << 31, description="Attack the first so many test inputs; all when not given."
    )
    per_class: int | None = Field(
        None,
        ge=1,
        description="Instead of --samples: the first so many correctly classified test inputs of each class.",
    )
    confidence: float | None = Field(
        None,
        gt=0,
        lt=1,
        description="Go on with an image until more than this share of its encodings is shown to fool, at a level of "
        "5 %; stop at the first success when not given.",
    )
    restarts: int = Field(
        1, ge=1, le=1000, description="How often an input may begin, each time with other random numbers."
    )
    reduce: bool | None = Field(
        None,
        description="Undo flips of every success until no single one can be undone; attacks that look for the fewest "
        "flips do so when it is not given.",
    )
    draws: int = Field(100, ge=1, le=1_000_000, description="Fresh encodings that verify each image.")
    trace: bool = Field(False, description="Also write trace.parquet: penultimate spikes and rule of every iteration.")
    micro_batch: int = Field(16, ge=1, le=1 << 16, description="Samples in memory at a time.")
    shard_size: int = Field(
        256, ge=1, description="Rows (inputs and targets) that are attacked, judged and saved together."
    )
    engine: Literal["auto", "torch", "event"] = Field(
        "auto",
        description="What runs the victim in the attack: event skips zeros, on CPUs; auto takes it where it can. "
        "Judging is always on torch.",
    )
    precision: Literal["float32", "bf16-gradient"] = Field(
        "float32",
        description="bf16-gradient sends gradients back in bfloat16, on torch: for GPUs and CPUs with AMX, slower on "
        "others. Scores and judging are always float32.",
    )
    surrogate: Literal["rectangular", "triangular", "sigmoid", "atan", "gaussian"] | None = Field(
        None,
        description="Derivative of the firing function in the attack's gradients; the victim's own when not given. All "
        "but the rectangular one run on torch.",
    )
    surrogate_width: float | None = Field(
        None, gt=0, description="Its full width at half maximum; that of the victim's own when not given."
    )
    device: str = Field("cpu", description="Where the victim runs: cpu, cuda or cuda:N.")
    seed: int = Field(0, ge=0, lt=2**63, description="Seed of all random streams.")

    @model_validator(mode="before")
    @classmethod
    def _sorted(cls, given: Any) -> Any:
        """What is no option of runs must be one of the attack; and inputs are chosen in one way."""
        if not isinstance(given, dict):
            return given
        if None not in (one := given.get("samples"), each := given.get("per_class")):
            raise SpikeflipError(f"--samples {one} and --per-class {each} exclude each other: give one")
        from spikeflip.interop import EVERY_ATTACK
        from spikeflip.runs.attack_options import options_model, refuse_surrogate, refuse_unknown

        attack = given.get("attack", "scg")
        if attack not in EVERY_ATTACK:
            raise SpikeflipError(f"--attack is {attack!r}: {choose_from(attack, EVERY_ATTACK)}")
        own = {name: value for name, value in given.items() if name in cls.model_fields}
        said = {name: value for name, value in given.items() if name not in own} | dict(own.pop("settings", {}))
        refuse_unknown(attack, said, cls.model_fields)
        refuse_surrogate(attack, own)
        checked = options_model(attack)(**said)
        return own | {"settings": {name: getattr(checked, name) for name in checked.model_fields_set}}

    def stored(self, *, without: Iterable[str] = (), defaults: bool = True) -> dict[str, Any]:
        """The options of the run and of the attack."""
        from spikeflip.runs.attack_options import options_model

        own = options_model(self.attack)(**self.settings).model_dump(mode="json", exclude_defaults=not defaults)
        without = {*without}
        own = {name: value for name, value in own.items() if name not in without}
        return super().stored(without={*without, "settings"}, defaults=defaults) | own


class Execution(_Config):
    """Where the shards of a run are attacked; no result depends on it."""

    executor: Literal["local", "ray"] = Field("local", description="local: on this machine; ray: on a Ray cluster.")
    workers: int | None = Field(
        None,
        ge=1,
        description="Shards at a time: processes that share the threads, 1 when not given; with ray, as many as the "
        "cluster has CPUs, or GPUs with --device cuda, when not given.",
    )
    address: str | None = Field(
        None, description="Ray cluster; RAY_ADDRESS, or a new one on this machine, when not given."
    )

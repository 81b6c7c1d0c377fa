"""What a NIR file of ours says beside its graph, as JSON: what NIR has no field for, and exact constants."""

import json
from dataclasses import dataclass
from math import isfinite
from typing import Any, get_args

from spikeflip.errors import SpikeflipError, choose_from
from spikeflip.snn.coding import Coding
from spikeflip.snn.network import SpikingNetwork
from spikeflip.snn.neuron import LIF
from spikeflip.snn.surrogate import SURROGATES, surrogate_name

KEY = "spikeflip"
"""Where a graph's metadata have it."""

_FORMAT = 1

DT = 1e-4
"""Seconds a step where neither the file nor the caller says it, as snnTorch and SpikingJelly have it."""


@dataclass(frozen=True)
class Metadata:
    """What a file of ours says beside its graph."""

    time_steps: int
    dt: float
    coding: Coding
    neuron: LIF


def write_metadata(network: SpikingNetwork, dt: float) -> str:
    """What :func:`read_metadata` reads, of a network with steps of dt seconds."""
    neuron = network.neuron
    said = {
        "format": _FORMAT,
        "time_steps": network.time_steps,
        "dt": dt,
        "coding": network.coding,
        "neuron": {
            "threshold": neuron.threshold,
            "decay": neuron.decay,
            "surrogate": surrogate_name(neuron.surrogate),
            "surrogate_width": neuron.surrogate.width,
        },
    }
    return json.dumps(said)


def read_metadata(text: str) -> Metadata:
    """What :func:`write_metadata` wrote.

    Raises:
        SpikeflipError: it is damaged, or of another version.
    """
    try:
        found = json.loads(text)
        neuron = found["neuron"]
        own = Metadata(
            time_steps=found["time_steps"],
            dt=float(found["dt"]),
            coding=choice("coding", found["coding"], Coding),
            neuron=LIF(
                float(neuron["threshold"]),
                float(neuron["decay"]),
                "hard",
                SURROGATES[neuron["surrogate"]](float(neuron["surrogate_width"])),
            ),
        )
        if found["format"] != _FORMAT:
            raise ValueError(f"format is {found['format']!r}, this version reads {_FORMAT}")
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        said = " ".join(str(error).split())[:200]
        raise SpikeflipError(f"its metadata {KEY!r} cannot be used ({said}): save the network again") from error
    return own


def check_dt(dt: float) -> None:
    """Raise a SpikeflipError if this is no duration of a step."""
    if not (isinstance(dt, int | float) and isfinite(dt) and dt > 0):
        raise SpikeflipError(f"dt is {dt}: give the seconds of one step, such as 1e-4")


def choice(name: str, value: Any, choices: Any) -> Any:
    """The value, if it is one of a literal type's; a SpikeflipError names those otherwise."""
    if value not in get_args(choices):
        raise SpikeflipError(f"{name} is {value!r}: {choose_from(value, get_args(choices))}")
    return value

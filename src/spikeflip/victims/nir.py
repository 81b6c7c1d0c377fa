"""Victims from graphs of the Neuromorphic Intermediate Representation, and spiking networks as such graphs.

Source: Pedersen et al., Neuromorphic Intermediate Representation: A Unified Instruction Set for Interoperable
Brain-Inspired Computing (2024).
"""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, fields
from itertools import pairwise
from math import isfinite, prod
from pathlib import Path
from typing import Any, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from spikeflip.errors import SpikeflipError
from spikeflip.snn.architecture import AvgPool, Conv, Shape
from spikeflip.snn.coding import Coding
from spikeflip.snn.network import SpikingNetwork
from spikeflip.snn.neuron import LIF
from spikeflip.snn.surrogate import SURROGATES, Rectangular, Surrogate, surrogate_name
from spikeflip.victims import nir_file
from spikeflip.victims.layouts import Readout, ReadoutFunction
from spikeflip.victims.nir_graph import FIRING, Flat, flatten, hold_delays, order
from spikeflip.victims.nir_module import NirModule
from spikeflip.victims.nir_neurons import NIR_NEURONS, Discretisation, Method, Reset, own_parameters
from spikeflip.victims.nir_shapes import infer, input_shape, parameter
from spikeflip.victims.wrap import wrap
from spikeflip.victims.wrapped import WrappedModel
from spikeflip.writing import replace_file

DT = 1e-4
"""Seconds a step where neither the file nor the caller says it, as snnTorch and SpikingJelly have it."""

_OWN = "spikeflip"
_FORMAT = 1
_MOST_STEPS = 10_000
# Of the example that a graph is looked at with, for one sample: steps times values, and the longest delay likewise.
_MOST_LOOKED_AT = 2**26


def load_nir(
    file: Path | str,
    *,
    dt: float | None = None,
    input_shape: Shape | None = None,
    time_steps: int | None = None,
    surrogate: Surrogate | None = None,
    method: Method = "euler",
    reset: Reset = "hard",
    readout: Readout | ReadoutFunction = "mean",
    penultimate: str | None = None,
    example: Tensor | None = None,
) -> WrappedModel:
    """A victim from a graph of the Neuromorphic Intermediate Representation, as frameworks export it.

    A graph says nothing of time steps, surrogates and how the scores are read: what no file of
    :func:`spikeflip.save_nir` says, the caller must. docs/nir.md has the equations and where frameworks differ.

    Args:
        file: an HDF5 file, written by ``nir.write``.
        dt: seconds a step; the file's, or 1e-4 if it does not say.
        input_shape: of one time step, without samples and time, where the file's Input node has them too; the
            example's if not given, else the file's.
        time_steps: T, the window over which images are coded; the file's if not given, else the example's. Spike
            inputs may have any T.
        surrogate: the derivative of all firing functions, in units of the membrane potential.
        method: how a time constant becomes a decay: ``"euler"``, ``1 - dt / tau``; ``"exponential"``,
            ``exp(-dt / tau)``.
        reset: ``"hard"``, to ``v_reset``, or 0 where the file has none; ``"soft"``, by ``v_threshold``.
        readout: from the output's steps to scores: ``"mean"``, ``"last"``, ``"max"``, ``"sum"`` or a function.
        penultimate: name of the penultimate spiking layer; the last that runs before the last weights if not given.
        example: spikes ``(N, T, *input)`` to look at the graph with; random ones if not given.

    Returns:
        A :class:`spikeflip.victims.Victim` with the same methods as those of :func:`spikeflip.victims.wrap`.

    Raises:
        SpikeflipError: the file is no NIR graph, it has a node that is not supported, something that it does not say
            is missing, or the graph cannot be attacked.
    """
    file = Path(file)
    try:
        return _load(
            file,
            _Asked(dt, input_shape, time_steps, surrogate, example),
            _choice("method", method, Method),
            _choice("reset", reset, Reset),
            readout,
            penultimate,
        )
    except SpikeflipError as error:
        raise SpikeflipError(f"{file} cannot be attacked: {error}") from error


def save_nir(network: SpikingNetwork, file: Path | str, *, dt: float = DT) -> None:
    """Write a spiking network as a graph of the Neuromorphic Intermediate Representation.

    Its neurons become ``LIF`` nodes with ``tau = dt / (1 - decay)`` and ``r = tau / dt``, or ``IF`` nodes where nothing
    decays. Time steps, dt, coding, surrogate and the exact constants go into the graph's metadata, so that
    :func:`load_nir` gives a victim with the same scores.

    Args:
        network: with hard reset, the only one that the representation has.
        file: to write; it appears whole or not at all.
        dt: seconds that a step stands for.

    Raises:
        SpikeflipError: the network cannot be written as such a graph, or the file cannot be written.
    """
    if not isinstance(network, SpikingNetwork):
        raise SpikeflipError(f"only a SpikingNetwork can be saved as NIR, not a {type(network).__name__}: give one")
    if network.neuron.reset != "hard":
        raise SpikeflipError(
            f"the network's reset is {network.neuron.reset!r}, which NIR has not: use hard reset, or save_checkpoint"
        )
    _check_dt(dt)
    nir = _package()
    file = Path(file)
    partial = file.with_name(f".{file.name}.{os.getpid()}.partial")
    try:
        nir.write(partial, _graph(nir, network, dt))
        replace_file(partial, file)
    except OSError as error:
        said = error.strerror or " ".join(str(error).split())[:200]
        raise SpikeflipError(f"{file} cannot be written ({said}): give another place") from error
    finally:
        partial.unlink(missing_ok=True)


@dataclass(frozen=True)
class _Asked:
    """What the caller says of a graph."""

    dt: float | None
    input_shape: Shape | None
    time_steps: int | None
    surrogate: Surrogate | None
    example: Tensor | None


@dataclass(frozen=True)
class _Own:
    """What a file of ours says beside its graph."""

    time_steps: int
    dt: float
    coding: Coding
    neuron: LIF


def _load(
    file: Path,
    asked: _Asked,
    method: Method,
    reset: Reset,
    readout: Readout | ReadoutFunction,
    penultimate: str | None,
) -> WrappedModel:
    graph, text = nir_file.read(file, _OWN)
    own = None if text is None else _read_own(text)
    steps = _steps(asked, own)
    flat = flatten(graph)
    surrogate = asked.surrogate or (own.neuron.surrogate if own else None)
    fires = any(node.kind in FIRING for node in flat.nodes.values())
    if surrogate is None and fires:
        raise SpikeflipError("the file does not say surrogate: pass surrogate=, such as spikeflip.Rectangular(1.0)")
    dt = asked.dt if asked.dt is not None else own.dt if own else DT
    _check_dt(dt)
    how = Discretisation(dt, method, reset, surrogate or Rectangular(), own.neuron if own else None)
    shape = _shape(flat, asked)
    shapes = infer(flat, shape)
    _check_output(flat, shapes[flat.output], exact=asked.input_shape is None and asked.example is None)
    flat, delays = hold_delays(flat, _delays(flat, shapes, dt))
    shapes = infer(flat, shape)
    groups = order(flat)
    model = NirModule(flat, groups, shapes, delays, how)
    example = _example(shape, steps, sum(map(prod, shapes.values()))) if asked.example is None else asked.example
    victim = wrap(
        model,
        example,
        readout=readout,
        neurons=[NIR_NEURONS],
        penultimate=penultimate,
        surrogate=surrogate if fires else None,
    )
    victim.time_steps = steps
    victim.coding = own.coding if own else "rate"
    return victim


def _steps(asked: _Asked, own: _Own | None) -> int:
    steps = asked.time_steps
    if steps is None and own is not None:
        steps = own.time_steps
    if steps is None and asked.example is not None and asked.example.ndim > 1:
        steps = asked.example.shape[1]
    if steps is None:
        raise SpikeflipError("the file does not say time_steps: pass time_steps=, over which images are coded")
    if not isinstance(steps, int) or not 1 <= steps <= _MOST_STEPS:
        raise SpikeflipError(f"time_steps is {steps}: give a whole number from 1 to {_MOST_STEPS:,}")
    return steps


def _check_dt(dt: float) -> None:
    if not (isinstance(dt, int | float) and isfinite(dt) and dt > 0):
        raise SpikeflipError(f"dt is {dt}: give the seconds of one step, such as 1e-4")


def _choice(name: str, value: Any, choices: Any) -> Any:
    if value not in get_args(choices):
        raise SpikeflipError(f"{name} is {value!r}: choose from {', '.join(get_args(choices))}")
    return value


def _shape(flat: Flat, asked: _Asked) -> Shape:
    shape = asked.input_shape
    if shape is None and asked.example is not None:
        shape = tuple(asked.example.shape[2:])
    if shape is None:
        shape = input_shape(flat.nodes[flat.input])
    shape = tuple(int(size) for size in shape)
    if not shape or min(shape) < 1:
        raise SpikeflipError(f"the input shape is {shape}: pass input_shape=, sizes of at least 1, such as (1, 28, 28)")
    if asked.example is not None and tuple(asked.example.shape[2:]) != shape:
        raise SpikeflipError(f"the example is {tuple(asked.example.shape)}: give spikes (N, T, *{shape})")
    return shape


def _check_output(flat: Flat, shape: Shape, *, exact: bool) -> None:
    node = flat.nodes[flat.output]
    if len(shape) != 1 or shape[0] < 2:
        raise SpikeflipError(f"{node.said} is given {shape}, but scores are (K,) of at least 2 classes: flatten them")
    if exact and prod(said := input_shape(node)) != prod(shape):
        raise SpikeflipError(
            f"{node.said} says {said} and is given {shape}: check the file, or pass input_shape= to ignore it"
        )


def _delays(flat: Flat, shapes: Mapping[str, Shape], dt: float) -> dict[str, NDArray[np.int64]]:
    """The steps of every Delay node."""
    delays = {}
    kept = 0
    for path, node in flat.nodes.items():
        if node.kind != "Delay":
            continue
        exact = parameter(node, "delay", shapes[path]) / dt
        steps = np.rint(exact)
        if bool((np.abs(exact - steps) > 1e-3).any() or (steps < 0).any()):
            raise SpikeflipError(f"{node.said} is no whole number of steps of dt = {dt:g} s: pass another dt=")
        kept += int(steps.max()) * prod(shapes[path])
        if kept > _MOST_LOOKED_AT:
            raise SpikeflipError(f"{node.said} waits for {steps.max():.0f} steps: pass a longer dt=, or shorten it")
        delays[path] = steps.astype(np.int64)
    return delays


def _example(shape: Shape, steps: int, values: int) -> Tensor:
    """Three samples of random spikes, with fewer steps where the graph is large."""
    steps = min(steps, max(2, _MOST_LOOKED_AT // values))
    return (torch.rand((3, steps, *shape), generator=torch.Generator().manual_seed(0)) < 0.5).float()


def _read_own(text: str) -> _Own:
    try:
        found = json.loads(text)
        neuron = found["neuron"]
        own = _Own(
            time_steps=found["time_steps"],
            dt=float(found["dt"]),
            coding=_choice("coding", found["coding"], Coding),
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
        raise SpikeflipError(f"its metadata {_OWN!r} cannot be used ({said}): save the network again") from error
    return own


def _package() -> Any:
    try:
        import nir
    except ImportError as error:
        raise SpikeflipError("writing NIR files needs the package nir: pip install 'spikeflip[nir]'") from error
    return nir


def _graph(nir: Any, network: SpikingNetwork, dt: float) -> Any:
    """The nodes of a network, one after the other."""
    nodes = {"input": nir.Input(input_type=np.array(network.input_shape))}
    weights = network.weights_by_layer()
    for i, (layer, weight, shape) in enumerate(zip(network.layers, weights, network.shapes[1:], strict=True), 1):
        before = network.shapes[i - 1]
        if isinstance(layer, AvgPool):
            size = np.array([layer.size, layer.size])
            nodes[f"pool{i}"] = nir.AvgPool2d(kernel_size=size, stride=size, padding=np.array([0, 0]))
        elif weight is None:
            raise TypeError(f"{layer} has no weight")
        elif isinstance(layer, Conv):
            nodes[f"conv{i}"] = nir.Conv2d(
                input_shape=before[1:],
                weight=_array(weight),
                stride=(1, 1),
                padding=(layer.kernel // 2, layer.kernel // 2),
                dilation=(1, 1),
                groups=1,
                bias=np.zeros(layer.channels, np.float32),
            )
        else:
            if len(before) > 1:
                flat = {"input": np.array(before)}
                nodes[f"flatten{i}"] = nir.Flatten(input_type=flat, start_dim=0, end_dim=-1)
            nodes[f"linear{i}"] = nir.Linear(weight=_array(weight))
        nodes[f"lif{i}"] = _neuron(nir, network.neuron, shape, dt)
    nodes["output"] = nir.Output(output_type=np.array(network.shapes[-1]))
    names = list(nodes)
    return nir.NIRGraph(nodes, list(pairwise(names)), metadata={_OWN: _facts(network, dt)})


def _neuron(nir: Any, neuron: LIF, shape: Shape, dt: float) -> Any:
    values = own_parameters(neuron, dt)
    kind = nir.LIF if "tau" in values else nir.IF
    known = {field.name for field in fields(kind)}  # nir before 1.0.5 resets to zero and has no field for it
    return kind(**{field: np.full(shape, value) for field, value in values.items() if field in known})


def _facts(network: SpikingNetwork, dt: float) -> str:
    neuron = network.neuron
    facts = {
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
    return json.dumps(facts)


def _array(weight: Tensor) -> NDArray[np.float32]:
    return np.ascontiguousarray(weight.detach().cpu().float().numpy())

"""Victims from graphs of the Neuromorphic Intermediate Representation."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from spikeflip.errors import SpikeflipError
from spikeflip.limits import MOST_STEPS
from spikeflip.snn.architecture import Shape
from spikeflip.snn.surrogate import Rectangular, Surrogate
from spikeflip.victims.layouts import Readout, ReadoutFunction
from spikeflip.victims.nir.file import read
from spikeflip.victims.nir.graph import FIRING, Flat, flatten, hold_delays, order
from spikeflip.victims.nir.metadata import DT, KEY, Metadata, check_dt, choice, read_metadata
from spikeflip.victims.nir.module import NirModule
from spikeflip.victims.nir.neurons import NIR_NEURONS, Discretisation, Method, Reset
from spikeflip.victims.nir.shapes import infer, input_shape, parameter
from spikeflip.victims.wrap import wrap
from spikeflip.victims.wrapped import WrappedModel

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
            choice("method", method, Method),
            choice("reset", reset, Reset),
            readout,
            penultimate,
        )
    except SpikeflipError as error:
        raise SpikeflipError(f"{file} cannot be attacked: {error}") from error


@dataclass(frozen=True)
class _Asked:
    """What the caller says of a graph."""

    dt: float | None
    input_shape: Shape | None
    time_steps: int | None
    surrogate: Surrogate | None
    example: Tensor | None


def _load(
    file: Path,
    asked: _Asked,
    method: Method,
    reset: Reset,
    readout: Readout | ReadoutFunction,
    penultimate: str | None,
) -> WrappedModel:
    graph, text = read(file, KEY)
    own = None if text is None else read_metadata(text)
    steps = _steps(asked, own)
    flat = flatten(graph)
    surrogate = asked.surrogate or (own.neuron.surrogate if own else None)
    fires = any(node.kind in FIRING for node in flat.nodes.values())
    if surrogate is None and fires:
        raise SpikeflipError("the file does not say surrogate: pass surrogate=, such as spikeflip.Rectangular(1.0)")
    dt = asked.dt if asked.dt is not None else own.dt if own else DT
    check_dt(dt)
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


def _steps(asked: _Asked, own: Metadata | None) -> int:
    steps = asked.time_steps
    if steps is None and own is not None:
        steps = own.time_steps
    if steps is None and asked.example is not None and asked.example.ndim > 1:
        steps = asked.example.shape[1]
    if steps is None:
        raise SpikeflipError("the file does not say time_steps: pass time_steps=, over which images are coded")
    if not isinstance(steps, int) or not 1 <= steps <= MOST_STEPS:
        raise SpikeflipError(f"time_steps is {steps}: give a whole number from 1 to {MOST_STEPS:,}")
    return steps


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

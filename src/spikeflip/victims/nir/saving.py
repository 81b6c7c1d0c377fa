"""Spiking networks as graphs of the Neuromorphic Intermediate Representation."""

from dataclasses import fields
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from spikeflip.errors import SpikeflipError
from spikeflip.snn.architecture import AvgPool, Conv, Shape
from spikeflip.snn.network import SpikingNetwork
from spikeflip.snn.neuron import LIF
from spikeflip.victims.nir.metadata import DT, KEY, check_dt, write_metadata
from spikeflip.victims.nir.neurons import own_parameters
from spikeflip.writing import whole_path


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
    check_dt(dt)
    nir = _package()
    file = Path(file)
    try:
        with whole_path(file) as partial:
            nir.write(partial, _graph(nir, network, dt))
    except OSError as error:
        said = error.strerror or " ".join(str(error).split())[:200]
        raise SpikeflipError(f"{file} cannot be written ({said}): give another place") from error


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
    return nir.NIRGraph(nodes, list(pairwise(names)), metadata={KEY: write_metadata(network, dt)})


def _neuron(nir: Any, neuron: LIF, shape: Shape, dt: float) -> Any:
    values = own_parameters(neuron, dt)
    kind = nir.LIF if "tau" in values else nir.IF
    known = {field.name for field in fields(kind)}  # nir before 1.0.5 resets to zero and has no field for it
    return kind(**{field: np.full(shape, value) for field, value in values.items() if field in known})


def _array(weight: Tensor) -> NDArray[np.float32]:
    return np.ascontiguousarray(weight.detach().cpu().float().numpy())

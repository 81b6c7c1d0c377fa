"""Graphs of the NIR, and the files that hold them, for tests."""

from itertools import pairwise

import numpy as np
import pytest
import torch

from spikeflip import LIF, Rectangular, SpikingNetwork
from spikeflip.victims import load_nir

nir = pytest.importorskip("nir", reason="the package nir is not installed")
h5py = pytest.importorskip("h5py", reason="the package h5py is not installed")


SURROGATE = Rectangular(1.0)
DT = 1e-4


def spikes(*shape, seed=0, density=0.5):
    return (torch.rand(shape, generator=torch.Generator().manual_seed(seed)) < density).float()


def numbers(*shape, seed=0, low=-0.4, high=0.6):
    return np.random.default_rng(seed).uniform(low, high, shape).astype(np.float32)


def full(n, value):
    return np.full(n, value, np.float32)


def graph(nodes, edges, inside=False):
    checked = {"type_check": False} if hasattr(nir.NIRGraph, "validate_structure") else {}  # nir 1.0.6 and later
    return nir.NIRGraph(nodes, edges, **checked)


def chain(*nodes, shape=(6,), out=(3,)):
    named = {"input": nir.Input(np.array(shape))} | {f"n{i}": node for i, node in enumerate(nodes)}
    named["output"] = nir.Output(np.array(out))
    names = list(named)
    return graph(named, list(pairwise(names)))


def write(tmp_path, what):
    nir.write(tmp_path / "graph.nir", what)
    return tmp_path / "graph.nir"


def load(tmp_path, what, **options):
    return load_nir(write(tmp_path, what), **{"time_steps": 7, "surrogate": SURROGATE, **options})


def make(kind, **values):
    """A node of any version of nir; those without v_reset reset to zero."""
    if "v_reset" in values and "v_reset" not in kind.__dataclass_fields__:
        pytest.skip(f"nir {nir.__version__} has no v_reset")
    return kind(**values)


def network(architecture="6C3-AP2-4C3-AP3-12FC-5FC", shape=(2, 15, 17), gain=2.5, **neuron):
    own = SpikingNetwork(
        architecture, shape, time_steps=6, neuron=LIF(**{"threshold": 0.3, "decay": 0.3, **neuron}), seed=1
    )
    with torch.no_grad():
        for weight in own.weights:
            weight.mul_(gain)
    return own


def lif_of(*shape):
    return nir.LIF(tau=full(shape, 2 * DT), r=full(shape, 2), v_leak=full(shape, 0), v_threshold=full(shape, 0.3))


def recurrent_nodes():
    return {
        "input": nir.Input(np.array([6])),
        "in": nir.Linear(numbers(4, 6)),
        "lif": lif_of(4),
        "back": nir.Affine(numbers(4, 4, seed=1), numbers(4, seed=2)),
        "out": nir.Linear(numbers(3, 4, seed=3)),
        "last": lif_of(3),
        "output": nir.Output(np.array([3])),
    }


RECURRENT = [
    ("input", "in"), ("in", "lif"), ("lif", "back"), ("back", "lif"), ("lif", "out"), ("out", "last"),
    ("last", "output"),
]  # fmt: skip

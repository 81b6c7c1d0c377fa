"""Parts of NIR graphs that need neither the package nor a file."""

import numpy as np
import pytest
import torch
from equations import spikes

from spikeflip import Rectangular, SpikeflipError
from spikeflip.victims import doctor, wrap
from spikeflip.victims.nir.graph import Graph, Node, flatten, order
from spikeflip.victims.nir.module import NirModule
from spikeflip.victims.nir.neurons import NIR_NEURONS, Discretisation
from spikeflip.victims.nir.shapes import infer

CHAIN = [("input", "in"), ("in", "one"), ("one", "out"), ("out", "two"), ("two", "output")]
DT = 1e-4


def weight(*shape, seed):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).numpy()


def graph(*more):
    lif = {"tau": 2 * DT, "r": 2.0, "v_leak": 0.0, "v_threshold": 0.3}
    lif = {field: np.array(value) for field, value in lif.items()}
    nodes = [
        Node("input", "Input", {"shape": np.array([20])}),
        Node("in", "Linear", {"weight": weight(16, 20, seed=0)}),
        Node("one", "LIF", lif),
        Node("out", "Linear", {"weight": weight(5, 16, seed=1)}),
        Node("two", "LIF", lif),
        Node("output", "Output", {"shape": np.array([5])}),
    ]
    return Graph("", {node.path: node for node in nodes}, [*CHAIN, *more])


def module():
    flat = flatten(graph())
    how = Discretisation(DT, "euler", "hard", Rectangular(1.0))
    return NirModule(flat, order(flat), infer(flat, (20,)), {}, how)


def test_the_doctor_finds_no_fault_in_their_neurons():
    """They move their thresholds by themselves, and not through the function that other neurons have for it."""
    example = spikes(4, 6, 20)
    for found in (
        doctor(wrap(module(), example, neurons=[NIR_NEURONS]), example),
        doctor(module(), example, neurons=[NIR_NEURONS]),
    ):
        assert found.attackable
        assert [verdict for verdict in found.verdicts if not verdict] == []
        assert "thresholds and surrogates of 2 layers are reached: 'one', 'two'" in str(found)


@pytest.mark.parametrize("node", ["in", "two", "input"])
def test_an_edge_into_the_input(node):
    with pytest.raises(SpikeflipError, match=rf"node '{node}' .* has an edge into node 'input' \(Input\): remove it"):
        flatten(graph((node, "input")))

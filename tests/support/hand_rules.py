"""A victim that is read off its input, and rules made by hand for the loop of the attacks."""

import torch

from spikeflip import LIF, Rectangular, SpikingNetwork
from spikeflip.attacks import loop
from spikeflip.attacks.result import Trace

T = 2


def reader(classes=2, **options):
    """Class k fires exactly when cell k does, of ``T`` time steps; the window lets every gradient through."""
    neuron = LIF(0.5, 0.0, "hard", Rectangular(4.0))
    network = SpikingNetwork(f"{classes}FC", (classes,), time_steps=T, neuron=neuron, **options)
    with torch.no_grad():
        network.weights[0].copy_(torch.eye(classes))
    return network


def lit(*cells, classes=2):
    """Spikes in which cell k fires as often as ``cells`` say, one input each."""
    spikes = torch.zeros(len(cells), T, classes)
    for n, (k, times) in enumerate(cells):
        spikes[n, :times, k] = 1
    return spikes


def move(step, inputs, mover=Trace.SEARCH, **known):
    return loop.Move(inputs, torch.full((len(step.inputs),), mover, dtype=torch.int8), **known)


def run(rule, inputs, labels, targets=None, network=None, **options):
    network = reader(inputs.shape[-1]) if network is None else network
    labels, targets = torch.tensor(labels), None if targets is None else torch.tensor(targets)
    return loop.run(network, inputs, labels, targets, rule, **{"steps": 4} | options)

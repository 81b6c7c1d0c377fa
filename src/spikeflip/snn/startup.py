"""Weights with which every layer fires before training begins.

Weights drawn for a fan-in know neither the threshold nor how sparse the inputs are: recordings leave deep layers
silent, and a silent network does not learn. Here the weights of each layer, from the first to the last, are scaled by
one factor so that a given share of the potentials, as they are without reset, reaches the threshold.

The idea is that of fluctuation-driven initialisation (Rossbroich, Gygax and Zenke, Fluctuation-driven initialization
for spiking neural network training, Neuromorphic Computing and Engineering, 2022): the threshold lies a given number of
standard deviations above the mean of the potential. It differs in that the potentials are measured on training inputs,
layer by layer (as in Mishkin and Matas, All you need is a good init, ICLR 2016), so that pooling, sparse inputs and any
threshold and decay are taken into account.
"""

from dataclasses import replace

import torch
from torch import Tensor

from spikeflip.errors import SpikeflipError
from spikeflip.snn.architecture import AvgPool
from spikeflip.snn.firing import layer_name
from spikeflip.snn.network import SpikingNetwork
from spikeflip.snn.neuron import integrate

# A pooling layer has no weights: where it fires less than this share as often as the layer below, that one is scaled to
# fire more. With the paper's neurons, whose threshold two of four inputs reach, it fires more often than that layer.
_PASSED_ON = 0.25
# A potential at the threshold itself may be rounded to below it.
_RAISED = 1 + 1e-5
# Half of the potentials are negative, whatever the weights are multiplied by.
_MOST = 0.4


@torch.no_grad()
def scale_weights(network: SpikingNetwork, spikes: Tensor, share: float, *, of_stimulated: bool = True) -> None:
    """Scale each layer's weights until ``share`` of its potentials, without reset, reach the threshold.

    Args:
        network: its weights are changed in place.
        spikes: ``(N, T, *input)`` of 0 and 1, what the potentials are measured on; all in memory at a time.
        share: in (0, 1).
        of_stimulated: count the potentials that are not zero alone. Most potentials of sparse recordings are, and a
            share of all of them would make every single event fire.

    Raises:
        SpikeflipError: a layer stays silent however its weights are scaled; only with ``of_stimulated``.
    """
    spikes = spikes.to(network.device)
    for i, weight in enumerate(network.weights_by_layer()):
        current = network.engine.current(i, spikes)
        if weight is not None:
            free, _ = integrate(current, replace(network.neuron, reset="none"))
            factor = _factor(network, i, current, free, share, of_stimulated)
            weight.mul_(factor)
            current.mul_(factor)
        _, spikes = integrate(current, network.neuron)
        if of_stimulated and not bool(spikes.any()):
            raise SpikeflipError(_why_silent(network, i, current))


@torch.no_grad()
def revive_outputs(network: SpikingNetwork, spikes: Tensor, dead: Tensor, rows: Tensor, share: float) -> None:
    """Give output neurons new weights, scaled until ``share`` of their potentials reach the threshold.

    Args:
        network: its output layer is changed in place.
        spikes: ``(N, T, *input)`` of 0 and 1, what the potentials are measured on; all in memory at a time.
        dead: ``(K,)`` bool, which neurons.
        rows: ``(K, F)``, the new weights before they are scaled.
        share: in (0, 1), of the potentials of each neuron that receive input.
    """
    last, spikes = len(network.layers) - 1, spikes.to(network.device)
    for i in range(last):
        _, spikes = integrate(network.engine.current(i, spikes), network.neuron)
    weight = network.weights_by_layer()[last]
    assert weight is not None
    weight[dead] = rows[dead]
    free, _ = integrate(network.engine.current(last, spikes), replace(network.neuron, reset="none"))
    for k in dead.nonzero().flatten().tolist():
        reached = _quantile(free[..., k][free[..., k] != 0], share)
        weight[k] *= _RAISED * network.neuron.threshold / reached if reached > 0 else 1.0


def _factor(network: SpikingNetwork, i: int, current: Tensor, free: Tensor, share: float, of_stimulated: bool) -> float:
    """What the weights of layer i are multiplied by; more than ``share`` asks for where pooling would fall silent."""
    potentials = free[free != 0] if of_stimulated else free.flatten()
    factor = 1.0
    while (reached := _quantile(potentials, share)) > 0:
        factor = _RAISED * network.neuron.threshold / reached
        if share >= _MOST or not of_stimulated or _passed_on(network, i, current * factor):
            break
        share = min(2 * share, _MOST)
    return factor


def _passed_on(network: SpikingNetwork, i: int, current: Tensor) -> bool:
    """Whether a pooling layer after layer i, if there is one, fires when that layer has this current."""
    if i + 1 == len(network.layers) or not isinstance(network.layers[i + 1], AvgPool):
        return True
    _, below = integrate(current, network.neuron)
    _, above = integrate(network.engine.current(i + 1, below), network.neuron)
    return bool(above.mean() >= _PASSED_ON * below.mean())


def _quantile(values: Tensor, share: float) -> float:
    """The value that ``share`` of all reach, at least one of them; 0 where there are none."""
    if not len(values):
        return 0.0
    return float(values.kthvalue(len(values) + 1 - max(1, round(share * len(values)))).values)


def _why_silent(network: SpikingNetwork, i: int, current: Tensor) -> str:
    name, threshold = layer_name(network, i), network.neuron.threshold
    if not bool(current.any()):
        what = (
            "no spike reaches it: see that the inputs have events inside their bins"
            if i == 0
            else "no spike reaches it"
        )
        return f"layer {name} is silent before training: {what}"
    free, _ = integrate(current, replace(network.neuron, reset="none"))
    highest = float(free.max())
    if isinstance(network.layers[i], AvgPool):
        return (
            f"layer {name} is silent before training: it averages spikes, its potential rises to {highest:.2g} at most "
            f"and the firing threshold is {threshold:g}: give a lower --firing-threshold, more --time-steps or smaller "
            "pooling"
        )
    return (
        f"layer {name} is silent before training: its potential rises to {highest:.2g} at most, however its weights "
        "are scaled: give another --seed or a wider network with --width"
    )

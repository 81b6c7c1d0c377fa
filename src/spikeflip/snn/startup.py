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

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial

import torch
from torch import Tensor

from spikeflip.errors import SpikeflipError
from spikeflip.limits import MOST_CELLS
from spikeflip.snn.architecture import AvgPool
from spikeflip.snn.firing import layer_name
from spikeflip.snn.network import SpikingNetwork
from spikeflip.snn.neuron import integrate
from spikeflip.snn.validation import at_a_time

# A pooling layer has no weights: where it fires less than this share as often as the layer below, that one is scaled to
# fire more. With the paper's neurons, whose threshold two of four inputs reach, it fires more often than that layer.
_PASSED_ON = 0.25
# A potential at the threshold itself may be rounded to below it.
_RAISED = 1 + 1e-5
# Half of the potentials are negative, whatever the weights are multiplied by.
_MOST = 0.4


@torch.no_grad()
def scale_weights(
    network: SpikingNetwork, spikes: Tensor, share: float, *, of_stimulated: bool = True, micro_batch: int = 16
) -> None:
    """Scale each layer's weights until ``share`` of its potentials, without reset, reach the threshold.

    Args:
        network: its weights, in float32, are changed in place.
        spikes: ``(N, T, *input)`` of 0 and 1, what the potentials are measured on.
        share: in (0, 1).
        of_stimulated: count the potentials that are not zero alone. Most potentials of sparse recordings are, and a
            share of all of them would make every single event fire.
        micro_batch: samples that run at a time; the weights do not depend on it.

    Raises:
        SpikeflipError: a layer stays silent however its weights are scaled; only with ``of_stimulated``.
    """
    measured = _Measured(network, spikes, at_a_time(network, spikes, micro_batch))
    for i, weight in enumerate(network.weights_by_layer()):
        factor = 1.0 if weight is None else _factor(measured, i, share, of_stimulated)
        if not measured.scaled(factor) and of_stimulated:
            raise SpikeflipError(_why_silent(measured, i))
    for weight, factor in zip(network.weights_by_layer(), measured.factors, strict=True):
        if weight is not None:
            weight.mul_(factor)


@torch.no_grad()
def revive_outputs(
    network: SpikingNetwork, spikes: Tensor, dead: Tensor, rows: Tensor, share: float, *, micro_batch: int = 16
) -> None:
    """Give output neurons new weights, scaled until ``share`` of their potentials reach the threshold.

    Args:
        network: its output layer is changed in place.
        spikes: ``(N, T, *input)`` of 0 and 1, what the potentials are measured on.
        dead: ``(K,)`` bool, which neurons.
        rows: ``(K, F)``, the new weights before they are scaled.
        share: in (0, 1), of the potentials of each neuron that receive input.
        micro_batch: samples that run at a time.
    """
    last = len(network.layers) - 1
    weight = network.weights_by_layer()[last]
    assert weight is not None
    weight[dead] = rows[dead]
    measured = _Measured(network, spikes, at_a_time(network, spikes, micro_batch), [1.0] * last)
    free = torch.cat([potentials[..., dead] for potentials in measured.potentials(last)])
    for k, own in zip(dead.nonzero().flatten().tolist(), free.unbind(-1), strict=True):

        def alone(own: Tensor = own) -> list[Tensor]:
            return [own]

        reached = _reached(alone, share, of_stimulated=True)
        weight[k] *= _RAISED * network.neuron.threshold / reached if reached > 0 else 1.0


@dataclass
class _Measured:
    """What the layers of a network do with some inputs, a few of them at a time.

    The spikes below a layer are kept, a byte each, where they fit in 48 MB. Else they are made again from those of a
    lower layer, or the inputs, whenever they are asked for; that is little beside the training that follows.
    """

    network: SpikingNetwork
    kept: Tensor
    """``(N, T, ...)``, the input of layer ``start``."""
    micro_batch: int
    factors: list[float] = field(default_factory=list)
    """Of the layers so far, which are on their currents: weights stay as they are until all are known."""
    start: int = 0

    def currents(self, i: int) -> Iterator[Tensor]:
        """The weighted input of layer i, not scaled, ``(n, T, *layer)`` of some inputs after the others."""
        engine, neuron = self.network.engine, self.network.neuron
        for part in self.kept.split(self.micro_batch):
            below = part.to(self.network.device, torch.float32)
            for j in range(self.start, i):
                _, below = integrate(engine.current(j, below).mul_(self.factors[j]), neuron)
            yield engine.current(i, below)

    def potentials(self, i: int) -> Iterator[Tensor]:
        """The potentials of layer i without reset, not scaled."""
        free = replace(self.network.neuron, reset="none")
        return (integrate(current, free)[0] for current in self.currents(i))

    def scaled(self, factor: float) -> bool:
        """Note the factor of the next layer; returns whether it fires then."""
        i, fires, parts = len(self.factors), False, list[Tensor]()
        fits = math.prod((*self.kept.shape[:2], *self.network.shapes[i + 1])) <= MOST_CELLS
        for current in self.currents(i):
            _, spikes = integrate(current.mul_(factor), self.network.neuron)
            fires = fires or bool(spikes.any())
            parts += [spikes.to(torch.uint8)] if fits else []
        self.factors.append(factor)
        if fits and fires:
            self.kept, self.start = torch.cat(parts), i + 1
        return fires


def _factor(measured: _Measured, i: int, share: float, of_stimulated: bool) -> float:
    """What the weights of layer i are multiplied by; more than ``share`` asks for where pooling would fall silent."""
    factor = 1.0
    while (reached := _reached(partial(measured.potentials, i), share, of_stimulated=of_stimulated)) > 0:
        factor = _RAISED * measured.network.neuron.threshold / reached
        if share >= _MOST or not of_stimulated or _passed_on(measured, i, factor):
            break
        share = min(2 * share, _MOST)
    return factor


def _passed_on(measured: _Measured, i: int, factor: float) -> bool:
    """Whether a pooling layer after layer i, if there is one, fires when that layer has this factor."""
    network = measured.network
    if i + 1 == len(network.layers) or not isinstance(network.layers[i + 1], AvgPool):
        return True
    rates = torch.zeros(2, dtype=torch.float64)  # added up over the inputs
    for current in measured.currents(i):
        _, below = integrate(current.mul_(factor), network.neuron)
        _, above = integrate(network.engine.current(i + 1, below), network.neuron)
        rates += torch.tensor([len(fired) * float(fired.mean(dtype=torch.float64)) for fired in (below, above)])
    return bool(rates[1] >= _PASSED_ON * rates[0])


def _reached(potentials: Callable[[], Iterable[Tensor]], share: float, *, of_stimulated: bool) -> float:
    """The float32 value that ``share`` of all potentials reach, at least one of them; 0 where that is not above 0.

    It is exact, with one part of them in memory at a time. The bits of numbers above 0 are ordered as the numbers are:
    the first half of the bits is found by counting, then the second among those that share the first.
    """
    n, first, second = 0, _no_counts(), _no_counts()
    for part in potentials():
        n += int(part.count_nonzero()) if of_stimulated else part.numel()
        first += _counts(_bits(part) >> 16)
    upper, left = _from_above(first, max(1, round(share * n)))
    if upper < 0:
        return 0.0
    for part in potentials():
        bits = _bits(part)
        second += _counts(bits[bits >> 16 == upper] & 0xFFFF)
    lower, _ = _from_above(second, left)
    return float(torch.tensor(upper << 16 | lower, dtype=torch.int32).view(torch.float32))


def _bits(values: Tensor) -> Tensor:
    """Those of the numbers above 0, ``(n,)`` int32."""
    return values[values > 0].view(torch.int32)


def _no_counts() -> Tensor:
    return torch.zeros(1 << 16, dtype=torch.int64)


def _counts(halves: Tensor) -> Tensor:
    return halves.bincount(minlength=1 << 16).cpu()


def _from_above(counts: Tensor, wanted: int) -> tuple[int, int]:
    """The place of the value that is ``wanted``-th from above, -1 where there is none, and which one it is there."""
    above = counts.flip(0).cumsum(0)
    at = int(torch.searchsorted(above, wanted))
    if at == len(counts):
        return -1, 0
    return len(counts) - 1 - at, wanted - int(above[at] - counts[len(counts) - 1 - at])


def _why_silent(measured: _Measured, i: int) -> str:
    network = measured.network
    name, threshold = layer_name(network, i), network.neuron.threshold
    if not any(bool(current.any()) for current in measured.currents(i)):
        what = (
            "no spike reaches it: see that the inputs have events inside their bins"
            if i == 0
            else "no spike reaches it"
        )
        return f"layer {name} is silent before training: {what}"
    highest = measured.factors[i] * max(float(potentials.max()) for potentials in measured.potentials(i))
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

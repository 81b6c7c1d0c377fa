"""Rescoring on the event engine: after a flip only the currents that it changes are summed again.

The compiled part holds the currents and spikes of every layer, follows a flip from layer to layer, and sums what has
changed from nothing, in the engine's order: scores have the bits of a whole pass by events. Where the engine leaves a
layer that is too dense for events to PyTorch, the two are equal up to rounding.
"""

from math import prod
from types import ModuleType
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from spikeflip.limits import together
from spikeflip.snn.engines.dense import Chain
from spikeflip.snn.fused import to_dlpack

if TYPE_CHECKING:
    from spikeflip.snn.engines._native import MapLayers, Rescorer


class EventRescoring:
    """Of one chain and the spikes of some samples; see :class:`spikeflip.snn.rescoring.Rescoring`.

    Args:
        native: the compiled module.
        chain: the network, whose layers and weights the next two hold.
        maps: its convolution and pooling layers.
        linear: outputs and packed weights of its fully-connected layers.
        bits: the spikes, int16 ``(N, T, pixels, words)``, which are held and changed.
    """

    def __init__(
        self, native: ModuleType, chain: Chain, maps: "MapLayers", linear: list[tuple[int, Tensor]], bits: Tensor
    ) -> None:
        self._steps, self._classes = bits.shape[1], linear[-1][0]
        padded = (prod(shape[1:]) * -(-shape[0] // native.VECTOR) * native.VECTOR for shape in chain.shapes)
        # The state of a sample takes some four bytes a cell; others are made anew when they are asked for.
        most = together(max(1, len(bits)), self._steps * sum(padded))
        weights = [(outputs, to_dlpack(rows)) for outputs, rows in linear]
        self._held: Rescorer = native.Rescorer(maps, weights, to_dlpack(bits), most)

    def scores(self, rows: Tensor, cells: Tensor) -> Tensor:
        """As :meth:`spikeflip.snn.rescoring.Rescoring.scores`."""
        counts = torch.empty(len(rows), self._classes, dtype=torch.float32)
        self._held.scores(*_given(rows, cells), to_dlpack(counts), torch.get_num_threads())
        return counts.div_(self._steps)

    def flip(self, rows: Tensor, cells: Tensor) -> None:
        """As :meth:`spikeflip.snn.rescoring.Rescoring.flip`."""
        self._held.flip(*_given(rows, cells), torch.get_num_threads())


def _given(rows: Tensor, cells: Tensor) -> tuple[object, object]:
    return to_dlpack(rows.contiguous()), to_dlpack(cells.contiguous())

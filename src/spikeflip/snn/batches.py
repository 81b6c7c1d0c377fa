"""What each update of a training is made of: which inputs, moved how far, which spikes dropped, how fast.

All of it comes from streams of (seed, purpose, sample or update), so a resumed training goes on with the same.
"""

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from spikeflip.snn.architecture import Conv, Layer, Linear
from spikeflip.snn.engines.dense import Dropout
from spikeflip.snn.layers import Layers
from spikeflip.streams import Numbers, stream


def batches(n: int, size: int, *, seed: int, first: int = 0) -> Iterator[Tensor]:
    """Index batches without end: every epoch is a permutation from its own stream, batches run over its border.

    Args:
        n: inputs there are.
        size: of a batch.
        seed: of the permutations.
        first: how many batches to leave out.
    """
    position = first * size
    while True:
        wanted: list[Tensor] = []
        missing = size
        while missing:
            epoch, offset = divmod(position, n)
            order = torch.from_numpy(stream(seed, epoch, "batch").permutation(n))
            wanted.append(order[offset : offset + missing])
            position += len(wanted[-1])
            missing -= len(wanted[-1])
        yield torch.cat(wanted)


def schedule(update: int, updates: int) -> float:
    """The factor on the learning rate: it rises over the first 3 % of the updates and falls as a half cosine."""
    warm_up = max(1, round(0.03 * updates))
    if update <= warm_up:
        return update / warm_up
    return 0.5 * (1 + math.cos(math.pi * (update - warm_up) / max(1, updates - warm_up + 1)))


def shifted(values: Tensor, largest: int, *, seed: int, rows: Tensor, update: int) -> Tensor:
    """Move each input by its own random number of cells, at most ``largest``; what comes in is 0."""
    moved = torch.zeros_like(values)
    height, width = values.shape[-2:]
    for source, target, row in zip(values, moved, rows.tolist(), strict=True):
        down, right = stream(seed, row, "shift", update).integers(-largest, largest + 1, 2).tolist()
        to, since = (max(down, 0), max(right, 0)), (max(-down, 0), max(-right, 0))
        rows_kept, columns_kept = max(height - abs(down), 0), max(width - abs(right), 0)
        part = source[..., since[0] : since[0] + rows_kept, since[1] : since[1] + columns_kept]
        target[..., to[0] : to[0] + rows_kept, to[1] : to[1] + columns_kept] = part
    return moved


class Masks:
    """The dropout of one update, after hidden weight layers: a sample's mask is the same at every time step.

    Args:
        network: whose layers are dropped from.
        share: dropped after a hidden weight layer.
        widest_share: dropped after the convolution with the most channels.
        seed, update: of the masks.
    """

    def __init__(self, network: Layers, share: float, widest_share: float, *, seed: int, update: int) -> None:
        self._numbers = Numbers(seed, 0, "dropout", update, network.device)
        widest = max((layer.channels for layer in network.layers if isinstance(layer, Conv)), default=0)

        def dropped(layer: Layer) -> float:
            if isinstance(layer, Conv):
                return widest_share if layer.channels == widest else share
            return share if isinstance(layer, Linear) else 0.0

        self._layers = list(zip([*map(dropped, network.layers[:-1]), 0.0], network.shapes[1:], strict=True))

    def draw(self, n: int) -> list[Dropout | None]:
        """For the next n samples, one entry a layer."""
        drawn: list[Dropout | None] = []
        for share, shape in self._layers:
            if share:
                drawn.append(Dropout(self._numbers.draw((n, 1, *shape)) >= share, 1 / (1 - share)))
            else:
                drawn.append(None)
        return drawn

"""The weights of a network string, as spiking networks and their ReLU twins have them."""

import math
from collections.abc import Sequence
from numbers import Integral

import torch
from torch import Tensor, nn

from spikeflip.errors import SpikeflipError
from spikeflip.snn import synapses
from spikeflip.snn.architecture import AvgPool, Layer, Shape, count_weights, parse, scale, shapes, to_string
from spikeflip.snn.validation import check_seed
from spikeflip.streams import torch_generator


class Layers(nn.Module):
    """The weights of a network string, which both kinds of network share by name and shape."""

    def __init__(self, architecture: str, input_shape: Sequence[int], *, width: float, seed: int) -> None:
        super().__init__()
        check_seed(seed)
        if not isinstance(architecture, str):
            raise SpikeflipError(f"architecture is {architecture!r}: give a string, such as '128C3-AP2-10FC'")
        if not isinstance(input_shape, Sequence) or not all(isinstance(size, Integral) for size in input_shape):
            raise SpikeflipError(f"input_shape is {input_shape!r}: give a tuple, such as (1, 28, 28) or (20,)")
        self.layers: tuple[Layer, ...] = scale(parse(architecture), width)
        self.input_shape: Shape = tuple(input_shape)
        self.shapes = (self.input_shape, *shapes(self.layers, self.input_shape))
        count_weights(self.layers, self.input_shape)  # before any is allocated
        self.weights = nn.ParameterList()
        generator = torch_generator(seed, "weights")
        for layer, shape in zip(self.layers, self.shapes, strict=False):
            if (size := synapses.weight_shape(layer, shape)) is not None:
                # PyTorch's default for both kinds of layer, uniform within 1 / sqrt(fan-in), from an explicit stream.
                bound = 1 / math.sqrt(math.prod(size[1:]))
                values = torch.empty(size).uniform_(-bound, bound, generator=generator)
                self.weights.append(nn.Parameter(synapses.channels_last(values) if len(size) == 4 else values))

    @property
    def architecture(self) -> str:
        """The network string, with the width applied."""
        return to_string(self.layers)

    @property
    def classes(self) -> int:
        """K, the number of classes."""
        return self.shapes[-1][0]

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        first: Tensor = self.weights[0]
        return first.device

    def extra_repr(self) -> str:
        """The network string and the shape of an input, where a module is printed."""
        return f"{self.architecture!r}, {self.input_shape}"

    def weights_by_layer(self) -> tuple[Tensor | None, ...]:
        """One entry a layer, detached, None for pooling layers."""
        remaining = iter(self.weights)
        return tuple(None if isinstance(layer, AvgPool) else next(remaining).detach() for layer in self.layers)

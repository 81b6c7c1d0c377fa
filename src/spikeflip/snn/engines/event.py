"""The event engine: on a CPU, only spikes and non-zero gradients are multiplied.

It has the dense engine's methods and gives the same results within float rounding. Every output is summed in a fixed
order, alone, so no result depends on the batch or on the number of threads. Convolutions and pooling run sample by
sample in compiled code, from layer to layer in one core's cache; a layer whose input is too dense for lists to pay is
convolved densely instead, decided and run sample by sample for the same reason.
"""

from collections.abc import Callable, Sequence
from math import prod
from types import ModuleType
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from spikeflip.snn import synapses
from spikeflip.snn.architecture import AvgPool, Conv, Linear, Shape
from spikeflip.snn.engines.dense import Chain, DenseEngine, Dropout
from spikeflip.snn.engines.event_rescoring import EventRescoring
from spikeflip.snn.engines.event_weights import packed, unpacked
from spikeflip.snn.fused import constants, to_dlpack
from spikeflip.snn.gradients import Estimator, GradientRequest
from spikeflip.snn.neuron import integrate, reverse
from spikeflip.snn.surrogate import Rectangular

if TYPE_CHECKING:
    from spikeflip.snn.engines._native import Frames, Pass

native: ModuleType | None
"""The compiled kernels, None where the package was installed without a compiler."""
try:
    from spikeflip.snn.engines import _native as native
except ImportError:
    native = None

# Shares of active inputs above which a dense convolution is faster, by what is listed.
_DENSE_SPIKES = 0.25
_DENSE_GRADIENT = 0.25

_FLOAT, _BITS = torch.empty(0, dtype=torch.float32), torch.empty(0, dtype=torch.int16)


def why_not(chain: Chain) -> str | None:
    """Why this engine cannot run a chain, None if it can."""
    if native is None:
        return "spikeflip was installed without a C++ compiler"
    if type(chain.neuron.surrogate) is not Rectangular:
        return f"its neurons have the rectangular surrogate alone, not {chain.neuron.surrogate}"
    for i, (layer, weight) in enumerate(zip(chain.layers, chain.weights, strict=True)):
        if isinstance(layer, Conv):
            reason = native.why_not(chain.shapes[i], layer.channels, layer.kernel, i == 0)
            if reason is not None:
                return f"{layer} {reason}"
        if weight is not None and (weight.device.type != "cpu" or weight.dtype != torch.float32):
            return f"the weights of {layer} are {weight.dtype} on {weight.device}"
    return None


class EventEngine(DenseEngine):
    """Executes a chain by events; a drop-in for the dense engine on CPUs.

    Between its methods the spikes of a convolution or pooling layer are bits, int16 ``(N, T, pixels, words)``.
    """

    def __init__(self, chain: Chain, workspace: dict[str, Tensor] | None = None) -> None:
        super().__init__(chain, workspace)
        assert native is not None
        self._native = native
        self._forward_weights = [packed(chain, i, native.VECTOR, transposed=False) for i in range(self.depth)]
        self._backward_weights = [packed(chain, i, native.VECTOR, transposed=True) for i in range(self.depth)]
        # Convolutions and pooling come before the first fully-connected layer.
        self._maps = sum(not isinstance(layer, Linear) for layer in chain.layers)
        self._map_layers = native.MapLayers(_as_maps(chain.shapes[0]), constants(chain.neuron))
        for i, layer in enumerate(chain.layers[: self._maps]):
            if isinstance(layer, Conv):
                weights = self._forward_weights[i], self._backward_weights[i]
                self._map_layers.add_conv(layer.channels, layer.kernel, *map(to_dlpack, weights))
            elif isinstance(layer, AvgPool):
                self._map_layers.add_pool(layer.size)

    def forward(self, spikes: Tensor, *, last: int | None = None) -> tuple[Tensor, list[Tensor]]:
        """As the dense engine's; the spikes of a convolution or pooling layer are bits."""
        spikes, potentials, _ = self._run_forward(spikes, self.depth if last is None else last, self._no_dropout)
        return spikes, potentials

    def current(self, layer: int, spikes: Tensor) -> Tensor:
        """The weighted input of one layer's neurons, in new memory."""
        if layer < self._maps:
            dense = self._dense(layer, spikes) if spikes.dtype == torch.int16 else spikes
            parts = [self._dense_current(layer, part) for part in dense.split(1)]
            return torch.cat(parts) if parts else dense.new_empty((0, dense.shape[1], *self.chain.shapes[layer + 1]))
        return self._linear(layer, self._frames(layer, spikes, None), spikes.shape[:2]).clone()

    def input_gradient(self, layer: int, gradient: Tensor) -> Tensor:
        """The gradient of a layer's input from that of its current."""
        shape = self.chain.shapes[layer]
        if layer < self._maps:
            parts = [self._dense_below(layer, part) for part in gradient.split(1)]
            return torch.cat(parts) if parts else gradient.new_empty((0, gradient.shape[1], *shape))
        n, t = gradient.shape[:2]
        frames = self._native.Frames.of_values(to_dlpack(gradient.contiguous()), _threads())
        result = self._buffer(f"gradient {layer}", (n, t, *shape), _FLOAT)
        frames.linear(to_dlpack(self._backward_weights[layer]), to_dlpack(_in_memory(result)), _threads())
        return result

    def serves(self, estimator: Estimator) -> bool:
        """Whether its derivative is the network's own: potentials outside that window are not written."""
        return estimator.exact(self.chain.neuron, is_output=False) == self.chain.neuron

    def backward(
        self, gradient: Tensor, potentials: Sequence[Tensor], request: GradientRequest, *, last: int | None = None
    ) -> Tensor:
        """As the dense engine's, for an estimator that it serves."""
        rows = request.rows
        top = (self.depth if last is None else last) - 1
        for i in range(top, self._maps - 1, -1):
            gradient = reverse(gradient, potentials[i] if rows is None else potentials[i][rows], self.chain.neuron)
            gradient = self.input_gradient(i, gradient)
        top = min(top, self._maps - 1)
        if top < 0:
            return gradient
        samples = list(range(len(gradient))) if rows is None else rows.tolist()
        run = self._pass(None, len(potentials[0]), gradient.shape[1], top + 1, self._no_dropout, _DENSE_GRADIENT)
        return self._maps_backward(run, gradient, top, samples)

    def rescoring(self, spikes: Tensor) -> EventRescoring | None:
        """As the dense engine's; None for spikes that are not 0 or 1, and for neurons that fire without input."""
        if self.chain.neuron.threshold < torch.finfo(torch.float32).tiny or bool(((spikes != 0) & (spikes != 1)).any()):
            return None
        channels, height, width = shape = _as_maps(self.chain.shapes[0])
        words = -(-channels // self._native.VECTOR)
        bits = torch.empty((*spikes.shape[:2], height * width, words), dtype=torch.int16)
        self._pack(spikes.reshape(*spikes.shape[:2], *shape), bits)
        outputs = [prod(shape) for shape in self.chain.shapes[self._maps + 1 :]]
        linear = list(zip(outputs, self._forward_weights[self._maps :], strict=True))
        return EventRescoring(self._native, self.chain, self._map_layers, linear, bits)

    def weight_sums(self) -> list[Tensor]:
        """As the dense engine's, in the order of the packed weights."""
        return [torch.zeros_like(weights) for weights in self._forward_weights]

    def weight_gradients(self, sums: Sequence[Tensor]) -> list[Tensor | None]:
        """As the dense engine's."""
        return [unpacked(self.chain, i, total) for i, total in enumerate(sums)]

    def add_weight_gradients(
        self,
        spikes: Tensor,
        output_gradient: Callable[[Tensor], Tensor],
        dropout: Sequence[Dropout | None],
        sums: Sequence[Tensor],
    ) -> None:
        """As the dense engine's."""
        out, potentials, frames = self._run_forward(spikes, self.depth, dropout)
        gradient = output_gradient(out)
        for i in range(self.depth - 1, self._maps - 1, -1):
            gradient = reverse(gradient, potentials[i], self.chain.neuron)
            scale = self._bits_scale(i, dropout)
            scaled = gradient.contiguous() if scale == 1 else gradient * scale
            frames[i].add_weight_gradient(to_dlpack(scaled), to_dlpack(sums[i]), _threads())
            if i > 0:
                gradient = _dropped(self.input_gradient(i, gradient), dropout[i - 1])
        if self._maps:
            run = self._pass(
                self._input_bits(spikes), len(spikes), spikes.shape[1], self._maps, dropout, _DENSE_GRADIENT
            )
            self._maps_backward(run, gradient, self._maps - 1, list(range(len(spikes))), dropout, sums)

    # --- forward ---

    def _run_forward(
        self, spikes: Tensor, last: int, dropout: Sequence[Dropout | None]
    ) -> tuple[Tensor, list[Tensor], "dict[int, Frames]"]:
        """Spikes of layer ``last - 1``, potentials, and the inputs of every fully-connected layer."""
        (n, t), maps = spikes.shape[:2], min(self._maps, last)
        potentials, frames = [], {}
        if maps:
            bits = self._input_bits(spikes)
            self._maps_forward(self._pass(bits, n, t, maps, dropout, _DENSE_SPIKES), n, t, maps, dropout)
            potentials = [self._state(i, n, t)[0] for i in range(maps)]
            spikes = self._state(maps - 1, n, t)[2]
        for i in range(maps, last):
            frames[i] = self._frames(i, spikes, dropout[i - 1] if i else None)
            current = self._linear(i, frames[i], (n, t)).mul_(self._bits_scale(i, dropout))
            potential = self._buffer(f"potential {i}", current.shape, _FLOAT)
            _, spikes = integrate(current, self.chain.neuron, potential=potential)
            spikes = _dropped(spikes, dropout[i])
            potentials.append(potential)
        return spikes, potentials, frames

    def _maps_forward(self, run: "Pass", n: int, t: int, end: int, dropout: Sequence[Dropout | None]) -> None:
        starts = [0] * n
        while True:
            stops = run.forward(starts)
            stopped = [(k, stop) for k, stop in enumerate(stops) if stop < end]
            if not stopped:
                return
            starts = [end] * n
            for k, stop in stopped:
                below = self._state(stop - 1, n, t)[2] if stop else self._kept_input_bits(n, t)
                dense = self._dense(stop, below[k : k + 1])
                if stop:
                    dense = _dropped(dense, _of_sample(dropout[stop - 1], k))
                current = _channels_last(self._dense_current(stop, dense))
                run.neurons(stop, k, to_dlpack(current[0]))
                starts[k] = stop + 1

    def _frames(self, i: int, spikes: Tensor, dropout: Dropout | None) -> "Frames":
        """For each input of a fully-connected layer the frames in which it is active."""
        found: Frames
        if spikes.dtype == torch.int16:
            kept = None if dropout is None else self._kept_bits(dropout)
            mask = None if kept is None else to_dlpack(kept)
            found = self._native.Frames.of_spikes(to_dlpack(spikes), mask, self.chain.shapes[i], _threads())
        else:
            found = self._native.Frames.of_values(to_dlpack(_channels_last(spikes.float())), _threads())
        return found

    def _linear(self, i: int, frames: "Frames", size: Sequence[int]) -> Tensor:
        result = self._buffer(f"current {i}", (*size, *self.chain.shapes[i + 1]), _FLOAT)
        frames.linear(to_dlpack(self._forward_weights[i]), to_dlpack(result), _threads())
        return result

    # --- reverse ---

    def _maps_backward(
        self,
        run: "Pass",
        gradient: Tensor,
        top: int,
        samples: list[int],
        dropout: Sequence[Dropout | None] | None = None,
        sums: Sequence[Tensor] = (),
    ) -> Tensor:
        """From the gradient of the spikes of layer ``top`` to that of the input; with ``sums``, to those of weights."""
        shapes, (n, t) = self.chain.shapes, gradient.shape[:2]
        gradient = _channels_last(gradient)
        result = self._buffer("input gradient", (n, t, *shapes[0]), _FLOAT)
        largest = max(torch.Size(shape).numel() for shape in shapes[: top + 2])
        stopped = self._buffer("stopped", (n, t * largest), _FLOAT)
        way = [(k, top, gradient[k]) for k in range(n)]
        while way:
            starts = [(k, samples[k], layer, to_dlpack(part)) for k, layer, part in way]
            totals = [to_dlpack(total) for total in sums[: self._maps]]
            stops = run.backward(starts, to_dlpack(stopped), to_dlpack(_in_memory(result)), totals)
            dense = [(k, stop) for (k, _, _), stop in zip(way, stops, strict=True) if stop >= 0]
            way = []
            for k, stop in dense:
                channels, height, width = shapes[stop + 1]
                values = stopped[k, : t * channels * height * width].view(1, t, height, width, channels)
                part = values.permute(0, 1, 4, 2, 3)
                if sums:
                    self._add_dense_weights(stop, samples[k], part, dropout or self._no_dropout, sums[stop], t)
                    if stop == 0:
                        continue
                below = self._dense_below(stop, part)
                if stop == 0:
                    result[k] = below[0]
                else:
                    below = _dropped(below, None if dropout is None else _of_sample(dropout[stop - 1], samples[k]))
                    way.append((k, stop - 1, _channels_last(below)[0]))
        return result

    def _add_dense_weights(
        self, i: int, sample: int, gradient: Tensor, dropout: Sequence[Dropout | None], total: Tensor, t: int
    ) -> None:
        layer, weight = self.chain.layers[i], self.chain.weights[i]
        assert isinstance(layer, Conv)
        assert weight is not None
        bits = self._state(i - 1, sample + 1, t)[2] if i else self._kept_input_bits(sample + 1, t)
        spikes = self._dense(i, bits[sample:])
        if i:
            spikes = _dropped(spikes, _of_sample(dropout[i - 1], sample))
        found = synapses.weight_gradient(layer, spikes, gradient, weight)
        total[..., : layer.channels] += found.permute(2, 3, 1, 0).flatten(0, 1)

    # --- dense layers, for one sample ---

    def _dense(self, i: int, bits: Tensor) -> Tensor:
        """The spikes that layer i receives, from bits, as floats."""
        channels, height, width = self.chain.shapes[i]
        dense = torch.empty((*bits.shape[:2], height, width, channels), dtype=torch.float32)
        self._native.unpack(to_dlpack(bits), to_dlpack(dense))
        return dense.permute(0, 1, 4, 2, 3)

    def _dense_current(self, i: int, spikes: Tensor) -> Tensor:
        return synapses.apply(self.chain.layers[i], spikes, self.chain.weights[i])

    def _dense_below(self, i: int, gradient: Tensor) -> Tensor:
        return synapses.apply_transposed(self.chain.layers[i], gradient, self._transposed[i], self.chain.shapes[i])

    # --- what the compiled code is given ---

    def _pass(
        self, bits: Tensor | None, n: int, t: int, end: int, dropout: Sequence[Dropout | None], most_dense: float
    ) -> "Pass":
        states = [tuple(map(to_dlpack, self._state(i, n, t))) for i in range(end)]
        masks: list[tuple[object, float]] = [(None, 1.0)]
        for before in dropout[: end - 1]:
            kept = None if before is None else self._kept_bits(before)
            masks.append((None, 1.0) if kept is None or before is None else (to_dlpack(kept), before.scale))
        given = None if bits is None else to_dlpack(bits)
        found: Pass = self._native.Pass(self._map_layers, given, states, masks, most_dense, _threads())
        return found

    def _state(self, i: int, n: int, t: int) -> tuple[Tensor, Tensor, Tensor]:
        """Potentials, window and spikes (bits) of a convolution's or pooling layer's neurons."""
        words = self._words(i + 1)
        potentials = self._buffer(f"potential {i}", (n, t, words[0], words[1] * self._native.VECTOR), _FLOAT)
        return (
            potentials,
            self._buffer(f"inside {i}", (n, t, *words), _BITS),
            self._buffer(f"fired {i}", (n, t, *words), _BITS),
        )

    def _words(self, i: int) -> tuple[int, int]:
        """Pixels, and words a pixel, of the input of layer i."""
        channels, height, width = self.chain.shapes[i]
        return height * width, -(-channels // self._native.VECTOR)

    def _kept_input_bits(self, n: int, t: int) -> Tensor:
        return self._buffer("input", (n, t, *self._words(0)), _BITS)

    def _input_bits(self, spikes: Tensor) -> Tensor:
        return self._pack(spikes, self._kept_input_bits(*spikes.shape[:2]))

    def _kept_bits(self, dropout: Dropout) -> Tensor | None:
        """Which spikes dropout keeps, as bits; None for a fully-connected layer, whose spikes are numbers."""
        if dropout.kept.ndim != 5:
            return None
        if dropout.bits is None:
            n, _, channels, height, width = dropout.kept.shape
            words = -(-channels // self._native.VECTOR)
            dropout.bits = self._pack(dropout.kept, torch.empty((n, 1, height * width, words), dtype=torch.int16))
        return dropout.bits

    def _pack(self, maps: Tensor, into: Tensor) -> Tensor:
        values = maps if maps.dtype == torch.bool else maps.float()
        self._native.pack(to_dlpack(values.contiguous()), to_dlpack(into))
        return into

    def _bits_scale(self, i: int, dropout: Sequence[Dropout | None]) -> float:
        """What the bits that a fully-connected layer receives count as."""
        before = dropout[i - 1] if i == self._maps and i else None
        return 1.0 if before is None else before.scale

    @property
    def _no_dropout(self) -> list[None]:
        return [None] * self.depth


def _dropped(spikes: Tensor, dropout: Dropout | None) -> Tensor:
    return spikes if dropout is None else spikes.mul_(dropout.kept).mul_(dropout.scale)


def _of_sample(dropout: Dropout | None, k: int) -> Dropout | None:
    return None if dropout is None else Dropout(dropout.kept[k : k + 1], dropout.scale)


def _as_maps(shape: Shape) -> tuple[int, int, int]:
    """The shape of an input as maps of channels, height and width: features are channels of one pixel."""
    return (shape[0], shape[1], shape[2]) if len(shape) == 3 else (prod(shape), 1, 1)


def _channels_last(values: Tensor) -> Tensor:
    return _in_memory(values).contiguous()


def _in_memory(values: Tensor) -> Tensor:
    """``(N, T, C, H, W)`` as ``(N, T, H, W, C)``, as buffers lie in memory; ``(N, T, F)`` as it is."""
    return values.permute(0, 1, 3, 4, 2) if values.ndim == 5 else values


def _threads() -> int:
    return torch.get_num_threads()

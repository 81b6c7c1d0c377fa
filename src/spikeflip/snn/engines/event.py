"""The event engine: on a CPU, only spikes and non-zero gradients are multiplied.

It has the dense engine's methods and gives the same results within float rounding. Every output is summed in a fixed
order, alone, so no result depends on the batch or on the number of threads. A layer whose input is too dense for lists
to pay is convolved densely instead, decided and run sample by sample for the same reason.
"""

from collections.abc import Sequence
from types import ModuleType
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from spikeflip.snn import synapses
from spikeflip.snn.architecture import AvgPool, Conv, Linear
from spikeflip.snn.engines.dense import Chain, DenseEngine
from spikeflip.snn.neuron import LIF, integrate, reverse

if TYPE_CHECKING:
    from spikeflip.snn.engines._native import Lists

native: ModuleType | None
"""The compiled kernels, None where the package was installed without a compiler."""
try:
    from spikeflip.snn.engines import _native as native
except ImportError:
    native = None

_RESETS = {"hard": 0, "soft": 1, "none": 2}
# Shares of active inputs above which a dense convolution is faster, by what is listed.
_DENSE_SPIKES = 0.15
_DENSE_GRADIENT = 0.15


def why_not(chain: Chain) -> str | None:
    """Why this engine cannot run a chain, None if it can."""
    if native is None:
        return "spikeflip was installed without a C++ compiler"
    for layer, weight in zip(chain.layers, chain.weights, strict=True):
        if isinstance(layer, Conv) and layer.kernel**2 > native.MOST_TAPS:
            return f"the kernel of {layer} is larger than 7"
        if weight is not None and (weight.device.type != "cpu" or weight.dtype != torch.float32):
            return f"the weights of {layer} are {weight.dtype} on {weight.device}"
    return None


class EventEngine(DenseEngine):
    """Executes a chain by events; a drop-in for the dense engine on CPUs."""

    def __init__(self, chain: Chain, workspace: dict[str, Tensor] | None = None) -> None:
        super().__init__(chain, workspace)
        assert native is not None
        self._kernels = native
        self._forward_weights = [_packed(chain, i, transposed=False) for i in range(self.depth)]
        self._backward_weights = [_packed(chain, i, transposed=True) for i in range(self.depth)]

    def forward(
        self, spikes: Tensor, *, first: int = 0, last: int | None = None, masks: Sequence[Tensor | None] | None = None
    ) -> tuple[Tensor, list[Tensor]]:
        """As the dense engine's; spikes below the output may be bytes."""
        potentials = []
        spikes = _bytes(spikes)
        for i in range(first, self.depth if last is None else last):
            potential, spikes = self._layer(i, spikes)
            if masks is not None and (mask := masks[i]) is not None:
                spikes = spikes * mask  # no longer bytes: the next layer's lists hold values
            potentials.append(potential)
        return spikes.float() if last is None else spikes, potentials

    def current(self, layer: int, spikes: Tensor) -> Tensor:
        """The weighted input of one layer's neurons, in new memory."""
        if not isinstance(self.chain.layers[layer], Linear):
            return super().current(layer, spikes.float())
        return self._linear(layer, spikes if layer else _bytes(spikes))

    def input_gradient(self, layer: int, gradient: Tensor) -> Tensor:
        """The gradient of a layer's input from that of its current."""
        return self._below(layer, gradient, None, None)

    def backward(
        self, gradient: Tensor, potentials: Sequence[Tensor], rows: Tensor | None = None, *, last: int | None = None
    ) -> Tensor:
        """As the dense engine's."""
        top = (self.depth if last is None else last) - 1
        if top < 0:
            return gradient
        wanted = list(range(len(gradient))) if rows is None else rows.tolist()
        gradient = self._reversed(gradient, potentials[top], wanted)
        for i in range(top, -1, -1):
            gradient = self._below(i, gradient, potentials[i - 1] if i else None, wanted)
        return gradient

    def weight_gradients(
        self,
        spikes: Tensor,
        gradient: Tensor,
        potentials: Sequence[Tensor],
        masks: Sequence[Tensor | None],
        into: Sequence[Tensor | None],
    ) -> None:
        """As the dense engine's."""
        every = list(range(len(spikes)))
        for i in reversed(range(self.depth)):
            if (mask := masks[i]) is not None:
                gradient = _channels_last(gradient).mul_(mask)
            gradient = self._reversed(gradient, potentials[i], every)
            if (total := into[i]) is not None:
                below = _bytes(spikes) if i == 0 else self._fired(i - 1, potentials[i - 1], masks[i - 1])
                total += self._weight_gradient(i, below, gradient)
            if i > 0:
                gradient = self.input_gradient(i, gradient)

    def _fired(self, i: int, potential: Tensor, mask: Tensor | None) -> Tensor:
        fired = potential >= self.chain.neuron.threshold
        return fired.to(torch.uint8) if mask is None else fired * mask

    def _weight_gradient(self, i: int, spikes: Tensor, gradient: Tensor) -> Tensor:
        layer, t = self.chain.layers[i], spikes.shape[1]
        weights = torch.zeros_like(self._forward_weights[i])
        if isinstance(layer, Conv):
            channels, height, width = self.chain.shapes[i]
            numbers = self._conv_numbers(i, layer, channels, layer.channels)
            self._kernels.conv_weights(
                self._lists(spikes, t * height * width, channels),
                numbers,
                t,
                gradient.data_ptr(),
                weights.data_ptr(),
                _threads(),
            )
            taps = weights[..., : layer.channels].view(layer.kernel, layer.kernel, channels, layer.channels)
            return taps.permute(3, 2, 0, 1)
        inputs, outputs = torch.Size(self.chain.shapes[i]).numel(), self.chain.shapes[i + 1][0]
        self._kernels.linear_weights(
            self._lists(spikes, t, inputs),
            inputs,
            outputs,
            weights.shape[-1],
            gradient.data_ptr(),
            weights.data_ptr(),
            _threads(),
        )
        return _channels_first(weights[0, :, :outputs].t(), self.chain.shapes[i])

    def _lists(self, spikes: Tensor, rows: int, channels: int) -> "Lists":
        """The active inputs of every sample; with their values where a dropout mask has made them numbers."""
        values = _channels_last(spikes)
        listed = self._kernels.list_spikes if values.dtype == torch.uint8 else self._kernels.list_gradient
        lists: Lists = listed(values.data_ptr(), len(values), rows, channels, _threads())
        return lists

    # --- one layer forward ---

    def _layer(self, i: int, spikes: Tensor) -> tuple[Tensor, Tensor]:
        """Potentials and spikes (bytes) of one layer."""
        layer, (n, t) = self.chain.layers[i], spikes.shape[:2]
        shape = (n, t, *self.chain.shapes[i + 1])
        potential = self._buffer(f"potential {i}", shape, _FLOAT)
        after = self._buffer(f"bytes {i % 2}", shape, _BYTE)
        if isinstance(layer, Conv):
            self._conv(i, layer, spikes, potential, after)
            return potential, after
        if isinstance(layer, AvgPool) and spikes.dtype == torch.uint8:
            before = _channels_last(spikes)
            self._kernels.pool_forward(
                n,
                self._pool_numbers(i, layer),
                self._numbers,
                t,
                before.data_ptr(),
                potential.data_ptr(),
                after.data_ptr(),
                _threads(),
            )
            return potential, after
        if isinstance(layer, AvgPool):
            current = _channels_last(synapses.apply(layer, spikes, None))
        else:
            current = self._linear(i, spikes)
        width = torch.Size(shape[2:]).numel()
        self._kernels.neurons_forward(
            self._numbers, n, t, width, current.data_ptr(), potential.data_ptr(), after.data_ptr(), _threads()
        )
        return potential, after

    def _conv(self, i: int, layer: Conv, spikes: Tensor, potential: Tensor, after: Tensor) -> None:
        n, t = spikes.shape[:2]
        channels, height, width = self.chain.shapes[i]
        lists = self._lists(spikes, t * height * width, channels)
        cells = t * height * width * channels
        sparse = [k for k, count in enumerate(lists.counts()) if count <= _DENSE_SPIKES * cells]
        self._kernels.conv_forward(
            lists,
            sparse,
            self._conv_numbers(i, layer, channels, layer.channels),
            self._numbers,
            t,
            self._forward_weights[i].data_ptr(),
            potential.data_ptr(),
            after.data_ptr(),
            _threads(),
        )
        for k in sorted(set(range(n)) - set(sparse)):
            current = synapses.apply(layer, spikes[k : k + 1].float(), self.chain.weights[i])
            _, fired = integrate(current, self.chain.neuron, potential=potential[k : k + 1])
            after[k : k + 1] = fired

    def _linear(self, i: int, spikes: Tensor) -> Tensor:
        inputs, outputs = torch.Size(self.chain.shapes[i]).numel(), self.chain.shapes[i + 1][0]
        n, t = spikes.shape[:2]
        return self._run_linear(self._lists(spikes, t, inputs), (n, t), inputs, outputs, self._forward_weights[i])

    def _run_linear(
        self, lists: "Lists", frames: tuple[int, int], inputs: int, outputs: int, weights: Tensor
    ) -> Tensor:
        result = torch.empty(*frames, outputs)
        self._kernels.linear(
            lists, inputs, outputs, weights.shape[-1], weights.data_ptr(), result.data_ptr(), _threads()
        )
        return result

    # --- one layer in reverse ---

    def _below(self, i: int, gradient: Tensor, potential: Tensor | None, rows: list[int] | None) -> Tensor:
        """From the gradient of layer i's current to that of its input, and through the neurons below if there are."""
        layer, (n, t) = self.chain.layers[i], gradient.shape[:2]
        if isinstance(layer, Conv):
            return self._conv_below(i, layer, _channels_last(gradient), potential, rows)
        if isinstance(layer, AvgPool):
            return self._pool_below(i, layer, _channels_last(gradient), potential, rows)
        outputs, inputs = self.chain.shapes[i + 1][0], torch.Size(self.chain.shapes[i]).numel()
        lists = self._kernels.list_gradient(gradient.contiguous().data_ptr(), n, t, outputs, _threads())
        result = self._run_linear(lists, (n, t), outputs, inputs, self._backward_weights[i])
        result = _maps(result, self.chain.shapes[i])
        return result if potential is None else self._reversed(result, potential, rows)

    def _pool_below(
        self, i: int, layer: AvgPool, gradient: Tensor, potential: Tensor | None, rows: list[int] | None
    ) -> Tensor:
        n, t = gradient.shape[:2]
        result = self._buffer(f"gradient {i % 2}", (n, t, *self.chain.shapes[i]), _FLOAT)
        self._kernels.pool_backward(
            self._pool_numbers(i, layer),
            self._numbers,
            t,
            gradient.data_ptr(),
            0 if potential is None else potential.data_ptr(),
            rows or [],
            n,
            result.data_ptr(),
            _threads(),
        )
        return result

    def _conv_below(
        self, i: int, layer: Conv, gradient: Tensor, potential: Tensor | None, rows: list[int] | None
    ) -> Tensor:
        n, t = gradient.shape[:2]
        channels, height, width = self.chain.shapes[i]
        lists = self._kernels.list_gradient(gradient.data_ptr(), n, t * height * width, layer.channels, _threads())
        cells = t * height * width * layer.channels
        sparse = [k for k, count in enumerate(lists.counts()) if count <= _DENSE_GRADIENT * cells]
        result = self._buffer(f"gradient {i % 2}", (n, t, channels, height, width), _FLOAT)
        self._kernels.conv_backward(
            lists,
            sparse,
            self._conv_numbers(i, layer, layer.channels, channels),
            self._numbers,
            t,
            self._backward_weights[i].data_ptr(),
            0 if potential is None else potential.data_ptr(),
            rows or [],
            result.data_ptr(),
            _threads(),
        )
        for k in sorted(set(range(n)) - set(sparse)):
            part = synapses.apply_transposed(layer, gradient[k : k + 1], self._transposed[i], self.chain.shapes[i])
            if potential is not None and rows is not None:
                part = reverse(part, potential[rows[k] : rows[k] + 1], self.chain.neuron)
            result[k : k + 1] = part
        return result

    def _reversed(self, gradient: Tensor, potential: Tensor, rows: list[int] | None) -> Tensor:
        """Neurons in reverse, in place."""
        gradient = _channels_last(gradient)
        n, t = gradient.shape[:2]
        self._kernels.neurons_backward(
            self._numbers,
            list(range(n)) if rows is None else rows,
            t,
            gradient[0, 0].numel() if n else 0,
            potential.data_ptr(),
            gradient.data_ptr(),
            _threads(),
        )
        return gradient

    @property
    def _numbers(self) -> tuple[float, float, int, float, float, float]:
        return _neuron_numbers(self.chain.neuron)

    def _pool_numbers(self, i: int, layer: AvgPool) -> tuple[int, int, int, int]:
        channels, height, width = self.chain.shapes[i]
        return (height, width, channels, layer.size)

    def _conv_numbers(self, i: int, layer: Conv, inputs: int, outputs: int) -> tuple[int, ...]:
        _, height, width = self.chain.shapes[i]
        return (height, width, inputs, outputs, _padded(outputs), layer.kernel, layer.kernel // 2)


_FLOAT, _BYTE = torch.empty(0), torch.empty(0, dtype=torch.uint8)


def _neuron_numbers(neuron: LIF) -> tuple[float, float, int, float, float, float]:
    width = neuron.surrogate.width
    return (neuron.threshold, neuron.decay, _RESETS[neuron.reset], neuron._centre, width / 2, 1 / width)


def _packed(chain: Chain, i: int, *, transposed: bool) -> Tensor:
    """A layer's weights as (tap, in, out), in the order of channels-last maps, ``out`` padded to whole vectors."""
    layer, weight = chain.layers[i], chain.weights[i]
    if weight is None:
        return _FLOAT
    if isinstance(layer, Conv):
        taps = weight.permute(2, 3, 1, 0).flatten(0, 1)  # (tap, in, out)
        rows = taps.flip(0).transpose(1, 2) if transposed else taps
    else:
        rows = _pixels_first(weight, chain.shapes[i])[None]  # (1, in, out)
        rows = rows.transpose(1, 2) if transposed else rows
    padded = rows.new_zeros((*rows.shape[:2], _padded(rows.shape[2])))
    padded[..., : rows.shape[2]] = rows
    return padded


def _pixels_first(weight: Tensor, shape: tuple[int, ...]) -> Tensor:
    """A fully-connected weight ``(out, C * H * W)`` as ``(H * W * C, out)``."""
    if len(shape) == 3:
        weight = weight.view(-1, *shape).permute(0, 2, 3, 1).flatten(1)
    return weight.t()


def _channels_first(weight: Tensor, shape: tuple[int, ...]) -> Tensor:
    """The reverse: a weight ``(out, H * W * C)`` as ``(out, C * H * W)``."""
    if len(shape) != 3:
        return weight
    channels, height, width = shape
    return weight.reshape(-1, height, width, channels).permute(0, 3, 1, 2).flatten(1)


def _padded(channels: int) -> int:
    vector = 16 if native is None else int(native.VECTOR)
    return -(-channels // vector) * vector


def _bytes(spikes: Tensor) -> Tensor:
    """Spikes as bytes in channels-last memory."""
    return _channels_last(spikes if spikes.dtype == torch.uint8 else spikes.to(torch.uint8))


def _channels_last(values: Tensor) -> Tensor:
    """``(N, T, C, H, W)`` with channels innermost in memory, or ``(N, T, F)`` contiguous."""
    if values.ndim == 5:
        return values.permute(0, 1, 3, 4, 2).contiguous().permute(0, 1, 4, 2, 3)
    return values.contiguous()


def _maps(flat: Tensor, shape: tuple[int, ...]) -> Tensor:
    """``(N, T, H * W * C)`` as ``(N, T, C, H, W)``; unchanged for vectors."""
    if len(shape) != 3:
        return flat.view(*flat.shape[:2], *shape)
    channels, height, width = shape
    return flat.view(*flat.shape[:2], height, width, channels).permute(0, 1, 4, 2, 3)


def _threads() -> int:
    return torch.get_num_threads()

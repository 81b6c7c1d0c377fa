"""The reference engine: dense PyTorch on any device, forward and reverse over the chain of layers without a graph.

Autograd cannot drop a sample from a graph that has been built; a reverse pass written over the chain can, and needs to
keep only the membrane potentials. Two costs decide the speed beside the arithmetic: fresh large allocations (page
faults), so potentials and spikes live in a workspace that every call reuses, and the reach of the caches, so a layer's
convolution and its neurons run over a few samples at a time.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from spikeflip.snn import synapses
from spikeflip.snn.architecture import AvgPool, Conv, Layer, Linear, Shape
from spikeflip.snn.engines.matrix_units import halves, has_tf32, tf32
from spikeflip.snn.gradients import Estimator, GradientRequest, LayerPass
from spikeflip.snn.memory import Memory, range_of
from spikeflip.snn.neuron import LIF, integrate, reverse

if TYPE_CHECKING:
    from spikeflip.snn.rescoring import Rescoring

# A convolution's output of one call. On CPUs larger ones fall out of the cache, and out of what the allocator gives
# back warm; GPUs want work for all of their units.
_CHUNK_BYTES, _CHUNK_BYTES_ON_GPU = 12 * 2**20, 2**30


@dataclass(frozen=True)
class Chain:
    """A feed-forward network as the engine sees it: layers, their weights and their input and output shapes."""

    layers: tuple[Layer, ...]
    weights: tuple[Tensor | None, ...]
    shapes: tuple[Shape, ...]  # the input's, then every layer's
    neuron: LIF


@dataclass
class Dropout:
    """Which spikes of a layer are kept, ``(N, 1, *layer)`` bool, the same ones at every time step, and their value."""

    kept: Tensor
    scale: float
    bits: Tensor | None = None  # the event engine's form of ``kept``


class DenseEngine:
    """Executes a chain; stateless but for a workspace, so one engine serves one caller at a time.

    Weight layers run in reverse in ``gradient_dtype``, the weights' own when not given.
    """

    def __init__(
        self, chain: Chain, workspace: dict[str, Tensor] | None = None, *, gradient_dtype: torch.dtype | None = None
    ) -> None:
        self.chain = chain
        self.workspace: dict[str, Tensor] = {} if workspace is None else workspace
        # The gradient is cast to the dtype of these weights on its way through a layer, and back; neurons stay exact.
        self._transposed = [
            synapses.transposed(layer, weight if weight is None else weight.to(gradient_dtype or weight.dtype))
            for layer, weight in zip(chain.layers, chain.weights, strict=True)
        ]
        self._halves: dict[int, tuple[Tensor, Tensor]] = {}

    @property
    def depth(self) -> int:
        """The number of layers."""
        return len(self.chain.layers)

    def forward(self, spikes: Tensor, *, last: int | None = None) -> tuple[Tensor, list[Tensor]]:
        """Run the layers below ``last``.

        Args:
            spikes: ``(N, T, *input)``.
            last: the layer to stop before; all layers run when not given.

        Returns:
            The spikes of layer ``last - 1`` and the potentials of every layer run. Both lie in the workspace: they hold
            until the next call of this method.
        """
        return self._forward(spikes, self.depth if last is None else last, [None] * self.depth, self.current)

    def _forward(
        self,
        spikes: Tensor,
        last: int,
        dropout: Sequence[Dropout | None],
        current_of: Callable[[int, Tensor], Tensor],
    ) -> tuple[Tensor, list[Tensor]]:
        potentials = []
        for i in range(last):
            shape = (*spikes.shape[:2], *self.chain.shapes[i + 1])
            potential = self._buffer(f"potential {i}", shape, spikes)
            after = self._buffer(_below(i + 1), shape, spikes)
            for rows in self._chunks(i, spikes):
                current = current_of(i, spikes[rows])
                integrate(current, self.chain.neuron, potential=potential[rows], spikes=after[rows])
                if (dropped := dropout[i]) is not None:
                    after[rows].mul_(dropped.kept[rows]).mul_(dropped.scale)
            potentials.append(potential)
            spikes = after
        return spikes, potentials

    def current(self, layer: int, spikes: Tensor) -> Tensor:
        """The weighted input of one layer's neurons, as exact as float32, in new memory."""
        weight = self.chain.weights[layer]
        if weight is None or weight.dtype != torch.float32 or not has_tf32(weight.device):
            return self._plain_current(layer, spikes)
        # The network's input may be an image, which needs all its bits.
        if layer == 0:
            with tf32(False):
                return self._plain_current(layer, spikes)
        if layer not in self._halves:
            self._halves[layer] = halves(weight)
        with tf32(True):
            high, low = (synapses.apply(self.chain.layers[layer], spikes, half) for half in self._halves[layer])
        return high.add_(low)

    def _plain_current(self, layer: int, spikes: Tensor) -> Tensor:
        return synapses.apply(self.chain.layers[layer], spikes, self.chain.weights[layer])

    def input_gradient(self, layer: int, gradient: Tensor) -> Tensor:
        """The gradient of a layer's input from that of its current, over chunks of samples."""
        return self._in_chunks(layer, gradient, lambda rows: gradient[rows])

    def serves(self, estimator: Estimator) -> bool:
        """Whether what a forward pass keeps is enough for that estimator's gradient."""
        return True

    def backward(
        self, gradient: Tensor, potentials: Sequence[Tensor], request: GradientRequest, *, last: int | None = None
    ) -> Tensor:
        """The gradient of the input from that of the spikes of layer ``last - 1``, down the whole chain.

        Args:
            gradient: ``(n, T, *output)``, dL/d(spikes of that layer); overwritten.
            potentials: of the layers below ``last``, from :meth:`forward`, over all samples.
            request: its rows are the samples that ``gradient`` is of; with the estimator and its memory of these.
            last: the layer to start below; the depth when not given.

        Returns:
            ``(n, T, *input)``; it holds until the next call.
        """
        for i in reversed(range(self.depth if last is None else last)):
            gradient = self._reverse_layer(i, gradient, potentials[i], request)
        return gradient

    def _reverse_layer(self, i: int, gradient: Tensor, potential: Tensor, request: GradientRequest) -> Tensor:
        """Neurons and weights of one layer in reverse, over chunks of samples while they are in the cache."""
        memory = Memory(len(gradient)) if request.memory is None else request.memory
        rows: Tensor | slice | None = request.rows
        if isinstance(rows, Tensor) and rows.device.type == "cpu":  # what lies together is not copied
            rows = range_of(rows) or rows
        asked = potential[rows] if isinstance(rows, slice) else potential

        def through_neurons(chunk: slice) -> Tensor:
            kept = asked[rows[chunk]] if isinstance(rows, Tensor) else asked[chunk]
            part = memory.of(torch.arange(chunk.start, chunk.stop))
            layer = LayerPass(i, kept, self.chain.neuron, is_output=False, memory=part)
            return request.estimator.reverse(gradient[chunk], layer)

        return self._in_chunks(i, gradient, through_neurons)

    def _in_chunks(self, layer: int, gradient: Tensor, part: Callable[[slice], Tensor]) -> Tensor:
        """The gradient of a layer's input from that of its current, ``part`` by part."""
        shape, chunks = self.chain.shapes[layer], self._chunks(layer, gradient)

        def below(rows: slice) -> Tensor:
            return synapses.apply_transposed(self.chain.layers[layer], part(rows), self._transposed[layer], shape)

        # What a convolution returns lies in memory as a buffer does.
        if len(chunks) == 1 and isinstance(self.chain.layers[layer], Conv) and gradient.device.type != "cpu":
            return below(chunks[0]).to(gradient.dtype)
        result = self._buffer(_below(layer), (*gradient.shape[:2], *shape), gradient)
        for rows in chunks:
            result[rows] = below(rows)
        return result

    def rescoring(self, spikes: Tensor) -> "Rescoring | None":
        """What scores flips of spikes ``(N, T, *input)`` faster than whole passes; None where nothing does."""
        return None

    def weight_sums(self) -> list[Tensor]:
        """Zeros to add weight gradients to, one entry a layer."""
        return [torch.zeros(0) if weight is None else torch.zeros_like(weight) for weight in self.chain.weights]

    def weight_gradients(self, sums: Sequence[Tensor]) -> list[Tensor | None]:
        """What was added to ``sums``, of each weight's shape; None for pooling layers."""
        return [None if weight is None else total for weight, total in zip(self.chain.weights, sums, strict=True)]

    def add_weight_gradients(
        self,
        spikes: Tensor,
        output_gradient: Callable[[Tensor], Tensor],
        dropout: Sequence[Dropout | None],
        sums: Sequence[Tensor],
    ) -> None:
        """Run forward and back, and add the gradient of every weight to ``sums`` (exact BPTT, Eq. 8).

        Args:
            spikes: ``(N, T, *input)``.
            output_gradient: from the output spikes ``(N, T, K)`` to dL/d(output spikes), new memory of that shape.
            dropout: of every layer's spikes, or None.
            sums: from :meth:`weight_sums`.
        """
        out, potentials = self._forward(spikes, self.depth, dropout, self._plain_current)
        gradient = output_gradient(out)
        for i in reversed(range(self.depth)):
            if (dropped := dropout[i]) is not None:
                gradient.mul_(dropped.kept).mul_(dropped.scale)
            reverse(gradient, potentials[i], self.chain.neuron)
            layer, weight = self.chain.layers[i], self.chain.weights[i]
            if not isinstance(layer, AvgPool) and weight is not None:
                below = spikes if i == 0 else self._spikes_again(i - 1, potentials[i - 1], dropout[i - 1])
                sums[i].add_(synapses.weight_gradient(layer, below, gradient, weight))
            if i > 0:
                gradient = self.input_gradient(i, gradient)

    def _spikes_again(self, i: int, potential: Tensor, dropout: Dropout | None) -> Tensor:
        spikes = self._buffer("spikes again", potential.shape, potential)
        torch.ge(potential, self.chain.neuron.threshold, out=spikes)
        return spikes if dropout is None else spikes.mul_(dropout.kept).mul_(dropout.scale)

    def _chunks(self, layer: int, values: Tensor) -> list[slice]:
        samples, time_steps = values.shape[:2]
        # A fully-connected layer reads all its weights in every call: give it all samples at once.
        if isinstance(self.chain.layers[layer], Linear):
            return [slice(0, samples)]
        larger = max(torch.Size(self.chain.shapes[layer]).numel(), torch.Size(self.chain.shapes[layer + 1]).numel())
        together = _CHUNK_BYTES if values.device.type == "cpu" else _CHUNK_BYTES_ON_GPU
        each = max(1, together // (4 * larger * max(1, time_steps)))
        return [slice(start, min(start + each, samples)) for start in range(0, samples, each)]

    def _buffer(self, name: str, shape: Sequence[int], like: Tensor) -> Tensor:
        """A tensor of ``shape`` in reused memory; maps are laid out channels-last."""
        size = torch.Size(shape).numel()
        kept = self.workspace.get(name)
        if kept is None or kept.numel() < size or kept.dtype != like.dtype or kept.device != like.device:
            kept = self.workspace[name] = torch.empty(size, dtype=like.dtype, device=like.device)
        flat = kept[:size]
        if len(shape) == 5:
            n, t, c, h, w = shape
            return flat.view(n, t, h, w, c).permute(0, 1, 4, 2, 3)
        return flat.view(tuple(shape))


def _below(layer: int) -> str:
    """The buffer of what a layer receives: spikes on the way forward, their gradient on the way back."""
    return f"between {layer % 2}"

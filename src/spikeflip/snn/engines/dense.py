"""The reference engine: dense PyTorch on any device, forward and reverse over the chain of layers without a graph.

Autograd cannot drop a sample from a graph that has been built; a reverse pass written over the chain can, and needs to
keep only the membrane potentials. Two costs decide the speed beside the arithmetic: fresh large allocations (page
faults), so potentials and spikes live in a workspace that every call reuses, and the reach of the caches, so a layer's
convolution and its neurons run over a few samples at a time.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from spikeflip.snn import synapses
from spikeflip.snn.architecture import AvgPool, Layer, Linear, Shape
from spikeflip.snn.neuron import LIF, integrate, reverse

# A convolution's output of one call. Larger ones fall out of the cache, and out of what the allocator gives back warm.
_CHUNK_BYTES = 12 * 2**20


@dataclass(frozen=True)
class Chain:
    """A feed-forward network as the engine sees it: layers, their weights and their input and output shapes."""

    layers: tuple[Layer, ...]
    weights: tuple[Tensor | None, ...]
    shapes: tuple[Shape, ...]  # the input's, then every layer's
    neuron: LIF


class DenseEngine:
    """Executes a chain; stateless but for a workspace, so one engine serves one caller at a time."""

    def __init__(self, chain: Chain, workspace: dict[str, Tensor] | None = None) -> None:
        self.chain = chain
        self.workspace: dict[str, Tensor] = {} if workspace is None else workspace
        self._transposed = [synapses.transposed(*pair) for pair in zip(chain.layers, chain.weights, strict=True)]

    @property
    def depth(self) -> int:
        """The number of layers."""
        return len(self.chain.layers)

    def forward(
        self, spikes: Tensor, *, first: int = 0, last: int | None = None, masks: Sequence[Tensor | None] | None = None
    ) -> tuple[Tensor, list[Tensor]]:
        """Run layers ``first`` to ``last`` (not included).

        Args:
            spikes: ``(N, T, *input of the first layer)``.
            first: the first layer to run.
            last: the layer to stop before; all when not given.
            masks: for every layer, what its spikes are multiplied by (dropout), or None.

        Returns:
            The spikes of the last layer and the potentials of every layer run. Both lie in the workspace: they hold
            until the next call of this method that runs the same layers.
        """
        potentials = []
        for i in range(first, self.depth if last is None else last):
            shape = (*spikes.shape[:2], *self.chain.shapes[i + 1])
            potential = self._buffer(f"potential {i}", shape, spikes)
            after = self._buffer(f"spikes {i % 2}", shape, spikes)
            for rows in self._chunks(i, *spikes.shape[:2]):
                current = self.current(i, spikes[rows])
                integrate(current, self.chain.neuron, potential=potential[rows], spikes=after[rows])
                if masks is not None and (mask := masks[i]) is not None:
                    after[rows].mul_(mask[rows])
            potentials.append(potential)
            spikes = after
        return spikes, potentials

    def current(self, layer: int, spikes: Tensor) -> Tensor:
        """The weighted input of one layer's neurons, in new memory."""
        return synapses.apply(self.chain.layers[layer], spikes, self.chain.weights[layer])

    def input_gradient(self, layer: int, gradient: Tensor) -> Tensor:
        """The gradient of a layer's input from that of its current, over chunks of samples."""
        shape = self.chain.shapes[layer]
        result = self._buffer(f"gradient {layer % 2}", (*gradient.shape[:2], *shape), gradient)
        for rows in self._chunks(layer, *gradient.shape[:2]):
            result[rows] = synapses.apply_transposed(
                self.chain.layers[layer], gradient[rows], self._transposed[layer], shape
            )
        return result

    def backward(
        self, gradient: Tensor, potentials: Sequence[Tensor], rows: Tensor | None = None, *, last: int | None = None
    ) -> Tensor:
        """The gradient of the input from that of the spikes of layer ``last - 1``, down the whole chain.

        Args:
            gradient: ``(n, T, *output)``, dL/d(spikes of that layer); overwritten.
            potentials: of the layers below ``last``, from :meth:`forward`, over all samples.
            rows: ``(n,)`` int64, the samples that ``gradient`` is of; all of them when not given.
            last: the layer to start below; the depth when not given.

        Returns:
            ``(n, T, *input)``, in the workspace.
        """
        for i in reversed(range(self.depth if last is None else last)):
            gradient = self._reverse_layer(i, gradient, potentials[i], rows)
        return gradient

    def _reverse_layer(self, i: int, gradient: Tensor, potential: Tensor, rows: Tensor | None) -> Tensor:
        """Neurons and weights of one layer in reverse, over chunks of samples while they are in the cache."""
        shape = self.chain.shapes[i]
        result = self._buffer(f"gradient {i % 2}", (*gradient.shape[:2], *shape), gradient)
        for chunk in self._chunks(i, *gradient.shape[:2]):
            kept = potential[chunk] if rows is None else potential[rows[chunk]]
            through = reverse(gradient[chunk], kept, self.chain.neuron)
            result[chunk] = synapses.apply_transposed(self.chain.layers[i], through, self._transposed[i], shape)
        return result

    def weight_gradients(
        self,
        spikes: Tensor,
        gradient: Tensor,
        potentials: Sequence[Tensor],
        masks: Sequence[Tensor | None],
        into: Sequence[Tensor | None],
    ) -> None:
        """Add the gradient of every weight to ``into`` (exact BPTT, Eq. 8).

        Args:
            spikes: ``(N, T, *input)``, what :meth:`forward` was given.
            gradient: ``(N, T, K)``, dL/d(output spikes); overwritten.
            potentials: of every layer, from :meth:`forward`.
            masks: as :meth:`forward` was given.
            into: a tensor of each weight's shape, None for pooling layers.
        """
        neuron = self.chain.neuron
        for i in reversed(range(self.depth)):
            if (mask := masks[i]) is not None:
                gradient.mul_(mask)
            reverse(gradient, potentials[i], neuron)
            layer, weight, total = self.chain.layers[i], self.chain.weights[i], into[i]
            if not isinstance(layer, AvgPool) and weight is not None and total is not None:
                below = spikes if i == 0 else self._spikes_again(i - 1, potentials[i - 1], masks[i - 1])
                total += synapses.weight_gradient(layer, below, gradient, weight)
            if i > 0:
                gradient = self.input_gradient(i, gradient)

    def _spikes_again(self, i: int, potential: Tensor, mask: Tensor | None) -> Tensor:
        spikes = self._buffer("spikes 0", potential.shape, potential)
        torch.ge(potential, self.chain.neuron.threshold, out=spikes)
        return spikes if mask is None else spikes.mul_(mask)

    def _chunks(self, layer: int, samples: int, time_steps: int) -> list[slice]:
        # A fully-connected layer reads all its weights in every call: give it all samples at once.
        if isinstance(self.chain.layers[layer], Linear):
            return [slice(0, samples)]
        larger = max(torch.Size(self.chain.shapes[layer]).numel(), torch.Size(self.chain.shapes[layer + 1]).numel())
        each = max(1, _CHUNK_BYTES // (4 * larger * max(1, time_steps)))
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

"""The ReLU twin of a spiking network: the non-spiking network it is compared with, and a victim by itself."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Self

import torch
import torch.nn.functional as F
from torch import Tensor

from spikeflip.errors import SpikeflipError
from spikeflip.snn import synapses
from spikeflip.snn.architecture import AvgPool
from spikeflip.snn.coding import Coding
from spikeflip.snn.engines.choose import EngineName, Precision
from spikeflip.snn.engines.dense import Dropout
from spikeflip.snn.gradients import GradientRequest, InputGradient, ScoreGradient
from spikeflip.snn.layers import Layers
from spikeflip.snn.probe import all_zero
from spikeflip.snn.surrogate import Surrogate
from spikeflip.snn.validation import check_tensor

if TYPE_CHECKING:
    from spikeflip.snn.network import SpikingNetwork


class ReluNetwork(Layers):
    """The ReLU twin of a spiking network: the same weights by name and shape, ReLU for every LIF after a weight.

    It takes images ``(N, *input)`` as they are and returns logits ``(N, K)``. As a victim its coding is ``"direct"``
    with one time step, and its scores are the logits.

    Args:
        architecture: for example ``"128C3-128C3-AP2-10FC"``; see :mod:`spikeflip.snn.architecture`.
        input_shape: ``(C, H, W)``; ``(F,)`` for fully-connected networks.
        width: factor on the hidden layers' channels and features.
        seed: of the initial weights, which are those of the spiking network of this seed.

    Raises:
        SpikeflipError: the network cannot be built; the message names the layer and the sizes.

    >>> ReluNetwork("4C3-AP2-10FC", (1, 8, 8))(torch.rand(2, 1, 8, 8)).shape
    torch.Size([2, 10])
    """

    coding: Coding = "direct"
    time_steps: int = 1

    def __init__(self, architecture: str, input_shape: Sequence[int], *, width: float = 1.0, seed: int = 0) -> None:
        super().__init__(architecture, input_shape, width=width, seed=seed)
        self._transposed: tuple[tuple[object, ...], tuple[Tensor | None, ...]] | None = None

    @classmethod
    def twin_of(cls, network: "SpikingNetwork") -> "ReluNetwork":
        """A ReLU network with a copy of a spiking network's weights, in their type."""
        if not isinstance(network, Layers):
            raise SpikeflipError(f"a {type(network).__name__} has no ReLU twin: give a SpikingNetwork")
        twin = cls(network.architecture, network.input_shape).to(network.device, network.weights[0].dtype)
        twin.load_state_dict(network.state_dict())
        return twin

    def on(
        self, engine: EngineName = "torch", *, precision: Precision = "float32", surrogate: Surrogate | None = None
    ) -> Self:
        """Itself, as a spiking network's ``on``; a SpikeflipError for what only spiking networks have."""
        for name, value, own in (("engine", engine, "torch"), ("precision", precision, "float32")):
            if value != own:
                raise SpikeflipError(f"{name} is {value!r}, but a ReLU network runs on torch in float32: choose {own}")
        if surrogate is not None:
            raise SpikeflipError(f"a ReLU network has a derivative and no surrogate such as {surrogate}: leave it out")
        return self

    def best_engine(self, precision: Precision = "float32", surrogate: Surrogate | None = None) -> EngineName:
        """``"torch"``; as a spiking network's ``best_engine``."""
        return "torch"

    def forward(self, images: Tensor, dropout: Sequence[Dropout | None] = ()) -> Tensor:
        """Logits ``(N, K)`` of images ``(N, *input)``, differentiable; ``dropout`` of the first layers' outputs."""
        remaining = iter(self.weights)
        x = images.unsqueeze(1)  # one time step: the layers are the spiking network's
        for i, layer in enumerate(self.layers):
            x = synapses.apply(layer, x, None if isinstance(layer, AvgPool) else next(remaining))
            if self._has_relu(i):
                x = F.relu(x)
            if i < len(dropout) and (dropped := dropout[i]) is not None:
                x = x * dropped.kept * dropped.scale
        return x.squeeze(1)

    def _has_relu(self, i: int) -> bool:
        return not isinstance(self.layers[i], AvgPool) and i < len(self.layers) - 1

    @property
    def penultimate_threshold(self) -> None:
        """None: nothing fires."""
        return None

    @torch.no_grad()
    def scores(self, inputs: Tensor) -> Tensor:
        """Logits ``(N, K)`` of images ``(N, 1, *input)``; no gradient."""
        scores: Tensor = self(self._checked(inputs).squeeze(1))
        return scores

    @torch.no_grad()
    def probe(self, inputs: Tensor, request: GradientRequest | None = None) -> "ReluProbe":
        """Run images ``(N, 1, *input)`` forward once, ready for input gradients; every ``request`` is served alike."""
        return ReluProbe(self, self._checked(inputs))

    def _checked(self, inputs: Tensor) -> Tensor:
        """Images in the type of the weights; a SpikeflipError for what is none of this network's."""
        check_tensor(inputs)
        if tuple(inputs.shape[1:]) != (1, *self.input_shape):
            sizes = ", ".join(map(str, self.input_shape))
            raise SpikeflipError(
                f"inputs have shape {tuple(inputs.shape)}, but a ReLU network takes one time step, (N, 1, {sizes}): "
                "give images"
            )
        return inputs.to(self.weights[0].dtype)

    def transposed_by_layer(self) -> tuple[Tensor | None, ...]:
        """The weights as :func:`synapses.apply_transposed` takes them; made anew when they have changed or moved."""
        state = tuple((weight.data_ptr(), weight._version, weight.device, weight.dtype) for weight in self.weights)
        if self._transposed is None or self._transposed[0] != state:
            pairs = zip(self.layers, self.weights_by_layer(), strict=True)
            self._transposed = state, tuple(synapses.transposed(layer, weight) for layer, weight in pairs)
        return self._transposed[1]


class ReluProbe:
    """One forward pass of a batch: its logits, and the exact gradient of its input on request."""

    def __init__(self, network: ReluNetwork, inputs: Tensor) -> None:
        self._network, self._transposed = network, network.transposed_by_layer()
        self._active: list[Tensor | None] = []  # of every layer with a ReLU: which units are above zero
        x = inputs
        for i, (layer, weight) in enumerate(zip(network.layers, network.weights_by_layer(), strict=True)):
            x = synapses.apply(layer, x, weight)
            x = F.relu(x) if network._has_relu(i) else x
            self._active.append(x > 0 if network._has_relu(i) else None)
        self.scores = x.squeeze(1)

    @torch.no_grad()
    def input_gradient(self, score_gradient: ScoreGradient, request: GradientRequest | None = None) -> InputGradient:
        """The gradient of a function of the logits with respect to the images.

        Args:
            score_gradient: the gradient of that function with respect to the logits.
            request: of which samples; of all when not given.

        Returns:
            ``values`` of shape ``(n, 1, *input)``. ``output_zero`` is ``loss_zero``, since an output without neurons
            lets every gradient through, and ``penultimate_spikes`` are 0.

        Raises:
            SpikeflipError: what only a spiking network has is asked for.
        """
        request = request or GradientRequest()
        if not request.is_plain:
            raise SpikeflipError(f"{request} is asked for, but a ReLU network has no firing neurons: leave it out")
        rows = request.rows_of(len(self.scores), self.scores.device)
        gradient = score_gradient(self.scores[rows], rows)
        loss_zero = all_zero(gradient)
        gradient = gradient.unsqueeze(1)
        layers, shapes = self._network.layers, self._network.shapes
        for i in reversed(range(len(layers))):
            if (active := self._active[i]) is not None:
                gradient = gradient * active[rows]
            gradient = synapses.apply_transposed(layers[i], gradient, self._transposed[i], shapes[i])
        return InputGradient(gradient, loss_zero, loss_zero, gradient.new_zeros(len(rows)))

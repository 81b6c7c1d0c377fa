"""The inputs of an update as something may change them before the network learns from them."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from spikeflip.snn.batches import shifted
from spikeflip.snn.coding import encode
from spikeflip.snn.network import Network
from spikeflip.snn.training_settings import Training
from spikeflip.snn.validation import Kind, kind_of
from spikeflip.streams import Purpose


@dataclass(frozen=True)
class Batch:
    """The n samples of an update that are in memory at a time, and all that is known of them.

    Args:
        network: with the weights before this update.
        inputs: images ``(n, *input)`` in [0, 1] or spikes ``(n, T, *input)``, moved already where ``shift`` is set.
        labels: true classes ``(n,)`` int64, on the network's device.
        samples: ``(n,)`` int64, the positions in the training data, which name the samples' random streams.
        update: the number of this update, from 1.
        settings: of the training.
    """

    network: Network
    inputs: Tensor
    labels: Tensor
    samples: Tensor
    update: int
    settings: Training

    @classmethod
    def of(
        cls, network: Network, data: tuple[Tensor, Tensor], rows: Tensor, update: int, settings: Training
    ) -> "Batch":
        """The samples of ``data``, inputs and classes, at the positions ``rows`` ``(n,)``."""
        inputs = data[0][rows]
        if settings.shift:
            inputs = shifted(inputs, settings.shift, seed=settings.seed, rows=rows, update=update)
        return cls(network, inputs, data[1][rows].to(network.device), rows, update, settings)

    @property
    def kind(self) -> Kind:
        """Whether the inputs are images or spikes."""
        return kind_of(self.inputs, self.network.input_shape, self.network.coding)

    @property
    def time_steps(self) -> int:
        """In how many time steps this training codes images."""
        return min(self.settings.coding_steps or self.network.time_steps, self.network.time_steps)

    def encoded(self, inputs: Tensor, purpose: Purpose, step: int) -> Tensor:
        """What the network sees of other inputs of these samples, ``(n, T, *input)`` float32 on its device.

        Args:
            inputs: ``(n, *input)`` or ``(n, T, *input)``.
            purpose, step: of the random streams; see :mod:`spikeflip.streams`.
        """
        return encode(
            inputs,
            self.network.input_shape,
            self.time_steps,
            coding=self.network.coding,
            seed=self.settings.seed,
            samples=self.samples,
            purpose=purpose,
            step=step,
        ).to(self.network.device)


Perturb = Callable[[Batch], Tensor]
"""Gives the inputs that an update learns from, of the shape of ``Batch.inputs``.

It must not change the weights, and all its random numbers must come from streams of the batch's samples and update. Its
``repr`` says what it does: it is part of what an interrupted training must agree in to go on.
"""


def identity_of(perturb: Perturb | None) -> dict[str, str]:
    """What a training with perturbed inputs must agree in beside all else; nothing where there are none."""
    return {} if perturb is None else {"perturb": repr(perturb)}

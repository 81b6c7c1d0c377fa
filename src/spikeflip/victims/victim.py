"""What an attack may see of a model.

A victim is a stateless function of its input: the same spikes give the same scores, nothing is remembered between
calls, its parameters never receive a gradient. :class:`spikeflip.snn.network.SpikingNetwork` and its ReLU twin are
victims by themselves.
"""

from typing import Protocol

import torch
from torch import Tensor

from spikeflip.snn.architecture import Shape
from spikeflip.snn.coding import Coding
from spikeflip.snn.probe import InputGradient, ScoreGradient


class Probe(Protocol):
    """One forward pass of a batch ``(N, T, *input)``; valid until the victim runs again."""

    scores: Tensor
    """Output spike rates ``(N, K)`` of the untouched victim, in [0, 1]; logits of one that does not spike."""

    def input_gradient(
        self,
        score_gradient: ScoreGradient,
        rows: Tensor,
        *,
        penultimate_threshold: float | None = None,
        output_window: float | None = None,
    ) -> InputGradient:
        """The gradient of a function of the scores for the samples ``rows`` ``(n,)``.

        ``score_gradient`` gives that function's gradient with respect to the scores; ``penultimate_threshold`` and
        ``output_window`` hold in this pass only.
        """
        ...


class Victim(Protocol):
    """A model that can be attacked."""

    input_shape: Shape
    """Of one time step, ``(C, H, W)`` or any other rank."""
    time_steps: int
    """T, the window over which images are coded."""
    coding: Coding
    """How images become what it sees; ``"direct"`` for a network that takes images as they are, and no spikes."""

    @property
    def classes(self) -> int:
        """K, the number of classes."""
        ...

    @property
    def device(self) -> torch.device:
        """Where the model runs."""
        ...

    @property
    def penultimate_threshold(self) -> float | None:
        """Firing threshold of the layer before the output layer; None where there is none."""
        ...

    def scores(self, spikes: Tensor) -> Tensor:
        """Output spike rates ``(N, K)`` in [0, 1], or logits, of spikes ``(N, T, *input)``; no gradient."""
        ...

    def probe(self, spikes: Tensor) -> Probe:
        """Run spikes ``(N, T, *input)`` forward once, ready for input gradients."""
        ...

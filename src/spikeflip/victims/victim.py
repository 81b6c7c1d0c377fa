"""What an attack may see of a model.

A victim is a stateless function of its input: the same spikes give the same scores, nothing is remembered between
calls, its parameters never receive a gradient. :class:`spikeflip.snn.network.SpikingNetwork` and its ReLU twin are
victims by themselves.
"""

from typing import Protocol, TypeGuard

import torch
from torch import Tensor, nn

from spikeflip.errors import SpikeflipError
from spikeflip.snn.architecture import Shape
from spikeflip.snn.coding import Coding
from spikeflip.snn.gradients import GradientRequest, InputGradient, ScoreGradient
from spikeflip.victims.modules import named_parameters


class Probe(Protocol):
    """One forward pass of a batch ``(N, T, *input)``; valid until the victim runs again."""

    scores: Tensor
    """Output spike rates ``(N, K)`` of the untouched victim, in [0, 1]; logits of one that does not spike."""

    def input_gradient(self, score_gradient: ScoreGradient, request: GradientRequest | None = None) -> InputGradient:
        """The gradient of a function of the scores with respect to the input.

        Args:
            score_gradient: from the scores ``(n, K)`` of some samples and their row numbers ``(n,)`` int64 to that
                function's gradient with respect to these scores, ``(n, K)``.
            request: of which samples, and with what; of all, and as the model is, when not given.

        Raises:
            SpikeflipError: the victim cannot give such a gradient: it has no such layer, or none whose threshold or
                derivative can be changed.
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
        """Output spike rates ``(N, K)`` in [0, 1], or logits; no gradient.

        Args:
            spikes: ``(N, T, *input)``; images ``(N, 1, *input)`` where the coding is ``"direct"``, as with the layout
                ``"static"``.
        """
        ...

    def probe(self, spikes: Tensor, request: GradientRequest | None = None) -> Probe:
        """Run spikes ``(N, T, *input)`` forward once, ready for input gradients.

        Args:
            spikes: ``(N, T, *input)``.
            request: what gradients will be asked for, where it is known; another may be asked for all the same, but may
                cost a second forward pass.
        """
        ...


def check_victim(model: object) -> None:
    """Raise a SpikeflipError that says what to give instead unless a model is a victim, with finite weights."""
    name = type(model).__name__
    if not is_victim(model):
        inner = getattr(model, "victim", None)
        if is_victim(inner):
            raise SpikeflipError(f"the victim is a {name}: give the victim that is inside it")
        if isinstance(model, nn.DataParallel | nn.parallel.DistributedDataParallel):
            raise SpikeflipError(
                f"the victim is a {name}, which spreads over devices: wrap the model inside it with "
                "spikeflip.wrap(model.module, example)"
            )
        fix = "wrap it with spikeflip.wrap(model, example)"
        if not isinstance(model, nn.Module):
            fix = "give what spikeflip.load_victim(folder_or_name) or spikeflip.wrap(model, example) returns"
        raise SpikeflipError(f"the victim is a {name}, which cannot be attacked: {fix}")
    inside = getattr(model, "model", model)
    if isinstance(inside, nn.Module):
        check_weights(inside)


def check_weights(model: nn.Module) -> None:
    """Raise a SpikeflipError where a parameter is not finite: neurons then stay silent, which looks like a result."""
    for name, parameter in named_parameters(model):
        if parameter.is_floating_point() and not bool(torch.isfinite(parameter).all()):
            value = parameter.detach()[~torch.isfinite(parameter.detach())].flatten()[0]
            raise SpikeflipError(
                f"the victim's parameter {name!r} holds the value {float(value)}: load weights that are finite numbers"
            )


def takes_counts(victim: Victim) -> bool:
    """Whether a victim's inputs are counts of events, whole numbers from 0, and not spikes of 0 and 1."""
    return bool(getattr(victim, "counts", False))


def is_victim(model: object) -> TypeGuard[Victim]:
    """Whether it can do what a :class:`Victim` must."""
    facts = ("input_shape", "time_steps", "coding", "classes", "device")
    return all(hasattr(model, name) for name in facts) and all(
        callable(getattr(model, name, None)) for name in ("scores", "probe")
    )

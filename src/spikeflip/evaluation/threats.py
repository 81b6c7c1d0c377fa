"""Threat models: what an attack may change, in which unit, and how much of it a budget allows."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from spikeflip.attacks.flip_training import events_of, most_flips
from spikeflip.attacks.metrics import METRICS, Change
from spikeflip.errors import SpikeflipError, choose_from
from spikeflip.snn.validation import Kind

_ROUNDING = 1e-6
"""Of an image in float32, beyond a limit."""


@dataclass(frozen=True)
class Threat:
    """A threat model.

    Args:
        name: as ``--threat`` has it.
        kind: of the inputs that it is defined on.
        metric: of :mod:`spikeflip.attacks.metrics`, in which distances are measured.
        budget: what its budget is, in words.
    """

    name: str
    kind: Kind
    metric: str
    budget: str

    def check(self, kind: Kind, budget: float) -> None:
        """Raise a SpikeflipError if the threat is not one to such inputs, or there is no such budget."""
        if kind != self.kind:
            other = next(one.name for one in THREATS.values() if one.kind == kind)
            raise SpikeflipError(
                f"threat {self.name} is on {self.kind}, and the inputs are {kind}: choose another, such as {other}"
            )
        if not (math.isfinite(budget) and 0 <= budget <= 1):
            raise SpikeflipError(f"budget is {budget}, and that of {self.name} is {self.budget}: give one from 0 to 1")

    def limits(self, inputs: Tensor, budget: float) -> Tensor:
        """The largest distance that a budget allows each sample, ``(N,)`` float64; flips are rounded down."""
        if self.metric == "l0":
            return most_flips(events_of(inputs), budget).double().cpu()
        return torch.full((len(inputs),), budget, dtype=torch.float64)

    def distances(self, inputs: Tensor, adversarials: Tensor) -> Tensor:
        """How far each adversarial is from its original, ``(N,)`` float64."""
        parts = [torch.empty(0, dtype=torch.float64)]
        for rows in torch.arange(len(inputs)).split(64) if len(inputs) else ():
            change = Change(inputs[rows].double().cpu(), adversarials[rows].double().cpu())
            parts.append(METRICS[self.metric](change).double())
        return torch.cat(parts)

    def within(self, distances: Tensor, limits: Tensor) -> Tensor:
        """Whether distances ``(N,)`` keep to their limits, but for what an image in float32 is rounded by."""
        if self.metric == "mse":
            return distances.sqrt() <= limits.sqrt() + _ROUNDING
        return distances <= limits + _ROUNDING

    def keep(self, inputs: Tensor, adversarials: Tensor, limits: Tensor) -> Tensor:
        """The adversarials, of which images that go too far are drawn back to the limit."""
        if self.metric == "l0" or not len(inputs):
            return adversarials
        column = limits.to(inputs).reshape(-1, *[1] * (inputs.ndim - 1))
        if self.metric == "linf":
            return torch.minimum(torch.maximum(adversarials, inputs - column), inputs + column).clamp(0, 1)
        size = self.distances(inputs, adversarials).to(inputs).reshape(column.shape)
        by = (column / torch.where(size > 0, size, 1)).sqrt()
        return torch.where(size > column, inputs + by * (adversarials - inputs), adversarials)


THREATS: dict[str, Threat] = {
    threat.name: threat
    for threat in (
        Threat("binary-l0", "spikes", "l0", "a share of each sample's own spikes, such as 0.05"),
        Threat("image-linf", "images", "linf", "the most that a pixel in [0, 1] may change, such as 8/255 = 0.0314"),
        Threat("image-mse", "images", "mse", "a mean squared change of pixels in [0, 1], such as 0.01"),
    )
}
"""By name."""


def threat_of(name: str) -> Threat:
    """The threat of that name; a SpikeflipError that says which there are."""
    if name in ("events", "timing"):
        raise SpikeflipError(
            f"threat {name} has no attacks yet, as raw events and times are not attacked: choose from "
            f"{', '.join(THREATS)}"
        )
    if name not in THREATS:
        raise SpikeflipError(f"threat is {name!r}: {choose_from(name, THREATS)}")
    return THREATS[name]

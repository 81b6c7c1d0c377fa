"""Threat models: what an attack may change, in which unit, and how much of it a budget allows."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from spikeflip.attacks.flip_training import events_of, most_flips
from spikeflip.attacks.metrics import METRICS, Change, Recorded
from spikeflip.errors import SpikeflipError, choose_from
from spikeflip.evaluation import regions
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
        gradients_in: the threat within which gradients are examined, for the verdict on masking.
        moves_alone: whether spikes may change their time bin and nothing else.
    """

    name: str
    kind: Kind
    metric: str
    budget: str
    gradients_in: regions.Threat
    moves_alone: bool = False

    @property
    def on_recordings(self) -> bool:
        """Whether its distances are of recordings, and not of frames alone."""
        return METRICS[self.metric].on == "recordings"

    def check(self, kind: Kind, budget: float, *, steps: int, recorded: bool) -> None:
        """Raise a SpikeflipError if the threat is not one to such inputs, or there is no such budget.

        Args:
            kind: of the inputs.
            budget: what is asked for.
            steps: time steps of the victim.
            recorded: whether the events of the inputs are known.
        """
        if kind != self.kind:
            other = next(one.name for one in THREATS.values() if one.kind == kind)
            raise SpikeflipError(
                f"threat {self.name} is on {self.kind}, and the inputs are {kind}: choose another, such as {other}"
            )
        if self.moves_alone and steps == 1:
            raise SpikeflipError(
                f"threat {self.name} moves spikes between time steps, and the victim has one: choose another, such as "
                f"{self.gradients_in}"
            )
        if self.on_recordings and not recorded:
            raise SpikeflipError(
                f"threat {self.name} counts the events of recordings, and the inputs are frames of one event a cell: "
                "choose binary-l0, or in Python give recorded=Recorded.of(...)"
            )
        if not (math.isfinite(budget) and 0 <= budget <= 1):
            raise SpikeflipError(f"budget is {budget}, and that of {self.name} is {self.budget}: give one from 0 to 1")

    def own(self, inputs: Tensor, recorded: Recorded | None) -> Tensor:
        """What a budget is a share of, ``(N,)`` float64: the sample's spikes or events; of images 1."""
        if self.kind == "images":
            return torch.ones(len(inputs), dtype=torch.float64)
        own = events_of(inputs).double().cpu()
        if self.on_recordings and recorded is not None:
            own.index_add_(0, recorded.sample.cpu(), recorded.more.double().cpu())
        return own

    def limits(self, own: Tensor, budget: float) -> Tensor:
        """The largest distance that a budget allows each sample, ``(N,)`` float64; of spikes rounded down."""
        return own * budget if self.kind == "images" else most_flips(own, budget).double()

    def distances(self, inputs: Tensor, adversarials: Tensor, recorded: Recorded | None = None) -> Tensor:
        """How far each adversarial is from its original, ``(N,)`` float64; infinite where that is not allowed."""
        parts = [torch.empty(0, dtype=torch.float64)]
        for rows in torch.arange(len(inputs)).split(64) if len(inputs) else ():
            some = None if recorded is None else recorded.rows(rows)
            change = Change(inputs[rows].double().cpu(), adversarials[rows].double().cpu(), some)
            distance = METRICS[self.metric](change).double()
            if self.moves_alone:
                kept = (change.difference.flatten(2).sum(1) == 0).all(1)
                distance = torch.where(kept, distance, torch.inf)
            parts.append(distance)
        return torch.cat(parts)

    def within(self, distances: Tensor, limits: Tensor) -> Tensor:
        """Whether distances ``(N,)`` keep to their limits, but for what an image in float32 is rounded by."""
        if self.metric == "mse":
            return distances.sqrt() <= limits.sqrt() + _ROUNDING
        return distances <= limits + _ROUNDING

    def keep(self, inputs: Tensor, adversarials: Tensor, limits: Tensor) -> Tensor:
        """The adversarials, of which images that go too far are drawn back to the limit."""
        if self.kind == "spikes" or not len(inputs):
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
        Threat("binary-l0", "spikes", "l0", "a share of each sample's own spikes, such as 0.05", "binary-l0"),
        Threat("events", "spikes", "l0_events", "a share of each recording's own events, such as 0.05", "binary-l0"),
        Threat(
            "timing",
            "spikes",
            "moved",
            "a share of each sample's spikes that change their time bin, such as 0.1",
            "binary-l0",
            moves_alone=True,
        ),
        Threat(
            "image-linf",
            "images",
            "linf",
            "the most that a pixel in [0, 1] may change, such as 8/255 = 0.0314",
            "image-linf",
        ),
        Threat("image-mse", "images", "mse", "a mean squared change of pixels in [0, 1], such as 0.01", "image-mse"),
    )
}
"""By name."""


def threat_of(name: str) -> Threat:
    """The threat of that name; a SpikeflipError that says which there are."""
    if name not in THREATS:
        raise SpikeflipError(f"threat is {name!r}: {choose_from(name, THREATS)}")
    return THREATS[name]

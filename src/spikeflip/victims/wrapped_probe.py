"""One forward pass of a wrapped model, and the way back through its graph."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from spikeflip.snn.gradients import GradientRequest, InputGradient, ScoreGradient
from spikeflip.snn.probe import all_zero
from spikeflip.victims.estimating import Estimate
from spikeflip.victims.order import SampleAxis
from spikeflip.victims.spike_functions import Change

if TYPE_CHECKING:
    from spikeflip.victims.wrapped import WrappedModel


@dataclass
class Pass:
    """One forward pass with its graph, if it was asked for one."""

    source: Tensor
    scores: Tensor
    changes: Mapping[str, Change]
    """How its spiking layers fired."""
    estimate: Estimate | None = None
    """What an estimator makes of it, where that takes the place of derivatives."""
    into_last: list[Tensor] = field(default_factory=list)
    """What the last spiking layer was given, one entry a call of it."""
    penultimate: list[Tensor] = field(default_factory=list)
    """The spikes of the penultimate layer, one entry a call of it."""


class WrappedProbe:
    """One forward pass of a batch, whose graph is kept for the first gradient; each further one runs it again."""

    @torch.inference_mode(False)
    def __init__(self, victim: "WrappedModel", spikes: Tensor, request: GradientRequest) -> None:
        self._victim, self._spikes = victim, spikes
        # Where the gradient asks for another threshold, a graph of the model as it is would be made in vain.
        found = victim.forward(spikes, victim.changes(), graph=request.is_plain)
        self.scores = found.scores.detach()
        self._pass = found if request.is_plain else None

    @torch.inference_mode(False)
    def input_gradient(self, score_gradient: ScoreGradient, request: GradientRequest | None = None) -> InputGradient:
        """The gradient of a function of the scores with respect to the input, by autograd through the model.

        Args:
            score_gradient: the gradient of that function with respect to the scores.
            request: of which samples, and with what; of all, and as the model is, when not given. Anything else than
                the model as it is costs a second forward pass.

        Raises:
            SpikeflipError: the model has no such layer, its spike function cannot be reached, or it does not serve the
                estimator.
        """
        request = request or GradientRequest()
        victim, rows = self._victim, request.rows_of(len(self.scores), self.scores.device)
        if request.is_plain and len(rows.unique()) == len(rows):
            # A graph is used once: one that is kept costs fresh memory at every step of the way back.
            found = self._pass or victim.forward(self._spikes, victim.changes(), graph=True)
            self._pass = None
            return self._backward(found, score_gradient, rows, rows)
        found = victim.forward(self._spikes[rows], victim.changes(request), graph=True, window=request.estimator.reach)
        return self._backward(found, score_gradient, rows, torch.arange(len(rows), device=rows.device))

    def _backward(self, found: Pass, score_gradient: ScoreGradient, rows: Tensor, place: Tensor) -> InputGradient:
        """Of the samples ``rows``, which are at ``place`` in the pass."""
        victim = self._victim
        wanted = score_gradient(found.scores.detach()[place], rows)
        gradient = torch.zeros_like(found.scores)
        gradient[place] = wanted.to(gradient)
        loss_zero, n, dtype = all_zero(wanted), len(found.source), self._spikes.dtype
        with victim.firing(found.changes):
            whole, *into_last = _gradients(found.scores, [found.source, *found.into_last], gradient)
        values = whole[place].to(dtype if dtype.is_floating_point else torch.float32)
        output_zero = loss_zero.clone()
        if victim.into_last is not None and into_last and bool((all_zero(values) & ~loss_zero).any()):
            output_zero |= ~_per_sample(victim.into_last, [x.abs() for x in into_last], n)[place].bool()
        spikes = torch.full((n,), -1.0, device=values.device)
        if found.estimate is not None:
            found.estimate.keep(~output_zero)
        axis = victim.axes.get(victim.order.penultimate or "")
        if axis is not None and found.penultimate:
            spikes = _per_sample(axis, found.penultimate, n)
        return InputGradient(values, loss_zero, output_zero, spikes[place])


def _per_sample(axis: SampleAxis, tensors: Sequence[Tensor], n: int) -> Tensor:
    """The sum of all that belongs to a sample, ``(n,)``, in the tensors of one or more calls of a layer."""
    return torch.stack([axis.totals(tensor.detach(), n) for tensor in tensors]).sum(0)


def _gradients(scores: Tensor, sources: Sequence[Tensor], gradient: Tensor) -> list[Tensor]:
    """Zero where the scores do not depend on a source; uses the graph up."""
    if not scores.requires_grad or not bool(gradient.any()):
        return [torch.zeros_like(source) for source in sources]
    asking = [source for source in sources if source.requires_grad]
    found = iter(torch.autograd.grad(scores, asking, gradient, allow_unused=True))
    each = [next(found) if source.requires_grad else None for source in sources]
    return [torch.zeros_like(s) if g is None else g for s, g in zip(sources, each, strict=True)]

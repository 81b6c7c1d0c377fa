"""Input gradients of the first iteration: how many are zero, and how many sampling leaves (Fig. 5, 7)."""

from typing import Any

import torch
from torch import Tensor

from spikeflip.attacks.scg import probabilistic_sampling
from spikeflip.runs.plan import Plan
from spikeflip.snn.coding import encode_for, winner
from spikeflip.snn.gradients import GradientRequest
from spikeflip.snn.losses import score_gradient
from spikeflip.streams import uniform

GRADIENTS_VERSION = 2
"""Of what :func:`first_gradients` measures: what another version has measured is measured again."""
_TOGETHER = 16
_LOWEST, _BINS = -24, 24


def first_gradients(plan: Plan) -> dict[str, Any]:
    """The gradients of a planned untargeted attack at its first iteration, of the inputs that are right from the start.

    Returns:
        ``n`` inputs; ``zero``: the share of elements that are zero; ``histogram``: how many elements have
        ``2^k <= |g| / max|g| < 2^(k+1)`` (the maximum taken over all inputs), from ``k = lowest`` on, the first with
        all below; ``before`` and ``after``, by class: how many elements of an input are not zero on average, and how
        many of these sampling keeps (Eq. 10); ``masked``: the share that it does not keep.
    """
    labels, before, after, sizes, elements = [], [], [], [], 0
    for part in torch.arange(len(plan.rows)).split(_TOGETHER):
        samples, found = _gradient(plan, part)
        numbers = uniform(plan.task.config.seed, plan.samples[samples], "sample", 0, found.shape[1:])
        kept = probabilistic_sampling(found, numbers) * found
        labels.append(plan.labels[samples])
        before.append(found.flatten(1).ne(0).sum(1))
        after.append(kept.flatten(1).ne(0).sum(1))
        sizes.append(found[found != 0].abs())
        elements += found.numel()
    return _counted(torch.cat(labels), torch.cat(before).double(), torch.cat(after).double()) | {
        "elements": elements,
        "zero": 1 - sum(map(len, sizes)) / elements if elements else None,
        "lowest": _LOWEST,
        "histogram": _histogram(torch.cat(sizes)),
    }


def _gradient(plan: Plan, part: Tensor) -> tuple[Tensor, Tensor]:
    """Of some rows ``(n,)``: which of them are right, ``(m,)``, and their gradients ``(m, T, *input)``."""
    network, config = plan.task.victim, plan.task.config
    spikes = encode_for(
        network,
        plan.task.data.read(plan.rows[part]).float(),
        seed=config.seed,
        samples=plan.samples[part],
    )
    probe = network.probe(spikes.to(network.device))
    right = (winner(probe.scores).cpu() == plan.labels[part]).nonzero().squeeze(1)
    labels, loss = plan.labels[part].to(network.device), plan.settings["loss"]
    found = probe.input_gradient(
        lambda scores, rows: score_gradient(loss, scores, labels[rows])[1],
        GradientRequest(rows=right.to(network.device)),
    )
    return part[right], found.values.cpu()


def _counted(labels: Tensor, before: Tensor, after: Tensor) -> dict[str, Any]:
    """Elements that are not zero ``(n,)`` before and after sampling, by class and over all."""
    classes, left = labels.unique().tolist(), float(before.sum())
    counts = {"before": before, "after": after}
    return {
        "n": len(labels),
        "classes": classes,
        **{name: [float(count[labels == label].mean()) for label in classes] for name, count in counts.items()},
        **{f"{name}_mean": float(count.mean()) if len(count) else None for name, count in counts.items()},
        "masked": 1 - float(after.sum()) / left if left else None,
    }


def _histogram(sizes: Tensor) -> list[int]:
    if not len(sizes):
        return [0] * _BINS
    exponent = torch.log2(sizes / sizes.max()).floor().clamp(_LOWEST, -1).long() - _LOWEST
    return torch.bincount(exponent, minlength=_BINS).tolist()

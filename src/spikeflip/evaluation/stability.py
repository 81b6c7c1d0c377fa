"""Whether a victim says the same of the same inputs, and nearly the same of nearly the same."""

from dataclasses import dataclass

import torch
from torch import Tensor

from spikeflip.evaluation.walking import Subject
from spikeflip.snn.coding import winner
from spikeflip.streams import foreign_numbers, uniform

CALLS = 5
CHANGES = 10
_SMALL = 1e-3
"""A change of a pixel; of spikes, one is flipped."""


@dataclass(frozen=True)
class Stability:
    """Figures of a victim's scores."""

    leaking: float
    """Largest difference of scores made one long between calls that begin with the same random numbers."""
    random: float
    """The same with random numbers that go on from call to call."""
    jump: float
    """Mean change of the margin under small random changes, by the mean margin."""
    constant: bool
    """All inputs get the same scores."""


def stability(subject: Subject) -> Stability:
    """Ask a victim a few times about the same inputs, in batches of the usual size."""
    rows = torch.arange(len(subject.ids)).split(subject.micro_batch)
    seen = [subject.encoded(subject.inputs[part.to(subject.inputs.device)], part, 0) for part in rows]

    def once() -> Tensor:
        return torch.cat([subject.scores(spikes).double().cpu() for spikes in seen])

    def seeded() -> Tensor:
        with foreign_numbers(subject.seed):
            return once()

    same = [seeded() for _ in range(CALLS)]
    with foreign_numbers(subject.seed):
        fresh = [once() for _ in range(CALLS)]
    constant = bool((same[0] == same[0][:1]).all()) and len(subject.labels.unique()) > 1
    return Stability(_spread(same), _spread(fresh), _jump(subject), constant)


def _spread(calls: list[Tensor]) -> float:
    """The largest difference to the first call, of scores made one long."""
    unit = [scores / scores.norm(dim=1, keepdim=True).clamp(min=1e-12) for scores in calls]
    return max(float((scores - unit[0]).norm(dim=1).max()) for scores in unit[1:])


def _jump(subject: Subject) -> float:
    """How much small random changes change the margins, relative to these, both on average."""
    sizes, changes = [], []
    for rows in torch.arange(len(subject.ids)).split(subject.micro_batch):
        inputs = subject.inputs[rows.to(subject.inputs.device)]
        before = _nearness(subject, inputs, rows)
        sizes.append(before.abs())
        for change in range(CHANGES):
            numbers = uniform(subject.seed, subject.ids[rows], "noise", change, inputs.shape[1:], inputs.device)
            if subject.images:
                moved = (inputs + _SMALL * (2 * numbers.to(inputs) - 1)).clamp(0, 1)
            else:
                one = numbers == numbers.flatten(1).amax(1).reshape(-1, *[1] * (numbers.ndim - 1))
                moved = torch.where(one, 1 - inputs, inputs)
            changes.append((_nearness(subject, moved, rows) - before).abs())
    return float(torch.cat(changes).mean() / torch.cat(sizes).mean().clamp(min=1e-12))


def _nearness(subject: Subject, inputs: Tensor, rows: Tensor) -> Tensor:
    """How near inputs are to the goal, ``(n,)``, with the same random numbers whenever it is asked."""
    with foreign_numbers(subject.seed):
        return subject.nearness(subject.scores(subject.encoded(inputs, rows, 0)), rows).double().cpu()


def disagreement(subject: Subject, adversarials: Tensor) -> float:
    """Share of inputs and adversarials on which a pass ready for gradients names another class than the scores do."""
    differ = []
    for rows in torch.arange(len(subject.ids)).split(subject.micro_batch):
        here = rows.to(subject.inputs.device)
        for inputs in (subject.inputs[here], adversarials[here]):
            spikes = subject.encoded(inputs, rows, 0)
            with foreign_numbers(subject.seed):
                view = winner(subject.view.probe(spikes).scores).cpu()
            with foreign_numbers(subject.seed):
                differ.append(view != winner(subject.scores(spikes)).cpu())
            subject.passes.forwards += len(rows)
    return float(torch.cat(differ).double().mean())

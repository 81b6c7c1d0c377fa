"""The probes of a masking verdict: walks along a gradient, and searches without one, with all they pass on the way.

They differ in the gradient alone, so that what one reaches more than another is the gradient's doing. They do not stop
at a success, and say of every step what the victim answered.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from spikeflip.attacks.dense import column
from spikeflip.attacks.result import Vanishing
from spikeflip.errors import SpikeflipError
from spikeflip.evaluation.regions import Region
from spikeflip.snn.coding import encode_for, reached, winner
from spikeflip.snn.gradients import GradientRequest, InputGradient
from spikeflip.snn.losses import margin, score_gradient
from spikeflip.snn.memory import Memory
from spikeflip.streams import Purpose, uniform
from spikeflip.victims import Victim

_DRAWS = 10
"""Fresh encodings that decide on a rate-coded image."""


@dataclass
class Passes:
    """What was spent, in passes of single inputs."""

    forwards: int = 0
    backwards: int = 0


@dataclass(frozen=True)
class Subject:
    """n inputs of a victim, all answered rightly before anything is done to them."""

    victim: Victim
    inputs: Tensor
    labels: Tensor
    targets: Tensor | None
    ids: Tensor
    """``(n,)`` int64, which name the random streams."""
    seed: int
    micro_batch: int
    passes: Passes = field(default_factory=Passes)
    attacked: Victim | None = None
    """The same victim as attacks meet it, such as on another engine; the victim itself if None."""

    def rows(self, rows: Tensor) -> "Subject":
        """Some of them, on the same account."""
        here = rows.to(self.inputs.device)
        targets = None if self.targets is None else self.targets[here]
        return replace(self, inputs=self.inputs[here], labels=self.labels[here], targets=targets, ids=self.ids[rows])

    @property
    def images(self) -> bool:
        """Whether they are images, and not spikes."""
        return self.inputs.ndim == 1 + len(self.victim.input_shape)

    @property
    def drawn(self) -> bool:
        """Whether the victim's scores depend on random encodings."""
        return self.images and self.victim.coding == "rate"

    @property
    def classes(self) -> Tensor:
        """Whose loss moves: up that of the label, or down that of the target."""
        return self.labels if self.targets is None else self.targets

    def encoded(self, inputs: Tensor, rows: Tensor, step: int, purpose: Purpose = "encode") -> Tensor:
        """What the victim sees of inputs of some of the samples."""
        return encode_for(self.victim, inputs, seed=self.seed, samples=self.ids[rows], purpose=purpose, step=step)

    def nearness(self, scores: Tensor, rows: Tensor) -> Tensor:
        """How near scores are to the goal, ``(m,)``; above 0 they have reached it."""
        found = margin(scores, self.classes[rows.to(self.classes.device)].to(scores.device))
        return found if self.targets is None else -found

    def uphill(self, scores: Tensor, rows: Tensor) -> Tensor:
        """The gradient of :meth:`nearness`, ``(m, K)``."""
        found = score_gradient(margin, scores, self.classes[rows.to(self.classes.device)].to(scores.device))[1]
        return found if self.targets is None else -found

    def fooled(self, scores: Tensor, rows: Tensor) -> Tensor:
        """Whether scores reach the goal, ``(m,)`` bool; a tie does not."""
        classes = self.classes.cpu()[rows]
        return reached(winner(scores).cpu(), classes, targeted=self.targets is not None)

    def scores(self, spikes: Tensor) -> Tensor:
        """What the victim says."""
        self.passes.forwards += len(spikes)
        return self.victim.scores(spikes)

    @property
    def view(self) -> Victim:
        """What attacks look at; whether they succeed the victim says."""
        return self.victim if self.attacked is None else self.attacked


@dataclass(frozen=True)
class Course:
    """What a walk or a search came to, for n inputs."""

    adversarials: Tensor
    """``(n, ...)``: the last inputs that fooled the view, else the last of all."""
    view: Tensor
    """``(n,)`` bool: the pass that gave the gradient said, at some step, that the goal is reached."""
    success: Tensor
    """``(n,)`` bool: the untouched victim says so of the adversarials, in most of the encodings where these differ."""
    last: Tensor
    """``(n,)`` bool: the last step had reached the goal."""
    tied: Tensor
    """``(n, steps + 1)`` bool: two classes tied for the highest score."""
    nearness: Tensor
    """``(n, steps + 1)``, how near to the goal each step was."""
    first: Tensor
    """``(n,)`` int8: a :class:`spikeflip.attacks.Vanishing`, of the gradient of the originals."""


def walk(
    subject: Subject,
    region: Region,
    request: GradientRequest,
    *,
    steps: int,
    encodings: int = 1,
) -> Course:
    """Follow a gradient for some steps within a region.

    Costs a forward and a backward pass a step and encoding, and those that judge.

    Raises:
        SpikeflipError: the victim does not give such a gradient.
    """
    parts = [_walk(subject, rows, region, request, steps, encodings) for rows in _batches(subject)]
    return _joined(subject, parts)


def search(subject: Subject, region: Region, *, queries: int) -> Course:
    """Random search by the victim's scores alone, one forward pass a query, and those that judge."""
    return _joined(subject, [_search(subject, rows, region, queries) for rows in _batches(subject)])


def _batches(subject: Subject) -> Sequence[Tensor]:
    parts: Sequence[Tensor] = torch.arange(len(subject.ids)).split(subject.micro_batch)
    return parts


@dataclass
class _Path:
    """The steps of a few inputs so far."""

    subject: Subject
    rows: Tensor
    kept: Tensor
    first: Tensor
    view: Tensor
    last: Tensor
    tied: list[Tensor] = field(default_factory=list)
    nearness: list[Tensor] = field(default_factory=list)

    @classmethod
    def begin(cls, subject: Subject, rows: Tensor) -> "_Path":
        def no() -> Tensor:
            return torch.zeros(len(rows), dtype=torch.bool)

        kept = subject.inputs[rows.to(subject.inputs.device)].clone()
        return cls(subject, rows, kept, torch.zeros(len(rows), dtype=torch.int8), no(), no())

    def note(self, inputs: Tensor, scores: Tensor) -> Tensor:
        """Take down what was said of a step's inputs; gives how near to the goal they are, ``(m,)``."""
        nearness = self.subject.nearness(scores, self.rows)
        self.last = self.subject.fooled(scores, self.rows)
        self.view = self.view | self.last
        self.tied.append(winner(scores).cpu() == -1)
        later = (self.last | ~self.view).to(inputs.device)
        self.kept = torch.where(column(later, inputs), inputs, self.kept)
        self.nearness.append(nearness.cpu())
        return nearness

    def stay(self, steps: int) -> None:
        """Note what was noted once more for every step to come."""
        self.nearness += self.nearness * steps
        self.tied += self.tied * steps


def _walk(
    subject: Subject, rows: Tensor, region: Region, request: GradientRequest, steps: int, encodings: int
) -> _Path:
    path = _Path.begin(subject, rows)
    originals = subject.inputs[rows.to(subject.inputs.device)]
    inputs, memory, pull = originals, Memory(len(rows)), torch.zeros_like(originals)
    request = replace(request, memory=memory)
    for step in range(steps + 1):
        spikes = subject.encoded(inputs, rows, step)
        probe = subject.view.probe(spikes, request)
        subject.passes.forwards += len(rows)
        path.note(inputs, probe.scores)
        if step == steps:
            break
        found = probe.input_gradient(lambda scores, at: subject.uphill(scores, rows[at.cpu()]), request)
        subject.passes.backwards += len(rows)
        values = found.values.clone()
        for draw in range(1, encodings):
            again = replace(request, memory=memory.frozen())
            spikes = subject.encoded(inputs, rows, step * encodings + draw, "expect")
            further = subject.view.probe(spikes, again)
            values += further.input_gradient(lambda scores, at: subject.uphill(scores, rows[at.cpu()]), again).values
            subject.passes.forwards += len(rows)
            subject.passes.backwards += len(rows)
        if not bool(torch.isfinite(values).all()):
            raise SpikeflipError("the victim's input gradient is not finite: check its weights")
        if step == 0:
            path.first = _cause(found, values)
            if not subject.drawn and not bool(values.any()):
                path.stay(steps)
                break
        gradient = values.mean(1) if subject.images else values
        inputs = region.step(inputs, originals, gradient.to(originals), pull, step / steps, steps)
    return path


def _cause(found: InputGradient, values: Tensor) -> Tensor:
    """Where the gradient of each input ends, ``(n,)`` int8."""
    cause = torch.full((len(values),), Vanishing.DEEPER, dtype=torch.int8)
    cause[found.output_zero.cpu()] = Vanishing.OUTPUT
    cause[found.loss_zero.cpu()] = Vanishing.LOSS
    cause[values.flatten(1).any(1).cpu()] = Vanishing.NONE
    return cause


def _search(subject: Subject, rows: Tensor, region: Region, queries: int) -> _Path:
    path = _Path.begin(subject, rows)
    originals = subject.inputs[rows.to(subject.inputs.device)]
    best = path.note(originals, _seen(subject, subject.encoded(originals, rows, 0)))
    inputs, size = originals, 1 + originals[0].numel()
    for query in range(queries):
        numbers = uniform(subject.seed, subject.ids[rows], "search", query, (size,), originals.device)
        tried = region.propose(inputs, originals, numbers, query / queries)
        found = path.note(tried, _seen(subject, subject.encoded(tried, rows, query)))
        kept = (found >= best) if query else torch.ones_like(found, dtype=torch.bool)
        best = torch.where(kept, found, best)
        inputs = torch.where(column(kept, inputs), tried, inputs)
    return path


def _seen(subject: Subject, spikes: Tensor) -> Tensor:
    subject.passes.forwards += len(spikes)
    return subject.view.scores(spikes)


def _joined(subject: Subject, parts: Sequence[_Path]) -> Course:
    def every(name: str) -> Tensor:
        return torch.cat([getattr(part, name) for part in parts])

    adversarials = every("kept")
    view = every("view")
    return Course(
        adversarials,
        view,
        judged(subject, adversarials, view),
        every("last"),
        torch.cat([torch.stack(part.tied, 1) for part in parts]),
        torch.cat([torch.stack(part.nearness, 1) for part in parts]),
        every("first"),
    )


def judged(subject: Subject, adversarials: Tensor, asked: Tensor) -> Tensor:
    """Of which adversarials, of those ``asked`` ``(n,)``, the untouched victim says that the goal is reached."""
    success = torch.zeros_like(asked)
    draws = _DRAWS if subject.drawn else 1
    for rows in asked.nonzero().squeeze(1).split(subject.micro_batch):
        inputs = adversarials[rows.to(adversarials.device)]
        hits = [
            subject.fooled(subject.scores(subject.encoded(inputs, rows, draw, "confirm")), rows)
            for draw in range(draws)
        ]
        success[rows] = torch.stack(hits).double().mean(0) > 0.5
    return success

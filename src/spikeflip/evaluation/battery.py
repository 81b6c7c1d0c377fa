"""The attacks of a masking verdict, and what each of them reached."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from math import inf

import torch
from torch import Tensor

from spikeflip.attacks.result import Vanishing
from spikeflip.errors import SpikeflipError
from spikeflip.evaluation.findings import THRESHOLDS, Rate
from spikeflip.evaluation.regions import Region
from spikeflip.evaluation.walking import Course, Subject, search, walk
from spikeflip.snn.estimators import estimator
from spikeflip.snn.gradients import BPTT, GradientRequest
from spikeflip.snn.surrogate import Rectangular
from spikeflip.victims import Victim
from spikeflip.victims.defence import Defence

STEPS = 20
LONGER = 60
"""Steps of those whose attack was still under way."""
QUERIES = 200
ENCODINGS = 4
STRAIGHT = "a straight way through the defence"
ONE_STEP = "a single step"
MORE_ENCODINGS = f"a mean over {ENCODINGS} encodings a step"
SEARCH = "a search without gradients"
_LAST = 10
"""Steps in which a walk that is at its end gains nothing."""
_WINDOWS = (1.0, 4.0)
"""Widths of the output layer's surrogate, in units of potential."""
_THRESHOLD = 1.0
"""Of the penultimate layer, which removes vanishing below the output; see :class:`spikeflip.attacks.scg`."""


@dataclass(frozen=True)
class Own:
    """What the victim's own gradient reached, with the library's cures, each tried on what still stood."""

    success: Tensor
    """``(n,)`` bool."""
    tied: Tensor
    """``(n,)`` bool: not fooled, but two classes tied at a last step."""
    ties: Rate
    """Steps at which two classes tied, of those without a cure that came as near as that or one grain of the scores."""
    first: Tensor
    """``(n,)`` int8, where the first gradient ended, without a cure."""
    zero: Tensor
    """``(n,)`` bool: not fooled, and the first gradient was zero with every cure."""
    silent: Tensor
    """``(n,)`` bool: fooled at a step, and no more at the last one."""
    unfinished: Tensor
    """``(n,)`` bool: not fooled, and nearer to it in the last steps."""
    adversarials: Tensor
    """``(n, ...)``, of the cure that came nearest."""
    refused: str = ""
    """What the victim said where it gives no gradient at all."""

    @property
    def rate(self) -> Rate:
        """Of successes."""
        return rate_of(self.success)

    @property
    def failures(self) -> Tensor:
        """``(m,)`` int64, the samples that still stand."""
        return (~self.success).nonzero().squeeze(1)


@dataclass
class Others:
    """What was tried on the failures of a victim's own gradient."""

    n: int
    gradients: dict[str, Tensor] = field(default_factory=dict)
    """By name: ``(n,)`` bool, the successes of another gradient and the victim's own together."""
    search: Tensor | None = None
    """The same of a search without gradients and all of these; None where nothing was left to it."""
    best: Tensor | None = None
    """Of all gradients together."""
    refused: list[str] = field(default_factory=list)
    """The names of gradients that the victim does not serve."""

    @property
    def rates(self) -> dict[str, Rate]:
        """By name."""
        found = {name: rate_of(success) for name, success in self.gradients.items()}
        return found if self.search is None else found | {SEARCH: rate_of(self.search)}


def rate_of(success: Tensor) -> Rate:
    """How many of ``(n,)`` bool are true."""
    return Rate(int(success.sum()), len(success))


def cures(victim: Victim) -> Iterator[GradientRequest]:
    """The victim's own gradient with the cures for vanishing that leave its hidden surrogates alone."""
    for window in _WINDOWS:
        yield GradientRequest(estimator=BPTT(output_window=window))
    if victim.penultimate_threshold is not None:
        yield GradientRequest(_THRESHOLD, BPTT(output_window=_WINDOWS[0]))


def other_requests() -> Iterator[tuple[str, GradientRequest]]:
    """Gradients with other stand-ins for the derivative."""
    yield "a surrogate of width 4 in every layer", GradientRequest(estimator=BPTT(Rectangular(4.0)))
    yield "a window of the output layer that nothing is outside of", GradientRequest(estimator=BPTT(output_window=1e3))
    yield "the estimator pdsg", GradientRequest(estimator=estimator("pdsg"))
    wide = estimator("straight-through", output_window=_WINDOWS[-1])
    yield "the estimator straight-through", GradientRequest(estimator=wide)


@dataclass
class _Log:
    """What the walks along a victim's own gradient came to so far, of all its inputs."""

    success: Tensor
    tied: Tensor
    silent: Tensor
    unfinished: Tensor
    zero: Tensor
    first: Tensor
    nearest: Tensor
    adversarials: Tensor
    best: list[GradientRequest | None]
    """Which cure came nearest."""
    ties: Rate

    @classmethod
    def of(cls, inputs: Tensor) -> "_Log":
        n = len(inputs)
        no = torch.zeros(n, dtype=torch.bool)
        cause = torch.full((n,), Vanishing.DEEPER, dtype=torch.int8)
        nearest = torch.full((n,), -inf, dtype=torch.float64)
        return cls(
            no.clone(), no.clone(), no.clone(), no.clone(), ~no, cause, nearest, inputs.clone(), [None] * n, Rate(0, 0)
        )

    def note(self, course: Course, request: GradientRequest, rows: Tensor) -> None:
        """Take down a walk of the inputs ``rows``."""
        # Of a rate-coded image another encoding may have a gradient.
        self.zero[rows] &= (course.first != Vanishing.NONE) & ~course.success
        self.success[rows] |= course.success
        self.tied[rows] |= course.tied[:, -1]
        self.silent[rows] |= course.view & ~course.last
        gained = course.nearness.amax(1).double()
        better = (gained > self.nearest[rows]) | course.success
        for row in rows[better].tolist():
            self.best[row] = request
        self.unfinished[rows] = torch.where(better, _unfinished(course), self.unfinished[rows])
        self.nearest[rows] = torch.maximum(gained, self.nearest[rows])
        here = rows[better].to(self.adversarials.device)
        self.adversarials[here] = course.adversarials[better.to(self.adversarials.device)]

    def under_way(self, request: GradientRequest) -> Tensor:
        """The inputs that still stand, were getting nearer, and came nearest with this cure."""
        mine = torch.tensor([best == request for best in self.best], dtype=torch.bool)
        return (mine & self.unfinished & ~self.success).nonzero().squeeze(1)

    def closed(self, refused: str) -> Own:
        """What it all came to."""
        return Own(
            self.success, self.tied & ~self.success, self.ties, self.first, self.zero, self.silent,
            self.unfinished & ~self.success, self.adversarials, refused,
        )  # fmt: skip


def own_gradient(subject: Subject, region: Region, *, patient: bool = True) -> Own:
    """Attack with the victim's own gradient; ``patient`` gives more steps to those that are still under way."""
    log = _Log.of(subject.inputs)
    try:
        course = walk(subject, region, GradientRequest(), steps=STEPS)
    except SpikeflipError as error:
        return log.closed(str(error))
    every = torch.arange(len(subject.ids))
    log.first, log.ties = course.first, _ties(course)
    log.note(course, GradientRequest(), every)
    for request in cures(subject.victim):
        rows = every[~log.success]
        if len(rows):
            with suppress(SpikeflipError):  # a victim need not serve all cures
                log.note(walk(subject.rows(rows), region, request, steps=STEPS), request, rows)
    for request in (GradientRequest(), *cures(subject.victim)) if patient else ():
        rows = log.under_way(request)
        if len(rows):
            log.note(walk(subject.rows(rows), region, request, steps=LONGER), request, rows)
    return log.closed("")


def _ties(course: Course) -> Rate:
    """How many steps tied, of these and those that missed a tie by one grain of the scores."""
    size = course.nearness.abs()[~course.tied & (course.nearness != 0)]
    close = int((size <= size.min() * 1.01).sum()) if len(size) else 0
    tied = int(course.tied.sum())
    return Rate(tied, tied + close)


def _unfinished(course: Course) -> Tensor:
    """Which walks came nearer to the goal in their last steps by more than a share of all they came nearer."""
    best = course.nearness.double().cummax(1).values
    gained = best[:, -1] - best[:, 0]
    late = best[:, -1] - best[:, max(0, best.shape[1] - 1 - _LAST)]
    return (gained > 0) & (late > THRESHOLDS["unfinished"].value * gained)


def tried_on_failures(subject: Subject, region: Region, own: Own, straight: Victim | None) -> Others:
    """Other gradients on what the victim's own gradient left, and a search without one on what these left."""
    n, rows = len(own.success), own.failures
    others = Others(n, best=own.success.clone())
    if not len(rows):
        return others
    left = subject.rows(rows)

    def tried(name: str, attack: Callable[[], Course]) -> None:
        try:
            course = attack()
        except SpikeflipError:
            others.refused.append(name)
            return
        success = own.success.clone()
        success[rows] |= course.success
        others.gradients[name] = success
        assert others.best is not None
        others.best |= success

    for name, request in other_requests():
        tried(name, partial(walk, left, region, request, steps=STEPS))
    if straight is not None:
        tried(STRAIGHT, partial(_through, left, straight, region))
    if not own.refused and subject.images:
        tried(ONE_STEP, partial(walk, left, region, GradientRequest(), steps=1))
    if not own.refused and subject.drawn:
        tried(MORE_ENCODINGS, partial(walk, left, region, GradientRequest(), steps=STEPS, encodings=ENCODINGS))
    assert others.best is not None
    standing = (~others.best).nonzero().squeeze(1)
    if len(standing):
        others.search = others.best.clone()
        others.search[standing] |= search(subject.rows(standing), region, queries=QUERIES).success
    return others


def _through(subject: Subject, straight: Victim, region: Region) -> Course:
    view = Subject(
        straight, subject.inputs, subject.labels, subject.targets, subject.ids, subject.seed, subject.micro_batch,
        subject.passes,
    )  # fmt: skip
    return walk(view, region, next(cures(straight)), steps=STEPS)


class StraightThroughDefence(Defence):
    """A defence as it is, with a way back that passes gradients on as they come."""

    def __init__(self, defence: Defence, victim: Victim) -> None:
        super().__init__(victim)
        self.defence = defence

    def transform(self, spikes: Tensor) -> Tensor:
        """See :class:`spikeflip.Defence`."""
        return self.defence.transform(spikes)

    def backward(self, spikes: Tensor, gradient: Tensor) -> Tensor:
        """See :class:`spikeflip.Defence`."""
        return gradient


def defences_of(victim: Victim) -> Sequence[Defence]:
    """The defences before a victim, the outermost first."""
    return [victim, *defences_of(victim.victim)] if isinstance(victim, Defence) else []


def straightened(victim: Victim) -> Victim | None:
    """The same victim with straight ways back through its defences; None where it has none."""
    if not isinstance(victim, Defence):
        return None
    return StraightThroughDefence(victim, straightened(victim.victim) or victim.victim)

"""The attacks of a masking verdict, and what each of them reached."""

from collections.abc import Callable, Iterator, Sequence
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
    """``(n,)`` bool: the first gradient was zero with every cure."""
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


def own_requests(victim: Victim) -> Iterator[GradientRequest]:
    """The victim's own gradient: as it is, and with the cures for vanishing that leave its hidden surrogates alone."""
    yield GradientRequest()
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


def own_gradient(subject: Subject, region: Region, *, patient: bool = True) -> Own:
    """Attack with the victim's own gradient; ``patient`` gives more steps to those that are still under way."""
    n = len(subject.ids)
    success, tied = torch.zeros(n, dtype=torch.bool), torch.zeros(n, dtype=torch.bool)
    silent, zero = tied.clone(), torch.ones(n, dtype=torch.bool)
    first = torch.full((n,), Vanishing.DEEPER, dtype=torch.int8)
    adversarials = subject.inputs.clone()
    nearest, unfinished, refused = torch.full((n,), -inf, dtype=torch.float64), tied.clone(), ""
    ties = Rate(0, 0)
    best: list[GradientRequest | None] = [None] * n
    plans = [(request, STEPS, torch.arange(n)) for request in own_requests(subject.victim)]

    def run(request: GradientRequest, steps: int, rows: Tensor) -> None:
        nonlocal ties
        course = walk(subject.rows(rows), region, request, steps=steps)
        if request.is_plain and steps == STEPS:
            first[rows] = course.first
        zero[rows] &= course.first != Vanishing.NONE
        success[rows] |= course.success
        tied[rows] |= course.tied[:, -1]
        if request.is_plain and steps == STEPS:
            ties = _ties(course)
        silent[rows] |= course.view & ~course.last
        gained = course.nearness.amax(1).double()
        better = (gained > nearest[rows]) | course.success
        for row in rows[better].tolist():
            best[row] = request
        unfinished[rows] = torch.where(better, _unfinished(course), unfinished[rows])
        nearest[rows] = torch.maximum(gained, nearest[rows])
        here = rows[better].to(adversarials.device)
        adversarials[here] = course.adversarials[better.to(adversarials.device)]

    for request, steps, rows in plans:
        rows = rows[~success]
        if not len(rows):
            break
        try:
            run(request, steps, rows)
        except SpikeflipError as error:
            if request.is_plain:
                refused = str(error)
                break
    if patient and not refused:
        for request in own_requests(subject.victim):
            mine = [row for row in range(n) if best[row] == request and bool(unfinished[row] & ~success[row])]
            if mine:
                run(request, LONGER, torch.tensor(mine))
    return Own(success, tied & ~success, ties, first, zero, silent, unfinished & ~success, adversarials, refused)


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
    request = next(iter(list(own_requests(straight))[1:]))
    return walk(view, region, request, steps=STEPS)


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
    found = []
    while isinstance(victim, Defence):
        found.append(victim)
        victim = victim.victim
    return found


def straightened(victim: Victim) -> Victim | None:
    """The same victim with straight ways back through its defences; None where it has none."""
    if not isinstance(victim, Defence):
        return None
    return StraightThroughDefence(victim, straightened(victim.victim) or victim.victim)

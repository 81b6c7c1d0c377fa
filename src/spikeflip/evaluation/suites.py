"""Versioned suites: which attacks make the worst case of a threat model, cheapest first.

A suite that was published never changes: another choice of attacks or settings is another version.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from spikeflip.attacks import Attack, Budget
from spikeflip.attacks.flips import WIDE
from spikeflip.errors import SpikeflipError
from spikeflip.evaluation.threats import threat_of
from spikeflip.interop import EVERY_ATTACK

View = Literal["white box", "scores", "decisions", "control"]
"""What a member looks at: gradients, scores, what the victim says, or nothing."""


@dataclass(frozen=True)
class Fit:
    """What the settings of a member are fitted to."""

    budget: float
    """Of a sample, in the unit of the threat's budget; more than 0. Of an exact member, what share of the sample's
    spikes its limit is."""
    cells: int
    """Of an input."""
    limit: float
    """In the threat's metric, the largest of the samples that are attacked together."""
    events_a_spike: float = 1.0
    """Of recordings, on average."""


Fitted = Callable[[Fit], Mapping[str, Any]]


@dataclass(frozen=True)
class Member:
    """An attack of a suite.

    Args:
        name: in tables; the attack, and what tells it from others of the same.
        attack: of :data:`spikeflip.interop.EVERY_ATTACK`.
        view: what it looks at.
        settings: those that do not depend on the budget.
        fitted: how the budget is given to it.
        reduce: whether flips of its successes are undone; as the attack itself has it when None.
        exact: whether each sample is attacked with the budget that its own limit is, and not with that of all.
        on: what is attacked; adversarials of the victim's ReLU twin are judged on the victim as all others are.
    """

    name: str
    attack: str
    view: View
    settings: Mapping[str, Any] = field(default_factory=dict)
    fitted: Fitted = lambda fit: {}
    reduce: bool | None = None
    exact: bool = False
    on: Literal["victim", "twin"] = "victim"

    @property
    def control(self) -> bool:
        """Whether it is there to be compared with."""
        return self.view == "control"

    def made(self, fit: Fit) -> Attack:
        """The attack, ready to be called."""
        return EVERY_ATTACK[self.attack].settings(**self.settings, **self.fitted(fit))


@dataclass(frozen=True)
class Suite:
    """The attacks of a threat model, cheapest first."""

    name: str
    """With its version, such as ``binary-l0/1``."""
    members: tuple[Member, ...]

    @property
    def threat(self) -> str:
        """The threat model."""
        return self.name.partition("/")[0]


def _share(fit: Fit) -> dict[str, Any]:
    return {"share": fit.budget}


def _moving_share(fit: Fit) -> dict[str, Any]:
    """Of spikes that move, where a move takes out all events of a cell and puts one in."""
    moves = fit.limit // (1 + fit.events_a_spike)
    return {"share": max(moves * fit.budget / fit.limit, 1e-9)}


def _moves(fit: Fit) -> dict[str, Any]:
    """What reaches a budget has failed."""
    return {"budget": Budget(fit.limit + 1, "moved")}


def _linf(fit: Fit) -> dict[str, Any]:
    return {"budget": Budget(fit.budget, "linf")}


def _linf_noise(fit: Fit) -> dict[str, Any]:
    """Noise that is uniform on [-a, a] has a variance of a² / 3."""
    return {"strength": fit.budget**2 / 3}


def _linf_step(fit: Fit) -> dict[str, Any]:
    return {"step_size": fit.budget}


def _mse(fit: Fit) -> dict[str, Any]:
    return {"budget": Budget(fit.budget, "mse")}


def _mse_noise(fit: Fit) -> dict[str, Any]:
    return {"strength": fit.budget}


def _mse_step(fit: Fit) -> dict[str, Any]:
    return {"step_size": math.sqrt(fit.budget)}


def _mse_steps(fit: Fit) -> dict[str, Any]:
    return _mse(fit) | {"step_size": math.sqrt(fit.budget) / 10}


def _mse_ball(fit: Fit) -> dict[str, Any]:
    """All images within an mse are a ball in L2."""
    return {"budget": Budget(math.sqrt(fit.budget * fit.cells), "l2")}


_WIDE_MARGIN = {"loss": "margin", "output_window": WIDE}
_ESTIMATORS = ("pdsg", "assg", "hart", "rga")


_FLIPPING = (
    Member("scg", "scg", "white box", _WIDE_MARGIN, reduce=True),
    Member("sigma-zero", "sigma-zero", "white box"),
    Member("sda", "sda", "white box", {"steps": 30}),
    Member("spikefool", "spikefool", "white box"),
    Member("gumbel-flips", "gumbel-flips", "white box"),
    Member("sparse-rs", "sparse-rs", "scores", fitted=_share),
    Member("flip-search", "flip-search", "decisions"),
)
"""Attacks on cells, whose successes are reduced."""


def _transfer(fitted: Fitted) -> Member:
    """What a gradient of another model does: of the same weights, without spikes."""
    return Member("twin's adversarials", "mi-fgsm", "control", {"loss": "margin"}, fitted, on="twin")


def _apgd(fitted: Fitted) -> tuple[Member, ...]:
    """Auto-PGD on the margin with every estimator that is not the victim's own."""
    return tuple(
        Member(f"apgd margin {name}", "apgd", "white box", {"loss": "margin", "gradient": name}, fitted)
        for name in _ESTIMATORS
    )


SUITES: dict[str, Suite] = {
    suite.name: suite
    for suite in (
        Suite(
            "binary-l0/1",
            (
                Member("random-flips", "random-flips", "control", fitted=_share, exact=True),
                *_FLIPPING,
            ),
        ),
        Suite(
            "events/1",
            (
                Member("added events", "camera-noise", "control", fitted=_share, exact=True),
                Member("random-flips", "random-flips", "control", fitted=_share, exact=True),
                Member("random-retiming", "random-retiming", "control", fitted=_moving_share, exact=True),
                Member("retiming", "retiming", "white box"),
                *_FLIPPING,
            ),
        ),
        Suite(
            "timing/1",
            (
                Member("random-retiming", "random-retiming", "control", fitted=_share, exact=True),
                Member("retiming", "retiming", "white box"),
                Member("retiming pdsg", "retiming", "white box", {"gradient": "pdsg"}),
                Member("retiming hart", "retiming", "white box", {"gradient": "hart"}),
                Member("retiming within", "retiming", "white box", fitted=_moves, exact=True),
            ),
        ),
        # hart, which averages over time, moves nothing.
        Suite(
            "timing/2",
            (
                Member("random-retiming", "random-retiming", "control", fitted=_share, exact=True),
                Member("retiming", "retiming", "white box"),
                Member("retiming pdsg", "retiming", "white box", {"gradient": "pdsg"}),
                Member("retiming assg", "retiming", "white box", {"gradient": "assg"}),
                Member("retiming own threshold", "retiming", "white box", {"threshold": None}),
                Member("retiming within", "retiming", "white box", fitted=_moves, exact=True),
            ),
        ),
        Suite(
            "image-linf/1",
            (
                Member("random", "random", "control", fitted=_linf_noise),
                _transfer(_linf),
                Member("fgsm", "fgsm", "white box", fitted=_linf_step),
                Member("pgd bptt", "pgd", "white box", fitted=_linf),
                *_apgd(_linf),
                Member("sa-pgd assg", "sa-pgd", "white box", {"gradient": "assg"}, _linf),
                Member("pyautoattack:square", "pyautoattack:square", "scores", fitted=_linf),
            ),
        ),
        Suite(
            "image-mse/1",
            (
                Member("random", "random", "control", fitted=_mse_noise),
                _transfer(_mse_ball),
                Member("fgsm", "fgsm", "white box", fitted=_mse_step),
                Member("bim", "bim", "white box", fitted=_mse_steps),
                Member("scg", "scg", "white box", fitted=_mse),
                Member("scg margin", "scg", "white box", _WIDE_MARGIN, _mse),
                Member("scg rescued", "scg", "white box", {"loss": "margin", "rescue_window": WIDE}, _mse),
                *_apgd(_mse_ball),
            ),
        ),
    )
}
"""By name with version."""


def suite_of(threat: str, suite: str | None = None) -> Suite:
    """The suite of that name, or the newest of a threat.

    Raises:
        SpikeflipError: there is no such threat or suite, or it is of another threat.
    """
    threat_of(threat)
    known = [name for name, one in SUITES.items() if one.threat == threat]
    if suite is None:
        return SUITES[known[-1]]
    if suite not in known:
        raise SpikeflipError(f"suite is {suite!r}, and those of threat {threat} are {', '.join(known)}: choose one")
    return SUITES[suite]

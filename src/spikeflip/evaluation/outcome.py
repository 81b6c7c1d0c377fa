"""What an evaluation found: the worst case of every sample, and what each member of the suite did for it."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from torch import Tensor

from spikeflip.evaluation.findings import Verdict
from spikeflip.evaluation.threats import threat_of
from spikeflip.intervals import trials, wilson
from spikeflip.showing import grid_as_html
from spikeflip.snn.validation import Kind

_POINTS = 10
"""Of the curve, beside that at 0."""


@dataclass(frozen=True)
class MemberResult:
    """What a member of a suite did."""

    name: str
    attack: str
    view: str
    attempted: int
    """Samples that it was run on."""
    broken: int
    """Of these, samples that it fooled within the budget."""
    alone: int | None
    """Samples that no other attack fooled within the budget; None unless all attacks were run on all samples."""
    forwards: int
    backwards: int
    """Passes of all its samples together."""
    seconds: float
    left_out: str | None = None
    """Why it was not run, or not on all samples."""


def together(parts: Sequence[Sequence[MemberResult]]) -> tuple[MemberResult, ...]:
    """The members of a suite that was run on some samples after others: what each did for all of them."""
    return tuple(_one(results) for results in zip(*parts, strict=True))


def _one(results: Sequence[MemberResult]) -> MemberResult:
    first = results[0]
    left_out = next((one.left_out for one in results if one.left_out is not None), None)
    counts = [one.alone for one in results if one.alone is not None]
    return MemberResult(
        name=first.name,
        attack=first.attack,
        view=first.view,
        attempted=sum(one.attempted for one in results),
        broken=sum(one.broken for one in results),
        alone=None if left_out is not None or not counts else sum(counts),
        forwards=sum(one.forwards for one in results),
        backwards=sum(one.backwards for one in results),
        seconds=sum(one.seconds for one in results),
        left_out=left_out,
    )


@dataclass(frozen=True, repr=False, kw_only=True)
class Figures:
    """The worst case of a threat model over n inputs in figures, one entry a sample in ``rows``."""

    suite: str
    """With its version."""
    threat: str
    budget: float
    kind: Kind
    draws: int
    """Fresh encodings that decide on a sample; 1 where all are the same."""
    seed: int
    every: bool
    """Whether all attacks were run on all samples, and not only on those that still stood."""
    rows: Mapping[str, Tensor]
    """``sample``, ``label``, ``target`` (-1: none), ``right`` (at first), ``own`` (what the budget is a share of: its
    spikes or events; 1 of images), ``limit`` (the largest distance allowed), ``broken``, ``distance`` (the least that
    fooled, within the budget or not; infinite: none), ``by_attack`` (whether one that is no control broke the sample)
    and, of a run, ``input`` (which several targets may share)."""
    members: tuple[MemberResult, ...]
    verdict: Verdict | None = None

    @property
    def metric(self) -> str:
        """In which distances are."""
        return threat_of(self.threat).metric

    @property
    def robust_accuracy(self) -> float:
        """Over all inputs, the share that is right at first and that nothing broke within the budget."""
        return _share(self.rows["right"] & ~self.rows["broken"])

    @property
    def clean_accuracy(self) -> float:
        """Over all inputs, the share that is right at first."""
        return _share(self.rows["right"])

    @property
    def curve(self) -> tuple[tuple[float, float], ...]:
        """Pairs of a budget and the robust accuracy within it, from 0 to the budget."""
        rows, threat = self.rows, threat_of(self.threat)

        def robust(budget: float) -> float:
            return _share(rows["right"] & ~(rows["distance"] <= threat.limits(rows["own"], budget)))

        return tuple((budget, robust(budget)) for budget in budgets_to(self.budget))

    def summary(self) -> dict[str, Any]:
        """The figures as plain values, which JSON can hold.

        ``robust_accuracy``, ``clean_accuracy``: over all n inputs, each with its 95 % Wilson interval.
        ``broken``: samples that something fooled within the budget; ``broken_by_controls_alone``: of these, those that
        no attack broke, only a control.
        ``distance_median``: of the samples right at first, the least distance that fools half of them; None where no
        distance found does.
        ``curve``: budgets and robust accuracies. Below the budget they are bounds from above unless ``every``.
        ``members``: see :class:`MemberResult`.
        ``verdict``: None where none was asked for.
        """
        rows, n = self.rows, len(self.rows["right"])
        rates = {"clean_accuracy": self.clean_accuracy, "robust_accuracy": self.robust_accuracy}
        flags = {"clean_accuracy": rows["right"], "robust_accuracy": rows["right"] & ~rows["broken"]}
        groups = rows["input"] if "input" in rows else range(n)
        intervals = {f"{name}_interval": list(wilson(rates[name], trials(of, groups))) for name, of in flags.items()}
        return {
            "suite": self.suite,
            "threat": self.threat,
            "metric": self.metric,
            "budget": self.budget,
            "goal": "untargeted" if bool((rows["target"] < 0).all()) else "targeted",
            "n": n,
            "draws": self.draws,
            "seed": self.seed,
            "every": self.every,
            **rates,
            **intervals,
            "broken": int(rows["broken"].sum()),
            "broken_by_controls_alone": int((rows["broken"] & ~rows["by_attack"]).sum()),
            "distance_median": _median(rows["distance"][rows["right"]]),
            "curve": [{"budget": budget, "robust_accuracy": rate} for budget, rate in self.curve],
            "members": [asdict(member) for member in self.members],
            "verdict": None if self.verdict is None else self.verdict.summary(),
        }

    def _repr_html_(self) -> str:
        return grid_as_html(headline(self.summary()), COLUMNS, [cells(member) for member in self.summary()["members"]])

    def __repr__(self) -> str:
        return "\n".join([headline(self.summary()), *table_lines(self.summary()["members"])])


@dataclass(frozen=True, repr=False, kw_only=True)
class Evaluation(Figures):
    """The same with the inputs themselves.

    ``rows`` have ``by`` too, the number of the member that found the least distance; -1 where none did.
    """

    adversarials: Tensor
    """``(N, ...)``: of a broken sample the worst case, of others the original; on the CPU."""

    @property
    def broken_by(self) -> list[str | None]:
        """Which member found the worst case of each sample; None for those that are not broken."""
        pairs = zip(self.rows["by"].tolist(), self.rows["broken"].tolist(), strict=True)
        return [self.members[at].name if broken else None for at, broken in pairs]


def headline(summary: Mapping[str, Any]) -> str:
    """``binary-l0/1, budget 0.05: robust accuracy 12.0 % (6.0 – 22.4) of 50, clean 96.0 %``."""
    low, high = summary["robust_accuracy_interval"]
    return (
        f"{summary['suite']}, budget {summary['budget']:.4g}: robust accuracy {summary['robust_accuracy']:.1%} "
        f"({low:.1%} – {high:.1%}) of {summary['n']:,}, clean {summary['clean_accuracy']:.1%}"
    )


_LEAST_WANTED = ("alone", "s", "looks at", "tried")
COLUMNS = ("member", "looks at", "tried", "broken", "alone", "passes", "s")


def cells(member: Mapping[str, Any]) -> tuple[str, ...]:
    """A member as the cells of a table with these columns."""
    if member["left_out"] is not None and not member["attempted"]:
        return (member["name"], "left out", "", "", "", "", "")
    alone, seconds = member["alone"], member.get("seconds")
    return (
        member["name"],
        "nothing: control" if member["view"] == "control" else member["view"],
        f"{member['attempted']:,}",
        f"{member['broken']:,}",
        "–" if alone is None else f"{alone:,}",
        f"{member['forwards'] + member['backwards']:,}",
        "–" if seconds is None else f"{seconds:.1f}",
    )


def table_lines(members: Sequence[Mapping[str, Any]], width: int = 80) -> list[str]:
    """A table as lines of text, without the columns that there is least need of where it is wider than that."""
    columns = dict(zip(COLUMNS, zip(*[COLUMNS, *map(cells, members)], strict=True), strict=True))
    for name in ("", *_LEAST_WANTED):
        columns.pop(name, ())
        widths = [max(map(len, column)) for column in columns.values()]
        if sum(widths) + 2 * (len(widths) - 1) <= width:
            break
    table = list(zip(*columns.values(), strict=True))
    words = len({"member", "looks at"} & columns.keys())
    return [
        "  ".join(
            cell.ljust(room) if at < words else cell.rjust(room)
            for at, (cell, room) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in table
    ]


def budgets_to(budget: float) -> list[float]:
    """The budgets of a curve, from 0 on; 0 alone for a budget of 0."""
    return [*(round(budget * step / _POINTS, 12) for step in range(_POINTS if budget else 0)), budget]


def _share(which: Tensor) -> float:
    return float(which.double().mean())


def _median(distances: Tensor) -> float | None:
    if not len(distances):
        return None
    ordered = distances.sort().values
    middle = float(ordered[math.ceil(len(ordered) / 2) - 1])
    return middle if math.isfinite(middle) else None

"""Fig. 12 and 13: success, perturbation and flipper steps against its turnover rate."""

from collections.abc import Iterator

from spikeflip.experiments.declaration import GOALS, Case, Experiment
from spikeflip.experiments.findings import Finding, Part
from spikeflip.experiments.pictures import Curves
from spikeflip.experiments.presets import Preset
from spikeflip.experiments.rows import Rows, figure, percent


def cases(preset: Preset) -> Iterator[Case]:
    """Every turnover rate on every data set, MSE victims, untouched threshold; the rows of both figures."""
    for name in preset.names("figure-12"):
        for goal in GOALS:
            for gamma in preset.gammas:
                yield Case(name, {"gamma": gamma}, goal=goal, attack={"tuning": False, "gamma": gamma})


_RECOMMENDED = 0.05


def _peak(rows: Rows) -> Iterator[Part]:
    for data in rows.values("data"):
        group = rows.where(data=data, goal="targeted").known("success")
        rates = group.values("gamma") or [_RECOMMENDED]
        best, at = group.best("success"), group.where(gamma=_RECOMMENDED).one("success")
        if best is not None and at is not None and min(rates) < _RECOMMENDED < max(rates):
            words = f"{data}: best at {best['gamma']:g} ({percent(best['success'])}), {percent(at)} at {_RECOMMENDED}"
            is_best = best["gamma"] == _RECOMMENDED
            chance = not is_best and at >= best["success_interval"][0]
            yield is_best, words + (", within its interval" if chance else "")


def _saturates(rows: Rows) -> Iterator[Part]:
    for data in rows.values("data"):
        group = rows.where(data=data, goal="untargeted").known("success")
        if len(group):
            worst = min(group, key=lambda row: float(row["success"]))
            yield worst["success"] >= 0.95, f"{data}: at least {percent(worst['success'])} (at {worst['gamma']:g})"


def _grows(rows: Rows) -> Iterator[Part]:
    for (data, goal), group in rows.known("mse").groups("data", "goal"):
        ordered = sorted(group, key=lambda row: float(row["gamma"]))
        if len(ordered) > 1:
            sizes = [row["mse"] for row in ordered]
            grows = sizes == sorted(sizes) and sizes[0] < sizes[-1]
            yield grows, f"{data}, {goal}: {', '.join(figure('mse', size) for size in sizes)}"


EXPERIMENT = Experiment(
    name="figure-12",
    title="Success and perturbation against the flipper's turnover rate",
    about="MSE victims, the threshold untouched (Fig. 12).",
    cases=cases,
    columns=("data", "goal", "gamma", "n", "success", "verified", "mse", "steps"),
    findings=(
        Finding("Targeted success peaks near a turnover rate of 0.05.", _peak),
        Finding("Untargeted success is close to 100 % even at small rates.", _saturates),
        Finding("The perturbation grows with the rate.", _grows),
    ),
    pictures=(
        Curves("Success over the turnover rate, %.", "gamma", "success", lines=("goal",), panels="data"),
        Curves("Mean mse of successes over the turnover rate.", "gamma", "mse", lines=("goal",), panels="data"),
    ),
    trend="Untargeted saturates near 100 % from 0.01 on; targeted peaks at 0.05; perturbation grows with the rate.",
)

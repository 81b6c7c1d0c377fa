"""Fig. 14: success and perturbation against the penultimate threshold, unbounded and bounded."""

from collections.abc import Iterator

from spikeflip.experiments.declaration import BOUND, GOALS, OWN_THRESHOLD, Case, Experiment, at_threshold
from spikeflip.experiments.findings import Finding, Part
from spikeflip.experiments.pictures import Curves
from spikeflip.experiments.presets import Preset
from spikeflip.experiments.rows import Rows, percent

_STRICT = 0.96


def _cases(preset: Preset) -> Iterator[Case]:
    for name in preset.names("figure-14"):
        data = preset.data[name]
        for loss in data.losses:
            for goal in GOALS:
                for threshold in preset.thresholds_of(name):
                    labels, attack = at_threshold(threshold)
                    yield Case(name, labels | {"bound": "none"}, loss, goal, attack=attack)
                    if data.bounded and threshold in preset.bounded:
                        yield Case(name, labels | {"bound": BOUND}, loss, goal, attack=attack | {"epsilon": BOUND})


def _raised(group: Rows) -> Rows:
    return Rows([row for row in group if row["threshold"] > OWN_THRESHOLD])


def _rescued(rows: Rows) -> Iterator[Part]:
    for (data, goal), group in rows.where(loss="CE", bound="none").known("success").groups("data", "goal"):
        own, best = next(iter(group.where(threshold=OWN_THRESHOLD)), None), _raised(group).best("success")
        # Where nothing fails at the victim's own threshold, nothing can be rescued.
        if own is not None and best is not None and own["success"] < 1:
            words = f"{percent(own['success'])} at {OWN_THRESHOLD}, {percent(best['success'])} at {best['threshold']:g}"
            yield best["success"] > own["success_interval"][1], f"{data}, {goal}: {words}"


def _has_best(rows: Rows) -> Iterator[Part]:
    """Whether the best threshold lies inside the grid, both ends being worse."""
    events = rows.where(kind="events", goal="targeted", bound="none").known("success")
    for (data, loss), group in events.groups("data", "loss"):
        ordered, best = sorted(group, key=lambda row: float(row["threshold"])), group.best("success")
        if best is not None and len(group) > 2:
            inside = max(row["success"] for row in (ordered[0], ordered[-1])) < best["success"]
            yield inside, f"{data}, {loss}: best at {best['threshold']:g} ({percent(best['success'])})"


def _images_stay_high(rows: Rows) -> Iterator[Part]:
    images = _raised(rows.where(kind="images", bound="none").known("success"))
    for (data, loss, goal), group in images.groups("data", "loss", "goal"):
        last = max(group, key=lambda row: float(row["threshold"]))
        yield last["success"] >= 0.95, f"{data}, {loss}, {goal}: {percent(last['success'])} at {last['threshold']:g}"


def _high_within_the_bound(rows: Rows) -> Iterator[Part]:
    images = _raised(rows.where(kind="images", bound=BOUND).known("success"))
    for (data, loss, goal), group in images.groups("data", "loss", "goal"):
        best = group.best("success")
        if best is not None:
            words = f"{data}, {loss}, {goal}: {percent(best['success'])} at {best['threshold']:g}"
            yield best["success"] > _STRICT, words


def _small(rows: Rows) -> Iterator[Part]:
    for (data, loss, goal), group in _raised(rows.where(bound="none").known("mse")).groups("data", "loss", "goal"):
        most = group.best("mse")
        if most is not None:
            words = f"{data}, {loss}, {goal}: at most {most['mse']:.3f} (at {most['threshold']:g})"
            yield most["mse"] < 0.1, words


def _over_threshold(caption: str, measure: str, bound: object) -> Curves:
    return Curves(caption, "threshold", measure, lines=("loss", "goal"), panels="data", where={"bound": bound})


EXPERIMENT = Experiment(
    name="figure-14",
    title="Success and perturbation against the penultimate threshold",
    about="The penultimate layer fires at the threshold in the generating pass alone; unbounded, and with a budget of "
    f"mse {BOUND} at which an input has failed (Fig. 14).",
    cases=_cases,
    columns=(
        "data",
        "loss",
        "goal",
        "threshold",
        "bound",
        "n",
        "success",
        "verified",
        "mse",
        "steps",
        "vanished_first_step",
    ),
    findings=(
        Finding(
            "Raising the penultimate threshold rescues CE victims: success rises beyond the interval of their own.",
            _rescued,
        ),
        Finding("On images success stays near 100 % at high thresholds.", _images_stay_high),
        Finding("On event data there is a best threshold for targeted attacks.", _has_best),
        Finding("The mean perturbation stays below 0.1 in most cases.", _small, mostly=True),
        Finding(
            f"Within mse {BOUND} more than {percent(_STRICT)} of images are fooled at a raised threshold.",
            _high_within_the_bound,
        ),
    ),
    pictures=(
        _over_threshold("Success over the threshold, unbounded, %.", "success", "none"),
        _over_threshold("Mean mse of successes over the threshold, unbounded.", "mse", "none"),
        _over_threshold(f"Success over the threshold at a budget of mse {BOUND}, %.", "success", BOUND),
    ),
    trend="Untargeted rises to almost 100 % everywhere; targeted rises and stays on images, rises and falls on events; "
    "perturbation within 0.1 in most cases.",
)

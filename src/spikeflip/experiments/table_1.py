"""Table I: what the attacks cost, counted in passes, and what they reach under one budget."""

from collections.abc import Callable, Iterator

from spikeflip.experiments.declaration import BOUND, TUNED, Case, Experiment
from spikeflip.experiments.findings import Check, Finding, Part
from spikeflip.experiments.presets import Preset
from spikeflip.experiments.rows import Rows, percent

_WHOLE = "whole search space"


def _cases(preset: Preset) -> Iterator[Case]:
    for name in preset.names("table-1"):
        few, bound = preset.few_inputs(), {"epsilon": BOUND}
        kind = preset.data[name].kind
        images = kind == "images"
        yield Case(name, {"method": "SCG"}, attack={**few, **bound, "threshold": TUNED[kind]})
        method, trial = ("[28]", "greedy-pixels") if images else ("[29]", "greedy-flips")
        method = f"trial and error {method}"
        yield Case(name, {"method": method}, attack={**few, **bound, "attack": trial, "candidates": preset.candidates})
        # One input and step are enough to count what Table I multiplies by Iter.
        one = {"per_class": None, "samples": 1, "steps": 1}
        yield Case(name, {"method": f"{method}, {_WHOLE}"}, attack={**one, "attack": trial})
        if images:
            yield Case(
                name, {"method": "conversion [30]"}, attack={**few, **bound, "attack": "conversion", "step_size": 0.03}
            )
            yield Case(name, {"method": "BIM through the encoder"}, attack={**few, **bound, "attack": "bim"})
        yield Case(name, {"method": "random control"}, attack={**few, "attack": "random", "strength": BOUND})


def _against_scg(rows: Rows, measure: str, others: Callable[[str], bool]) -> Iterator[tuple[str, float, float]]:
    """The data, SCG's figure, and that of each other method."""
    for data, group in rows.known(measure).groups("data"):
        ours = group.where(method="SCG").one(measure)
        for row in group:
            if ours is not None and others(row["method"]):
                yield data[0], ours, row[measure]


def _orders_of_magnitude(rows: Rows) -> Iterator[Part]:
    for data, ours, theirs in _against_scg(rows, "passes_a_step", lambda method: method.endswith(_WHOLE)):
        yield theirs >= 100 * ours, f"{data}: {theirs:,.0f} passes a step against {ours:.1f}"


def _above(reference: str) -> Check:
    def check(rows: Rows) -> Iterator[Part]:
        def is_it(method: str) -> bool:
            return method.startswith(reference) and not method.endswith(_WHOLE)

        for data, ours, theirs in _against_scg(rows, "verified", is_it):
            yield ours > theirs, f"{data}: {percent(ours)} against {percent(theirs)}"

    return check


EXPERIMENT = Experiment(
    name="table-1",
    title="What attacks cost, and what they reach under one budget",
    about=f"MSE victims, untargeted, at most mse {BOUND}. Passes are those through the victim, or its converted twin, "
    "that each attack counted, forward and backward; one of the twin is of one time step. Random noise is drawn with "
    "the strength of the budget, whatever mse comes of it. Trial and error tries a random part of the candidates a "
    "step; the rows with the whole search space are of one input and step (Table I).",
    cases=_cases,
    columns=("data", "method", "n", "success", "verified", "mse", "steps", "passes_a_step", "passes"),
    findings=(
        Finding(
            "A step of trial and error over the whole search space takes orders of magnitude more passes.",
            _orders_of_magnitude,
        ),
        *(
            Finding(f"SCG fools more inputs, verified, than {method} within the same budget.", _above(method))
            for method in ("trial and error", "conversion")
        ),
        Finding(
            f"SCG fools more inputs, verified, than random noise of strength {BOUND}.",
            _above("random control"),
            ours=True,
        ),
    ),
    trend="Iter·N·2·C_FP [28], Iter·N·C_FP [29], Iter·(C_FP + C_BP) [30] and SCG; effectiveness low, low, low, high.",
)

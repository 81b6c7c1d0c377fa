"""Table VIII: accuracy loss under L∞ bounds, against model conversion."""

from collections.abc import Iterator

from spikeflip.experiments.declaration import GOALS, Case, Experiment, Printed
from spikeflip.experiments.findings import Finding, smaller
from spikeflip.experiments.pictures import Curves
from spikeflip.experiments.presets import Preset

_BOUNDS = (8, 16, 32, 64)
_PRINTED = {
    ("conversion [30]", "untargeted"): (37.50, 62.50, 75.00, 77.00),
    ("SCG", "untargeted"): (50.47, 72.46, 76.67, 76.86),
    ("conversion [30]", "targeted"): (20.00, 37.50, 52.50, 63.00),
    ("SCG", "targeted"): (19.16, 42.36, 65.58, 71.48),
}


def _cases(preset: Preset) -> Iterator[Case]:
    for name in preset.names("table-8", "images"):
        if name != "CIFAR10" and "CIFAR10" in preset.data:
            continue
        for goal in GOALS:
            nothing = {"attack": "random", "strength": 1e-9, "steps": 1, **preset.in_order(goal)}
            yield Case(name, {"method": "no attack", "bound": 0}, goal=goal, attack=nothing)
            for bound in preset.linf:
                ball = {"epsilon": bound / 255, "metric": "linf", **preset.in_order(goal)}
                methods = {"SCG": {"threshold": 2.0, **ball}, "conversion [30]": {"attack": "conversion", **ball}}
                for method, attack in methods.items():
                    yield Case(name, {"method": method, "bound": bound}, goal=goal, attack=attack)


EXPERIMENT = Experiment(
    name="table-8",
    title="Accuracy loss under L∞ bounds, against model conversion [30]",
    about="The accuracy that is lost when inputs are replaced by adversarial ones within the bound, in 1/255; wrong "
    "inputs count too (Table VIII). SCG at penultimate threshold 2, projected into the L∞ ball. The clean accuracy is "
    "that of one encoding, and what was right there is judged over fresh ones: the row without an attack, bound 0, "
    "says how much is lost by that alone. No more than the clean accuracy can be lost, which is 76.37 % in the paper "
    "(Table VI). Conversion has an easy victim in one that began with a ReLU network's "
    "weights.",
    cases=_cases,
    columns=("data", "goal", "method", "bound", "clean", "accuracy_loss", "success", "verified", "n"),
    paper=tuple(
        Printed({"data": "CIFAR10", "method": method, "goal": goal, "bound": bound}, "accuracy_loss", value / 100)
        for (method, goal), values in _PRINTED.items()
        for bound, value in zip(_BOUNDS, values, strict=True)
    ),
    findings=(
        Finding(
            "At the same bound model conversion [30] costs less accuracy than SCG in most cases.",
            smaller("accuracy_loss", ("data", "goal", "bound"), "method", "conversion [30]", "SCG"),
            mostly=True,
        ),
    ),
    pictures=(Curves("Accuracy loss over the bound, in 1/255.", "bound", "accuracy_loss", lines=("method", "goal")),),
)

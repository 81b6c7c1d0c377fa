"""Our own: the questions that the paper leaves open (Sec. VII), as variants of the victim or of the attack.

Each compares variants on the MNIST and N-MNIST victims with all else as in the main experiments: what changes is named
by the label ``variant``.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from spikeflip.experiments.declaration import GOALS, TUNED, WIDE, Case, Experiment
from spikeflip.experiments.findings import Finding, smaller
from spikeflip.experiments.pictures import Bars
from spikeflip.experiments.presets import Preset

_COLUMNS = (
    "data",
    "goal",
    "variant",
    "n",
    "accuracy",
    "success",
    "verified",
    "mse",
    "steps",
    "vanished_first_step",
    "vanished_steps",
    "passes",
)
_MAIN = ("MNIST", "N-MNIST")
_RESCUED = "a wide window where the gradient vanished"

Variants = Callable[[Preset, str], Mapping[str, tuple[Mapping[str, Any], Mapping[str, Any]]]]
"""From a preset and a data set to variants by name: options of the victim, and of the attack."""


def _below(text: str, measure: str, first: str, second: str, **where: object) -> Finding:
    """Our own: in every group of rows ``measure`` is smaller for the first variant than for the second."""
    return Finding(text, smaller(measure, ("data", "goal"), "variant", first, second, **where), ours=True)


def _experiment(
    name: str, title: str, about: str, variants: Variants, *findings: Finding, tuned: bool = True
) -> Experiment:
    def cases(preset: Preset) -> Iterator[Case]:
        for data in preset.names(name):
            if data not in _MAIN:
                continue
            threshold = {"threshold": TUNED[preset.data[data].kind]} if tuned else {"tuning": False}
            for variant, (victim, attack) in variants(preset, data).items():
                for goal in GOALS:
                    options = {**threshold, **attack}
                    yield Case(data, {"variant": variant}, goal=goal, victim=victim, attack=options)

    return Experiment(
        name=name,
        title=title,
        about=f"Our own (Sec. VII of the paper asks). {about}",
        cases=cases,
        columns=_COLUMNS,
        findings=findings,
        pictures=(Bars("Verified success, %.", "verified", across=("data", "goal"), beside="variant"),),
    )


def _surrogates(_preset: Preset, _data: str) -> dict[str, tuple[dict[str, Any], dict[str, Any]]]:
    names = ("rectangular", "triangular", "sigmoid", "atan", "gaussian")
    return {name: ({}, {} if name == "rectangular" else {"surrogate": name}) for name in names}


def _windows(preset: Preset, data: str) -> dict[str, tuple[dict[str, Any], dict[str, Any]]]:
    if preset.data[data].kind == "events":
        return {}
    own = 15  # of the paper's images (Table VI)
    return {f"T = {steps}": ({} if steps == own else {"time_steps": steps}, {}) for steps in preset.windows}


def _codings(preset: Preset, data: str) -> dict[str, tuple[dict[str, Any], dict[str, Any]]]:
    if preset.data[data].kind == "events":
        return {}
    return {"rate": ({}, {}), "latency": ({"coding": "latency"}, {})}


def _depths(preset: Preset, data: str) -> dict[str, tuple[dict[str, Any], dict[str, Any]]]:
    return {
        name: ({} if network is None else {"network": network}, {}) for name, network in preset.depths(data).items()
    }


def _converters(preset: Preset, data: str) -> dict[str, tuple[dict[str, Any], dict[str, Any]]]:
    counts = (16, 64, 256)
    return {
        "sampling": ({}, {}),
        "all": ({}, {"sampling": False}),
        **{f"the {k} largest": ({}, {"top_k": k}) for k in counts},
    }


def _flippers(preset: Preset, data: str) -> dict[str, tuple[dict[str, Any], dict[str, Any]]]:
    wide = WIDE[preset.data[data].kind]
    return {
        "flipper": ({}, {}),
        "none": ({}, {"flipper": False}),
        _RESCUED: ({}, {"rescue_window": wide}),
    }


EXPERIMENTS = (
    _experiment(
        "surrogates",
        "Other surrogate derivatives in the attack",
        "The victim was trained with the rectangular window; the attack's backward pass takes another derivative of "
        "the same width at half maximum.",
        _surrogates,
        _below(
            "An arctangent surrogate in the attack raises targeted success.",
            "success",
            "rectangular",
            "atan",
            goal="targeted",
        ),
        tuned=False,
    ),
    _experiment(
        "windows",
        "The length T of the rate-coding window",
        "Victims trained and attacked at each T.",
        _windows,
        _below("More inputs are fooled, verified, over a longer window.", "verified", "T = 5", "T = 30"),
    ),
    _experiment(
        "codings",
        "Rate and latency coding",
        "Victims trained and attacked in each coding; latency is deterministic.",
        _codings,
        _below(
            "Latency-coded victims are harder to attack towards a class.",
            "verified",
            "latency",
            "rate",
            goal="targeted",
        ),
    ),
    _experiment(
        "depths",
        "Network depth",
        "Victims of fewer layers, trained by the same recipe.",
        _depths,
        _below(
            "Of a network of fewer layers more inputs are fooled, verified.",
            "verified",
            "the recipe's",
            "two convolutions",
        ),
    ),
    _experiment(
        "converters",
        "Substitutes for probabilistic sampling",
        "The largest elements instead of sampled ones.",
        _converters,
        _below("The 64 largest elements fool fewer inputs than sampled ones.", "success", "the 64 largest", "sampling"),
        _below("All elements at once take more perturbation than sampled ones.", "mse", "sampling", "all"),
    ),
    _experiment(
        "flippers",
        "Substitutes for the spike flipper",
        "At the untouched threshold, where gradients vanish: no flipper, or the gradient once more with a wide "
        "surrogate window of the output layer before it.",
        _flippers,
        _below("Without the flipper fewer inputs are fooled.", "success", "none", "flipper"),
        _below("A wide window before the flipper fools more than the flipper alone.", "success", "flipper", _RESCUED),
        tuned=False,
    ),
)

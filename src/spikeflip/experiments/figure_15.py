"""Fig. 15: spiking networks against their ReLU twins, attacked independently and across."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Literal

from spikeflip.experiments.declaration import GOALS, Case, Experiment
from spikeflip.experiments.findings import Check, Finding, Part, named
from spikeflip.experiments.pictures import Bars
from spikeflip.experiments.presets import Preset
from spikeflip.experiments.rows import Rows, figure, percent

_THRESHOLD = 2.0
_BIM: dict[str, object] = {"attack": "bim", "step_size": 0.03}
_FROM_RANDOM: dict[str, object] = {"learning_rate": None, "initial_rate": None, "mse_first": None}
"""Left to the recipe of ``train``, from which a network of any width learns without a twin's weights."""


def _cases(preset: Preset) -> Iterator[Case]:
    for name in preset.names("figure-15", "images"):
        loss: Literal["mse", "ce"] = "ce" if "ce" in preset.data[name].losses else "mse"
        for goal in GOALS:
            snn = Case(name, {"attack": "SNN"}, loss, goal, attack={"threshold": _THRESHOLD})
            yield snn
            for seed in preset.seeds:
                twin = preset.twin_of(name, seed)
                ann = Case(name, {"attack": "ANN", "seed": seed}, "ce", goal, twin, _BIM)
                yield ann
                crossed = {"attack": "SNN to ANN", "seed": seed}
                yield Case(name, crossed, "ce", goal, victim=twin, measure="transfer", source=snn)
                crossed = {"attack": "ANN to SNN", "seed": seed}
                yield Case(name, crossed, loss, goal, measure="transfer", source=ann)


def _independent(preset: Preset) -> Iterator[Case]:
    for name in preset.names("twins", "images"):
        if name != "MNIST":  # deep networks do not learn colour images from random weights
            continue
        for seed in preset.seeds:
            label, snn_weights, twin = {"seed": seed}, {**_FROM_RANDOM, "seed": seed}, preset.twin_of(name, seed)
            for goal in GOALS:
                snn = Case(
                    name,
                    {"attack": "SNN", **label},
                    "ce",
                    goal,
                    snn_weights,
                    {"threshold": _THRESHOLD},
                    random_start=True,
                )
                ann = Case(name, {"attack": "ANN", **label}, "ce", goal, twin, _BIM)
                yield from (snn, ann, _shown(ann, snn, "SNN to ANN"), _shown(snn, ann, "ANN to SNN"))


def _shown(victim: Case, source: Case, attack: str) -> Case:
    """The adversarial images of one case, shown to the victim of another."""
    return replace(victim, labels={**victim.labels, "attack": attack}, attack={}, measure="transfer", source=source)


def _hardly(rows: Rows) -> Iterator[Part]:
    for (data, goal), group in rows.where(attack="ANN to SNN").known("success").groups("data", "goal"):
        rates = [row["success"] for row in group]
        yield max(rates) < 0.12, f"{data}, {goal}: {', '.join(map(percent, rates))}"


def _below(measure: str, first: str, second: str) -> Check:
    """Check that the mean over twins of a measure is smaller for the first attack than for the second."""

    def check(rows: Rows) -> Iterator[Part]:
        for key, group in rows.groups("data", "goal"):
            low, high = (group.where(attack=attack).mean(measure) for attack in (first, second))
            if low is not None and high is not None:
                words = f"{named(key)}: {first} {figure(measure, low)}, {second} {figure(measure, high)}"
                yield low < high, words

    return check


_COLUMNS = ("data", "loss", "goal", "attack", "seed", "n", "accuracy", "success", "verified", "mse", "linf", "steps")
_FINDINGS = (
    Finding("SNNs need more perturbation than their ANN twins.", _below("mse", "ANN", "SNN")),
    Finding("Fewer than 12 % of the ANN's adversarial images fool the SNN.", _hardly),
    Finding(
        "The SNN's adversarial images fool the ANN more often than the reverse.",
        _below("success", "ANN to SNN", "SNN to ANN"),
        ours=True,
    ),
)

EXPERIMENT = Experiment(
    name="figure-15",
    title="Spiking networks and their ReLU twins",
    about="CE victims; the SNN is trained with MSE where CE did not succeed. It is attacked with SCG at penultimate "
    "threshold 2, a ReLU network of the same layers with BIM (Eq. 4, steps of 0.03); then each is shown the other's "
    "successful adversarial images (Fig. 15). Success on an SNN is that of one encoding, verified of many. Of the ANN "
    "there are several, trained with other seeds.",
    cases=_cases,
    columns=_COLUMNS,
    findings=_FINDINGS,
    pictures=(
        Bars(
            "Success, %; of several ANNs the mean and the range.", "success", across=("data", "goal"), beside="attack"
        ),
        Bars("Mean mse of successes.", "mse", across=("data", "goal"), beside="attack"),
    ),
    trend="Both are fooled almost always when attacked directly, the ANN with less perturbation; ANN to SNN below "
    "12 %.",
)

INDEPENDENT = Experiment(
    name="twins",
    title="Fig. 15 again, between networks that share no weights",
    about="Our own, beside Fig. 15: a spiking network that begins with the weights of a ReLU network may share its "
    "features. Here every network is trained from random weights of its own seed, three of each kind, and attacked as "
    "in Fig. 15; those of one seed are shown each other's successful adversarial images.",
    cases=_independent,
    columns=_COLUMNS,
    findings=tuple(replace(finding, ours=True) for finding in _FINDINGS),
    pictures=(
        Bars("Success, %; of three pairs the mean and the range.", "success", across=("data", "goal"), beside="attack"),
    ),
)

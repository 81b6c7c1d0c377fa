"""Fig. 15: spiking networks against their ReLU twins, attacked independently and across."""

from collections.abc import Iterator

from spikeflip.experiments.declaration import GOALS, Case, Experiment
from spikeflip.experiments.findings import Finding, Part, smaller
from spikeflip.experiments.pictures import Bars
from spikeflip.experiments.presets import Preset
from spikeflip.experiments.rows import Rows, percent

_THRESHOLD = 2.0


def _cases(preset: Preset) -> Iterator[Case]:
    for name in preset.names("figure-15", "images"):
        twin = preset.twin_of(name)
        for goal in GOALS:
            snn = Case(name, {"attack": "SNN"}, "ce", goal, attack={"threshold": _THRESHOLD})
            ann = Case(name, {"attack": "ANN"}, "ce", goal, victim=twin, attack={"attack": "bim", "step_size": 0.03})
            yield snn
            yield ann
            yield Case(name, {"attack": "SNN to ANN"}, "ce", goal, victim=twin, measure="transfer", source=snn)
            yield Case(name, {"attack": "ANN to SNN"}, "ce", goal, measure="transfer", source=ann)


def _hardly(rows: Rows) -> Iterator[Part]:
    for row in rows.where(attack="ANN to SNN").known("success"):
        yield row["success"] < 0.12, f"{row['data']}, {row['goal']}: {percent(row['success'])} of {row['n']}"


EXPERIMENT = Experiment(
    name="figure-15",
    title="Spiking networks and their ReLU twins",
    about="CE victims. The SNN is attacked with SCG at penultimate threshold 2, a ReLU network of the same layers with "
    "BIM (Eq. 4, steps of 0.03); then each is shown the other's successful adversarial images (Fig. 15). Success on an "
    "SNN is that of one encoding, verified of many.",
    cases=_cases,
    columns=("data", "goal", "attack", "n", "accuracy", "success", "verified", "mse", "linf", "steps"),
    findings=(
        Finding(
            "SNNs need more perturbation than their ANN twins.",
            smaller("mse", ("data", "goal"), "attack", "ANN", "SNN"),
        ),
        Finding("Fewer than 12 % of the ANN's adversarial images fool the SNN.", _hardly),
        Finding(
            "The SNN's adversarial images fool the ANN more often than the reverse.",
            smaller("success", ("data", "goal"), "attack", "ANN to SNN", "SNN to ANN"),
        ),
    ),
    pictures=(
        Bars("Success, %.", "success", across=("data", "goal"), beside="attack"),
        Bars("Mean mse of successes.", "mse", across=("data", "goal"), beside="attack"),
    ),
    trend="Both are fooled almost always when attacked directly, the ANN with less perturbation; ANN to SNN below "
    "12 %.",
)

"""Table III: inputs whose gradient is zero everywhere at the first iteration."""

from collections.abc import Iterator

from spikeflip.experiments.declaration import Case, Experiment, Printed
from spikeflip.experiments.findings import Finding, Part, smaller
from spikeflip.experiments.presets import Preset
from spikeflip.experiments.rows import Rows

_PRINTED = {"MSE": (130, 41, 436, 103), "CE": (256, 32, 471, 105)}
_DATA = ("N-MNIST", "CIFAR10-DVS", "MNIST", "CIFAR10")


def _cases(preset: Preset) -> Iterator[Case]:
    for name in preset.names("table-3"):
        for loss in preset.data[name].losses:
            yield Case(name, loss=loss, attack={"tuning": False})


def _mostly_vanished(rows: Rows) -> Iterator[Part]:
    for row in rows.known("vanished_first_step"):
        vanished, n = row["vanished_first_step"], row["n"]
        if n and row["data"].startswith("MNIST"):
            yield 2 * vanished > n, f"{row['data']}, {row['loss']}: {vanished} of {n}"


EXPERIMENT = Experiment(
    name="table-3",
    title="Inputs whose gradient vanishes at the first iteration",
    about="Untargeted attack at the untouched threshold; counted are inputs whose input gradient is zero everywhere at "
    "the first iteration (Table III).",
    cases=_cases,
    columns=(
        "data",
        "loss",
        "n",
        "vanished_first_step",
        "vanished_first_step_loss",
        "vanished_first_step_output",
        "vanished_in_500",
    ),
    paper=tuple(
        Printed({"data": data, "loss": loss}, "vanished_in_500", value)
        for loss, values in _PRINTED.items()
        for data, value in zip(_DATA, values, strict=True)
    ),
    findings=(
        Finding("Most inputs vanish at the first iteration on MNIST.", _mostly_vanished),
        Finding(
            "The gradient vanishes more often in victims trained with CE.",
            smaller("vanished_in_500", ("data",), "loss", "MSE", "CE"),
        ),
    ),
)

"""Fig. 18: original and adversarial inputs, side by side."""

from collections.abc import Iterator

from spikeflip.experiments.declaration import Case, Experiment
from spikeflip.experiments.pictures import Examples
from spikeflip.experiments.presets import Preset


def _cases(preset: Preset) -> Iterator[Case]:
    for name in preset.names("figure-18"):
        if name in ("MNIST", "N-MNIST"):
            yield Case(name, attack={"threshold": 2.0}, examples=True)


EXPERIMENT = Experiment(
    name="figure-18",
    title="Original and adversarial inputs",
    about="Untargeted, penultimate threshold 2. Examples are typical successes; of a recording all steps are squeezed "
    "into one picture, ON red and OFF blue (Fig. 18).",
    cases=_cases,
    columns=("data", "n", "success", "verified", "mse"),
    pictures=(Examples("Inputs, what became of them, and what changed."),),
    trend="Pictures of N-MNIST and MNIST inputs.",
)

"""A preset of experiments so small that tests may repeat it, and kill it."""

from dataclasses import replace

from spikeflip.experiments import presets
from spikeflip.experiments.presets import DataSet

TINY = DataSet(
    kind="images",
    source={"data": "digits"},
    training={
        "network": "6C3-AP2-24FC-10FC",
        "updates": 40,
        "batch_size": 32,
        "learning_rate": 0.02,
        "dropout": 0.0,
        "widest_dropout": 0.0,
        "validation": 0,
        "time_steps": 8,
    },
    untargeted={"samples": 8, "steps": 4},
    targeted={"samples": 1, "steps": 4},
    draws=(2, 2),
    losses=("mse",),
)
PRESET = replace(presets.PRESETS["smoke"], data={"MNIST": TINY})


def install() -> None:
    """Put it in the place of ``smoke``, in a process of its own."""
    presets.PRESETS["smoke"] = PRESET

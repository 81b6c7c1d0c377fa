"""Tiny victims of the bundled digits: every experiment in minutes, for tests and for a first look."""

from dataclasses import replace

from spikeflip.experiments.presets.preset import DataSet, Preset

_TRAINING = {
    "updates": 60,
    "batch_size": 32,
    "learning_rate": 0.01,
    "dropout": 0.0,
    "widest_dropout": 0.0,
    "shift": 0,
    "initial_rate": 0.0,
    "mse_first": 0.0,
    "validation": 0,
}

_DIGITS = DataSet(
    kind="images",
    source={"data": "digits"},
    training={**_TRAINING, "network": "8C3-AP2-32FC-10FC"},
    untargeted={"samples": 12},
    targeted={"samples": 2},
    draws=(3, 2),
    note="scikit-learn's digits stand in for it",
)
_SIMULATED = DataSet(
    kind="events",
    source={"data": "digits", "simulate_events": True},
    training={
        **_TRAINING,
        "batch_size": 48,
        "network": "8C3-AP2-AP2-32FC-10FC",
        "initial_rate": 0.05,
        "time_steps": 8,
    },
    untargeted={"samples": 12},
    targeted={"samples": 3},
    note="simulated saccades over scikit-learn's digits stand in for it",
)
_ALIKE = frozenset({"table-3", "table-7"})
"""Which the stand-ins take part in that would say the same as another everywhere."""
_NO_CONVOLUTION = {"no convolution": "32FC-10FC"}

SMOKE = Preset(
    name="smoke",
    summary="tiny victims of the bundled digits, of which no figure means anything",
    data={
        "MNIST": _DIGITS,
        "CIFAR10": replace(_DIGITS, only=_ALIKE | {"table-8"}),
        "N-MNIST": _SIMULATED,
        "CIFAR10-DVS": replace(_SIMULATED, only=_ALIKE),
        "Gesture-DVS": replace(_SIMULATED, only=frozenset({"figure-17"})),
    },
    thresholds=(None, 0.7, 1.0),
    bounded=(None, 0.7),
    gammas=(0.05, 0.2),
    constants=(0.0, 0.05),
    linf=(16, 64),
    seeds=(0,),
    windows=(5, 15),
    candidates=4,
    ordered={"untargeted": 6, "targeted": 2},
    few=4,
    shallow={"MNIST": _NO_CONVOLUTION, "N-MNIST": _NO_CONVOLUTION},
)

"""Tiny victims of the bundled digits: every experiment in minutes, for tests and for a first look."""

from spikeflip.experiments.presets.preset import IN_PAPER, DataSet, Preset

_TRAINING = {"updates": 60, "learning_rate": 0.01, "dropout": 0.0, "widest_dropout": 0.0, "validation": 0}

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
    training={**_TRAINING, "network": "8C3-AP2-AP2-32FC-10FC", "initial_rate": 0.05, "time_steps": 8},
    untargeted={"samples": 12},
    targeted={"samples": 2},
    note="simulated saccades over scikit-learn's digits stand in for it",
)
_NO_CONVOLUTION = {"no convolution": "32FC-10FC"}

SMOKE = Preset(
    name="smoke",
    summary="tiny victims of the bundled digits, of which no figure means anything",
    data={name: _DIGITS if name in ("MNIST", "CIFAR10") else _SIMULATED for name in IN_PAPER},
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

"""What a preset says: data sets, recipes of their victims, sample counts and grids."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

PresetName = Literal["paper", "cpu", "smoke"]
Kind = Literal["images", "events"]

IN_PAPER = ("MNIST", "CIFAR10", "N-MNIST", "CIFAR10-DVS", "Gesture-DVS")
"""The paper's data sets, by its names."""


@dataclass(frozen=True)
class DataSet:
    """A data set of a preset.

    Args:
        kind: rate-coded images or event recordings.
        source: where inputs come from, as options of ``train`` and ``attack``.
        training: recipe of a victim, as options of ``train``.
        start: how the training of a ReLU twin differs, from whose weights spiking victims begin; from random ones when
            empty.
        untargeted: which inputs are attacked, as options of ``attack``.
        targeted: the same towards every other class.
        draws: fresh encodings that verify an image, untargeted and targeted.
        losses: training losses of its victims.
        only: experiments it takes part in; all that suit its kind when empty.
        thresholds: instead of the preset's.
        bounded: whether it is also attacked with a bound at the preset's thresholds for that.
        engine: what runs its victims in attacks.
        note: what a reader of its rows must know and neither victims nor runs say.
        own_width: whether its width is part of what it is, and no other may be asked for.
        in_paper: the paper's name of the data, where the key is another.
    """

    kind: Kind
    source: Mapping[str, Any]
    training: Mapping[str, Any]
    untargeted: Mapping[str, Any]
    targeted: Mapping[str, Any]
    start: Mapping[str, Any] = field(default_factory=dict)
    draws: tuple[int, int] = (20, 5)
    losses: tuple[Literal["mse", "ce"], ...] = ("mse", "ce")
    only: frozenset[str] = frozenset()
    thresholds: tuple[float | None, ...] | None = None
    bounded: bool = True
    engine: Literal["auto", "torch", "event"] = "auto"
    note: str = ""
    own_width: bool = False
    in_paper: str = ""


@dataclass(frozen=True)
class Preset:
    """The size of all experiments; a threshold of None is the victim's own."""

    name: PresetName
    summary: str
    data: Mapping[str, DataSet]
    thresholds: tuple[float | None, ...]
    bounded: tuple[float | None, ...]
    """Of these thresholds, those that are also run with a bound (Fig. 14c)."""
    gammas: tuple[float, ...]
    constants: tuple[float, ...]
    """Weights c of the CWL2 term."""
    linf: tuple[int, ...]
    """Bounds of Table VIII, in 1/255."""
    seeds: tuple[int, ...]
    windows: tuple[int, ...]
    """Lengths T of the window over which images are rate-coded."""
    candidates: int | None
    """Of the trial-and-error attacks, an iteration."""
    ordered: Mapping[str, int]
    """How many of the first inputs Table VIII attacks, wrong ones too, by goal."""
    few: int
    """How many inputs Table I attacks."""
    shallow: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """Networks of fewer layers, by data and name."""

    def names(self, experiment: str, *kinds: Kind) -> list[str]:
        """The data sets of these kinds, or all, that take part in an experiment."""
        return [
            name
            for name, data in self.data.items()
            if (not kinds or data.kind in kinds) and (not data.only or experiment in data.only)
        ]

    def thresholds_of(self, name: str) -> tuple[float | None, ...]:
        """The penultimate thresholds at which a data set's victims are attacked."""
        own = self.data[name].thresholds
        return self.thresholds if own is None else own

    def twin_of(self, name: str, seed: int) -> dict[str, Any]:
        """Training options of a ReLU twin of a data set's victims; it is never the one that they begin from."""
        start = self.data[name].start
        return {"twin": True, "engine": "auto", **start, "seed": seed + (100 if start else 0)}

    def inputs(self, name: str, goal: str) -> Mapping[str, Any]:
        """Options that say which inputs of a data set are attacked."""
        return self.data[name].targeted if goal == "targeted" else self.data[name].untargeted

    def in_order(self, goal: str) -> dict[str, Any]:
        """Options that attack the first inputs, right or wrong."""
        return {"per_class": None, "samples": self.ordered[goal]}

    def few_inputs(self) -> dict[str, Any]:
        """Options that attack so few inputs that trial and error can be paid for."""
        return {"per_class": None, "samples": self.few}

    def depths(self, name: str) -> dict[str, str | None]:
        """Networks by name, the recipe's own first (None)."""
        return {"the recipe's": None, **self.shallow.get(name, {})}

    def at_width(self, width: float) -> "Preset":
        """The same with hidden layers of another width, but for data sets whose width is their own."""
        changed = {
            name: data if data.own_width else replace(data, training={**data.training, "width": width})
            for name, data in self.data.items()
        }
        return replace(self, data=changed)

    def only(self, names: Sequence[str]) -> "Preset":
        """The same with some of the data sets."""
        return replace(self, data={name: self.data[name] for name in names})

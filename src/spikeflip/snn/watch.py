"""A watch over a training: it notices that nothing is learned any more, and tries a cure before it gives up.

A spiking network can die: an update moves the weights of a layer so that no potential reaches its window, its gradient
is then zero, and no further update brings it back. The watch looks every few updates. It keeps the last state in which
the network fired, goes back to it with a lower learning rate when the network has fallen silent or its weights are no
numbers, and scales the weights anew where that state was nearly silent too.
"""

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from spikeflip.errors import SpikeflipError
from spikeflip.intervals import wilson
from spikeflip.notices import Notice
from spikeflip.snn.firing import Firing

# A network that fires for so few samples has a gradient for none of the others: it is as good as silent.
_SILENT, _NEARLY_SILENT = 0.95, 0.5
_LOWERED = 0.25
_MOST_CURES = 4
# One batch may be silent by chance.
_ENOUGH_UPDATES = 10
# An output is pushed down at first, and most come back by themselves.
_ENOUGH_FOR_A_CLASS = 20
_LATEST_REVIVAL = 0.7
# Fewer samples do not tell an accuracy from chance.
_ENOUGH_SAMPLES = 1000
# Where one class is most of the samples, a network that says it always may well be learning the others.
_MOST_CHANCE = 0.6

_COUNTS = ("cures", "revivals", "updates", "silent", "n", "class_updates", "quarter", "chance_n")
"""Cures and new outputs so far; updates and samples since the last look, since outputs were last looked at one by one,
and since a quarter of the training began."""


@dataclass(frozen=True)
class Seen:
    """What one update saw of its batch: the mean loss, and of its ``n`` samples, how many were right and silent.

    A tie is right in part; see :func:`expected_right`. Classes are ``missed`` that the batch has and whose output did
    not fire, and ``met`` whose output did.
    """

    loss: float
    right: float
    silent: int
    n: int
    missed: frozenset[int] = frozenset()
    met: frozenset[int] = frozenset()


def expected_right(scores: Tensor, classes: Tensor) -> float:
    """How many samples are right on average when ties are broken at random.

    A network that begins to learn has many ties: to count them as wrong, as judging does, would hide that.

    >>> expected_right(torch.tensor([[0.5, 0.5], [0.2, 0.1], [0.0, 0.0]]), torch.tensor([0, 0, 1]))
    2.0
    """
    best = scores == scores.amax(1, keepdim=True)
    return float((best.gather(1, classes.unsqueeze(1)).squeeze(1) / best.sum(1).clamp_min(1)).sum())  # no best: NaN


@dataclass
class Watch:
    """Looks after one training; :meth:`state` and :meth:`restore` carry it over an interruption.

    Args:
        weights: that are trained.
        initial: their values before training, from which it may begin anew.
        optimiser: of these weights.
        updates: of the training, in all.
        chance: the accuracy of a network that says the most frequent class of every sample.
        measure: says how the network fires; None for a network without spikes.
        scale: scales the weights until every layer fires; called where the state that is gone back to hardly fires.
        restart: puts the weights back that training began with; called where it has taught nothing.
        revive: gives the outputs of these classes new weights; called where they have fallen silent alone.
    """

    weights: list[Tensor]
    initial: list[Tensor]
    optimiser: torch.optim.Adam
    updates: int
    chance: float
    measure: Callable[[], Firing] | None = None
    scale: Callable[[], None] | None = None
    restart: Callable[[], None] | None = None
    revive: Callable[[list[int]], None] | None = None
    factor: float = 1.0
    """On the learning rate."""
    notices: list[Notice] = field(default_factory=list)
    firing: Firing | None = None
    """As it was when the watch looked last."""
    gave_up: bool = False
    _counts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(_COUNTS, 0))
    _right: float = 0.0
    _missed: set[int] = field(default_factory=set)
    _met: set[int] = field(default_factory=set)
    _good: "_State | None" = None

    def begin(self, update: int) -> None:
        """Take the weights as they are after so many updates for a state to go back to."""
        self._good = _State.of(update, self.weights, self.optimiser)
        self.firing = self.measure() if self.measure else None

    def saw(self, seen: Seen) -> None:
        """Note what an update saw."""
        for name, more in (("updates", 1), ("class_updates", 1), ("silent", seen.silent), ("n", seen.n)):
            self._counts[name] += more
        self._right += seen.right
        self._counts["chance_n"] += seen.n
        self._missed |= seen.missed
        self._met |= seen.met

    @property
    def every(self) -> int:
        """How many updates lie between two looks."""
        return max(10, self.updates // 100)

    def look(self, update: int, *, keep: bool) -> None:
        """See whether the network still fires and learns after so many updates, and mend what can be mended.

        Args:
            update: the number of the last update.
            keep: the state is saved next, and an interrupted training begins with it: it is one to go back to.
        """
        self.firing = self.measure() if self.measure else None
        silent = 0.0
        if self._counts["updates"] >= _ENOUGH_UPDATES:
            silent = self._counts["silent"] / self._counts["n"]
            self._counts |= dict.fromkeys(("updates", "silent", "n"), 0)
        if not all(bool(torch.isfinite(weight).all()) for weight in self.weights):
            self._mend(update, "the weights are no finite numbers any more")
        elif silent >= _SILENT:
            self._mend(update, f"{self._who_is_silent()}, so that {silent:.0%} of the samples had no output spike")
        else:
            mended = self._revive(update) or self._begin_anew_at_chance(update)
            if not mended and (keep or silent < _NEARLY_SILENT):
                self._good = _State.of(update, self.weights, self.optimiser)

    def _revive(self, update: int) -> bool:
        """Give outputs new weights that never fired in many updates though others did, while there is time to learn."""
        if (updates := self._counts["class_updates"]) < _ENOUGH_FOR_A_CLASS:
            return False
        dead = sorted(self._missed - self._met)
        self._counts["class_updates"] = 0
        self._missed.clear()
        self._met.clear()
        if not dead or self.revive is None or update > _LATEST_REVIVAL * self.updates:
            return False
        said = f"{'outputs' if len(dead) > 1 else 'output'} {', '.join(map(str, dead))}"
        trouble = f"update {update}: {said} had not fired for {updates} updates"
        if self._counts["revivals"] and self._counts["cures"] < _MOST_CURES:
            cure = f"training {self._begin_anew(update)}"
        else:
            cure = "got new weights"
            self.revive(dead)
            moments = self.optimiser.state[self.weights[-1]]
            for name in ("exp_avg", "exp_avg_sq"):
                moments[name][dead] = 0
            self._keep(update)
        self._counts["revivals"] += 1
        self.notices.append(Notice("training-cured", f"{trouble} and {cure}", update))
        return True

    def _begin_anew(self, update: int) -> str:
        """Put back the weights that training began with, and lower the learning rate; returns what was done."""
        self._lower()
        if self.restart is not None:
            self.restart()
            self.optimiser.state.clear()
        self._keep(update)
        return f"began anew with {self.factor:.3g} times the learning rate"

    def _keep(self, update: int) -> None:
        """Take the weights that a cure left for the state to go back to."""
        self._good = _State.of(update, self.weights, self.optimiser)
        self.firing = self.measure() if self.measure else None
        self._right = 0.0
        self._counts["chance_n"] = 0

    def _who_is_silent(self) -> str:
        silent = self.firing and (self.firing.silent or self.firing.output)
        return f"layer {silent.layer} fell silent" if silent else "the network fell silent"

    def _mend(self, update: int, trouble: str) -> None:
        """Go back to the last good state with a lower learning rate, or give up."""
        good = self._good
        assert good is not None  # since begin
        good.put_back(self.weights, self.optimiser)
        if self._counts["cures"] >= _MOST_CURES:
            self.gave_up = True
            text = f"training stopped at update {update}: {trouble}, and {self._counts['cures']} cures did not help"
            self.notices.append(Notice("training-gave-up", f"{text}; {_ADVICE}", update))
            return
        self._lower()
        cure = f"went back to update {good.update} with {self.factor:.3g} times the learning rate"
        self.firing = self.measure() if self.measure else None
        if self.scale is not None and self.firing and self.firing.output.silent_samples > _NEARLY_SILENT:
            with suppress(SpikeflipError):  # a layer that no factor makes fire: the next look finds it silent again
                self.scale()
                cure += " and scaled the weights until every layer fires"
        self._keep(update)
        self.notices.append(Notice("training-cured", f"update {update}: {trouble}; {cure}", update))

    def _begin_anew_at_chance(self, update: int) -> bool:
        """Begin anew with a lower learning rate where the second or third quarter of the updates taught nothing."""
        quarter = 4 * update // self.updates
        n, before = self._counts["chance_n"], self._counts["quarter"]
        if quarter == before:
            return False
        rate = self._right / max(1, n)
        self._counts |= {"quarter": quarter, "chance_n": 0}
        self._right = 0.0
        judged = before > 0 and quarter <= 3  # the first batches say nothing yet, and after the last no update follows
        told = n >= _ENOUGH_SAMPLES and self.chance <= _MOST_CHANCE
        if not judged or not told or wilson(rate, n)[0] > self.chance or self._counts["cures"] >= _MOST_CURES:
            return False
        trouble = f"{rate:.1%} of the training samples were right, which is no more than chance ({self.chance:.1%})"
        text = f"update {update}: {trouble}; {self._begin_anew(update)}"
        self.notices.append(Notice("training-at-chance", text, update))
        return True

    def _lower(self) -> None:
        self.factor *= _LOWERED
        self._counts["cures"] += 1

    def state(self) -> dict[str, Any]:
        """All that an interrupted training needs to go on as if it had not been, beside the weights."""
        classes = {"missed": sorted(self._missed), "met": sorted(self._met)}
        return {
            "factor": self.factor,
            "gave_up": self.gave_up,
            **self._counts,
            "right": self._right,
            **classes,
            "notices": [notice.as_json() for notice in self.notices],
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take over what :meth:`state` gave."""
        self.factor, self._counts = float(state["factor"]), {name: int(state[name]) for name in _COUNTS}
        self._right, self.gave_up = float(state["right"]), bool(state["gave_up"])
        self._missed, self._met = set(map(int, state["missed"])), set(map(int, state["met"]))
        self.notices = [Notice(**notice) for notice in state["notices"]]


_ADVICE = "try a lower learning rate, less dropout, or weights that begin with more firing (--initial-share)"


@dataclass(frozen=True)
class _State:
    """Weights with the optimiser's moments of them, after so many updates."""

    update: int
    weights: list[Tensor]
    moments: list[dict[str, Tensor]]

    @classmethod
    def of(cls, update: int, weights: list[Tensor], optimiser: torch.optim.Adam) -> "_State":
        moments = [{name: value.clone() for name, value in optimiser.state[weight].items()} for weight in weights]
        return cls(update, [weight.detach().clone() for weight in weights], moments)

    @torch.no_grad()
    def put_back(self, weights: list[Tensor], optimiser: torch.optim.Adam) -> None:
        for weight, value, moments in zip(weights, self.weights, self.moments, strict=True):
            weight.copy_(value)
            optimiser.state[weight] = {name: kept.clone() for name, kept in moments.items()}

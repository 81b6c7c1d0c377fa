"""What a model must hold to be attacked, each as a small function with a verdict.

They ask for scores and gradients alone, and so can be held against any victim.
Rounding depends on the size of a batch, and may now and then move a spike: differences below a tenth of the scores are
no failure, a mixed-up axis or a forgotten state makes far larger ones.
"""

from dataclasses import dataclass
from math import isfinite
from typing import Protocol

import torch
from torch import Tensor

from spikeflip.snn.gradients import GradientRequest
from spikeflip.streams import foreign_numbers
from spikeflip.victims.victim import Probe


class Probed(Protocol):
    """The part of a victim that these checks need."""

    @property
    def device(self) -> torch.device:
        """Where the model runs."""
        ...

    def scores(self, spikes: Tensor) -> Tensor:
        """Scores ``(N, K)``."""
        ...

    def probe(self, spikes: Tensor, request: GradientRequest | None = None) -> Probe:
        """One forward pass, ready for input gradients."""
        ...


_ROUNDING = 1e-5
_REPEATED = 1e-3  # a GPU may add in another order
_OWN_DERIVATIVE = "pass surrogate= a derivative that does not, such as spikeflip.Rectangular()"
GROSS = 0.1


@dataclass(frozen=True)
class Verdict:
    """What one check found."""

    check: str
    passed: bool
    finding: str
    fix: str = ""

    def __bool__(self) -> bool:
        return self.passed

    def __str__(self) -> str:
        return f"{self.finding}: {self.fix}" if self.fix else self.finding


def raised(error: BaseException) -> str:
    """What a model's own code raised, in a sentence: the type, and the first line of what it says."""
    said = str(error).strip().partition("\n")[0][:200]
    return f"{type(error).__name__}: {said}" if said else type(error).__name__


def score_shape(victim: Probed, inputs: Tensor) -> Verdict:
    """Scores are ``(N, K)`` with at least two classes, and finite."""
    found = victim.scores(inputs)
    shape = tuple(found.shape)
    if shape == (len(inputs), 1):
        return Verdict(
            "score shape",
            False,
            f"the scores of {len(inputs)} samples have shape {shape}, of one class alone",
            "choose another layout=, output= or readout=, or give a victim of two classes or more",
        )
    if found.ndim != 2 or shape[0] != len(inputs) or shape[1] < 1:
        return Verdict(
            "score shape",
            False,
            f"the scores of {len(inputs)} samples have shape {shape}, not (N, K)",
            "choose another layout=, output= or readout=",
        )
    if not bool(torch.isfinite(found).all()):
        return Verdict("score shape", False, "the scores are not finite", "check the model's weights")
    return Verdict("score shape", True, f"the scores have shape {shape}")


def livelier(inputs: Tensor) -> tuple[Tensor, Tensor]:
    """Ones, and coin flips, in the place of inputs: what a model remembers may not show on an example that is quiet."""
    coins = torch.rand(inputs.shape, generator=torch.Generator().manual_seed(0)).round().to(inputs)
    return torch.ones_like(inputs), coins


def same_call_twice(victim: Probed, inputs: Tensor) -> Verdict:
    """The same inputs give the same bits, and so do livelier ones: no memory, no randomness."""
    for some in (inputs, *livelier(inputs)):
        if not (verdict := _same_twice(victim, some)):
            break
    return verdict


def _same_twice(victim: Probed, inputs: Tensor) -> Verdict:
    if torch.equal(victim.scores(inputs), victim.scores(inputs)):
        return Verdict("same call twice", True, "the same inputs give the same scores")
    with foreign_numbers(0):  # to see whether it draws
        one = victim.scores(inputs)
    with foreign_numbers(0):
        two = victim.scores(inputs)
    if torch.equal(one, two):
        return Verdict(
            "same call twice",
            False,
            "the model draws random numbers",
            "take the encoder or dropout out and wrap what follows",
        )
    return Verdict(
        "same call twice",
        False,
        "the model remembers something of the call before, or draws random numbers that are not PyTorch's",
        "keep state in attributes of modules, as tensors, lists or dictionaries, and take random numbers out",
    )


def batch_independence(victim: Probed, inputs: Tensor) -> Verdict:
    """Every sample scores alone as in the batch, and in another order as in this one."""
    whole = victim.scores(inputs)
    alone = torch.cat([victim.scores(inputs[i : i + 1]) for i in range(len(inputs))])
    if alone.shape != whole.shape:
        found = 1.0
    else:
        found = max(difference(whole, alone), difference(whole, victim.scores(inputs.flip(0)).flip(0)))
    if found > GROSS:
        return Verdict(
            "batch independence",
            False,
            "a sample's scores depend on the other samples of its batch",
            "check the layout, and layers built for one batch size (sinabs: give num_timesteps, not batch_size)",
        )
    small = f"samples do not depend on each other, but for rounding ({found:.1e} of the scores)"
    return Verdict("batch independence", True, small if found > _ROUNDING else "samples do not depend on each other")


def time_matters(victim: Probed, inputs: Tensor) -> Verdict:
    """Frames in another order give other scores, or other gradients where outputs are silent."""
    unknown = Verdict("time matters", True, "the inputs do not tell whether time matters")
    steps = inputs.shape[1]
    if steps < 2:
        return unknown
    half = inputs.clone()
    half[:, steps // 2 :] = 0
    pairs = [(x, x.flip(1)) for x in (inputs, half)]
    found = max(difference(victim.scores(x), victim.scores(y)) for x, y in pairs)
    slopes = [(slope(victim, x), slope(victim, y).flip(1)) for x, y in pairs]
    found = max([found, *(difference(a, b) for a, b in slopes)])
    if found > _ROUNDING:
        return Verdict("time matters", True, "frames in another order give other scores")
    whole = victim.scores(inputs)
    if not (bool((whole != whole[:1, :1]).any()) or any(bool(a.any()) for a, _ in slopes)):
        return unknown
    return Verdict(
        "time matters",
        False,
        "frames in another order give the same scores, as if every frame were a sample",
        "check the layout",
    )


def gradient_independence(victim: Probed, inputs: Tensor) -> Verdict:
    """The scores of one sample have no gradient in another; this tells mixed-up axes also where outputs are silent."""
    n = len(inputs)
    for row in (0, n - 1):
        size = slope(victim, inputs, row).flatten(1).double().norm(dim=1)
        others = torch.cat([size[:row], size[row + 1 :]])
        if bool((others > _ROUNDING * size.max()).any()):
            return Verdict(
                "batch independence",
                False,
                "the gradient of a sample's scores reaches other samples of its batch",
                "check the layout",
            )
    return Verdict("batch independence", True, "samples do not depend on each other")


def gradient_twice(victim: Probed, inputs: Tensor) -> Verdict:
    """The same inputs give the same gradient: nothing is drawn on the way back."""
    one, two = slope(victim, inputs), slope(victim, inputs)
    # What is not finite is another fault, and equals nothing.
    if difference(one.nan_to_num(), two.nan_to_num()) <= _REPEATED:
        return Verdict("same call twice", True, "the same inputs give the same scores and gradients")
    return Verdict(
        "same call twice",
        False,
        "two gradients of the same inputs differ, as the backward pass draws random numbers",
        _OWN_DERIVATIVE,
    )


def gradient_alone(victim: Probed, inputs: Tensor) -> Verdict:
    """A sample's gradient is the same alone, in the batch, and among copies of itself."""
    whole, scores = slope(victim, inputs), victim.scores(inputs)
    largest = float(whole.flatten(1).double().norm(dim=1).max())
    for i, one in enumerate(inputs if isfinite(largest) else ()):
        for batch, place in ((one.unsqueeze(0), 0), (one.expand_as(inputs).contiguous(), i)):
            if difference(victim.scores(batch)[place], scores[i]) > _ROUNDING:
                continue  # a spike that rounding moves changes gradients as well
            apart = float((slope(victim, batch)[place] - whole[i]).double().norm())
            if not apart <= GROSS * largest:  # nor is one that is no number the same
                return Verdict(
                    "batch independence",
                    False,
                    "a sample's gradient depends on the other samples of its batch, though its scores do not",
                    f"take out of its backward pass what is computed over the batch, or {_OWN_DERIVATIVE}",
                )
    return Verdict("batch independence", True, "samples do not depend on each other")


def all_of(victim: Probed, inputs: Tensor) -> list[Verdict]:
    """The checks above, up to the first that fails."""
    verdicts: list[Verdict] = []
    for check in (score_shape, same_call_twice, batch_independence, gradient_independence, time_matters):
        verdicts.append(check(victim, inputs))
        if not verdicts[-1]:
            break
    return verdicts


def passes(victim: Probed, inputs: Tensor) -> bool:
    """Whether all hold; a model that raises does not pass."""
    try:
        return all(all_of(victim, inputs))
    except Exception:  # whatever a model raises that is fed wrongly
        return False


def slope(victim: Probed, inputs: Tensor, row: int | None = None) -> Tensor:
    """The input gradient of a sum of scores in which no two classes weigh the same, of all samples or of one."""

    def weights(scores: Tensor, _rows: Tensor) -> Tensor:
        gradient = torch.zeros_like(scores)
        gradient[slice(None) if row is None else row] = 1 + torch.arange(scores.shape[1]).to(scores)
        return gradient

    return victim.probe(inputs).input_gradient(weights).values


def difference(a: Tensor, b: Tensor) -> float:
    """The size of a difference, as a share of the larger of both."""
    a, b = a.double(), b.double()
    largest = max(float(a.norm()), float(b.norm()))
    return float((a - b).norm()) / largest if largest else 0.0

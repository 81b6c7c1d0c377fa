"""How far attacks had to go: curves, quartiles, and which attacks an evaluation needs.

A distance is how much an attack changed a sample to succeed, infinite where it failed, in one unit for all attacks.
"""

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from spikeflip.errors import SpikeflipError


def success_within(distances: Tensor, limits: Sequence[float]) -> list[float]:
    """The share of samples that an attack fools within each limit.

    Args:
        distances: of all attacked samples, ``(N,)``, N at least 1.
        limits: in the same unit.

    >>> success_within(torch.tensor([2.0, 5.0, torch.inf, 7.0]), [1, 5, 100])
    [0.0, 0.5, 0.75]
    """
    _check(distances)
    return [float((distances <= limit).double().mean()) for limit in limits]


def quartiles(distances: Tensor) -> tuple[float, float, float]:
    """The distances within which a quarter, a half and three quarters of all attacked samples are fooled.

    >>> quartiles(torch.tensor([2.0, 5.0, torch.inf, 7.0]))
    (2.0, 5.0, 7.0)
    """
    _check(distances)
    ordered = distances.sort().values
    first, second, third = (float(ordered[math.ceil(share * len(ordered)) - 1]) for share in (0.25, 0.5, 0.75))
    return first, second, third


def best(distances: Mapping[str, Tensor]) -> Tensor:
    """The least distance of every sample over all attacks, ``(N,)``.

    >>> best({"one": torch.tensor([3.0, torch.inf]), "other": torch.tensor([4.0, 2.0])}).tolist()
    [3.0, 2.0]
    """
    if len({len(found) for found in distances.values()}) != 1:
        raise SpikeflipError("distances of the attacks are not all of the same samples: give one of each for every one")
    return torch.stack(list(distances.values())).amin(0)


def optimality(distances: Mapping[str, Tensor]) -> dict[str, float]:
    """How near each attack comes to the best of all: 1 if it is that on every sample, 0 if it fools none.

    With A the area under an attack's curve of robust accuracy against distance, A* the same for the best attack on each
    sample and D the largest distance that this needs, it is ``1 - (A - A*) / (D - A*)``, with accuracy 1 at distance 0.

    Args:
        distances: of the same attacked samples by each attack.

    Returns:
        NaN for all where no attack fools anything; where all samples need the same distance, and the formula says
        nothing, the share of them on which an attack needs no more.

    Source: A. E. Cinà et al., AttackBench: Evaluating Gradient-based Attacks for Adversarial Examples, AAAI 2025.

    >>> optimality({"one": torch.tensor([3.0, torch.inf]), "other": torch.tensor([4.0, 2.0])})
    {'one': 0.0, 'other': 1.0}
    """
    least = best(distances)
    fooled = least[torch.isfinite(least)]
    if len(fooled) == 0:
        return dict.fromkeys(distances, math.nan)
    farthest = float(fooled.max())
    area = {name: float(found.clamp(max=farthest).double().mean()) for name, found in distances.items()}
    whole = float(least.clamp(max=farthest).double().mean())
    if farthest == whole:
        near = {name: (found == least)[torch.isfinite(least)] for name, found in distances.items()}
        return {name: float(found.double().mean()) for name, found in near.items()}
    return {name: 1 - (found - whole) / (farthest - whole) for name, found in area.items()}


def alone(distances: Mapping[str, Tensor], limit: float = math.inf) -> dict[str, int]:
    """How many samples each attack fools within a limit that no other one does: what the rest would miss.

    >>> alone({"one": torch.tensor([3.0, torch.inf]), "other": torch.tensor([4.0, 2.0])})
    {'one': 0, 'other': 1}
    """
    fooled = {name: torch.isfinite(found) & (found <= limit) for name, found in distances.items()}
    count = torch.stack(list(fooled.values())).sum(0)
    return {name: int((found & (count == 1)).sum()) for name, found in fooled.items()}


def _check(distances: Tensor) -> None:
    if distances.numel() == 0:
        raise SpikeflipError("no sample was attacked, so there is no share of them: give at least one")

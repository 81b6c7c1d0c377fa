"""Settings with which every attack is done soon."""

from math import prod
from typing import Any

import torch

from spikeflip.attacks import Pattern

_OWN: dict[str, dict[str, Any]] = {
    "fgsm": {},
    "greedy-pixels": {"steps": 3, "candidates": 2},
    "greedy-flips": {"steps": 3, "candidates": 4},
    "sparse-rs": {"steps": 4, "queries": 5},
    "flip-search": {"steps": 6, "queries": 5, "share": 0.1, "growth": 2.0},
    "random-flips": {"steps": 6, "share": 0.3},
}


def few_steps(attack: str, steps: int, shape: tuple[int, ...] = (6, 2, 16, 16)) -> dict[str, Any]:
    """Options of an attack; those that try candidates, make one step or take a pattern of ``shape`` have their own."""
    if attack == "universal":
        return {"pattern": Pattern("universal", _bits(shape, 7), shape)}
    if attack == "patch":
        sides = (*shape[:-2], 5, 5) if len(shape) > 2 else (shape[0], 5)
        return {"pattern": Pattern("patch", 1 - _bits(sides, 3), shape)}
    return _OWN.get(attack, {"steps": steps})


def _bits(shape: tuple[int, ...], each: int) -> torch.Tensor:
    """A 1 in each so many cells."""
    return (torch.arange(prod(shape)) % each == 0).view(shape).to(torch.uint8)

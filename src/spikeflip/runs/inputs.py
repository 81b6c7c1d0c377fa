"""The inputs of a run: a data set, rate-coded by the victim or turned into simulated recordings."""

from dataclasses import dataclass

import torch
from torch import Tensor

from spikeflip.data import load_images, simulate_saccades
from spikeflip.runs.config import DataConfig

# Small images are enlarged before they are moved, so that a saccade crosses more than a few pixels.
_SMALLEST_SIMULATED = 16


@dataclass(frozen=True)
class Inputs:
    """Images or simulated recordings with their classes, and where they came from."""

    values: Tensor
    labels: Tensor
    classes: tuple[str, ...]
    facts: dict[str, object]


def load_inputs(config: DataConfig, split: str, *, time_steps: int, first: int | None = None) -> Inputs:
    """Load a split of the configured data set, its ``first`` so many samples if given."""
    found = load_images(config.data, split, root=config.root, download=config.download)
    images, labels = found.images[:first], found.labels[:first]
    facts: dict[str, object] = {
        "name": f"simulated saccades over {found.name}" if config.simulate_events else found.name,
        "split": split,
        "simulated": config.simulate_events,
        "source": found.source,
        "sha256": found.sha256,
        "size": len(found),
    }
    if config.simulate_events:
        size = max(_SMALLEST_SIMULATED, images.shape[-1])
        # A byte a cell: a training set of recordings as floats would not fit in memory.
        parts = [simulate_saccades(part, steps=time_steps, size=size).to(torch.uint8) for part in images.split(512)]
        return Inputs(torch.cat(parts), labels, found.classes, facts)
    return Inputs(images, labels, found.classes, facts)

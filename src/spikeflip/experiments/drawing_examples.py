"""Inputs before and after an attack, many of them in one figure (Fig. 18)."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from spikeflip.experiments.examples import unpacked
from spikeflip.report.pixels import SIDE, channels_of, difference, frames_of, shared_scale, signed_difference, squeeze

_SIDE = 1.15
"""Inches."""
_STAGES = ("original", "adversarial", "change")
_Drawn = tuple[NDArray[Any], dict[str, Any]]
"""Numbers or colours ``(H, W, ...)``, and how numbers become colours."""


def grid_of_examples(examples: Mapping[str, Sequence[Mapping[str, Any]]]) -> Figure:
    """Draw examples beside each other, before, after and what changed below each other.

    Args:
        examples: by data set, as :func:`spikeflip.experiments.examples.typical_examples` gives them; at least one.
    """
    columns = max(map(len, examples.values()))
    lines = len(_STAGES) * len(examples)
    figure = Figure(figsize=(0.4 + _SIDE * columns, (0.15 + _SIDE) * lines), layout="constrained")
    grid = figure.subplots(lines, columns, squeeze=False)
    for axes in grid.flat:
        axes.set_visible(False)
    for number, (data, shown) in enumerate(examples.items()):
        part = grid[len(_STAGES) * number : len(_STAGES) * (number + 1)]
        for column, example in enumerate(shown):
            part[0, column].set_title(f"{example['label']} read as {example['prediction']}", fontsize=8)
            for axes, stage in zip(part[:, column], _stages(example), strict=True):
                _show(axes, stage)
        for axes, what in zip(part[:, 0], _STAGES, strict=True):
            axes.set_ylabel(f"{data}\n{what}" if what == _STAGES[0] else what, fontsize=8)
    return figure


def _stages(example: Mapping[str, Any]) -> list[_Drawn]:
    before, after = unpacked(example)
    if example["spikes"]:
        full = shared_scale([frames_of(before), frames_of(after)], SIDE)
        return [(squeeze(before, full=full), {}), (squeeze(after, full=full), {}), (difference(before, after), {})]
    change = signed_difference(before, after)
    most = float(np.abs(change).max(initial=0)) or 1.0
    # The colours of spikes: more is orange, less is teal.
    return [_image(before), _image(after), (change, {"cmap": "BrBG_r", "vmin": -most, "vmax": most})]


def _image(values: NDArray[np.float64]) -> _Drawn:
    channels = channels_of(values)
    if len(channels) == 3:
        return channels.transpose(1, 2, 0).clip(0, 1), {}
    return channels.mean(0), {"cmap": "gray", "vmin": 0, "vmax": 1}


def _show(axes: Axes, stage: _Drawn) -> None:
    values, colours = stage
    axes.set_visible(True)
    # With its own pixels a picture takes a few hundred bytes of an SVG instead of thousands.
    axes.imshow(values, interpolation="none", **colours)
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set(alpha=0.3, linewidth=0.6)

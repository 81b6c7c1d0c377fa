"""One input before and after an attack, as a strip of frames for a paper and as an animation."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from numpy.typing import ArrayLike, NDArray
from PIL import Image, ImageDraw, ImageFont

from spikeflip.report.figures import WIDTHS
from spikeflip.report.pixels import (
    ADDED,
    KEPT,
    MOVED,
    OFF,
    ON,
    REMOVED,
    RGB,
    SIDE,
    SPIKE,
    Picture,
    channels_of,
    difference,
    frames_of,
    pooled,
    shared_scale,
    signed_difference,
    squeeze,
    to_bytes,
)

_TILES = {1: 6, 2: 12}
"""Frames beside each other, by columns of the paper."""
_STAGES = ("original", "adversarial", "change")
_MOST_FRAMES = 300
"""Of an animation; more time steps are taken together."""
_PANEL, _GAP, _HEAD, _FOOT = 224, 12, 26, 22
"""Of an animation, in pixels: the longer side of a picture, what lies between, the text above and below."""
_INK, _PAPER, _TRACK = (26, 28, 32), (255, 255, 255), (222, 224, 228)


def spike_strip(original: ArrayLike, adversarial: ArrayLike, *, columns: int = 1) -> Figure:
    """Draws spikes before, after and what changed, over time from left to right.

    Args:
        original: `(T, C, H, W)` of 0 and 1, or another rank as in :func:`spikeflip.report.pixels.squeeze`.
        adversarial: The same shape.
        columns: Of the paper, 1 or 2; they have room for 6 or 12 frames, and more time steps are taken together.
    """
    before, after = frames_of(original), frames_of(adversarial)
    parts = _parts(len(before), _TILES[columns])
    pairs = [(before[part], after[part]) for part in parts]
    full = shared_scale([one for pair in pairs for one in pair], SIDE)
    rows = [[squeeze(pair[which], full=full) for pair in pairs] for which in (0, 1)]
    rows.append([difference(*pair) for pair in pairs])
    names = [str(part.stop) if part.stop == part.start + 1 else f"{part.start + 1}–{part.stop}" for part in parts]
    return _grid(rows, names, _spike_colours(before.shape[1]), columns)


def image_strip(original: ArrayLike, adversarial: ArrayLike, *, columns: int = 1) -> Figure:
    """Draws an image `(C, H, W)` in [0, 1] before, after and what changed, beside each other."""
    change = signed_difference(original, adversarial)
    most = float(np.abs(change).max(initial=0))
    share = np.abs(change)[..., None] / (most or 1.0)
    coloured = to_bytes(255 * (1 - share) + np.where(change[..., None] > 0, ADDED, REMOVED) * share)
    brighter, darker = max(float(change.max(initial=0)), 0), max(-float(change.min(initial=0)), 0)
    colours = [(ADDED, f"brighter, to +{brighter:.2g}"), (REMOVED, f"darker, to −{darker:.2g}")]
    return _grid([[_image(original), _image(adversarial), coloured]], _STAGES, colours, columns)


def _grid(
    rows: Sequence[Sequence[Picture]], names: Sequence[str], colours: Sequence[tuple[RGB, str]], columns: int
) -> Figure:
    """Pictures of one size in rows: a name above each column, what each row is on its left, the colours below."""
    width, across, label = WIDTHS[columns], len(rows[0]), 0.62 if len(rows) > 1 else 0.02
    high, wide = rows[0][0].shape[:2]
    side = (width - label) / across
    tile = side * float(np.clip(high / wide, 0.3, 2.0))
    head, foot = 0.2, 0.24
    total = head + tile * len(rows) + foot
    figure = Figure(figsize=(width, total))
    margin = 0.03
    for down, row in enumerate(rows):
        for at, picture in enumerate(row):
            left, bottom = label + at * side, foot + (len(rows) - 1 - down) * tile
            box = (left / width, bottom / total, (side - margin) / width, (tile - margin) / total)
            _show(figure.add_axes(box), picture)
        if len(rows) > 1:
            middle = foot + (len(rows) - 0.5 - down) * tile
            figure.text((label - 0.06) / width, middle / total, _STAGES[down], ha="right", va="center", size=7)
    for at, name in enumerate(names):
        middle = label + (at + 0.5) * side - margin / 2
        figure.text(middle / width, 1 - (head - 0.05) / total, name, ha="center", va="bottom", size=7)
    if len(rows) > 1:
        figure.text((label - 0.06) / width, 1 - (head - 0.05) / total, "time step", ha="right", va="bottom", size=7)
    handles = [Patch(color=_as_share(colour), label=name) for colour, name in colours]
    figure.legend(
        handles=handles, loc="lower center", ncols=len(handles), bbox_to_anchor=((label + width) / 2 / width, -0.01),
        handlelength=0.8, handleheight=0.8, columnspacing=1.2, handletextpad=0.4, fontsize=7, borderpad=0.1,
    )  # fmt: skip
    return figure


def _show(axes: Axes, picture: Picture) -> None:
    axes.imshow(picture, interpolation="none", aspect="auto")
    axes.set(xticks=[], yticks=[])
    axes.grid(visible=False)
    axes.spines[:].set(visible=True, color=_as_share(_INK), alpha=0.3, linewidth=0.5)


def _as_share(colour: RGB) -> tuple[float, float, float]:
    red, green, blue = colour
    return red / 255, green / 255, blue / 255


def _spike_colours(channels: int) -> list[tuple[RGB, str]]:
    spikes = [(ON, "ON"), (OFF, "OFF")] if channels == 2 else [(SPIKE, "spike")] if channels != 3 else []
    return [*spikes, (ADDED, "added"), (REMOVED, "removed"), (MOVED, "both"), (KEPT, "kept")]


def _image(image: ArrayLike) -> Picture:
    values = channels_of(image)
    if len(values) != 3:
        values = np.repeat(values.mean(axis=0, keepdims=True), 3, axis=0)
    return to_bytes(255 * pooled(values, SIDE, np.mean).transpose(1, 2, 0))


def _parts(steps: int, most: int) -> list[slice]:
    """Cuts time steps into at most so many parts, as even as can be, so that none looks busier than it is."""
    tiles = math.ceil(steps / math.ceil(steps / most))
    return [slice(first, last) for first, last in pairwise(round(steps * tile / tiles) for tile in range(tiles + 1))]


def animation(original: ArrayLike, adversarial: ArrayLike, *, kind: str, captions: Sequence[str], fps: float) -> bytes:
    """Makes a GIF that plays without end: an input before, after and what changed.

    Args:
        original: Spikes `(T, C, H, W)`, a frame a time step; or an image `(C, H, W)`, which has two frames, before and
            after at one place.
        adversarial: The same shape.
        kind: `"spikes"` or `"images"`.
        captions: What is said above original and adversarial.
        fps: Frames a second.
    """
    if kind == "images":
        pictures = _image(original), _image(adversarial)
        frames = [_frame([picture], [said], None) for picture, said in zip(pictures, captions, strict=True)]
    else:
        frames = _spike_frames(frames_of(original), frames_of(adversarial), captions)
    buffer = io.BytesIO()
    palette = [frame.quantize(128, method=Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE) for frame in frames]
    palette[0].save(
        buffer, format="gif", save_all=True, append_images=palette[1:], duration=round(1000 / fps), loop=0, disposal=1
    )
    return buffer.getvalue()


def _spike_frames(before: NDArray[Any], after: NDArray[Any], captions: Sequence[str]) -> list[Image.Image]:
    parts = _parts(len(before), _MOST_FRAMES)
    full = shared_scale([one for part in parts for one in (before[part], after[part])], SIDE)
    frames = []
    for part in parts:
        old, new = before[part], after[part]
        pictures = [squeeze(old, full=full), squeeze(new, full=full), difference(old, new)]
        added, removed = int((new > old).sum()), int((new < old).sum())
        frames.append(_frame(pictures, [*captions, f"+{added:,} −{removed:,}"], (part.stop, len(before))))
    return frames


def _frame(pictures: Sequence[Picture], captions: Sequence[str], time: tuple[int, int] | None) -> Image.Image:
    """Pictures beside each other, a caption above each and, where time passes, how far it is below."""
    factor = max(1, _PANEL // max(pictures[0].shape[:2]))
    high, wide = (factor * side for side in pictures[0].shape[:2])
    foot = 0 if time is None else _FOOT
    width = len(pictures) * wide + (len(pictures) + 1) * _GAP
    drawn = Image.new("RGB", (width, _HEAD + high + foot + _GAP), _PAPER)
    pen, font = ImageDraw.Draw(drawn), _font(13)
    for at, (picture, caption) in enumerate(zip(pictures, captions, strict=True)):
        left = _GAP + at * (wide + _GAP)
        drawn.paste(Image.fromarray(picture.repeat(factor, axis=0).repeat(factor, axis=1)), (left, _HEAD))
        pen.rectangle((left - 1, _HEAD - 1, left + wide, _HEAD + high), outline=_TRACK)
        pen.text((left, 6), _shortened(caption, font, wide), fill=_INK, font=font)
    if time is not None:
        done, every = time
        label = f"step {done} of {every}"
        begins, line = _GAP + math.ceil(font.getlength(f"step {every} of {every}")) + 8, _HEAD + high + 15
        pen.text((_GAP, line - 9), label, fill=_INK, font=font)
        pen.rectangle((begins, line - 2, width - _GAP, line + 1), fill=_TRACK)
        pen.rectangle((begins, line - 2, begins + (width - _GAP - begins) * done / every, line + 1), fill=_INK)
    return drawn


def _font(size: int) -> ImageFont.FreeTypeFont:
    """Matplotlib's own, which is the same everywhere."""
    return ImageFont.truetype(str(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"), size)


def _shortened(text: str, font: ImageFont.FreeTypeFont, width: int) -> str:
    """A text that ends where its picture does."""
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(f"{text}…") > width:
        text = text[:-1]
    return f"{text}…"

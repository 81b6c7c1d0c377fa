"""Figures of an attack: inputs before and after, and the two plots of a run.

They are `matplotlib.figure.Figure` objects, drawn without pyplot, so that nothing global changes; `pixels` makes the
pictures in them.
"""

from __future__ import annotations

import base64
import io
import math
import re
from collections.abc import Sequence
from html import escape

import matplotlib.style
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike, NDArray
from PIL import Image

from spikeflip.report.pixels import (
    ADDED,
    MOVED,
    OFF,
    ON,
    REMOVED,
    RGB,
    SIDE,
    SPIKE,
    WHITE,
    Picture,
    channels_of,
    difference,
    frames_of,
    group_steps,
    pooled,
    shared_scale,
    signed_difference,
    squeeze,
    to_bytes,
)

_LINE = (190, 192, 196)
_INK, ACCENT = "#1a1c20", "#1f5f8b"
_ANCHORS = (REMOVED, (128, 190, 186), WHITE, (247, 190, 120), ADDED)
_DIVERGING = LinearSegmentedColormap.from_list("less-more", [tuple(part / 255 for part in rgb) for rgb in _ANCHORS])
_TILE_SIDE = 40
_WIDTH, _GAP = 330.0, 9.0  # of a figure with three panels, in points: as wide as a telephone's window
_RULES = {"svg.hashsalt": "spikeflip", "svg.fonttype": "none", "font.size": 9.5}
_RULES |= {"text.color": _INK, "axes.labelcolor": _INK, "axes.labelsize": 9.5}
# As a decorator: whatever the user's own matplotlib settings are, the same run gives the same page.
styled = matplotlib.style.context(["default", _RULES])


@styled
def spike_example(original: ArrayLike, adversarial: ArrayLike) -> Figure:
    """Draws original, adversarial and difference of one recording, squeezed over time on one colour scale.

    Args:
        original: `(T, C, H, W)` of 0 and 1, or another rank as in `squeeze`.
        adversarial: The same shape.
    """
    before, after = frames_of(original), frames_of(adversarial)
    full = shared_scale([before, after], SIDE)
    changes = [(ADDED, f"{int((after > before).sum()):,} added"), (REMOVED, f"{int((after < before).sum()):,} removed")]
    if np.any((after > before).any(axis=(0, 1)) & (after < before).any(axis=(0, 1))):
        changes.append((MOVED, "both at one pixel"))
    panels = [
        ("original", squeeze(before, full=full), _spike_counts(before)),
        ("adversarial", squeeze(after, full=full), _spike_counts(after)),
        ("difference", difference(before, after), changes),
    ]
    return _three_panels(panels)


@styled
def image_example(original: ArrayLike, adversarial: ArrayLike) -> Figure:
    """Draws original, adversarial and difference of one image; the difference's colours are symmetric about 0.

    Args:
        original: `(C, H, W)` in [0, 1], C = 3 is red, green, blue; any other number of channels is averaged to grey.
        adversarial: The same shape.
    """
    change = signed_difference(original, adversarial)
    scale = float(np.abs(change).max(initial=0)) or 1.0
    coloured = _DIVERGING((pooled(change, SIDE, np.mean) / scale + 1) / 2)[..., :3]
    extremes = [
        (ADDED, f"to +{max(float(change.max(initial=0)), 0):.3f}"),
        (REMOVED, f"to −{max(-float(change.min(initial=0)), 0):.3f}"),
    ]
    panels = [
        ("original", _image_picture(original), []),
        ("adversarial", _image_picture(adversarial), []),
        ("difference", to_bytes(255 * coloured), extremes),
    ]
    return _three_panels(panels)


@styled
def originals(inputs: Sequence[ArrayLike], names: Sequence[str], *, spikes: bool) -> Figure:
    """Draws one to three inputs beside each other, with a name above each.

    Args:
        inputs: Spikes `(T, C, H, W)` as in `spike_example`, or images `(C, H, W)` as in `image_example`.
        names: As many.
        spikes: Whether they are spikes.
    """
    frames = [frames_of(one) for one in inputs] if spikes else []
    full = shared_scale(frames, SIDE) if spikes else None
    shown = [squeeze(one, full=full) for one in frames] or [_image_picture(one) for one in inputs]
    notes = [_spike_counts(one) for one in frames] or [[] for _ in inputs]
    return _three_panels(list(zip(names, shown, notes, strict=True)))


@styled
def time_strip(original: ArrayLike, adversarial: ArrayLike) -> Figure:
    """Draws the time steps as rows of small frames: original, adversarial below it, and what was flipped.

    Args:
        original: `(T, C, H, W)` of 0 and 1; more than 16 steps are grouped, see `group_steps`.
        adversarial: The same shape.
    """
    before, after = frames_of(original), frames_of(adversarial)
    groups = group_steps(len(before))
    pairs = [(before[group], after[group]) for group in groups]
    full = shared_scale([part for pair in pairs for part in pair], _TILE_SIDE)
    rows = [[squeeze(pair[which], full=full, side=_TILE_SIDE) for pair in pairs] for which in (0, 1)]
    mosaic = _mosaic([*rows, [difference(old, new, side=_TILE_SIDE) for old, new in pairs]])
    label, head = 62.0, 15.0
    tile = min((2 * _WIDTH + 40 - label) / len(groups), 62.0)  # bounded, or a strip of 4 steps would fill the page
    drawn, step = tile * len(groups), (mosaic.shape[1] - 1) / len(groups)
    width, height = label + drawn, head + tile * mosaic.shape[0] / step
    figure = Figure(figsize=(width / 72, height / 72))
    axes = figure.add_axes((label / width, 0, drawn / width, 1 - head / height))
    _show(axes, mosaic)
    axes.set_axis_off()
    for row, name in enumerate(("original", "adversarial", "flipped")):
        axes.text(-6 * step / tile, (row + 0.5) * (mosaic.shape[0] - 1) / 3, name, ha="right", va="center")
    for column, group in enumerate(groups):
        name = f"{group.start + 1}–{group.stop}" if group.stop > group.start + 1 else str(group.stop)
        axes.text((column + 0.5) * step, -0.03 * step, name, ha="center", va="bottom", size=8.5, alpha=0.75)
    return figure


@styled
def success_curve(
    steps: ArrayLike, success: ArrayLike, n: int, *, last: int | None = None, against: str = "step"
) -> Figure:
    """Draws the cumulative attack success against the step, as a step line with its final rate.

    Args:
        steps: `(M,)` step at which each input's attack ended.
        success: `(M,)` whether it had succeeded by then.
        n: The number of originally correct inputs, at least 1: the rate's denominator.
        last: The last step drawn; the largest of `steps` if None or smaller.
        against: What `steps` are, where they are something else.
    """
    at = np.asarray(steps)[np.asarray(success, dtype=bool)]
    jumps, counts = np.unique(at, return_counts=True)
    end = max(int(np.max(steps, initial=1)), last or 0)
    rates = np.concatenate(([0], 100 * np.cumsum(counts) / n))
    figure, axes = plot(against, f"fooled so far, % of {n:,}")
    axes.step([0, *jumps, end], [*rates, rates[-1]], where="post", color=ACCENT, linewidth=1.6)
    axes.plot([end], [rates[-1]], "o", color=ACCENT, markersize=4, clip_on=False)
    _write(axes, f"{rates[-1]:.1f} %", (end, rates[-1]), (-2, 6 if rates[-1] < 90 else -7))
    axes.set(xlim=(0, end), ylim=(0, 100))
    axes.xaxis.set_major_locator(MaxNLocator(nbins=7, integer=True))
    return figure


@styled
def perturbation_histogram(mse: ArrayLike) -> Figure:
    """Draws how large the perturbations are, `(M,)` finite values with M at least 1, with a line at their median."""
    values = np.asarray(mse, dtype=float)
    figure, axes = plot("mse", "inputs")
    low, high = float(values.min()), float(values.max())
    if high - low < 1e-9:  # equal values would give bins without width
        low, high = low - 5e-4, high + 5e-4
    bins = int(np.clip(2 * math.sqrt(values.size), 8, 32))
    edges = np.linspace(low, high, bins + 1).tolist()
    heights, _, _ = axes.hist(values, bins=edges, color=ACCENT, alpha=0.75, rwidth=0.92)
    median, top = float(np.median(values)), float(np.max(heights))
    axes.plot([median, median], [0, 1.08 * top], color=_INK, linewidth=1, dashes=(3, 2))
    _write(axes, f"median {median:.3g}", (median, 1.08 * top), (-4 if median > (low + high) / 2 else 4, -1))
    axes.set_ylim(0, 1.12 * top)
    axes.yaxis.set_major_locator(MaxNLocator(nbins=5, integer=True))
    axes.xaxis.set_major_locator(MaxNLocator(nbins=5))
    return figure


@styled
def to_svg(figure: Figure, *, title: str = "", prefix: str = "") -> str:
    """Writes a figure as SVG to be put inline into a page: equal figures give equal bytes.

    Text and lines take the page's colours from the CSS variables `--ink` and `--accent`.

    Args:
        figure: A figure of this module.
        title: What the figure shows, in words, for those who cannot see it.
        prefix: Put before every id; pages with several figures need a different one for each.

    Returns:
        One `<svg>` element without a fixed size.
    """
    buffer = io.StringIO()
    nothing = {"Creator": None, "Date": None, "Format": None, "Type": None}
    figure.savefig(buffer, format="svg", transparent=True, metadata=nothing)
    text = buffer.getvalue()
    view = re.search(r'viewBox="[^"]*"', text)
    body = text[text.index(">", text.index("<svg")) + 1 :].strip()
    body = re.sub(r"<style.*?</style>", "", body, flags=re.DOTALL)  # inline, its `*` would reach the whole page
    body = re.sub(r"(?<=data:image/png;base64,)([^\"]+)", _smaller, body)
    used = set(re.findall(r'(?:xlink:href="|url\()#([^")]+)', body))
    body = re.sub(r' id="([^"]*)"', lambda at: f' id="{prefix}{at[1]}"' if at[1] in used else "", body)
    body = re.sub(r'(xlink:href="|url\()#', rf"\g<1>#{prefix}", body)
    body = re.sub(r"font-family: [^;\"]*", "font-family: var(--sans, sans-serif)", body)
    body = body.replace(_INK, f"var(--ink, {_INK})").replace(ACCENT, f"var(--accent, {ACCENT})")
    spaces = 'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
    name = escape(title)
    return f'<svg {spaces} {view[0] if view else ""} role="img" aria-label="{name}"><title>{name}</title>{body}'


def _smaller(found: re.Match[str]) -> str:
    """Encodes a PNG of few colours with a palette, which takes half the bytes of matplotlib's RGBA."""
    pixels = np.array(Image.open(io.BytesIO(base64.b64decode(found[0]))).convert("RGB"))
    colours, which = np.unique(pixels.reshape(-1, 3), axis=0, return_inverse=True)
    if len(colours) > 256:
        return found[0]
    image = Image.fromarray(which.reshape(pixels.shape[:2]).astype(np.uint8))
    image.putpalette(colours.tobytes())
    buffer = io.BytesIO()
    image.save(buffer, format="png", optimize=True)
    return base64.b64encode(buffer.getvalue()).decode("ascii")


def _image_picture(image: ArrayLike) -> Picture:
    values = pooled(channels_of(image), SIDE, np.mean)
    if values.shape[0] != 3:
        values = np.repeat(values.mean(axis=0, keepdims=True), 3, axis=0)
    return to_bytes(255 * values.transpose(1, 2, 0))


def _spike_counts(frames: NDArray[np.float32]) -> list[tuple[RGB, str]]:
    if frames.shape[1] == 2:
        return [(ON, f"{int(frames[:, 1].sum()):,} ON"), (OFF, f"{int(frames[:, 0].sum()):,} OFF")]
    return [(SPIKE, f"{int(frames.sum()):,} spikes")]


def _mosaic(rows: Sequence[Sequence[Picture]]) -> Picture:
    """Lays tiles of one size on a grid with thin lines between them."""
    larger = max(1, _TILE_SIDE // max(rows[0][0].shape[:2]))  # so that lines one pixel wide are thin beside a tile
    tiles = np.array(rows).repeat(larger, axis=2).repeat(larger, axis=3)
    down, across, height, width = tiles.shape[:4]
    grid = np.full((down, height + 1, across, width + 1, 3), _LINE, dtype=np.uint8)
    grid[:, 1:, :, 1:] = tiles.transpose(0, 2, 1, 3, 4)
    flat = grid.reshape(down * (height + 1), across * (width + 1), 3)
    return np.pad(flat, ((0, 1), (0, 1), (0, 0)), mode="wrap")


def _three_panels(panels: Sequence[tuple[str, Picture, Sequence[tuple[RGB, str]]]]) -> Figure:
    """Draws pictures beside each other: a heading above each, notes with a swatch of their colour below."""
    panel = (_WIDTH - 2 * _GAP) / 3
    rows, columns = panels[0][1].shape[:2]
    aspect = float(np.clip(rows / max(columns, 1), 0.35, 1.6))
    head, line = 15.0, 13.5
    notes = max(len(notes) for _, _, notes in panels)
    total = head + panel * aspect + notes * line + (3 if notes else 1)
    figure = Figure(figsize=(_WIDTH / 72, total / 72))
    for index, (heading, picture, lines) in enumerate(panels):
        left = index * (panel + _GAP) / _WIDTH
        box = (left, 1 - (head + panel * aspect) / total, panel / _WIDTH, panel * aspect / total)
        axes = figure.add_axes(box)
        _show(axes, picture)
        figure.text(left, 1 - (head - 5) / total, heading)
        for number, (colour, words) in enumerate(lines):
            y = box[1] - (number + 0.82) * line / total
            figure.text(left, y, "■", color=tuple(part / 255 for part in colour), size=9.5)
            figure.text(left + 12 / _WIDTH, y, words, size=9)
    return figure


def _show(axes: Axes, picture: Picture) -> None:
    # interpolation "none" puts the picture into an SVG with its own pixels, a few hundred bytes instead of thousands.
    axes.imshow(picture, interpolation="none", aspect="auto")
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set(color=_INK, alpha=0.3, linewidth=0.6)


def plot(x_label: str, y_label: str) -> tuple[Figure, Axes]:
    """Starts a figure of one plot, as the page shows it."""
    figure = Figure(figsize=(_WIDTH / 72, 190 / 72))
    axes = figure.add_axes((0.13, 0.2, 0.81, 0.74))  # with room for half of the last tick's label
    axes.set(xlabel=x_label, ylabel=y_label, axisbelow=True)
    axes.tick_params(length=3, color=_INK, labelcolor=_INK, labelsize=9)
    axes.grid(axis="y", color=_INK, alpha=0.13, linewidth=0.6)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set(color=_INK, linewidth=0.7)
    return figure, axes


def _write(axes: Axes, text: str, at: tuple[float, float], offset: tuple[int, int]) -> None:
    """Writes a note beside a point, on the side that the offset in points leads to."""
    note = axes.annotate(text, at, xytext=offset, textcoords="offset points")
    note.set(ha="right" if offset[0] < 0 else "left", va="top" if offset[1] < 0 else "bottom")

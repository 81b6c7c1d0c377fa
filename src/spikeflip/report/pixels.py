"""From inputs to colours: spikes squeezed over time, what an attack changed, images.

Pure functions. Colours are chosen to differ in lightness as well as in hue: more is orange, less is teal, in spikes and
in images alike.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

RGB = tuple[int, int, int]
Picture = NDArray[np.uint8]

ON, OFF, SPIKE = (200, 30, 45), (35, 85, 190), (30, 32, 38)
ADDED, REMOVED, MOVED, KEPT = (230, 126, 14), (0, 104, 104), (96, 82, 90), (218, 221, 226)
WHITE = (255, 255, 255)
SIDE = 64
"""Pictures with longer sides are pooled, or the page would grow too large to send around."""
_FAINTEST = 0.15  # a single spike must stay visible beside cells that fire at every step
_SHADES = 8  # as many as the eye tells apart; more would only make the file larger


def squeeze(spikes: ArrayLike, *, full: float | None = None, side: int = SIDE) -> Picture:
    """Squeezes spikes over time into one picture.

    Two channels are polarities, OFF blue, then ON red, both purple, on white, the stronger the more spikes. Three
    channels are the rates of red, green and blue. Any other number is summed to dark ink on white.

    Args:
        spikes: `(T, C, H, W)` of 0 and 1; `(T, H, W)` is one channel, and any other rank `(T, ...)` becomes a raster
            with time to the right.
        full: How many spikes give the full colour; the largest count if None (for three channels: T).
        side: Pictures with longer sides are pooled by whole factors.

    Returns:
        uint8 `(H, W, 3)`.
    """
    frames = frames_of(spikes)
    counts = _counts(frames, side)
    if len(counts) == 3:
        return to_bytes(255 * np.clip(counts / (full or len(frames)), 0, 1).transpose(1, 2, 0))
    inks = np.array((OFF, ON) if len(counts) == 2 else (SPIKE,), dtype=float)
    level = _shade(counts / (full or max(float(counts.max(initial=0)), 1.0)))
    mixed = np.einsum("chw,ck->hwk", level, inks) / np.maximum(level.sum(axis=0), 1e-12)[..., None]
    strength = level.max(axis=0)[..., None]
    return to_bytes(255 * (1 - strength) + mixed * strength)


def difference(original: ArrayLike, adversarial: ArrayLike, *, side: int = SIDE) -> Picture:
    """Marks where spikes were added or removed, squeezed over time and channels.

    Args:
        original: `(T, C, H, W)` of 0 and 1, or another rank as in `squeeze`.
        adversarial: The same shape.
        side: Pictures with longer sides are pooled by whole factors.

    Returns:
        uint8 `(H, W, 3)`: `ADDED`, `REMOVED` or `MOVED` (both at this pixel), the stronger the more flips; `KEPT` where
        there are only untouched spikes; else white.
    """
    before, after = frames_of(original), frames_of(adversarial)
    changes = ((after > before).sum(axis=(0, 1)), (after < before).sum(axis=(0, 1)))
    added, removed = (pooled(cells, side, np.sum) for cells in changes)
    flips = (added + removed)[..., None]
    colours = np.where(removed[..., None] == 0, ADDED, np.where(added[..., None] == 0, REMOVED, MOVED))
    strength = _shade(flips / max(float(flips.max(initial=0)), 1.0))
    kept = np.where(pooled(before.max(axis=(0, 1)), side, np.max)[..., None] > 0, KEPT, WHITE)
    return to_bytes(np.where(flips > 0, 255 * (1 - strength) + colours * strength, kept))


def signed_difference(original: ArrayLike, adversarial: ArrayLike) -> NDArray[np.float64]:
    """Subtracts two images; of several channels, each pixel shows the one that changed most.

    Args:
        original: `(C, H, W)` in [0, 1], or `(H, W)`.
        adversarial: The same shape.

    Returns:
        float64 `(H, W)` in [-1, 1], positive where the adversarial is brighter.
    """
    change = channels_of(adversarial) - channels_of(original)
    largest = np.abs(change).argmax(axis=0)[None]
    picked: NDArray[np.float64] = np.take_along_axis(change, largest, axis=0)[0]
    return picked


def group_steps(steps: int) -> list[slice]:
    """Cuts the time steps into tiles: one each up to 16 steps, else even groups in at most 15 tiles."""
    tiles = steps if steps <= 16 else math.ceil(steps / math.ceil(steps / 15))
    edges = [round(steps * tile / tiles) for tile in range(tiles + 1)]
    return [slice(first, last) for first, last in pairwise(edges)]


def frames_of(spikes: ArrayLike) -> NDArray[np.float32]:
    """Takes spikes of any rank as `(T, C, H, W)`; see `squeeze`."""
    frames = np.asarray(spikes, dtype=np.float32)
    if frames.ndim in (3, 4):
        return frames if frames.ndim == 4 else frames[:, None]
    return frames.reshape(len(frames), -1).T[None, None]


def channels_of(image: ArrayLike) -> NDArray[np.float64]:
    """Takes an image as `(C, H, W)`."""
    values = np.asarray(image, dtype=np.float64)
    return values[None] if values.ndim == 2 else values


def to_bytes(values: NDArray[np.floating]) -> Picture:
    """Rounds values of 0 to 255."""
    return np.asarray(np.clip(np.rint(values), 0, 255), dtype=np.uint8)


def pooled(values: NDArray[Any], side: int, reduce: Callable[..., NDArray[Any]]) -> NDArray[Any]:
    """Reduces `(..., H, W)` by the smallest whole factors that leave no side longer than `side`."""
    high, wide = (max(1, math.ceil(length / side)) for length in values.shape[-2:])
    if high == wide == 1:
        return values
    margin = [(0, 0)] * (values.ndim - 2) + [(0, -values.shape[-2] % high), (0, -values.shape[-1] % wide)]
    padded = np.pad(values, margin, mode="edge" if reduce is np.mean else "constant")
    *lead, height, width = padded.shape
    return reduce(padded.reshape(*lead, height // high, high, width // wide, wide), axis=(-3, -1))


def _counts(frames: NDArray[np.float32], side: int) -> NDArray[Any]:
    """Counts spikes over time as `(C, H, W)`, with one channel where channels have no colour of their own."""
    counts = pooled(frames.sum(axis=0), side, np.sum)
    return counts if len(counts) in (2, 3) else counts.sum(axis=0, keepdims=True)


def _shade(share: NDArray[Any]) -> NDArray[Any]:
    steps = np.ceil(np.clip(share, 0, 1) * _SHADES) / _SHADES
    return np.where(share > 0, _FAINTEST + (1 - _FAINTEST) * steps, 0)


def shared_scale(recordings: Sequence[NDArray[np.float32]], side: int) -> float | None:
    """Counts the spikes that give the full colour in all of several pictures; None where they are rates."""
    if recordings[0].shape[1] == 3:
        return None  # rates have a natural scale
    return max(1.0, *(float(_counts(part, side).max(initial=0)) for part in recordings))

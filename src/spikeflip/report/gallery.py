"""The inputs that a page can play: before and after the attack, packed small enough to travel inside the page.

The script of the page (`page.js`) unpacks them. A sample is one block: planes of bits (spikes) or of bytes (images),
then the bits of the output layer; deflated, as base64.
"""

from __future__ import annotations

import base64
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pyarrow.parquet
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from spikeflip.limits import MOST_STEPS
from spikeflip.report.loading import SavedInputs, check_values, damaged, read_whole_rows
from spikeflip.report.pixels import SIDE, channels_of, frames_of, pooled, signed_difference

OUTPUTS = "outputs.safetensors"
MOST_SAMPLES = 200
MOST_CHARACTERS = 3_600_000
"""Of all packed samples of a page, which stays below 5 MB with them."""
_LARGEST = 1 << 24
"""Cells of a sample that a browser unpacks at once."""
_MOST_CLASSES = 1000
"""Whose scores are drawn."""
_GOLDEN = 0.6180339887498949


@dataclass(frozen=True)
class Gallery:
    """Some inputs of a run, packed, and how to unpack them."""

    shape: tuple[int, ...]
    """Of a plane: `(T, C, H, W)` of spikes, `(C, H, W)` of images, as drawn."""
    pooled: tuple[int, int]
    """Rows and columns of cells of the input in one that is drawn."""
    outputs: tuple[int, int] | None
    """Steps and classes of the output layer's spikes; None where the run does not have them."""
    rows: tuple[int, ...]
    packed: tuple[str, ...]
    scales: tuple[float, ...]
    """Of images: the largest change of each, which its difference is drawn against."""
    files: tuple[str | None, ...]
    """Of recordings: the name of each one's file."""


def read_gallery(
    folder: Path,
    saved: SavedInputs,
    first: Sequence[int],
    kind: str,
    *,
    most: int = MOST_SAMPLES,
    characters: int = MOST_CHARACTERS,
) -> Gallery | None:
    """Packs inputs of a run until there are enough.

    Args:
        folder: The run.
        saved: Its inputs.
        first: Rows that come first, such as the examples; the others are spread evenly over the run.
        kind: `"images"` or `"spikes"`.
        most: How many samples at most.
        characters: How long they may be together.

    Returns:
        The gallery, by row; None where the run has no inputs, or too large ones.

    Raises:
        SpikeflipError: A file is damaged.
    """
    count = len(saved.samples)
    if not count or int(np.prod(saved.shape)) > _LARGEST or (kind == "images" and len(saved.shape) > 3):
        return None
    order = spread(count, first)[:most]
    sizes, outputs = _read_outputs(folder, saved, order)
    packed: dict[int, tuple[str, float]] = {}
    room = characters
    for row in order:
        before, after = saved.read(row)
        check_values(before, after, row, kind, saved.paths[0])
        planes, scale = spike_planes(before, after) if kind == "spikes" else image_planes(before, after)
        text = pack([planes] if sizes is None else [planes, outputs[row]])
        if len(text) > room:
            break
        room -= len(text)
        packed[row] = text, scale
    if not packed:
        return None
    rows = tuple(sorted(packed))
    return Gallery(
        shape=_drawn_shape(saved.shape, kind),
        pooled=_pooling(saved.shape, kind),
        outputs=sizes,
        rows=rows,
        packed=tuple(packed[row][0] for row in rows),
        scales=tuple(packed[row][1] for row in rows),
        files=_files(folder, rows),
    )


def spread(count: int, first: Sequence[int]) -> list[int]:
    """All rows, those of `first` at the beginning, and any number of the others from there evenly over the run."""
    order = np.argsort((np.arange(count) * _GOLDEN) % 1, kind="stable").tolist()
    place = {row: at for at, row in enumerate(order)}  # a permutation whose beginnings are spread as well as any
    return list(dict.fromkeys([*first, *sorted(range(count), key=place.__getitem__)]))


def spike_planes(before: NDArray[Any], after: NDArray[Any]) -> tuple[NDArray[np.uint8], float]:
    """Packs a recording as bits: where it fired, and where that changed; of pooled cells also what was flipped.

    Returns:
        `before` and `before ^ after`; where cells are pooled, `added` and `removed` too. The second value is unused.
    """
    one, two = frames_of(before) > 0, frames_of(after) > 0
    planes = [one, two]
    if _factors(one.shape[-2:]) != (1, 1):
        planes += [two & ~one, one & ~two]
        planes = [_any(plane) for plane in planes]
    planes[1] = planes[0] ^ planes[1]
    return np.packbits(np.stack(planes)), 0.0


def _any(cells: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Pools cells as `pooled` does: whether any of them is set. A view a cell of the pool is fast."""
    high, wide = _factors(cells.shape[-2:])
    whole = np.pad(cells, ((0, 0), (0, 0), (0, -cells.shape[-2] % high), (0, -cells.shape[-1] % wide)))
    found: NDArray[np.bool_] = np.logical_or.reduce(
        [whole[..., row::high, column::wide] for row in range(high) for column in range(wide)]
    )
    return found


def image_planes(before: NDArray[Any], after: NDArray[Any]) -> tuple[NDArray[np.uint8], float]:
    """Packs an image as bytes: before, after, and the difference about 128 in units of its largest change.

    Returns:
        The bytes, and that largest change, in [0, 1].
    """
    change = signed_difference(before, after)
    scale = float(np.abs(change).max(initial=0)) or 1.0
    shown = [_colours(image) for image in (before, after)]
    marked = np.rint(128 + 127 * pooled(change, SIDE, np.mean) / scale)
    return np.concatenate([np.asarray(part).ravel() for part in (*shown, marked)]).astype(np.uint8), scale


def pack(parts: Sequence[NDArray[np.uint8]]) -> str:
    """Deflates bytes, as base64.

    >>> import numpy as np
    >>> pack([np.zeros(2, np.uint8)])
    'eJxjYAAAAAIAAQ=='
    """
    return base64.b64encode(zlib.compress(b"".join(part.tobytes() for part in parts), 6)).decode("ascii")


def _colours(image: NDArray[Any]) -> NDArray[np.float64]:
    values = pooled(channels_of(image), SIDE, np.mean)
    shown = values if len(values) == 3 else values.mean(axis=0, keepdims=True)
    rounded: NDArray[np.float64] = np.rint(255 * np.clip(shown, 0, 1))
    return rounded


def _factors(sides: Sequence[int]) -> tuple[int, int]:
    high, wide = (max(1, -(-length // SIDE)) for length in sides)
    return high, wide


def _framed(shape: tuple[int, ...], kind: str) -> tuple[int, ...]:
    """The shape of an input as frames `(T, C, H, W)`, or as an image `(C, H, W)`."""
    if kind == "images":
        return shape if len(shape) == 3 else (1, *shape)
    if len(shape) in (3, 4):
        return shape if len(shape) == 4 else (shape[0], 1, *shape[1:])
    return 1, 1, int(np.prod(shape[1:])), shape[0]


def _pooling(shape: tuple[int, ...], kind: str) -> tuple[int, int]:
    return _factors(_framed(shape, kind)[-2:])


def _drawn_shape(shape: tuple[int, ...], kind: str) -> tuple[int, ...]:
    *lead, height, width = _framed(shape, kind)
    high, wide = _factors((height, width))
    if kind == "images":
        lead = [3 if lead == [3] else 1]
    return (*lead, -(-height // high), -(-width // wide))


def _read_outputs(
    folder: Path, saved: SavedInputs, rows: Sequence[int]
) -> tuple[tuple[int, int] | None, dict[int, NDArray[np.uint8]]]:
    """Steps and classes of the output layer's spikes, and those of each row as bits; None, and nothing."""
    path = folder / OUTPUTS
    if not path.is_file():
        return None, {}
    try:
        with safe_open(path, framework="numpy") as file:
            fired, samples = file.get_slice("outputs"), file.get_slice("samples")
            shape, count = tuple(fired.get_shape()), len(saved.samples)
            if len(shape) != 4 or shape[:2] != (count, 2) or 0 in shape or fired.get_dtype() != "U8":
                raise ValueError(f"its outputs are {shape} for {count} inputs")
            if not np.array_equal(samples[:], saved.samples):
                raise ValueError("its samples are not those of the inputs")
            if shape[2] > MOST_STEPS or shape[3] > _MOST_CLASSES:
                return None, {}
            return shape[2:], {row: np.packbits(np.asarray(fired[row : row + 1]) > 0) for row in rows}
    except (OSError, SafetensorError, KeyError, TypeError, ValueError, IndexError) as error:
        raise damaged(path, error) from error


def _files(folder: Path, rows: Sequence[int]) -> tuple[str | None, ...]:
    """The names of the files of rows, of a run on recordings."""
    path = folder / "rows.parquet"
    try:
        named = "file" in pyarrow.parquet.read_schema(path.absolute()).names
    except (OSError, pyarrow.ArrowException) as error:
        raise damaged(path, error) from error
    found: Mapping[str, list[Any]] = read_whole_rows(folder, rows) if named else {}
    return tuple(None if name is None else str(name) for name in found.get("file", [None] * len(rows)))

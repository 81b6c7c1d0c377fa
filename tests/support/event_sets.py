"""Event data sets by hand: recordings at random, files in folders, and what is refused."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from spikeflip.data import EventSet, load_event_set
from spikeflip.data.formats.files import write_recording
from spikeflip.data.recordings import Recording
from spikeflip.errors import SpikeflipError

CIFAR10 = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


def random_recording(seed: int = 0, side: int = 34, n: int = 5, last: int = 1000) -> Recording:
    """Random events, of which one is in the last pixel, so that a guess of the sensor is right for the usual ones."""
    rng = np.random.default_rng(seed)
    x, y = rng.integers(0, side, (2, n))
    x[0] = y[0] = side - 1
    return Recording.from_columns(
        np.sort(rng.integers(0, last, n)), x, y, rng.integers(0, 2, n), height=side, width=side
    )


def write(path: Path, recording: Recording | None = None, **options: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_recording(random_recording(**options) if recording is None else recording, path)
    return path


def names(found: EventSet) -> list[str]:
    return [clip.name for clip in found.clips]


def refused(*args: Any, **options: Any) -> str:
    with pytest.raises(SpikeflipError) as caught:
        load_event_set(*args, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def aedat2(path: Path, events: list[tuple[int, int, int, int]]) -> None:
    """Write AEDAT 2.0 of the DVS128: (t, x, y, p), turned as CIFAR10-DVS is."""
    words = [((127 - x) << 8 | (127 - y) << 1 | (1 - p), t) for t, x, y, p in events]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"#!AER-DAT2.0\r\n" + np.array(words, dtype=">u4").tobytes())


def cifar10dvs(folder: Path, count: int) -> None:
    for name in CIFAR10:
        for n in range(count):
            aedat2(folder / name / f"cifar10_{name}_{n}.aedat", [(50, 1, 2, 1), (60 + n, 127, 127, 0)])

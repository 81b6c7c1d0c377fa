"""Made-up recordings of eight classes on a sensor that is not square, as a folder with a sub-folder a class."""

from pathlib import Path

import numpy as np

from spikeflip import Recording, write_recording

WIDTH, HEIGHT, DURATION = 40, 24, 60_000  # cells and µs
CLASSES = 8


def write_bars(folder: Path, *, train: int = 12, test: int = 4, seed: int = 0) -> Path:
    """A bar at one of eight angles, at a place of its own, that flickers; a tenth of the events are noise."""
    generator = np.random.default_rng(seed)
    for split, each in (("train", train), ("test", test)):
        for label in range(CLASSES):
            for index in range(each):
                path = folder / split / f"bar{label}" / f"{index:03}.npz"
                path.parent.mkdir(parents=True, exist_ok=True)
                write_recording(_bar(label * np.pi / CLASSES, generator), path)
    return folder


def _bar(angle: float, generator: np.random.Generator, events: int = 900) -> Recording:
    along = generator.uniform(-9, 9, events)
    middle = generator.uniform((-4, -2), (4, 2))
    x = WIDTH / 2 + middle[0] + along * np.cos(angle) + generator.normal(0, 0.4, events)
    y = HEIGHT / 2 + middle[1] + along * np.sin(angle) + generator.normal(0, 0.4, events)
    noise = generator.random(events) < 0.1
    x = np.where(noise, generator.uniform(0, WIDTH, events), x).clip(0, WIDTH - 1)
    y = np.where(noise, generator.uniform(0, HEIGHT, events), y).clip(0, HEIGHT - 1)
    t = np.sort(generator.integers(0, DURATION, events))
    p = generator.integers(0, 2, events)
    return Recording.from_columns(t, x.astype(int), y.astype(int), p, height=HEIGHT, width=WIDTH)

"""Small things in the place of real ones, so that the commands of the documents end soon: data, networks, presets."""

import struct
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from event_sets import write

from spikeflip.data import Recording
from spikeflip.data import images as image_sets
from spikeflip.experiments.presets import PRESETS as SIZES
from spikeflip.experiments.presets import DataSet, Preset
from spikeflip.snn.presets import PRESETS as NETWORKS

TRAIN, TEST = 12, 51
"""Images of a class: as many are tested as ``--per-class 50`` asks for, and one more."""
_TINY = {"updates": 25, "batch_size": 16, "learning_rate": 0.01, "dropout": 0.0, "widest_dropout": 0.0}
_HIDDEN = {
    "paper-image": "24C3-AP2-AP2-96FC",
    "small-image": "8C3-AP2-32FC",
    "paper-spike": "16C3-AP2-AP2-96FC",
    "paper-gesture": "16C3-AP2-AP2-64FC",
}


def images_by_place(each: int, side: int, channels: int) -> tuple[np.ndarray, list[int]]:
    """``each`` images of ten classes in turn: a bright block whose place is the class, and some noise."""
    random, labels = np.random.default_rng(0), [*range(10)] * each
    pixels = random.integers(0, 40, (len(labels), channels, side, side)).astype(np.uint8)
    high, wide = side // 2, side // 5
    for image, label in zip(pixels, labels, strict=True):
        row, column = divmod(label, 5)
        image[:, row * high : (row + 1) * high, column * wide : (column + 1) * wide] = 255
    return pixels, labels


def recording_by_place(label: int, side: int, seed: int, duration: int = 75_000) -> Recording:
    """Events in a block whose place is the class, over 75 ms."""
    random, n = np.random.default_rng([label, seed]), 1500
    row, column = divmod(label, 5)
    x, y = random.integers(0, side // 5, n) + column * (side // 5), random.integers(0, side // 2, n) + row * (side // 2)
    t = np.sort(random.integers(0, duration, n))
    return Recording.from_columns(t, x, y, random.integers(0, 2, n), height=side, width=side)


def write_data(root: Path) -> None:
    """MNIST, CIFAR-10 and N-MNIST in the layouts that users have on disk, of a few samples."""
    raw, batches = root / "MNIST" / "raw", root / "cifar-10-batches-bin"
    raw.mkdir(parents=True)
    batches.mkdir()
    for prefix, each in (("train", TRAIN), ("t10k", TEST)):
        pixels, labels = images_by_place(each, 28, 1)
        head = struct.pack(">4I", 2051, len(labels), 28, 28)
        (raw / f"{prefix}-images-idx3-ubyte").write_bytes(head + pixels.tobytes())
        (raw / f"{prefix}-labels-idx1-ubyte").write_bytes(struct.pack(">2I", 2049, len(labels)) + bytes(labels))
    for name, each in (*((f"data_batch_{k}", 3) for k in range(1, 6)), ("test_batch", 3)):
        pixels, labels = images_by_place(each, 32, 3)
        records = [bytes([label]) + image.tobytes() for label, image in zip(labels, pixels, strict=True)]
        (batches / f"{name}.bin").write_bytes(b"".join(records))
    for part, each in (("Train", 4), ("Test", 1)):
        for label in range(10):
            for number in range(each):
                path = root / "NMNIST" / part / str(label) / f"{10 * number + label:05}.bin"
                write(path, recording_by_place(label, 34, number + 10 * (part == "Test")))


def small_networks(monkeypatch: pytest.MonkeyPatch) -> None:
    """The networks of the presets with few and narrow layers, and images over five time steps."""
    for name, hidden in _HIDDEN.items():
        preset = NETWORKS[name]
        outputs = preset.architecture.rpartition("-")[2]
        steps = 5 if name.endswith("image") else preset.time_steps
        small = replace(preset, architecture=f"{hidden}-{outputs}", time_steps=steps)
        monkeypatch.setitem(NETWORKS, name, small)


def few_digits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Five of the bundled digits of each class, of which one is a test image."""
    pixels, labels = image_sets._digits()
    chosen = np.concatenate([np.flatnonzero(labels == label)[:5] for label in range(10)])
    monkeypatch.setattr(image_sets, "_digits", lambda: (pixels[chosen], labels[chosen]))


def small_sizes(monkeypatch: pytest.MonkeyPatch) -> None:
    """The presets of ``reproduce`` with short trainings, few inputs, and one or two values in each grid."""
    for name, preset in SIZES.items():
        monkeypatch.setitem(SIZES, name, _small(preset))


def _small(preset: Preset) -> Preset:
    return replace(
        preset,
        data={name: _few(data) for name, data in preset.data.items()},
        thresholds=preset.thresholds[:2],
        bounded=preset.bounded[:1],
        gammas=preset.gammas[:2],
        constants=preset.constants[:2],
        linf=preset.linf[:1],
        seeds=preset.seeds[:1],
        windows=preset.windows[:2],
        candidates=2,
        ordered={"untargeted": 2, "targeted": 1},
        few=2,
        shallow={},
    )


def _few(data: DataSet) -> DataSet:
    short = {**_TINY, "validation": 0, "test_samples": 20}
    return replace(
        data,
        training={**data.training, **short},
        start={**data.start, "updates": 10, "batch_size": 16} if data.start else {},
        untargeted={"samples": 3, "steps": 3},
        targeted={"samples": 1, "steps": 3},
        draws=(2, 2),
        thresholds=None if data.thresholds is None else data.thresholds[:2],
    )

"""Small run folders as an attack writes them, with figures that a test can find again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pyarrow.parquet
from safetensors.numpy import save_file

RATES = {
    "clean_accuracy": (0.9137, 58, (0.8123, 0.9629)),
    "attack_success_rate": (0.9434, 53, (0.8463, 0.9806)),
    "verified_success_rate": (0.8721, 53, (0.7566, 0.9371)),
    "robust_accuracy": (0.0517, 58, (0.0177, 0.1414)),
    "tie_rate": (0.0189, 53, (0.0033, 0.0994)),
    "vanished_first_step_rate": (0.3019, 53, (0.1952, 0.4354)),
}
MEANS = {
    "n": 58,
    "mse_mean": 0.030123,
    "rms_mean": 0.173501,
    "l0_mean": 1654.25,
    "l2_mean": 4.8512,
    "linf_mean": 0.41234,
    "steps_mean": 4.3019,
    "vanished_first_step": 16,
    "vanished_mean": 0.5094,
}


def make_run(
    folder: Path,
    kind: str = "images",
    shape: tuple[int, ...] = (1, 4, 4),
    n: int = 12,
    summary: dict[str, Any] | None = None,
    config: dict[str, Any] | None = None,
) -> Path:
    """Writes a small run folder: row 0 wrong from the start, 1 a failure, 2 a tie, the rest fooled."""
    folder.mkdir()
    random = np.random.default_rng(0)
    before: np.ndarray[Any, Any]
    if kind == "spikes":
        before = (random.random((n, *shape)) < 0.2).astype(np.uint8)
        after = before ^ (random.random(before.shape) < 0.05)
    else:
        before = random.random((n, *shape), dtype=np.float32)
        after = np.clip(before + random.normal(0, 0.1, before.shape), 0, 1).astype(np.float32)
    label = np.arange(n) % 3
    wrong, success = np.arange(n) == 0, np.arange(n) > 2
    prediction = np.where(success, (label + 1) % 3, label)
    prediction[2] = -1
    mse = ((after.astype(float) - before) ** 2).reshape(n, -1).mean(axis=1)
    rows = {
        "sample": np.arange(n) + 40,
        "input": np.arange(n) + 40,
        "label": label,
        "target": np.full(n, -1),
        "prediction": prediction,
        "already_wrong": wrong,
        "success": success,
        "verified": np.where(success, 0.875, 0.0),
        "steps": np.where(wrong, 0, np.where(success, 1 + np.arange(n) % 4, 25)),
        "vanished": np.zeros(n, dtype=int),
        "vanished_first_step": np.zeros(n, dtype=bool),
        "mse": mse,
        "rms": np.sqrt(mse),
        "l0": np.ones(n),
        "l2": np.ones(n),
        "linf": np.ones(n),
    }
    pyarrow.parquet.write_table(pyarrow.table(rows), folder / "rows.parquet")
    tensors: dict[str, Any] = {
        "originals": before,
        "adversarials": after.astype(before.dtype),
        "samples": np.arange(n) + 40,
    }
    save_file(tensors, folder / "adversarials.safetensors")
    flat: dict[str, Any] = dict(MEANS)
    for key, (value, count, interval) in RATES.items():
        flat |= {key: value, f"{key}_n": count, f"{key}_interval": list(interval)}
    whole = {
        "name": "a small run",
        "attack": "scg",
        "source": "Liang et al., IEEE TNNLS 2021",
        "settings": {"steps": 25, "gamma": 0.05, "threshold": 1.5, "loss": "mse", "budget": None},
        "data": {"name": "MNIST", "split": "test", "simulated": False, "source": "rasbt/mnist-pngs"},
        "victim": {"architecture": "128C3-AP2-10FC", "input_shape": list(shape), "steps": 15, "accuracy": 0.9664},
        "seed": 7,
        "goal": "untargeted",
        "kind": kind,
        "classes": ["cat", "dog", "owl"],
    }
    (folder / "summary.json").write_text(json.dumps(flat | (summary or {})), encoding="utf-8")
    (folder / "config.json").write_text(json.dumps(whole | (config or {})), encoding="utf-8")
    (folder / "manifest.json").write_text('{"versions": {"torch": "2.14.1"}, "git": "0f3a9c"}', encoding="utf-8")
    return folder

"""Run folders as an attack writes them, of any size, without an attack."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pyarrow.parquet
from safetensors.numpy import save_file

from spikeflip import judging

SHA = "ab" * 32


def write_run(
    folder: Path,
    n: int = 12,
    *,
    seed: int = 0,
    success: float = 0.75,
    shape: tuple[int, ...] = (1, 4, 4),
    options: dict[str, Any] | None = None,
    config: dict[str, Any] | None = None,
) -> Path:
    """Write a finished run of ``n`` untargeted attacks on images; every eighth input is wrong from the start."""
    folder.mkdir(parents=True)
    random = np.random.default_rng(seed)
    wrong = np.arange(n) % 8 == 7
    won = ~wrong & (random.random(n) < success)
    mse = random.uniform(0.01, 0.05, n)
    label = np.arange(n) % 10
    rows = {
        "input": np.arange(n),
        "sample": np.arange(n) * 11,
        "label": label,
        "target": np.full(n, -1),
        "prediction": np.where(won, (label + 1) % 10, label),
        "already_wrong": wrong,
        "success": won,
        "verified": np.where(won, 0.8, 0.1) * ~wrong,
        "steps": np.where(wrong, 0, random.integers(1, 25, n)),
        "mse": mse,
    }
    pyarrow.parquet.write_table(pyarrow.table(rows), folder / "rows.parquet")
    before = np.zeros((n, *shape), np.uint8)
    tensors = {"originals": before, "adversarials": before, "samples": rows["sample"]}
    save_file(tensors, folder / "adversarials.safetensors")
    attacked = int((~wrong).sum())
    rates = {
        "clean_accuracy": (1 - wrong.mean(), n),
        "attack_success_rate": (won.sum() / attacked, attacked),
        "verified_success_rate": (rows["verified"][~wrong].mean(), attacked),
        "robust_accuracy": (0.1, n),
    }
    summary: dict[str, Any] = {"goal": "untargeted", "n": n, "kind": "spikes", "draws": 100}
    for name, (rate, count) in rates.items():
        summary |= {name: float(rate), f"{name}_n": count, f"{name}_interval": list(judging.wilson(float(rate), count))}
    summary |= {"mse_mean": float(mse[won].mean()), "steps_mean": float(rows["steps"][won].mean())}
    summary |= {"forwards_mean": summary["steps_mean"] + 1, "backwards_mean": summary["steps_mean"]}
    chosen = {"data": "digits", "attack": "scg", "target": "none", "steps": 25, "gamma": 0.05, "samples": n}
    chosen |= {"threshold": 1.0, "tuning": True, "micro_batch": 16, "seed": seed} | (options or {})
    description = {
        "name": "digits, untargeted",
        "attack": "scg",
        "goal": "untargeted",
        "kind": "spikes",
        "settings": {"steps": chosen["steps"], "gamma": chosen["gamma"], "threshold": 1.0, "loss": "mse", "draws": 100},
        "seed": chosen["seed"],
        "data": {"name": "digits", "split": "test", "simulated": False, "sha256": SHA},
        "classes": [str(k) for k in range(10)],
        "victim": {"architecture": "4C3-AP2-10FC", "input_shape": list(shape), "steps": 15, "weights_sha256": SHA},
        "options": chosen,
    }
    (folder / "config.json").write_text(json.dumps(description | (config or {})))
    (folder / "summary.json").write_text(json.dumps(summary))
    (folder / "manifest.json").write_text(json.dumps({"seconds": 12.5, "git": None}))
    return folder

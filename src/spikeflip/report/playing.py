"""What the player and the gallery of a page are told, as JSON that its script reads."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
from markupsafe import Markup

from spikeflip.report import pixels
from spikeflip.report.gallery import Gallery
from spikeflip.report.loading import Run

_COLOURS = ("ON", "OFF", "SPIKE", "ADDED", "REMOVED", "MOVED", "KEPT")


def told(run: Run, gallery: Gallery, name: Callable[[int], str]) -> Markup:
    """The gallery of a run for the page's script, safe inside a `<script>` element."""
    facts = {
        "kind": run.kind,
        "shape": gallery.shape,
        "pooled": gallery.pooled,
        "outputs": gallery.outputs,
        "classes": [name(index) for index in range(gallery.outputs[1])] if gallery.outputs else [],
        "colours": {colour: getattr(pixels, colour) for colour in _COLOURS},
        "samples": [_sample(run, gallery, at, name) for at in range(len(gallery.rows))],
    }
    # A stranger's "</script>" must not end the element.
    return Markup(json.dumps(facts, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c"))


def _sample(run: Run, gallery: Gallery, at: int, name: Callable[[int], str]) -> dict[str, Any]:
    row = {key: column[gallery.rows[at]].item() for key, column in run.rows.items()}
    outcome = "wrong" if row["already_wrong"] else "fooled" if row["success"] else "held"
    return {
        "row": gallery.rows[at],
        "input": row["input"],
        "file": gallery.files[at],
        "label": name(row["label"]),
        "said": name(row["prediction"]),
        "target": name(row["target"]) if row["target"] >= 0 else None,
        "at": [row["label"], row["prediction"]],
        "outcome": outcome,
        "steps": row["steps"],
        "mse": row["mse"] if np.isfinite(row["mse"]) else None,
        "scale": round(gallery.scales[at], 6),
        "data": gallery.packed[at],
    }

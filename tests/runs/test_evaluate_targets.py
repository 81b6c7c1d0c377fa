"""Evaluations towards several targets of each input: what the verdict looks at, and what their figures are worth."""

import json
from dataclasses import replace

import pyarrow.parquet

from spikeflip.evaluation import SUITES, Suite
from spikeflip.runs import evaluate as evaluate_module


def test_targets_of_an_input_are_no_inputs_of_their_own(small_victim, run, tmp_path, monkeypatch):
    """The verdict looks at a target of every input before a second one of any; an interval is over inputs."""
    one = next(member for member in SUITES["image-linf/1"].members if member.name == "pgd bptt")
    monkeypatch.setitem(SUITES, "image-linf/1", Suite("image-linf/1", (replace(one, settings={"steps": 1}),)))
    asked = []
    monkeypatch.setattr(evaluate_module, "verdict_on", lambda *_, samples, **__: asked.append(samples.tolist()))
    given = ("--threat", "image-linf", "--budget", "0.01", "--samples", "20", "--target", "all", "--draws", "1")
    assert run("evaluate", "--victim", small_victim, *given, "--verdict", "--out", tmp_path / "e")[0] == 0
    rows = pyarrow.parquet.read_table(tmp_path / "e" / "rows.parquet").to_pydict()
    inputs = dict(zip(rows["sample"], rows["input"], strict=True))
    right = {entry for entry, first in zip(rows["input"], rows["right"], strict=True) if first}
    (looked_at,) = asked
    assert len(looked_at) == 64
    assert {inputs[sample] for sample in looked_at} == right
    found = json.loads((tmp_path / "e" / "evaluation.json").read_text())
    low, high = found["clean_accuracy_interval"]
    assert high - low > 0.2  # of 20 inputs; of 180 it is half of that

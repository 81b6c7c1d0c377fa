import json
import shlex
import time
from pathlib import Path

import pytest

from spikeflip import demo
from spikeflip.demo import next_commands, run_demo


@pytest.mark.slow
def test_demo_reaches_its_figures_in_two_minutes(tmp_path):
    started = time.monotonic()
    summaries = run_demo(tmp_path / "demo")
    assert time.monotonic() - started < 120
    assert (tmp_path / "demo" / "report.html").stat().st_size > 10_000
    assert summaries.keys() == {"images-untargeted", "images-targeted", "events-untargeted", "events-targeted"}
    for name, summary in summaries.items():
        assert json.loads((tmp_path / "demo" / name / "summary.json").read_text()) == summary
        config = json.loads((tmp_path / "demo" / name / "config.json").read_text())
        assert config["victim"]["accuracy"] >= 0.95
        assert summary["attack_success_rate"] >= (0.95 if name.endswith("-targeted") else 0.99)


def test_the_victims_stay_and_are_attacked_again_as_it_says(run, undrawn, monkeypatch, tmp_path):
    """With few updates and inputs: what they come to is for the slow test."""
    few = {kind: config.model_copy(update={"updates": 2, "width": 0.1}) for kind, config in demo._VICTIMS.items()}
    monkeypatch.setattr(demo, "_VICTIMS", few)
    monkeypatch.setattr(demo, "_GOALS", {"untargeted": {"target": "none", "samples": 2, "draws": 2}})
    monkeypatch.chdir(tmp_path)
    status, out, _ = run("demo", "--out", "a demo")
    assert status == 0
    assert sorted(path.name for path in (tmp_path / "a demo" / "victims").iterdir()) == ["events", "images"]
    said = [line.strip() for line in out.splitlines() if line.startswith("  spikeflip ")]
    assert said == list(next_commands(Path("a demo")))
    for command in said:
        status, _, err = run(*shlex.split(command)[1:], "--steps", "1", "--draws", "2")
        assert (status, err) == (0, "")

import json
import time

import pytest

from spikeflip.demo import run_demo


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

"""The script that measures all that needs a GPU, with stand-ins for what it calls."""

import os
import shlex
import subprocess
from pathlib import Path

import pytest

from spikeflip.cli.app import app

HOME = Path(__file__).parents[2]
STAND_IN = """#!/bin/sh
echo "$(basename "$0") $*" >> "$CALLS"
case "$*" in *"$FAILS"*) exit 1;; esac
echo rows
"""


@pytest.fixture
def call(tmp_path):
    for name in ("python", "spikeflip"):
        (tmp_path / name).write_text(STAND_IN)
        (tmp_path / name).chmod(0o755)

    def called(fails="nothing"):
        log = tmp_path / "calls"
        log.unlink(missing_ok=True)
        known = os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}", "CALLS": str(log), "FAILS": fails}
        words = ["bash", HOME / "benchmarks" / "on_gpu.sh", "DIR", "OUT", "--data", "MNIST"]
        status = subprocess.run(words, env=known, cwd=tmp_path, capture_output=True).returncode
        return status, [shlex.split(line) for line in log.read_text().splitlines()]

    (tmp_path / "DIR").mkdir()
    return called


@pytest.mark.processes
def test_it_measures_once_and_goes_on(call, tmp_path):
    status, first = call()
    assert status == 0
    scripts = [words[1] for words in first if words[0] == "python"]
    assert all(script == "-m" or (HOME / script).is_file() for script in scripts)
    assert [words[1] for words in first if words[0] == "spikeflip"] == ["train", "reproduce", "reproduce"]
    for words in first:
        if words[0] == "spikeflip":
            app.parse_args(words[1:], exit_on_error=False, print_error=False)
    assert {path.suffix for path in (tmp_path / "OUT").iterdir()} == {".json", ".log"}
    assert call() == (0, [words for words in first if words[0] == "spikeflip"])


@pytest.mark.processes
def test_what_failed_is_measured_again(call, tmp_path):
    status, calls = call(fails="training_step")
    assert (status, calls[-1][1]) == (1, "benchmarks/training_step.py")
    assert not (tmp_path / "OUT" / "training-step.json").exists()
    assert call()[1][0] == calls[-1]

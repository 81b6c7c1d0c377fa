"""What the command sets before PyTorch is imported."""

import os
import subprocess
import sys

import pytest

START = """
import os, sys
import spikeflip.__main__ as command
assert "torch" not in sys.modules, "its OpenMP library has already read how long to spin"
command.spin_briefly()
print(os.environ.get("GOMP_SPINCOUNT"))
"""


@pytest.mark.parametrize(
    ("said", "rounds"),
    [({}, "1000"), ({"GOMP_SPINCOUNT": "5"}, "5"), ({"OMP_WAIT_POLICY": "active"}, "None")],
)
def test_waiting_threads_spin_briefly_unless_the_user_says_otherwise(said, rounds):
    free = {name: value for name, value in os.environ.items() if name not in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")}
    done = subprocess.run([sys.executable, "-c", START], env=free | said, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == rounds


def test_the_command_sets_it_before_anything_is_imported(monkeypatch):
    from spikeflip import __main__ as command
    from spikeflip.cli import app

    for name in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY"):
        monkeypatch.setenv(name, "")  # so that it is put back
        monkeypatch.delenv(name)
    seen = []
    monkeypatch.setattr(app, "main", lambda: seen.append(os.environ.get("GOMP_SPINCOUNT")))
    command.main()
    assert seen == ["1000"]

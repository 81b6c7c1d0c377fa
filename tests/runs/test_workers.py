"""Worker processes: what they import, and how they end."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time

import pytest
from disturbances import small_config

from spikeflip.runs import Execution, run_attack

pytestmark = pytest.mark.processes


def test_workers_import_nothing_from_the_current_folder(small_victim, tmp_path):
    here = tmp_path / "here"
    (here / "multiprocessing").mkdir(parents=True)
    plant = "open('canary', 'a').write(__name__)\n"
    for name in ("socket.py", "random.py", "multiprocessing/__init__.py"):
        (here / name).write_text(plant)
    script = tmp_path / "command.py"  # as the installed command: its own folder is on the path, not the current one
    script.write_text("from spikeflip.__main__ import main\nif __name__ == '__main__':\n    main()\n")
    options = ["--samples", "4", "--shard-size", "2", "--steps", "1", "--draws", "1", "--workers", "2", "--quiet"]
    command = [sys.executable, str(script), "attack", "--victim", str(small_victim), *options, "--out", "run"]
    done = subprocess.run(command, cwd=here, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert not (here / "canary").exists()
    assert "PYTHONSAFEPATH" not in os.environ


def test_a_stopped_worker_does_not_hold_up_ctrl_c(small_victim, tmp_path):
    at = []

    def stop(*_):
        for child in multiprocessing.active_children():
            os.kill(child.pid, signal.SIGSTOP)
        at.append(time.monotonic())
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_attack(small_config(small_victim), tmp_path / "run", execution=Execution(workers=2), progress=stop)
    assert time.monotonic() - at[0] < 30
    assert not multiprocessing.active_children()

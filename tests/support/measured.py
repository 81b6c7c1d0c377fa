"""Commands in processes of their own, whose memory beside the imports is measured."""

import json
import os
import resource
import subprocess
import sys
import traceback
from dataclasses import dataclass
from pathlib import Path

FUSE = 3 << 30
"""Of address space beyond the imports: what asks for more fails, and does not take the machine along."""


@dataclass(frozen=True)
class Measured:
    """How a command ended, what it wrote on stderr, and how much its resident memory grew, in bytes."""

    status: int
    said: str
    grew: int


class Commands:
    """A process that has imported all that commands import, and forks for each of them."""

    def __init__(self, folder):
        environment = os.environ | {"OMP_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "2"}
        self._process = subprocess.Popen(
            [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )
        self._said = folder / "said.txt"

    def run(self, *arguments, within=300):
        """Run one; a process that takes more than ``within`` seconds of processor time is ended by a signal."""
        request = {"arguments": [str(argument) for argument in arguments], "said": str(self._said), "within": within}
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        status, grew = json.loads(self._process.stdout.readline())
        return Measured(status, self._said.read_text(errors="replace"), grew)

    def close(self):
        self._process.stdin.close()
        self._process.wait()


def _serve():
    import pyarrow.parquet  # noqa: F401
    import torch

    from spikeflip.cli.app import main

    torch.set_num_threads(1)
    for line in sys.stdin:
        request = json.loads(line)
        child = os.fork()
        if child == 0:
            os._exit(_run(main, **request))
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        grown = Path(request["said"] + ".grown")
        sys.stdout.write(json.dumps([status, int(grown.read_text())]) + "\n")
        sys.stdout.flush()


def _run(main, arguments, said, within):
    grown = Path(said + ".grown")
    grown.write_text("-1")
    before = _resident("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + FUSE, size + FUSE))
    resource.setrlimit(resource.RLIMIT_CPU, (within, within))
    with open(said, "w") as stderr, open(os.devnull, "w") as stdout:
        sys.stdout, sys.stderr = stdout, stderr
        try:
            main(arguments)
            status = 0
        except SystemExit as stop:
            status = stop.code or 0
        except BaseException:
            traceback.print_exc()
            status = 70
    grown.write_text(str(_resident("VmHWM") - before))
    return status


def _resident(name):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(name))


if __name__ == "__main__":
    _serve()

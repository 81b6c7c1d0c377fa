"""Commands in processes of their own that are killed when they touch files for a chosen time."""

import multiprocessing
import signal
import time
from pathlib import Path

_KILLED_AT = """
import os, signal, sys
count, last, out = 0, {last}, {out!r}

def hook(event, arguments):
    global count
    if event in ("os.remove", "os.rmdir") or (event in ("open", "os.rename", "os.mkdir") and out in str(arguments[0])):
        count += 1
        if count == last:
            os.kill(os.getpid(), signal.SIGKILL)

{prelude}
sys.addaudithook(hook)
from spikeflip.cli.app import main
main({command!r})
if {counted!r}:
    open({counted!r}, "w").write(str(count))
"""
"""Runs a command until it touches files for the last time but one."""
_PRELOADED = [
    "spikeflip.cli.app",
    "spikeflip.runs.attack",
    "spikeflip.runs.sweep",
    "spikeflip.experiments.reproduction",
]


class Kills:
    """A command that can be killed at each of its file events.

    Args:
        command: its arguments, but for the folder that it writes, which follows as the last one.
        home: where it is run once undisturbed, in the folder ``whole``.
        prelude: Python that the process runs first.
    """

    def __init__(self, command, home: Path, prelude: str = "") -> None:
        self.command, self.prelude = [str(part) for part in command], prelude
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(_PRELOADED)
        self.whole, counted = home / "whole", home / "events"
        begun = time.monotonic()
        self.start(self.whole, counted=counted).join()
        self.seconds = time.monotonic() - begun
        self.events = int(counted.read_text())

    def start(self, out: Path, *, last: int = 0, counted: Path | str = "", more=()):
        """Start the command; it is killed at its ``last`` event, where that is not 0."""
        command = [self.command[0], *map(str, more), *self.command[1:], str(out)]
        code = _KILLED_AT.format(last=last, out=str(out), prelude=self.prelude, command=command, counted=str(counted))
        process = self._context.Process(target=exec, args=(code, {}))
        process.start()
        return process

    def kill(self, out: Path, moment: float, more=()) -> bool:
        """Kill at a share of its file events (below 1) or, from 1 on, of its time; returns whether it was killed."""
        process = self.start(out, last=int(moment * self.events) + 1 if moment < 1 else 0, more=more)
        if moment >= 1:
            process.join((moment - 1) * self.seconds)
            process.kill()
        process.join()
        return process.exitcode == -signal.SIGKILL

"""Ways to disturb a run: other options, an interruption, a full disk."""

import errno
import io
import os
from pathlib import Path

from spikeflip.runs import AttackConfig, sharded


def small_config(victim, **options):
    """The options of the ``command`` of ``tests/runs``: 54 rows in 6 shards."""
    return AttackConfig(victim=victim, samples=6, target="all", shard_size=10, draws=5, trace=True, **options)


def change(command, option, value):
    """The command with another value of an option."""
    at = command.index(option)
    return [*command[: at + 1], value, *command[at + 2 :]]


def stop_after(monkeypatch, shards):
    """As Ctrl-C, when so many shards are finished."""
    keep, kept = sharded.Shards._keep, []

    def stopping(self, *given):
        keep(self, *given)
        kept.append(given)
        if len(kept) == shards:
            raise KeyboardInterrupt

    monkeypatch.setattr(sharded.Shards, "_keep", stopping)


class _Full(io.RawIOBase):
    """A file on a full disk."""

    def writable(self):
        return True

    def write(self, _content):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def fileno(self):
        return self.write(b"")  # NumPy writes by number


def full_disk(monkeypatch, out, at):
    """Let the disk be full at the ``at``-th file that is written below ``out``; returns the names of files written."""
    opened, real = [], Path.open

    def fake(self, mode="r", *given, **options):
        if "w" in mode and str(out) in str(self):
            opened.append(self.name)
            if len(opened) == at:
                return io.BufferedWriter(_Full())  # as other files: what is written fails a little later
        return real(self, mode, *given, **options)

    monkeypatch.setattr(Path, "open", fake)
    return opened

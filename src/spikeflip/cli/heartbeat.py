"""Progress where there is no terminal: a line now and then, for the logs of batch jobs."""

import time
from collections.abc import Callable

_FIRST, _EVERY = 10.0, 60.0
"""Seconds until the first line, and between two."""


class Heartbeat:
    """Says how far a stage is: after ten seconds of work, and once a minute from then on.

    Args:
        write: is given each line.
        clock: seconds, of any beginning.
    """

    def __init__(self, write: Callable[[str], None], clock: Callable[[], float] = time.monotonic) -> None:
        self._write, self._clock = write, clock
        self._next = clock() + _FIRST
        self._began: dict[str, tuple[float, int]] = {}
        self._done: dict[str, int] = {}

    def stage(self, name: str, done: int, every: int) -> None:
        """Hear that ``done`` of ``every`` steps of a stage are done; text after a ``|`` is not part of its name.

        A stage of which fewer steps are done than before is another of that name: its time counts from here.
        """
        now, key = self._clock(), name.partition("|")[0]
        if done < self._done.get(key, 0):
            del self._began[key]
        self._done[key] = done
        began, first = self._began.setdefault(key, (now, done))
        if now < self._next:
            return
        self._next = now + _EVERY
        left = ""
        if done > first and done < every:
            left = f", about {_words((every - done) * (now - began) / (done - first))} left"
        self._write(f"{name.replace('|', ' ')}: {done:,} of {every:,}{left}")


def _words(seconds: float) -> str:
    """``40 s``, ``12 min`` or ``3.5 h``."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"

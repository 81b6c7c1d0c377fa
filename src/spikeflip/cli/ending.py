"""How the command ends where something else ends it: Ctrl-C, a signal that asks it to end, a reader that has gone.

It imports nothing heavy, so that all of this holds while PyTorch is still being imported.
"""

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType

READER_GONE = 141
"""The exit status where nobody reads the output any more, as a shell says it of other commands."""


class EndedError(KeyboardInterrupt):
    """A signal asked the process to end, as Ctrl-C does; the text is the signal's name."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number


@contextmanager
def ends_told() -> Iterator[None]:
    """Say in one sentence that the command was interrupted, and end as a shell expects: 128 and the signal's number."""
    _give_streams()
    try:
        with _signals_heard():
            yield
    except KeyboardInterrupt as error:
        number = error.number if isinstance(error, EndedError) else signal.SIGINT
        how = f"ended by {error}" if isinstance(error, EndedError) else "interrupted"
        with suppress(OSError):  # the terminal may be what has gone
            sys.stderr.write(
                f"spikeflip: {how}; nothing is half-written, and train, attack, evaluate, sweep and reproduce go on "
                "when run again\n"
            )
        raise SystemExit(128 + number) from None


def leave_output() -> None:
    """Write nothing more to stdout, where that cannot be written to: Python would try again when it ends."""
    with suppress(OSError, ValueError, AttributeError):  # what stands in for it may have no descriptor
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _give_streams() -> None:
    """What is written to a stream that was closed before the command began goes nowhere."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115 - open until the process ends


@contextmanager
def _signals_heard() -> Iterator[None]:
    """SIGTERM and SIGHUP raise :class:`EndedError`, unless someone else handles them, such as nohup."""
    kinds = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
    main = threading.current_thread() is threading.main_thread()
    ours = [kind for kind in kinds if main and signal.getsignal(kind) == signal.SIG_DFL]
    for kind in ours:
        signal.signal(kind, _end)
    try:
        yield
    finally:
        for kind in ours:
            signal.signal(kind, signal.SIG_DFL)


def _end(number: int, _frame: FrameType | None) -> None:
    raise EndedError(number)

"""Processes that tests start."""

import signal


def heed_interrupts():
    """Run in a child before it starts: a shell's background jobs pass on that they ignore Ctrl-C."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)

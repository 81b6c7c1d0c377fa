"""The one exception a user can cause: what is wrong, the value, and the fix, in one sentence."""


class SpikeflipError(ValueError):
    """An input, file or option that cannot be used; the message names the rule, the value and the fix."""


class NoMemoryError(SpikeflipError):
    """What was asked for does not fit into memory; the message says what to lower."""

"""How large things may be that a file asks for, and what is held at a time: compared before memory is asked for.

A file from a stranger says in a few bytes how much memory its reader shall take. Whoever reads one compares what it
says with these numbers first. With all of them a command that reads files under 64 kB stays below 1 GB beside PyTorch's
own memory; ``tests/hostile/test_memory.py`` measures it.
"""

import errno

LARGEST_OPTIONS = 1 << 20
"""Bytes of a TOML file that a user writes."""

LARGEST_DESCRIPTION = 1 << 20
"""Bytes of a victim's description; its longest part is the history of the training, some 50 bytes a validation."""

LARGEST_FACTS = 1 << 22
"""Bytes of a run's JSON files; an image set of a thousand classes fills 50 kB."""

MOST_STEPS = 10_000
"""Time steps or bins of one input: a second at 0.1 ms each."""

MOST_LAYERS = 1000
"""Of a network string."""

MOST_WEIGHTS = 1 << 31
"""Of a network: 8 GB in float32."""

MOST_FRAME_CELLS = 1 << 27
"""Cells of one recording's frames, a byte each: 72 bins of 1280 × 720 pixels."""

MOST_CELLS = 3 << 24
"""Neurons and inputs, times their time steps, that run at a time on a CPU. An attack takes up to 14 bytes each: 700 MB.
The paper's networks at quarter width fit 12 times and more."""

CELLS_A_WEIGHT = 256
"""Cells that a stored victim has for each weight, where it has more than ``MOST_CELLS``: files of a few kilobytes ask
for no gigabytes. The paper's networks have 1 to 30."""

MOST_EXAMPLE_VALUES = 1 << 25
"""Values of the inputs that ``doctor`` makes: 128 MB."""

MOST_KEPT_EVENTS = 1 << 24
"""Events of a set of recordings that stay in memory once they are read, 218 MB; others are read when asked for."""

LONGEST_WORD = 4096
"""Characters of a word in a table: names of files, which systems hold to the same length."""

ROWS_AT_A_TIME = 256
"""Rows of a table of words that are decoded at a time: one word may stand for many rows in the file."""

_NO_MEMORY = ("not enough memory", "can't allocate memory", "cannot allocate memory", "out of memory", "std::bad_alloc")
_NO_THREADS = ("can't start new thread", "thread creation failed", "resource temporarily unavailable")


def together(wanted: int, cells: int, *, on_cpu: bool = True) -> int:
    """How many samples of so many cells are held at a time, where ``wanted`` are asked for; at least one.

    >>> together(16, 1 << 20), together(64, 1 << 24), together(64, 1 << 24, on_cpu=False)
    (16, 3, 64)
    """
    return max(1, min(wanted, MOST_CELLS // max(1, cells))) if on_cpu else wanted


def most_cells(weights: int) -> int:
    """The most cells of one input that a stored victim of so many weights can have."""
    return max(MOST_CELLS, CELLS_A_WEIGHT * weights)


def ran_out(error: BaseException) -> str | None:
    """What of the machine an error says has run out, ``"memory"`` or ``"threads"``; None where it says something else.

    PyTorch says both in RuntimeErrors.

    >>> ran_out(RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried"))
    'memory'
    """
    text = str(error).lower()
    if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno == errno.ENOMEM):
        return "memory"
    if not isinstance(error, RuntimeError | BlockingIOError):
        return None
    if any(words in text for words in _NO_MEMORY):
        return "memory"
    return "threads" if any(words in text for words in _NO_THREADS) else None

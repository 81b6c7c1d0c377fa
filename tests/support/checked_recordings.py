"""Small recordings that loading has something to say of, and the codes of what it says."""

import numpy as np
from event_sets import write

from spikeflip.data import Binning, Recording, load_event_set

UNIX = 1_600_000_000_000_000
BINNING = Binning(3, time_bin=5)


def codes(notices):
    return [notice.code for notice in notices]


def at(times, side=4, **options):
    """A recording with an event at each of these times, on pixels in a row."""
    n = len(times)
    return Recording.from_columns(times, np.arange(n) % side, [0] * n, [1] * n, height=side, width=side, **options)


def gestures(folder, rows, split="train"):
    """DVS128 Gesture with one recording, an event each 10 µs at 1000 to 4990 µs of its clock."""
    n = 400
    recording = Recording.from_columns(
        10 * np.arange(n), np.arange(n) % 128, [5] * n, [1] * n, height=128, width=128, t0=1000
    )
    write(folder / "user01.aedat", recording)
    (folder / "user01_labels.csv").write_text(f"class,startTime_usec,endTime_usec\n{rows}")
    (folder / f"trials_to_{split}.txt").write_text("user01.aedat\n")
    return load_event_set("dvsgesture", split, root=folder)

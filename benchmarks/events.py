"""Time reading and binning of an event recording, in events a second on one thread, and the memory that reading takes.

    python benchmarks/events.py [--events 5000000] [--repeats 5] [--json]

The recording is generated: uniform pixels of a 128 × 128 sensor, ascending times of five events a µs, both polarities. It
is written as N-MNIST .bin, AEDAT 3.1 and .npz and read back from the page cache, so that the disk is not measured. Peak
memory is what tracemalloc sees in a reading of its own, as a multiple of the file's size; the events themselves, 13 bytes
each, are most of it. Binning makes 60 frames: binary ones of 32 × 32, and counted ones of the sensor's size, these in
turn with tonic's ToFrame where tonic is installed, on the same bins; tonic gets its own type of event, made in advance,
and both must give the same frames. See benchmarks/README.md.
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from spikeflip import Binning, Recording, bin_events, read_recording, write_recording
from spikeflip.runs.folder import cpu_name

SIDE = 128
STEPS = 60
FILES = {"N-MNIST bin": "recording.bin", "AEDAT 3.1": "recording.aedat", "npz": "recording.npz"}


def generated(events: int) -> Recording:
    random = np.random.default_rng(0)
    t = np.sort(random.integers(0, max(STEPS, events // 5), events))
    x, y = random.integers(0, SIDE, (2, events), dtype=np.uint16)
    return Recording.from_columns(t, x, y, random.integers(0, 2, events, dtype=np.uint8), height=SIDE, width=SIDE)


def seconds(call: Callable[[], object]) -> float:
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def in_turn(calls: list[Callable[[], object]], repeats: int) -> list[list[float]]:
    """Seconds of every call, each ``repeats`` times after a warm-up."""
    for call in calls:
        call()
    rounds = [[seconds(call) for call in calls] for _ in range(repeats)]
    return [list(column) for column in zip(*rounds, strict=True)]


def rates(events: int, taken: list[float]) -> dict[str, Any]:
    found = sorted(round(events / value / 1e6, 2) for value in taken)
    return {"million_events_a_second": round(events / statistics.median(taken) / 1e6, 2), "range": [found[0], found[-1]]}


def peak(path: Path) -> int:
    """Most bytes that reading holds at a time."""
    tracemalloc.start()
    read_recording(path)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return most


def reading(recording: Recording, repeats: int) -> list[dict[str, Any]]:
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder) / name for name in FILES.values()]
        for path in paths:
            write_recording(recording, path)
            if not np.array_equal(read_recording(path).events, recording.events):
                sys.exit(f"{path.name} does not hold what was written")
        calls = [lambda path=path: read_recording(path) for path in paths]
        for name, path, taken in zip(FILES, paths, in_turn(calls, repeats), strict=True):
            size = path.stat().st_size
            memory = {"file_bytes": size, "peak_memory_over_file": round(peak(path) / size, 2)}
            rows.append({"what": f"read {name}", **rates(len(recording), taken), **memory})
    return rows


def binning(recording: Recording, repeats: int) -> list[dict[str, Any]]:
    # Whole µs and one beyond the last event, so that tonic's windows and these bins part the events alike.
    time_bin = -(-(recording.duration + 1) // STEPS) / 1000
    small = Binning(steps=STEPS, time_bin=time_bin, height=32, width=32)
    full = Binning(steps=STEPS, time_bin=time_bin, counted=True)
    calls = {
        "bin 32 × 32 binary": lambda: bin_events(recording, small),
        f"bin {SIDE} × {SIDE} counted": lambda: bin_events(recording, full),
    }
    if (theirs := tonic_frames(recording, time_bin)) is not None:
        ours = bin_events(recording, full).frames.numpy()
        if not np.array_equal(ours, theirs()):
            sys.exit("tonic's frames differ from these: the comparison is void")
        calls[f"tonic {SIDE} × {SIDE} counted"] = theirs
    taken = in_turn(list(calls.values()), repeats)
    return [{"what": name, **rates(len(recording), times)} for name, times in zip(calls, taken, strict=True)]


def tonic_frames(recording: Recording, time_bin: float) -> Callable[[], Any] | None:
    """Tonic's binning of the recording from its first event on, None where tonic is not installed."""
    try:
        from tonic import io, transforms
    except ImportError:
        return None
    events = io.make_structured_array(*(recording.events[name] for name in "xytp"))
    transform = transforms.ToFrame(
        sensor_size=(SIDE, SIDE, 2), time_window=round(time_bin * 1000), include_incomplete=True
    )
    return lambda: transform(events)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=5_000_000)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    recording = generated(options.events)
    machine = {
        "events": options.events,
        "repeats": options.repeats,
        "cpu": cpu_name(),
        "threads": 1,
        "numpy": np.__version__,
        "torch": torch.__version__,
    }
    rows = [
        {**row, **machine} for row in (*reading(recording, options.repeats), *binning(recording, options.repeats))
    ]
    if options.json:
        print(json.dumps(rows, indent=2, ensure_ascii=False))
        return
    for row in rows:
        line = "{what}: {million_events_a_second} million events/s".format(**row)
        memory = row.get("peak_memory_over_file")
        print(line if memory is None else f"{line}, peak memory {memory} × the file")


if __name__ == "__main__":
    main()

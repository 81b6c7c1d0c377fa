"""Time reading recordings and binning them, on one core.

    python benchmarks/events.py [--events 5000000] [--repeats 5] [--json]

A generated recording of a 128 x 128 sensor is written in each format and read back; the peak of the memory that Python
allocates in reading is given as a multiple of the file's size. Binning is into 60 frames of 32 x 32, binary, as attacks
take it, and into counted frames of the sensor's size, beside tonic's ToFrame where tonic is installed. All sides are
run in turn; figures are medians. See benchmarks/README.md.
"""

import platform
import statistics
import tempfile
import time
import tracemalloc
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from rows import parser_of, print_rows
from spikeflip import Binning, Recording, bin_events, read_recording, write_recording
from spikeflip.runs.folder import cpu_name

LAST = 6_000_000
FORMATS = {"N-MNIST bin": "a.bin", "AEDAT 3.1": "a.aedat", "npz": "a.npz"}


def generated(n: int) -> Recording:
    random = np.random.default_rng(0)
    x, y = random.integers(0, 128, n), random.integers(0, 128, n)
    t = np.sort(random.integers(0, LAST, n))
    return Recording.from_columns(t, x, y, random.integers(0, 2, n), height=128, width=128)


def seconds(task: Callable[[], object]) -> float:
    started = time.perf_counter()
    task()
    return time.perf_counter() - started


def peak(task: Callable[[], object]) -> int:
    tracemalloc.start()
    task()
    highest = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return highest


def binning_sides(recording: Recording) -> dict[str, Callable[[], object]]:
    small = Binning(60, time_bin=LAST / 60_000, height=32, width=32)
    counted = Binning(60, time_bin=LAST / 60_000, counted=True)
    sides: dict[str, Callable[[], object]] = {
        "binning, binary 32 x 32": lambda: bin_events(recording, small),
        "binning, counted 128 x 128": lambda: bin_events(recording, counted),
    }
    try:
        from tonic.transforms import ToFrame
    except ImportError:
        return sides
    events = np.empty(len(recording), dtype=[("x", int), ("y", int), ("t", int), ("p", int)])
    for name in "xytp":
        events[name] = recording.events[name]
    frames = ToFrame(sensor_size=(128, 128, 2), time_window=LAST // 60, include_incomplete=True)
    return sides | {"tonic ToFrame, counted 128 x 128": lambda: frames(events)}


def measure(n: int, repeats: int) -> list[dict[str, object]]:
    recording = generated(n)
    with tempfile.TemporaryDirectory() as folder:
        paths = {name: Path(folder) / file for name, file in FORMATS.items()}
        for name, path in paths.items():
            write_recording(recording, path, format=name)
        reading = {f"reading {name}": (lambda p=path: read_recording(p)) for name, path in paths.items()}
        sides = {**reading, **binning_sides(recording)}
        times: dict[str, list[float]] = {name: [] for name in sides}
        for task in sides.values():
            task()
        for _ in range(repeats):
            for name, task in sides.items():
                times[name].append(seconds(task))
        memory = {
            f"reading {name}": peak(reading[f"reading {name}"]) / path.stat().st_size for name, path in paths.items()
        }
    return [
        {
            "what": name,
            "events": n,
            "million_events_a_second": round(n / statistics.median(taken) / 1e6, 1),
            "range": [round(n / slowest / 1e6, 1) for slowest in (max(taken), min(taken))],
            "memory_over_file": round(memory[name], 2) if name in memory else None,
            "repeats": repeats,
            "cpu": cpu_name(),
            "numpy": np.__version__,
            "python": platform.python_version(),
        }
        for name, taken in times.items()
    ]


def main() -> None:
    parser = parser_of(__doc__)
    parser.add_argument("--events", type=int, default=5_000_000)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    rows = measure(options.events, options.repeats)
    print_rows(rows, options.json, sentence)


def sentence(row: Mapping[str, object]) -> str:
    memory = "" if row["memory_over_file"] is None else f", memory {row['memory_over_file']} x file"
    return f"{row['what']}: {row['million_events_a_second']} million events a second{memory}"


if __name__ == "__main__":
    main()

"""Damaged files: each ends in a recording or in one sentence, at once and in little memory."""

import io
import struct
import time
import tracemalloc
import zipfile

import numpy as np
import pytest

from spikeflip import Recording, SpikeflipError, read_recording, write_recording
from spikeflip.data.recordings import EVENT

FILES = 2_000
MEMORY = 32 << 20
SECONDS = 2.0

pytestmark = pytest.mark.filterwarnings("error")


def recording(n=300, side=34):
    random = np.random.default_rng(0)
    columns = random.integers(0, side, n), random.integers(0, side, n), random.integers(0, 2, n)
    return Recording.from_columns(np.sort(random.integers(0, 10**6, n)), *columns, height=side, width=side)


def aedat2():
    random = np.random.default_rng(1)
    body = b"".join(struct.pack(">Ii", int(random.integers(0, 1 << 15)), 100 * k) for k in range(200))
    return b"#!AER-DAT2.0\r\n# a comment\r\n" + body


def written(tmp_path, name):
    if name == "a2.aedat":
        return aedat2()
    if name == "packed.npz":
        file, found = io.BytesIO(), recording()
        np.savez_compressed(file, **{field: found.events[field] for field in "txyp"})
        return file.getvalue()
    write_recording(recording(), tmp_path / name)
    return (tmp_path / name).read_bytes()


def mutate(base, random):
    """One damaged copy."""
    data = bytearray(base)
    kind = random.integers(0, 8)
    if kind == 0:
        return bytes(data[: random.integers(0, len(data) + 1)])
    if kind == 1:  # bits flipped anywhere
        for _ in range(random.integers(1, 20)):
            data[random.integers(0, len(data))] ^= 1 << random.integers(0, 8)
    elif kind == 2:  # bits flipped where headers are
        for _ in range(random.integers(1, 6)):
            data[random.integers(0, min(len(data), 160))] ^= 1 << random.integers(0, 8)
    elif kind == 3:  # a huge count
        at = random.integers(0, max(1, len(data) - 8))
        data[at : at + 4] = struct.pack("<I", random.choice([0xFFFFFFFF, 0x7FFFFFFF, 1 << 30, 0]))
    elif kind == 4:  # random bytes behind the beginning
        keep = random.integers(0, min(len(data), 200))
        return bytes(data[:keep]) + random.bytes(random.integers(0, 500))
    elif kind == 5:  # a piece left out or said twice
        first, last = sorted(random.integers(0, len(data), 2))
        return bytes(data[:first] + data[last:]) if random.integers(2) else bytes(data[:last] + data[first:])
    elif kind == 6:  # pieces exchanged: times run backwards
        middle = random.integers(0, len(data))
        return bytes(data[:100] + data[middle:] + data[100:middle])
    else:
        return random.bytes(random.integers(0, 300))
    return bytes(data)


@pytest.mark.parametrize("name", ["a.bin", "a.npz", "packed.npz", "a.npy", "a.csv", "a.aedat", "a2.aedat"])
def test_every_damaged_file_is_a_recording_or_one_sentence(tmp_path, name):
    base = written(tmp_path, name)
    random = np.random.default_rng(7)
    path = tmp_path / f"damaged{name[name.index('.') :]}"
    outcomes = {"recording": 0, "error": 0}
    tracemalloc.start()
    try:
        for _ in range(FILES):
            path.write_bytes(mutate(base, random))
            tracemalloc.reset_peak()
            started = time.monotonic()
            try:
                found = read_recording(path)
            except SpikeflipError as error:
                message = str(error)
                outcomes["error"] += 1
            else:
                message = ""
                outcomes["recording"] += 1
                events = found.events
                assert events.dtype == EVENT
                assert (events["t"][1:] >= events["t"][:-1]).all()
                assert (events["x"] < found.width).all()
                assert (events["y"] < found.height).all()
            assert "\n" not in message
            assert len(message) < 1000
            assert time.monotonic() - started < SECONDS
            assert tracemalloc.get_traced_memory()[1] < MEMORY
    finally:
        tracemalloc.stop()
    assert outcomes["error"] > 100
    assert outcomes["recording"] > 20


def test_an_archive_that_unpacks_to_much_more_than_it_says_is_refused(tmp_path):
    path = tmp_path / "bomb.npz"
    header = b"\x93NUMPY\x01\x00\x76\x00" + b"{'descr': '<i8', 'fortran_order': False, 'shape': (80000000,), }".ljust(
        117
    )
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in "txyp":
            archive.writestr(f"{name}.npy", header + b"\n" + bytes(1_000))
    tracemalloc.start()
    with pytest.raises(SpikeflipError, match="more than it can hold"):
        read_recording(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < MEMORY


@pytest.mark.parametrize("name", ["large.bin", "large.aedat", "large.npz"])
def test_reading_takes_less_than_three_times_the_file(tmp_path, name):
    write_recording(recording(4_000_000), tmp_path / name)
    tracemalloc.start()
    found = read_recording(tmp_path / name)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(found) == 4_000_000
    assert peak < 3 * (tmp_path / name).stat().st_size

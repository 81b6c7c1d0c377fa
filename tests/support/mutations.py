"""Damaged copies of files, made at random from a seeded generator."""

import io
import struct

import numpy as np

from spikeflip import Recording, write_recording


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

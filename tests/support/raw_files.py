"""Event recordings of one event, and pieces of their files byte by byte."""

import struct

from spikeflip.data import Recording


def events_of(recording):
    return recording.events.tolist()


def one(t=5, x=3, y=2, p=1, side=34, t0=0):
    return Recording.from_columns([t], [x], [y], [p], height=side, width=side, t0=t0)


def packet(kind, events, overflow=0, capacity=None):
    body = b"".join(struct.pack("<II", data, time) for data, time in events)
    n = len(events)
    return struct.pack("<HHIIIIII", kind, 1, 8, 4, overflow, capacity or n, n, n) + body


def pixel(x, y, p, valid=1):
    return x << 17 | y << 2 | p << 1 | valid


AEDAT3 = b"#!AER-DAT3.1\r\n#Source 1: DVS128\r\n#!END-HEADER\r\n"


def array_file(dtype, shape, body=b""):
    header = f"{{'descr': {dtype}, 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + body

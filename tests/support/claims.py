"""Parquet files whose header claims another number of rows than they have: byte by byte, for no writer makes them."""

import struct

import pyarrow.parquet

WHOLE, PART, ALL = slice(0, 1), slice(-1, None), slice(None)
"""Where the number stands: for the file first, then for each column, at the end for the only group of rows."""


def claim_rows(path, rows, where=ALL):
    """Say in the header of a Parquet file of one row group that it has so many rows."""
    raw, there = path.read_bytes(), number(pyarrow.parquet.read_metadata(path).num_rows)
    (length,) = struct.unpack("<I", raw[-8:-4])
    body, header = raw[: -8 - length], raw[-8 - length : -8]
    first, *others = header.split(there)
    said = [there] * len(others)
    said[where] = [number(rows)] * len(said[where])
    header = first + b"".join(count + other for count, other in zip(said, others, strict=True))
    path.write_bytes(body + header + struct.pack("<I", len(header)) + b"PAR1")
    claimed = pyarrow.parquet.read_metadata(path)
    assert rows in (claimed.num_rows, claimed.row_group(0).num_rows)


def number(value):
    """A field of Thrift's compact protocol: the next field, an i64, zigzag, 7 bits a byte."""
    encoded, rest = b"\x16", 2 * value
    while rest > 127:
        encoded, rest = encoded + bytes([rest & 127 | 128]), rest >> 7
    return encoded + bytes([rest])

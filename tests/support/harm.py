"""What hostile tests do to a file of a folder: put something else in its place."""

import json
import struct

import pytest

MANY = pytest.mark.parametrize("many", [pytest.param(True, marks=pytest.mark.hostile, id="all"), False])
"""All inputs with ``-m hostile``, else a twelfth of them."""


def replaced(name, make):
    """Removes a file and makes another in its place."""
    return lambda folder: ((folder / name).unlink(), make(folder / name))


def holding(content):
    return lambda path: path.write_bytes(content)


def linked(target):
    return lambda path: path.symlink_to(target)


def safetensors(entries, after=b""):
    """A file whose header says so."""
    header = json.dumps(entries).encode()
    return struct.pack("<Q", len(header)) + header + after


def tensor(dtype, shape, offsets):
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets}

"""Text of any length in an HDF5 file, which lies in global heaps, read without the HDF5 library.

The library goes round for ever in a heap whose sizes are damaged. Source: HDF5 File Format Specification 3.0, III.E.
"""

import struct
from typing import Any, BinaryIO


class TextHeap:
    """The global heaps of an open file, each read once: ``file`` as bytes, ``opened`` by h5py.

    Raises:
        ValueError: the file has addresses of another size than 8 bytes, or something before its beginning.
    """

    def __init__(self, file: BinaryIO, opened: Any) -> None:
        properties = opened.id.get_create_plist()
        if properties.get_sizes() != (8, 8) or properties.get_userblock() != 0:
            raise ValueError("addresses are not 8 bytes from its beginning")
        self._file = file
        self.size = self._left = file.seek(0, 2)
        self._heaps: dict[int, dict[int, bytes]] = {}

    def texts(self, offset: int | None, count: int, longest: int) -> list[bytes] | None:
        """As many texts as are pointed to from an offset on; None where one is longer, or not there."""
        if offset is None:
            return None
        found = []
        for length, address, index in struct.iter_unpack("<IQI", self._read(offset, 16 * count)):
            text = b"" if length == 0 else self._heap(address).get(index)
            if text is None or not length <= min(len(text), longest):
                return None
            found.append(text[:length].rstrip(b"\0"))
        return found if len(found) == count else None

    def _heap(self, address: int) -> dict[int, bytes]:
        if address not in self._heaps:
            objects: dict[int, bytes] = {}
            self._heaps[address] = objects
            magic, size = struct.unpack("<8sQ", self._read(address, 16))
            if magic != b"GCOL\x01\x00\x00\x00" or size < 16:
                return objects
            self._left -= size
            data = self._read(address, size) if self._left >= 0 else b""
            at = 16
            while at + 16 <= len(data):
                index, length = struct.unpack_from("<H6xQ", data, at)
                if index == 0:  # what is free
                    break
                objects[index] = data[at + 16 : at + 16 + length]
                at += 16 + -(-length // 8) * 8
        return self._heaps[address]

    def _read(self, offset: int, size: int) -> bytes:
        if not 0 <= offset <= offset + size <= self.size:
            raise ValueError("text lies beyond its end")
        self._file.seek(offset)
        return self._file.read(size)

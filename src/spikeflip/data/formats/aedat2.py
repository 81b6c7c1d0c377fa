"""AEDAT 2.0 of the DVS128 camera: text lines, then address and time (big-endian u32 each); CIFAR10-DVS's originals.

Address bits: polarity 0 (0 = ON), column 1 to 7, row 8 to 14, 15 = no pixel but an external signal. The picture is
upright with x = 127 - row bits and y = 127 - column bits, as other readers of CIFAR10-DVS turn it as well.
Source: iniVation, "AEDAT file formats", version 2.0; H. Li et al., "CIFAR10-DVS: An Event-Stream Dataset for Object
Classification", 2017.
"""

from pathlib import Path

import numpy as np

from spikeflip.data.formats.format import Format
from spikeflip.data.recordings import EVENT, Recording, recording_of
from spikeflip.errors import SpikeflipError
from spikeflip.notices import Notice

MAGIC = b"#!AER-DAT2.0"

_SIDE = 128
_EVENT = np.dtype([("address", ">u4"), ("time", ">i4")])
_SIGNAL = 1 << 15
_LONGEST_HEADER = 1 << 16
_CHUNK = 1 << 16


def read(path: Path) -> Recording:
    """Read the pixel events; the camera's clock starts at an arbitrary time, so the first event becomes zero."""
    size = path.stat().st_size
    with path.open("rb") as file:
        start = 0
        while (line := file.readline(_LONGEST_HEADER)).startswith(b"#"):
            start = file.tell()
            if start > _LONGEST_HEADER or not line.endswith(b"\n"):
                raise SpikeflipError(f"{path} has an AEDAT header without end: it is damaged or cut")
        if (size - start) % _EVENT.itemsize:
            raise SpikeflipError(
                f"{path} holds {size - start:,} bytes after its header, not a whole number of {_EVENT.itemsize}-byte "
                "events: it is cut or damaged; copy it again"
            )
        file.seek(start)
        events = np.empty((size - start) // _EVENT.itemsize, dtype=EVENT)
        filled, clock, before = 0, 0, 0
        while len(raw := np.fromfile(file, _EVENT, _CHUNK)):
            address = raw["address"].astype(np.uint32)
            if (address >> 16).any():
                wrong = int(address[address >> 16 > 0][0])
                raise SpikeflipError(
                    f"{path} has the address {wrong:#x}, which is no DVS128 pixel: convert recordings of other cameras "
                    "with their maker's software, to AEDAT 3.1 or 4"
                )
            times = raw["time"].astype(np.int64)
            wraps = np.diff(times, prepend=before) < -(1 << 31)
            before = int(times[-1])
            times += clock + (np.cumsum(wraps, dtype=np.int64) << 32)
            clock += int(wraps.sum()) << 32
            pixel = address & _SIGNAL == 0
            address, times = address[pixel], times[pixel]
            part = events[filled : filled + len(address)]
            part["t"] = times
            part["x"], part["y"] = _SIDE - 1 - (address >> 8 & 0x7F), _SIDE - 1 - (address >> 1 & 0x7F)
            part["p"] = address & 1 == 0
            filled += len(address)
    signals = len(events) - filled
    text = f"{signals:,} records are external signals and no pixels: left out"
    notices = (Notice("external-signals", text, signals),) if signals else ()
    return recording_of(events[:filled], _SIDE, _SIDE, t0=None, format=FORMAT.name, notices=notices)


FORMAT = Format(
    name="AEDAT 2.0",
    endings=(".aedat",),
    summary="DVS128 recordings of 8 bytes an event; read only, written back as AEDAT 3.1",
    read=read,
    write=None,
    height=_SIDE,
    width=_SIDE,
    magic=MAGIC,
)

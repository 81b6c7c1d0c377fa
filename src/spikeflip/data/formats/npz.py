"""NumPy ``.npz`` archives with a column each for t, x, y and p: our own, with sensor and zero, and SpikingJelly's.

Other names of the columns, such as ``timestamp`` and ``polarity``, are those that text files may have too, and one
structured array will do. Own archives also hold ``t0`` (int64) and ``sensor`` (int64: height, width). Nothing is
unpickled, and no more memory is asked for than the archive can fill.
"""

import io
import struct
import warnings
import zipfile
import zlib
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from spikeflip.data.formats.columns import events_from, find_columns
from spikeflip.data.formats.format import Format
from spikeflip.data.recordings import EVENT, Recording, recording_of
from spikeflip.errors import SpikeflipError

_CHUNK = 1 << 20
_LONGEST_HEADER = 1 << 14
_MOST_MEMBERS = 64
_TIGHTEST = 100  # an archive of events unpacks to about ten times its size
_FREE = 1 << 22
_LARGEST_SIDE = 1 << 63
# Whatever zipfile and zlib make of a damaged archive.
_DAMAGE = (
    zipfile.BadZipFile,
    zlib.error,
    OSError,
    EOFError,
    ValueError,
    NotImplementedError,
    RuntimeError,
    KeyError,
    OverflowError,
    struct.error,
)


def read(path: Path, time_unit: str | None = None) -> Recording:
    """Read an archive; others than our own say nothing of the sensor.

    Args:
        path: the file.
        time_unit: ``s``, ``ms``, ``us`` or ``ns``, in place of what the name of the times says.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            members = {info.filename.removesuffix(".npy"): info for info in archive.infolist()[:_MOST_MEMBERS]}
            names, unit = ({}, None) if len(members) == 1 else find_columns(members)
            read_ = set(names.values() if names else members) | {"sensor", "t0"} & set(members)
            _check_sizes([members[name] for name in read_], path)
            if names:
                columns = {column: _read_member(archive, members[name], path) for column, name in names.items()}
            else:
                (only,) = members.values()
                table = _read_member(archive, only, path, structured=True)
                names, unit = find_columns(table.dtype.names or ())
                columns = {column: table[name] for column, name in names.items()}
            sensor = _read_member(archive, members["sensor"], path) if "sensor" in members else None
            t0 = _read_member(archive, members["t0"], path) if "t0" in members else np.zeros(1, dtype=np.int64)
    except SpikeflipError:  # itself a ValueError
        raise
    except _DAMAGE as error:
        reason = " ".join(str(error).split())[:200]
        raise SpikeflipError(f"{path} is a damaged .npz archive ({reason}): write it again") from error
    if t0.size != 1 or t0.dtype.kind not in "iu":
        raise SpikeflipError(f"{path} has a t0 that is no whole number of µs: write it again")
    if sensor is not None and (sensor.shape != (2,) or sensor.dtype.kind not in "iu"):
        raise SpikeflipError(f"{path} has a sensor that is not (height, width): write it again")
    height, width = (None, None) if sensor is None else (int(sensor[0]), int(sensor[1]))
    events, notices = events_from(columns, time_unit or unit)
    del columns
    return recording_of(events, height, width, t0=int(t0.reshape(-1)[0]), format=FORMAT.name, notices=notices)


def _check_sizes(members: list[zipfile.ZipInfo], path: Path) -> None:
    """Refuse arrays that are longer than the archive, or unpack to far more than events can."""
    size = path.stat().st_size
    packed, unpacked = (sum(getattr(info, name) for info in members) for name in ("compress_size", "file_size"))
    if packed > size or unpacked > max(_FREE, _TIGHTEST * size):
        raise SpikeflipError(
            f"{path} is of {size:,} bytes and says that it holds {packed:,}, which unpack to {unpacked:,}: it is "
            "damaged or no recording; write it again"
        )


def _read_member(
    archive: zipfile.ZipFile, info: zipfile.ZipInfo, path: Path, *, structured: bool = False
) -> NDArray[Any]:
    """Read one array, of the size that its header and the archive agree on."""
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise SpikeflipError(f"{path} packs {info.filename} in a way that NumPy does not: write it again")
    with archive.open(info) as file:
        shape, dtype = read_header(file, path)
        size = int(np.prod(shape, dtype=object)) * dtype.itemsize
        if dtype.kind not in ("V" if structured else "biuf") or len(shape) > 1 or size > info.file_size:
            raise SpikeflipError(
                f"{path} says that {info.filename} is {described(shape, dtype)}, which is no column or more than it "
                "can hold: write it again"
            )
        array = np.empty(shape, dtype=dtype)
        target = array.reshape(-1).view(np.uint8)
        at = 0
        while at < len(target) and (block := file.read(min(_CHUNK, len(target) - at))):
            target[at : at + len(block)] = np.frombuffer(block, dtype=np.uint8)
            at += len(block)
        if at < len(target) or file.read(1):  # reading to the end also compares the checksum
            raise SpikeflipError(
                f"{path} holds {info.filename} with more or fewer numbers than that says: it is damaged; write it again"
            )
    return array


def read_header(file: IO[bytes], path: Path) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Shape and type of the array in a ``.npy`` file; refused unless of plain numbers in C order."""
    try:
        first = npy.read_magic(file) == (1, 0)
        length = file.read(2 if first else 4)
        size = int.from_bytes(length, "little")
        if size > _LONGEST_HEADER:
            raise ValueError(f"a header of {size:,} bytes")
        reader = npy.read_array_header_1_0 if first else npy.read_array_header_2_0
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of Python's parser, and that Python 2 wrote the file
            shape, fortran, dtype = reader(io.BytesIO(length + file.read(size)))
    except Exception as error:  # numpy's parser meets a stranger's text: it may fail in any way
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise SpikeflipError(f"{path} holds a damaged array ({reason}): write it again") from error
    if any(type(side) is not int for side in shape):
        raise SpikeflipError(f"{path} holds {described(shape, dtype)}: sides are whole numbers; write it again")
    if any(abs(side) >= _LARGEST_SIDE for side in shape):  # which Python may refuse to print
        raise SpikeflipError(f"{path} holds an array with a side beyond 64 bits: it is damaged; write it again")
    if dtype.hasobject or any(side < 0 for side in shape) or (fortran and len(shape) > 1):
        raise SpikeflipError(f"{path} holds {described(shape, dtype)}: plain numbers in C order are read")
    return tuple(shape), dtype


def described(shape: tuple[int, ...], dtype: np.dtype[Any]) -> str:
    """An array for a message; a damaged one may have a thousand fields or sides."""
    text = f"an array of {dtype}, shape {shape}"
    return text if len(text) < 200 else f"{text[:200]} …"


def write(recording: Recording, path: Path) -> None:
    """Write our own archive: t int64 µs, x and y uint16, p bool, t0, sensor (height, width)."""
    columns = {name: np.ascontiguousarray(recording.events[name]) for name in EVENT.names or ()}
    columns |= {"t0": np.array(recording.t0), "sensor": np.array([recording.height, recording.width])}
    with path.open("wb") as file:
        np.savez(file, **columns)  # type: ignore[arg-type]  # NumPy before 2.2 would store an argument allow_pickle


FORMAT = Format(
    name="npz",
    endings=(".npz",),
    summary="NumPy archive of t, x, y, p (or other usual names), with t0 and sensor when written here",
    read=read,
    options=("time_unit",),
    write=write,
    first_time=-(1 << 62),
)

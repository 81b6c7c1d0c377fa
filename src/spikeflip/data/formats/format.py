"""What a file format is to the rest: how to read and write it, and what it can hold."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from spikeflip.data.recordings import Recording


@dataclass(frozen=True)
class Format:
    """One file format.

    Attributes:
        name: as the command shows it.
        endings: of file names; the first is used for new files.
        summary: one line.
        read: file to recording; raises SpikeflipError for a damaged file. Takes the path, and the ``options`` by name.
        write: recording to a new file; None where the format is only read.
        magic: the first bytes of every file, empty where there are none.
        first_time: earliest time that can be written, µs.
        last_time: latest time that can be written, µs.
        height: most rows.
        width: most columns.
        holds_t0: whether ``t0`` is in the file.
        holds_sensor: whether the size of the sensor is in the file.
        absolute: whether times are written on the file's clock, t + t0, and the limits hold for these.
        last_clock: latest time of the clock, t + t0, that is written as such; where it is later, times count from t0,
            which is in the file beside them. None where all are written in one way.
        holds_header: whether the lines of a camera's header are written back.
        options: which of ``columns`` and ``time_unit`` the reader takes, as its files may not say them.
        check: what else must hold before a file is opened for writing; raises a SpikeflipError.
    """

    name: str
    endings: tuple[str, ...]
    summary: str
    read: Callable[..., Recording]
    write: Callable[[Recording, Path], None] | None
    magic: bytes = b""
    first_time: int = 0
    last_time: int = (1 << 62) - 1
    height: int = 1 << 16
    width: int = 1 << 16
    holds_t0: bool = True
    holds_sensor: bool = True
    absolute: bool = False
    last_clock: int | None = None
    holds_header: bool = False
    options: tuple[str, ...] = ()
    check: Callable[[Recording, Path], None] | None = None

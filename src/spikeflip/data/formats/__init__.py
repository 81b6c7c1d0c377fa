"""File formats of event recordings, one module each."""

from spikeflip.data.formats.files import (
    ENDINGS,
    FORMATS,
    check_writable,
    read_recording,
    writable_format,
    write_recording,
)

__all__ = [
    "ENDINGS",
    "FORMATS",
    "check_writable",
    "read_recording",
    "writable_format",
    "write_recording",
]

"""One recording described: its figures, and a picture of where events were."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

from PIL import Image

from spikeflip.data import Binning, Recording, bin_events
from spikeflip.errors import SpikeflipError
from spikeflip.reading import may_replace
from spikeflip.report.pixels import Picture, squeeze
from spikeflip.writing import whole_file

_PNG = b"\x89PNG\r\n\x1a\n"
_LARGEST = 1280
_WIDE = 512


def describe(recording: Recording, path: Path) -> dict[str, Any]:
    """Format, sensor, times in µs, events by polarity and per second, and what the reader noted."""
    n, on = len(recording), int(recording.events["p"].sum())
    return {
        "file": str(path),
        "format": recording.format,
        "width": recording.width,
        "height": recording.height,
        "t0_us": recording.t0,
        "first_us": int(recording.events["t"][0]) if n else None,
        "duration_us": recording.duration,
        "events": n,
        "on": on,
        "off": n - on,
        "events_per_second": n / recording.duration * 1e6 if recording.duration else None,
        "notes": list(recording.notes),
    }


def picture(recording: Recording, *, side: int = 64) -> Picture:
    """All events at once: ON red, OFF blue, stronger where there were more; sides over ``side`` are pooled."""
    high, wide = (max(1, math.ceil(length / side)) for length in (recording.height, recording.width))
    events = recording.events
    if high > 1 or wide > 1:  # pooled before there are cells: a sensor may have a billion
        events = events.copy()
        events["y"] //= high
        events["x"] //= wide
    seen = replace(recording, events=events, height=-(-recording.height // high), width=-(-recording.width // wide))
    return squeeze(bin_events(seen, Binning(1, "duration", counted=True)).frames.numpy(), side=side)


def save_picture(recording: Recording, path: Path) -> None:
    """Write the picture as PNG, small sensors enlarged by whole factors; the file appears whole or not at all.

    Raises:
        SpikeflipError: the file cannot be written, or is there and is not a PNG picture.
    """
    if path.is_file() and not may_replace(path, _PNG):
        raise SpikeflipError(f"--picture {path} exists and is not a PNG picture: give another name, or delete it")
    pixels = picture(recording, side=_LARGEST)
    factor = max(1, _WIDE // max(pixels.shape[:2]))
    try:
        with whole_file(path) as file:
            Image.fromarray(pixels.repeat(factor, axis=0).repeat(factor, axis=1)).save(file, format="png")
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise SpikeflipError(f"--picture {path} cannot be written ({reason})") from error

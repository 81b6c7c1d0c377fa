"""Text files of strangers: plain ones, of a size that makes sense."""

from pathlib import Path


def small_text(path: Path, most: int) -> str:
    """The text of a file.

    Raises:
        ValueError: it has more than ``most`` bytes, or is no UTF-8.
        OSError: it cannot be read.
    """
    if (size := path.stat().st_size) > most:
        raise ValueError(f"it has {size:,} bytes and can have {most:,}")
    return path.read_text(encoding="utf-8")

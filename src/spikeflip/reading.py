"""Files of strangers: plain texts of a size that makes sense, and what tells who wrote one."""

from pathlib import Path

_BEGINNING = 1 << 14


def small_text(path: Path, most: int) -> str:
    """The text of a file.

    Raises:
        ValueError: it has more than ``most`` bytes, or is no UTF-8.
        OSError: it cannot be read.
    """
    if (size := path.stat().st_size) > most:
        raise ValueError(f"it has {size:,} bytes and can have {most:,}")
    return path.read_text(encoding="utf-8")


def may_replace(path: Path, mark: bytes) -> bool:
    """Whether there is nothing at ``path`` yet, or a file that begins with what its writer always puts there.

    Raises:
        OSError: it cannot be read.
    """
    if not path.exists():
        return True
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return mark in file.read(_BEGINNING)

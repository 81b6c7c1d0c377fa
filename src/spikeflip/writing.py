"""Files that appear whole: written under another name, then given their own."""

import errno
import os
from pathlib import Path


def replace_file(source: str | Path, path: Path) -> None:
    """Give a written file its name.

    Raises:
        OSError: the name is that of a device, a pipe or a folder, which the file would take the place of.
    """
    if path.exists() and not path.is_file():
        raise OSError(errno.EINVAL, "it is no plain file", str(path))
    os.replace(source, path)

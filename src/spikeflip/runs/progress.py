"""How far an unfinished run is."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet


def rows_done(folder: Path, config: Mapping[str, Any]) -> float | None:
    """The share of a run's rows that its shards hold, in [0, 1]; None where the run does not say how many there are."""
    every = config.get("rows")
    if isinstance(every, bool) or not isinstance(every, int) or every < 1:
        return None
    done = 0
    for path in folder.glob("shards/[0-9]*/rows.parquet"):
        if not path.is_file():
            continue
        try:
            with pyarrow.parquet.ParquetFile(path.absolute()) as file:
                done += file.metadata.num_rows if 0 <= file.metadata.num_rows <= every else 0
        except (OSError, pyarrow.ArrowException):
            continue  # being written, or damaged: it will be run again
    return min(1.0, done / every)

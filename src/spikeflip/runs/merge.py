"""From the shards of a run to its rows, adversarial inputs and summary, with one shard in memory at a time.

The files come out the same bytes for any number of shards: Parquet row groups and tensors do not follow their borders.
"""

import json
import math
import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow
import pyarrow.parquet
import torch
from safetensors import SafetensorError, safe_open

from spikeflip.errors import SpikeflipError
from spikeflip.judging import Judgement
from spikeflip.judging.notices import Circumstances, changed_events
from spikeflip.report.loading import check_claims, number_columns
from spikeflip.runs.finished import SHARDS
from spikeflip.runs.shard import INPUTS, LATER_COLUMNS, OUTPUTS, ROWS, TRACE
from spikeflip.snn.validation import Kind
from spikeflip.writing import whole_file

DAMAGE = (pyarrow.ArrowException, SafetensorError, KeyError, TypeError, ValueError, IndexError, RuntimeError)
"""What reading a file that is not what a shard wrote can raise, beside an OSError."""
_ROWS_A_GROUP = 1 << 16
_COUNTS = ("events", "events_seen", "events_added", "events_removed", "events_outside")


@contextmanager
def damage_told(out: Path) -> Iterator[None]:
    """Tell what a shard of a run folder that cannot be read raises in one sentence; a full disk stays what it is."""
    try:
        yield
    except (*DAMAGE, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:  # Arrow has none for a file that is damaged
            raise
        raise SpikeflipError(
            f"{out / SHARDS} holds a shard that was damaged meanwhile "
            f"({' '.join(str(error).split())[:200]}): give the same command again"
        ) from error


def merge(shards: Sequence[Path], folder: Path, *, steps: int) -> None:
    """Write what the folders ``shards`` hold, in order, into ``folder``; an input has up to ``steps`` rows of trace."""
    counts = [_inputs_in(shard / INPUTS) for shard in shards]
    for name, a_row in ((ROWS, 1), (TRACE, steps)):
        if (shards[0] / name).exists():
            parts = {shard / name: count * a_row for shard, count in zip(shards, counts, strict=True)}
            merge_tables(parts, folder / name)
    merge_tensors([shard / INPUTS for shard in shards], folder / INPUTS)
    if all((shard / OUTPUTS).exists() for shard in shards):  # an earlier version may have begun the run
        merge_tensors([shard / OUTPUTS for shard in shards], folder / OUTPUTS)


def _inputs_in(path: Path) -> int:
    with safe_open(path, framework="numpy") as file:
        return int(file.get_slice("samples").get_shape()[0])


def merge_tables(parts: Mapping[Path, int], path: Path) -> None:
    """Write the rows of Parquet files of one schema into one file; beside each the number of rows it can have."""
    schema = _schema(parts)
    with whole_file(path) as file, pyarrow.parquet.ParquetWriter(file, schema) as writer:
        for group in _groups(parts, schema):
            writer.write_table(group.combine_chunks())  # one chunk: pages would follow the borders of several


def _schema(parts: Iterable[Path]) -> pyarrow.Schema:
    """The columns of the first part, without those that another lacks since an earlier version began the run."""
    schemas = [pyarrow.parquet.read_schema(part.absolute()) for part in parts]
    lacking = {name for name in LATER_COLUMNS if not all(name in schema.names for schema in schemas)}
    return pyarrow.schema([field for field in schemas[0] if field.name not in lacking])


def _groups(parts: Mapping[Path, int], schema: pyarrow.Schema) -> Iterator[pyarrow.Table]:
    held, wrote = schema.empty_table(), False
    for part, most in parts.items():
        with pyarrow.parquet.ParquetFile(part.absolute()) as file:
            check_claims(file, most)
            held = pyarrow.concat_tables([held, file.read(columns=schema.names)])
        while held.num_rows >= _ROWS_A_GROUP:
            yield held.slice(0, _ROWS_A_GROUP)
            held, wrote = held.slice(_ROWS_A_GROUP), True
    if held.num_rows or not wrote:
        yield held


def merge_tensors(parts: Sequence[Path], path: Path) -> None:
    """Join the tensors of safetensors files along their first axis into one file."""
    with safe_open(parts[0], framework="numpy") as first:
        names = sorted(first.keys(), key=lambda name: (name != "samples", name))  # 8-byte numbers first: aligned
        kinds = {name: first.get_slice(name).get_dtype() for name in names}
        shapes = {name: list(first.get_slice(name).get_shape()) for name in names}
    for part in parts[1:]:
        with safe_open(part, framework="numpy") as more:
            for name in names:
                shapes[name][0] += more.get_slice(name).get_shape()[0]
    with whole_file(path) as file:
        _write_header(file, kinds, shapes)
        for name in names:
            for part in parts:
                with safe_open(part, framework="numpy") as source:
                    file.write(source.get_tensor(name).tobytes())


def _write_header(file: BinaryIO, kinds: dict[str, str], shapes: dict[str, list[int]]) -> None:
    """The header of a safetensors file: its length, then JSON that says where each tensor is."""
    entries, start = {}, 0
    for name, shape in shapes.items():
        stop = start + math.prod(shape) * _BYTES[kinds[name]]
        entries[name] = {"dtype": kinds[name], "shape": shape, "data_offsets": [start, stop]}
        start = stop
    header = json.dumps(entries, separators=(",", ":")).encode()
    header += b" " * (-len(header) % 8)
    file.write(struct.pack("<Q", len(header)) + header)


_BYTES = {"U8": 1, "F32": 4, "I64": 8}


def recordings_in(path: Path) -> list[str]:
    """The files of the recordings that the rows in ``path`` name; none where the inputs are images."""
    with pyarrow.parquet.ParquetFile(path.absolute()) as file:
        if "file" not in file.schema_arrow.names:
            return []
        check_claims(file, file.metadata.num_rows)
        return list(map(str, file.read(columns=["file"])["file"].to_pylist()))


def summarise(path: Path, *, goal: str, kind: Kind, draws: int, known: Circumstances | None = None) -> dict[str, Any]:
    """The summary of the rows in ``path``; its notices also go by what is ``known`` beside them."""
    with pyarrow.parquet.ParquetFile(path.absolute()) as file:
        names = number_columns(file)
        table = file.read(columns=names)
        recordings = "file" in file.schema_arrow.names
    rows = {name: torch.from_numpy(table[name].to_numpy(zero_copy_only=False).copy()) for name in names}
    judgement = Judgement(kind, draws if kind == "images" else 1, rows, known or Circumstances())
    summary = {"goal": goal, **judgement.summary()}
    summary["lost_in_judging"] = int(rows["lost_in_judging"].sum())
    if recordings:
        won = rows["success"]
        rows["events_seen"] = rows["events"] - rows["events_outside"]
        summary |= {"files": len(won), "files_exact": int(rows["file_exact"].sum())}
        names = [name for name in (*_COUNTS, "events_moved") if name in rows]
        summary |= {f"{name}_mean": float(rows[name][won].double().mean()) if won.any() else None for name in names}
        of_all, of_seen = changed_events(rows) or (None, None)
        summary |= {"events_changed_of_all": of_all, "events_changed_of_seen": of_seen}
    return summary

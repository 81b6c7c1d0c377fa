"""NIR files, HDF5, read so that a file of a stranger neither runs code nor asks for more memory than it is worth.

Only the fields that are needed are opened: hard links to plain numbers and texts that lie in the file itself. The
HDF5 library neither unpacks anything nor looks up text, as damaged files make it ask for any memory or never come back
from that: packed pieces are unpacked here, to the size that they say, and text is read in :mod:`.text`.
"""

import math
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikeflip.errors import SpikeflipError
from spikeflip.victims.nir.graph import FIELDS, SUPPORTED, Edge, Graph, Node, Value
from spikeflip.victims.nir.text import TextHeap

# Bytes of all arrays of a file together, and how many times its own size; gzip packs 1032 to 1 at best.
_MOST_BYTES = 2**31
_MOST_PACKED = 1100
_MOST_PIECES = 2**16
_MOST_DEPTH = 16
_MOST_NODES, _MOST_EDGES = 2000, 5000
_LONGEST_NAME = 1000
_LONGEST_TEXT = 2**16
_GZIP, _SHUFFLE = 1, 2


def read(file: Path, own: str) -> tuple[Graph, str | None]:
    """The graph of a file, and the text that its metadata hold under the name ``own``.

    Raises:
        SpikeflipError: the file is missing, damaged, too large, or holds something that is no such graph.
    """
    h5py = _h5py()
    if not file.is_file():
        raise SpikeflipError("there is no such file: give one that nir.write or spikeflip.save_nir wrote")
    with _one_sentence(), file.open("rb") as raw, h5py.File(file, "r") as opened:
        reader = _Reader(h5py, TextHeap(raw, opened))
        if "node" not in opened:
            raise SpikeflipError("it is an HDF5 file without a NIR graph ('node' is missing): export it again")
        top = reader.group(opened, "node", "the graph")
        graph = reader.node(top, "", 0)
        if isinstance(graph, Node):
            raise SpikeflipError(f"it holds a single {graph.kind} and no graph: put it into a nir.NIRGraph")
        text = None
        if "metadata" in top:
            metadata = reader.group(top, "metadata", "the graph")
            text = reader.text(metadata, own, "the graph's metadata", _LONGEST_TEXT) if own in metadata else None
        return graph, text


def _h5py() -> ModuleType:
    try:
        import h5py
    except ImportError as error:
        raise SpikeflipError(
            "reading NIR files needs the packages nir and h5py: pip install 'spikeflip[nir]'"
        ) from error
    return h5py  # type: ignore[no-any-return]


@contextmanager
def _one_sentence() -> Iterator[None]:
    try:
        yield
    except SpikeflipError:
        raise
    except Exception as error:  # whatever h5py raises on a damaged file
        said = " ".join(str(error).split())[:200] or type(error).__name__
        raise SpikeflipError(f"it cannot be read as HDF5 ({said}): give a file that nir.write wrote") from error


class _Reader:
    def __init__(self, h5py: ModuleType, heap: TextHeap) -> None:
        self._h5py: Any = h5py
        self._heap = heap
        self._size = heap.size
        self._left = min(_MOST_BYTES, _MOST_PACKED * self._size)
        self._nodes = self._edges_seen = 0

    def node(self, group: Any, path: str, depth: int) -> Node | Graph:
        """A node with the fields that its kind has, or a graph with its nodes."""
        said = f"node {path[:80]!r}" if path else "the graph"
        kind = self.text(group, "type", said, _LONGEST_NAME)
        if kind == "NIRGraph":
            return self._graph(group, path, said, depth)
        if kind not in FIELDS:
            raise SpikeflipError(f"{said} is of type {kind[:80]!r}, which is not supported: use {', '.join(SUPPORTED)}")
        needed, optional = FIELDS[kind]
        values: dict[str, Value] = {}
        for field in (*needed, *optional):
            value = self._value(group, field, f"{said} ({kind})") if field in group else None
            if value is not None:
                values[field] = value
            elif field in needed:
                raise SpikeflipError(f"{said} ({kind}) has no {field}: export it again")
        return Node(path, kind, values)

    def _graph(self, group: Any, path: str, said: str, depth: int) -> Graph:
        if depth >= _MOST_DEPTH:
            raise SpikeflipError(f"{said} is the {depth + 1}th graph in each other: nest at most {_MOST_DEPTH}")
        members = self.group(group, "nodes", said)
        nodes = {}
        for name in members:
            inner = f"{path}/{name}" if path else name
            self._nodes += 1
            if self._nodes > _MOST_NODES:
                raise SpikeflipError(f"the graph has more than {_MOST_NODES:,} nodes: give a smaller one")
            nodes[name] = self.node(self.group(members, name, said), inner, depth + 1)
        return Graph(path, nodes, self._edges(group, said))

    def _edges(self, group: Any, said: str) -> list[Edge]:
        edges = self._dataset(group, "edges", said)
        shape = edges.shape or (0, 2)
        if shape == (0,):
            return []
        self._edges_seen += shape[0]
        if len(shape) != 2 or shape[1] != 2 or self._edges_seen > _MOST_EDGES:
            raise SpikeflipError(
                f"{said} has edges of shape {shape}: give at most {_MOST_EDGES:,} pairs of names in all"
            )
        names = self._texts(edges, f"edges of {said}", _LONGEST_NAME)
        return list(zip(names[::2], names[1::2], strict=True))

    def group(self, parent: Any, name: str, said: str) -> Any:
        """A group inside another one, in the same file."""
        found = self._member(parent, name, said)
        if not isinstance(found, self._h5py.Group):
            raise SpikeflipError(f"{said} has {name[:80]!r} that is no group: export it again")
        return found

    def text(self, parent: Any, name: str, said: str, longest: int) -> str:
        """A text."""
        dataset = self._dataset(parent, name, said)
        if dataset.shape != ():
            raise SpikeflipError(f"{said} has {name!r} of shape {dataset.shape}: give one text")
        return self._texts(dataset, f"{name!r} of {said}", longest)[0]

    def _value(self, parent: Any, name: str, said: str) -> Value | None:
        dataset = self._dataset(parent, name, said)
        if dataset.shape is None:
            return None
        if self._h5py.check_string_dtype(dataset.dtype) is not None:
            return self.text(parent, name, said, _LONGEST_NAME)
        return self._array(dataset, f"{name} of {said}")

    def _member(self, parent: Any, name: str, said: str) -> Any:
        link = parent.get(name, getlink=True)
        if link is None:
            raise SpikeflipError(f"{said} has no {name}: export it again")
        if not isinstance(link, self._h5py.HardLink):
            raise SpikeflipError(f"{said} has {name!r} that is a link to elsewhere: keep all data in the file itself")
        return parent[name]

    def _dataset(self, parent: Any, name: str, said: str) -> Any:
        found = self._member(parent, name, said)
        if not isinstance(found, self._h5py.Dataset):
            raise SpikeflipError(f"{said} has {name!r} that is no data: export it again")
        if found.external or found.is_virtual:
            raise SpikeflipError(
                f"{said} has {name!r} whose data are in another file: keep all data in the file itself"
            )
        return found

    def _texts(self, dataset: Any, said: str, longest: int) -> list[str]:
        """All texts of a dataset, row by row."""
        kind = self._h5py.check_string_dtype(dataset.dtype)
        if kind is None:
            raise SpikeflipError(f"{said} hold {dataset.dtype.kind!r} data and no text: export it again")
        if dataset.chunks is not None or (kind.length or 0) > longest:
            raise SpikeflipError(f"{said} hold text that is packed, or longer than {longest:,}: export it again")
        if kind.length is None:
            texts = self._heap.texts(dataset.id.get_offset(), math.prod(dataset.shape), longest)
        else:
            texts = [bytes(text) for text in np.asarray(dataset[()]).reshape(-1)]
        if texts is None:
            raise SpikeflipError(f"{said} hold a text longer than {longest:,} bytes, or damaged: export it again")
        return [text.decode("utf-8") for text in texts]

    def _array(self, dataset: Any, said: str) -> NDArray[Any]:
        """An array of numbers, after its size has been compared with what the file can hold."""
        shape, dtype = tuple(dataset.shape), dataset.dtype
        if dtype.kind not in "fiub" or dtype.itemsize > 16:
            raise SpikeflipError(f"{said} is of type {str(dtype)[:60]}: store numbers")
        kept = np.dtype(np.float32 if dtype.kind == "f" and dtype.itemsize <= 4 else np.float64)
        size = math.prod(shape) * dtype.itemsize
        self._left -= math.prod(shape) * max(dtype.itemsize, kept.itemsize)
        if dataset.chunks is None and size > self._size:
            raise SpikeflipError(f"{said} claims {shape}, {size:,} bytes in a file of {self._size:,}: it is damaged")
        self._check_left(f"{said}, {shape}")
        values = dataset[()] if dataset.chunks is None else self._unpack(dataset, said, shape, dtype)
        return np.asarray(values, dtype=kept)

    def _check_left(self, said: str) -> None:
        if self._left < 0:
            raise SpikeflipError(
                f"the file of {self._size:,} bytes claims more than it can hold, or more than {_MOST_BYTES:,} bytes, "
                f"at {said[:200]}: it is damaged"
            )

    def _unpack(self, dataset: Any, said: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[Any]:
        pieces, size = dataset.chunks, math.prod(dataset.chunks) * dtype.itemsize
        count = math.prod(-(-n // p) for n, p in zip(shape, pieces, strict=True))
        filters = dataset.id.get_create_plist()
        steps = [filters.get_filter(i)[0] for i in range(filters.get_nfilters())]
        if set(steps) - {_GZIP, _SHUFFLE}:
            raise SpikeflipError(f"{said} is packed by HDF5 filters {steps}: write it with compression='gzip'")
        stored: list[Any] = []
        dataset.id.chunk_iter(stored.append)
        if count > _MOST_PIECES or len(stored) != count or size > 2**20 + 64 * math.prod(shape) * dtype.itemsize:
            raise SpikeflipError(
                f"{said} is in {len(stored)} pieces of {pieces}, not {count} for {shape}: it is damaged"
            )
        values = np.zeros(shape, dtype)
        for piece in stored:
            if piece.byte_offset is None or piece.byte_offset + piece.size > self._size:
                raise SpikeflipError(f"{said} lies beyond the end of the file: it is damaged")
            skipped, packed = dataset.id.read_direct_chunk(piece.chunk_offset)
            applied = [step for i, step in enumerate(steps) if not skipped >> i & 1]
            chunk = np.frombuffer(_plain(packed, applied, size, dtype.itemsize, said), dtype).reshape(pieces)
            part = tuple(slice(o, min(o + p, n)) for o, p, n in zip(piece.chunk_offset, pieces, shape, strict=True))
            values[part] = chunk[tuple(slice(0, s.stop - s.start) for s in part)]
        return values


def _plain(packed: bytes, steps: list[int], size: int, item: int, said: str) -> bytes:
    """Undo the filters of a piece that is ``size`` bytes long; unpacks no more than that."""
    for step in reversed(steps):
        if step == _GZIP:
            unpacking = zlib.decompressobj()
            packed = unpacking.decompress(packed, size)
        elif len(packed) == size:
            packed = np.frombuffer(packed, np.uint8).reshape(item, -1).T.tobytes()
    if len(packed) != size:
        raise SpikeflipError(f"{said} has a piece of {len(packed):,} bytes, not {size:,}: it is damaged")
    return packed

"""A pattern that is put on every input alike: cells to flip, or a patch of bits; and the file that holds one.

The file is of safetensors, which executes nothing: the bits, and in its header one JSON text with all else.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from spikeflip.errors import SpikeflipError
from spikeflip.limits import LARGEST_DESCRIPTION, MOST_FRAME_CELLS
from spikeflip.snn.architecture import Shape
from spikeflip.writing import write_bytes

PatternKind = Literal["universal", "patch"]
Fact = str | int | float | None

MARK = b"spikeflip.pattern"
"""In the header of every file of a pattern; tells it from a file that is not to be written over."""
_FORMAT = 1
_LONGEST_FACT = 1000
_MOST_FACTS = 100


@dataclass(frozen=True, eq=False)
class Pattern:
    """Bits that are put on every input alike; :func:`learn_universal` and :func:`learn_patch` make one.

    Args:
        kind: ``"universal"`` flips cells, ``"patch"`` replaces a square of pixels in all time steps and channels.
        bits: uint8 of 0 and 1: of a universal perturbation ``(T, *input)``, 1 where a cell is flipped; of a patch
            ``(T, *input)`` with its side in the place of height and width, what its cells become.
        shape: ``(T, *input)`` of the inputs.
        place: of a patch, its first row and column; None for a place that is drawn for each input.
        facts: of how it was learned, such as ``target``, ``inputs`` and ``success``.

    Raises:
        SpikeflipError: the parts do not fit each other.
    """

    kind: PatternKind
    bits: Tensor
    shape: Shape
    place: Shape | None = None
    facts: Mapping[str, Fact] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if wrong := _wrong(self.kind, tuple(self.bits.shape), self.shape, self.place):
            raise SpikeflipError(f"the pattern cannot be used: {wrong}")
        if self.bits.dtype != torch.uint8 or bool((self.bits > 1).any()):
            raise SpikeflipError("the pattern cannot be used: its bits are not 0 and 1 of torch.uint8")

    @property
    def cells(self) -> int:
        """The most cells of an input that it can change."""
        return int(self.bits.sum()) if self.kind == "universal" else self.bits.numel()

    @property
    def target(self) -> int | None:
        """The class towards which it was learned; None if untargeted, or not known."""
        found = self.facts.get("target")
        return found if type(found) is int else None

    @property
    def sha256(self) -> str:
        """Checksum of the content, that of the file that :func:`save_pattern` writes."""
        return hashlib.sha256(content_of(self)).hexdigest()

    @property
    def free(self) -> Shape:
        """In how many places a patch can lie, along each axis that it has places on."""
        axes = len(self.shape[1:][-2:])
        return tuple(
            length - side + 1 for length, side in zip(self.shape[-axes:], self.bits.shape[-axes:], strict=True)
        )

    def places(self, numbers: Tensor) -> Tensor:
        """Where each patch lies, ``(n, axes)`` int64: at its place, or where uniform numbers ``(n, axes)`` put it."""
        if self.place is not None:
            return torch.tensor(self.place).expand(len(numbers), -1)
        free = torch.tensor(self.free)
        return torch.minimum((numbers.cpu().double() * free).long(), free - 1)

    def cells_at(self, places: Tensor) -> Tensor:
        """Which cells of a flattened input ``(T * input)`` a patch covers at places ``(n, axes)``: ``(n, cells)``."""
        every = torch.arange(prod(self.shape)).reshape(self.shape)
        for axis, side in enumerate(self.bits.shape):
            every = every.narrow(axis, 0, side)
        strides = torch.tensor([prod(self.shape[axis + 1 :]) for axis in range(len(self.shape))][-places.shape[1] :])
        return every.flatten() + (places * strides).sum(1, keepdim=True)

    def applied(self, spikes: Tensor, places: Tensor | None = None) -> Tensor:
        """Spikes ``(n, T, *input)`` with the pattern, of a patch at ``places`` ``(n, axes)``; a new tensor.

        >>> bits = torch.tensor([[1, 0], [0, 1]], dtype=torch.uint8)
        >>> Pattern("universal", bits, (2, 2)).applied(torch.tensor([[[0.0, 1], [0, 1]]])).tolist()
        [[[1.0, 1.0], [0.0, 0.0]]]
        """
        bits = self.bits.to(spikes)
        if self.kind == "universal":
            return (spikes != bits).to(spikes)
        assert places is not None
        flat = spikes.flatten(1)
        index = self.cells_at(places).to(spikes.device)
        return flat.scatter(1, index, bits.flatten().expand(len(flat), -1)).view_as(spikes)

    def __str__(self) -> str:
        sides = "×".join(map(str, self.bits.shape[1:][-2:]))
        at = "random" if self.place is None else ",".join(map(str, self.place))
        what = f"{self.cells:,} flips" if self.kind == "universal" else f"a patch of {sides} at {at}"
        return f"{what}, sha256 {self.sha256[:12]}"


def _wrong(kind: object, bits: Shape, shape: Shape, place: Shape | None) -> str | None:
    """What does not fit in a pattern, in a clause."""
    if kind not in ("universal", "patch"):
        return f"its kind is {kind!s:.40}, neither universal nor patch"
    if len(shape) < 2 or min(shape) < 1 or prod(shape) > MOST_FRAME_CELLS:
        return f"its inputs have shape {shape}"
    axes = len(shape[1:][-2:])
    sides, lengths = bits[-axes:], shape[-axes:]
    same = bits[:-axes] == shape[:-axes] and len(bits) == len(shape)
    fits = sides == lengths if kind == "universal" else len({*sides}) == 1 and 1 <= sides[0] <= min(lengths)
    if not (same and fits):
        return f"bits of shape {bits} are no {kind} pattern of inputs {shape}"
    if place is None:
        return None
    if kind == "universal":
        return "it has a place, as patches alone have"
    free = [length - side for length, side in zip(lengths, sides, strict=True)]
    if len(place) != axes or not all(0 <= at <= most for at, most in zip(place, free, strict=True)):
        return f"its place {place} is not within {tuple(free)}"
    return None


def content_of(pattern: Pattern) -> bytes:
    """The file of a pattern: the same bytes for the same pattern."""
    said = {
        "format": _FORMAT,
        "kind": pattern.kind,
        "shape": list(pattern.shape),
        "place": None if pattern.place is None else list(pattern.place),
        "facts": dict(pattern.facts),
    }
    # One text: safetensors writes several in no fixed order.
    bits = pattern.bits.cpu().contiguous()
    return save({"bits": bits}, metadata={MARK.decode(): json.dumps(said, sort_keys=True)})


def save_pattern(pattern: Pattern, path: Path | str) -> None:
    """Write a pattern into a file of safetensors, whole or not at all."""
    write_bytes(Path(path), content_of(pattern))


def load_pattern(path: Path | str) -> Pattern:
    """Read what :func:`save_pattern` wrote; shapes and types are compared before anything is used.

    Raises:
        SpikeflipError: the file is missing, damaged or holds no pattern.
    """
    path = Path(path)
    if not path.is_file():
        what = "is no file" if path.exists() else "does not exist"
        raise SpikeflipError(f"the pattern {path} {what}: give a file that learn-pattern wrote")
    try:
        if (size := path.stat().st_size) > MOST_FRAME_CELLS + LARGEST_DESCRIPTION:
            raise ValueError(f"it has {size:,} bytes")
        with safe_open(path, framework="pt") as file:
            said = _read_header(file)
            bits = file.get_tensor("bits")
        return Pattern(bits=bits, **said)
    except (OSError, SafetensorError, SpikeflipError, ValueError, KeyError, TypeError, RecursionError) as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise SpikeflipError(f"{path} is no pattern that can be used ({reason}): learn it again") from error


def _read_header(file: Any) -> dict[str, Any]:
    """The arguments of a :class:`Pattern` but for its bits, whose size and type are checked."""
    said = json.loads((file.metadata() or {}).get(MARK.decode(), "null"))
    if not isinstance(said, dict) or said.get("format") != _FORMAT:
        raise ValueError("its header says nothing of a pattern")
    if list(file.keys()) != ["bits"] or file.get_slice("bits").get_dtype() != "U8":
        raise ValueError("it does not hold bits of type U8 alone")
    shape, place, facts = said["shape"], said["place"], said["facts"]
    for name, values in (("shape", shape), ("place", [] if place is None else place)):
        if not isinstance(values, list) or not all(type(value) is int for value in values):
            raise ValueError(f"its {name} is no list of whole numbers")
    if not isinstance(facts, dict) or len(facts) > _MOST_FACTS or not all(map(_is_fact, facts.values())):
        raise ValueError("its facts are no short texts and numbers")
    return {
        "kind": said["kind"],
        "shape": tuple(shape),
        "place": None if place is None else tuple(place),
        "facts": facts,
    }


def _is_fact(value: object) -> bool:
    return value is None or (isinstance(value, str | int | float) and len(str(value)) <= _LONGEST_FACT)

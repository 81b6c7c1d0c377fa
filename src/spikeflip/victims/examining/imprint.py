"""What a model is made of at one moment, to tell whether it was given back as it was found."""

import hashlib
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from spikeflip.victims.modules import named_buffers, named_modules, named_parameters
from spikeflip.victims.state import slots


@dataclass(frozen=True)
class Imprint:
    """Marks by what they are of, in words; what is equal and the very same object has an equal mark."""

    marks: Mapping[str, object]
    held: tuple[object, ...]
    """All that the marks are of: an object that is alive shares its identity with no other."""

    @classmethod
    def of(cls, model: nn.Module, *, attributes: bool = True) -> "Imprint":
        """Mode, hooks and parameters of every layer; with ``attributes`` also all that could be state."""
        held: list[object] = []
        marks: dict[str, object] = {}
        for name, module in named_modules(model):
            where = f"layer {name!r}" if name else "the model"
            marks[f"the mode of {where}"] = module.training
            for kind, hooks in vars(module).items():
                if kind.endswith("_hooks") and isinstance(hooks, dict):
                    marks[f"{kind} of {where}"] = _mark(list(hooks.values()), held)[1:]
        for name, parameter in named_parameters(model):
            marks[f"parameter {name!r}"] = _mark(parameter, held)
            marks[f"requires_grad of parameter {name!r}"] = parameter.requires_grad
            marks[f"the gradient of parameter {name!r}"] = _mark(parameter.grad, held)
        if attributes:
            for slot in slots(model):
                marks[f"attribute {str(slot)!r}"] = _mark(slot.get(), held)
        else:
            for name, buffer in named_buffers(model):
                marks[f"buffer {name!r}"] = _mark(buffer, held)
        return cls(marks, tuple(held))

    def differences(self, other: "Imprint") -> list[str]:
        """What is not the same in both."""
        names = dict.fromkeys((*self.marks, *other.marks))
        return [name for name in names if self.marks.get(name) != other.marks.get(name)]


def _mark(value: object, held: list[object], inside: tuple[int, ...] = ()) -> tuple[object, ...]:
    """Identity and content of tensors and containers; identity of everything else."""
    held.append(value)
    mark: tuple[object, ...] = (id(value),)
    if id(value) in inside:
        return mark
    if isinstance(value, Tensor):
        return (*mark, value.requires_grad, _digest(value))
    within = (*inside, id(value))
    if isinstance(value, dict):
        return (*mark, *((_mark(key, held, within), _mark(entry, held, within)) for key, entry in value.items()))
    if isinstance(value, list | tuple | deque):
        return (*mark, *(_mark(entry, held, within) for entry in value))
    return mark


def _digest(tensor: Tensor) -> object:
    try:
        flat = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
        return tuple(tensor.shape), tensor.dtype, hashlib.blake2b(flat.numpy().data, digest_size=16).digest()
    except (RuntimeError, TypeError, ValueError):  # sparse, quantised or not initialised
        return tensor._version

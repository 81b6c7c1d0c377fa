"""What a foreign model remembers, found by running it once, and how it is borrowed and given back.

Frameworks keep state in buffers, attributes and dictionaries, and their own resets miss nested layers and recurrent
ones, or reach other models of the same process. So the state is learned: whatever differs after a run is it, and is
put back before and after every later run.
"""

import copy
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from spikeflip.victims.modules import named_modules

_INTERNAL = frozenset(vars(nn.Module())) - {"_buffers"}


class _Absent:
    """Stands for an attribute that is not there; a class, which a deep copy of a state leaves as it is."""


@dataclass(frozen=True)
class Slot:
    """One attribute or buffer of a module."""

    layer: str
    module: nn.Module
    name: str
    buffer: bool

    def get(self) -> object:
        """What is there."""
        return self._place().get(self.name, _Absent)

    def put(self, value: object) -> None:
        """Put a value there, past all checks of the module."""
        if value is _Absent:
            self._place().pop(self.name, None)
        else:
            self._place()[self.name] = value

    def _place(self) -> dict[str, object]:
        place: dict[str, object] = vars(self.module)["_buffers"] if self.buffer else vars(self.module)
        return place

    def __str__(self) -> str:
        return f"{self.layer}.{self.name}" if self.layer else self.name


def slots(model: nn.Module) -> Iterator[Slot]:
    """Every attribute and buffer of every module that could hold state; parameters and modules are none."""
    for layer, module in named_modules(model):
        for name in vars(module):
            if name not in _INTERNAL and name != "_buffers":
                yield Slot(layer, module, name, buffer=False)
        for name in vars(module)["_buffers"]:
            yield Slot(layer, module, name, buffer=True)


class State:
    """The slots in which a model remembers, and the values that it starts from."""

    def __init__(self, starts: Mapping[Slot, object]) -> None:
        self._starts = dict(starts)

    @classmethod
    def everything(cls, model: nn.Module) -> "State":
        """All that could be state, as it is."""
        memo: dict[int, object] = {}
        return cls({slot: _copy(slot.get(), memo) for slot in slots(model)})

    @property
    def slots(self) -> tuple[Slot, ...]:
        """Where the model remembers."""
        return tuple(self._starts)

    def stale(self) -> list[Slot]:
        """Slots that start from a tensor that is not zero: the model had been used before."""
        return [slot for slot, value in self._starts.items() if any(map(_used, tensors(value)))]

    def on(self, device: torch.device) -> "State":
        """The same, for a model that has moved."""
        return State({slot: _copy(value, {}, device) for slot, value in self._starts.items()})

    def filled(self, chosen: Iterable[Slot], number: float) -> "State":
        """The same, but that the tensors of some slots start from one number; from 1 where they cannot hold it."""
        starts = {slot: _copy(value, {}) for slot, value in self._starts.items()}
        for slot in set(chosen):
            for tensor in tensors(starts[slot]):
                tensor.detach().fill_(number if number == 0 or tensor.is_floating_point() else 1)
        return State(starts)

    def after(self, model: nn.Module, reset: Callable[[], object]) -> "State":
        """The slots with those that ``reset`` creates, starting from what it puts there; the model stays as it is."""
        with self.tried(model), torch.no_grad():  # frameworks reset in place
            reset()
            memo: dict[int, object] = {}
            return State({slot: _copy(slot.get(), memo) for slot in dict.fromkeys((*self._starts, *slots(model)))})

    def cut(self) -> None:
        """Put copies in all slots, behind which the graph ends."""
        memo: dict[int, object] = {}
        for slot in self._starts:
            slot.put(_copy(slot.get(), memo))

    @contextmanager
    def tried(self, model: nn.Module) -> Iterator[None]:
        """The model as it starts, for the duration; afterwards as it was, without attributes that it got meanwhile."""
        with self.fresh():
            try:
                yield
            finally:
                for slot in set(slots(model)) - set(self._starts):
                    slot.put(_Absent)

    @contextmanager
    def fresh(self) -> Iterator[None]:
        """The model as it starts, for the duration; afterwards the very objects that it held before."""
        kept = [(slot, slot.get()) for slot in self._starts]
        memo: dict[int, object] = {}
        for slot, value in self._starts.items():
            slot.put(_copy(value, memo))
        try:
            yield
        finally:
            for slot, value in kept:
                slot.put(value)


def learn(model: nn.Module, start: State, runs: Iterable[Callable[[], object]]) -> State:
    """Run a model in every given way, each time from ``start``, and see what changed.

    The runs work on copies of all that could change, so that the model's own objects stay as they are.
    """
    remembered = start._starts
    # What a reset put there belongs to the start, also where the runs leave it as it is.
    found = {slot: value for slot, value in remembered.items() if not _equal(value, slot.get())}
    for run in runs:
        with start.tried(model):
            started = {slot: _Started.of(slot.get()) for slot in remembered}
            run()
            now = {slot: slot.get() for slot in slots(model)}
        for slot in dict.fromkeys((*remembered, *now)):
            if slot not in remembered:
                found[slot] = _Absent
            elif slot not in now or not started[slot].unchanged(remembered[slot], now[slot]):
                found[slot] = remembered[slot]
    return State(found)


@contextmanager
def mode(
    modules: Sequence[nn.Module], parameters: Sequence[nn.Parameter], training: Sequence[nn.Module] = ()
) -> Iterator[None]:
    """Modules in evaluation mode but those of ``training``, and no parameter asking for a gradient."""
    flags = [module.training for module in modules]
    asking = [parameter for parameter in parameters if parameter.requires_grad]
    try:
        for module in modules:
            vars(module)["training"] = False
        for module in training:
            vars(module)["training"] = True
        for parameter in asking:
            parameter.requires_grad_(False)
        yield
    finally:
        for module, flag in zip(modules, flags, strict=True):
            vars(module)["training"] = flag
        for parameter in asking:
            parameter.requires_grad_(True)


@contextmanager
def shadowed(attributes: Sequence[tuple[nn.Module, Mapping[str, object]]]) -> Iterator[None]:
    """Attributes put before those of modules, which keep their own untouched: an object's dictionary is asked first."""
    kept = [(module, name, vars(module).get(name, _Absent)) for module, names in attributes for name in names]
    try:
        for module, names in attributes:
            vars(module).update(names)
        yield
    finally:
        for module, name, value in kept:
            if value is _Absent:
                vars(module).pop(name, None)
            else:
                vars(module)[name] = value


def _copy(value: object, memo: dict[int, object], device: torch.device | None = None) -> object:
    """Tensors and containers copied, each once; everything else as it is."""
    if id(value) in memo:
        return memo[id(value)]
    result = value
    if isinstance(value, Tensor):
        fresh = value.detach().clone()
        fresh = fresh if device is None else fresh.to(device)
        # What a training step left behind hangs on its graph; a copy of it is a plain value.
        result = fresh.requires_grad_() if value.requires_grad and value.is_leaf else fresh
    elif isinstance(value, dict):
        result = copy.copy(value)
        memo[id(value)] = result
        for key, entry in value.items():
            result[key] = _copy(entry, memo, device)
    elif type(value) in (list, deque, set):
        result = copy.copy(value)
        memo[id(value)] = result
        if type(value) is not set:
            for i, entry in enumerate(value):  # type: ignore[arg-type]
                result[i] = _copy(entry, memo, device)  # type: ignore[index]
    elif type(value) is tuple:
        result = tuple(_copy(entry, memo, device) for entry in value)
    elif isinstance(value, tuple) and hasattr(value, "_make"):
        result = value._make(_copy(entry, memo, device) for entry in value)
    memo[id(value)] = result
    return result


def without_graph(value: object) -> object:
    """A value with copies of its tensors, behind which the graph ends, those in containers too."""
    return _copy(value, {})


def tensors(value: object) -> Iterator[Tensor]:
    """All tensors in a value, those in containers too."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, dict):
        for entry in value.values():
            yield from tensors(entry)
    elif isinstance(value, list | tuple | deque):
        for entry in value:
            yield from tensors(entry)


def _used(tensor: Tensor) -> bool:
    return tensor.numel() > 1 and bool(tensor.count_nonzero())


@dataclass(frozen=True)
class _Started:
    """What a run found in a slot: fresh copies, to which nobody had written."""

    value: object
    tensors: tuple[Tensor, ...]
    asking: tuple[bool, ...]
    """Which of them ask for a gradient."""

    @classmethod
    def of(cls, value: object) -> "_Started":
        found = tuple(tensors(value))
        return cls(value, found, tuple(tensor.requires_grad for tensor in found))

    def unchanged(self, remembered: object, now: object) -> bool:
        """Whether a value is the very object of the start, nothing was written to or set, and it equals what it was.

        Another object and a write count although they may be equal on the example: a layer that is silent adds zeros.
        """
        if now is not self.value and isinstance(now, Tensor | dict | list | deque | set | tuple):
            return False
        same = all(a is b and not _written(a) for a, b in zip(self.tensors, tensors(now), strict=False))
        asking = tuple(tensor.requires_grad for tensor in self.tensors)
        return same and asking == self.asking and _equal(remembered, now)


def _written(tensor: Tensor) -> bool:
    return not tensor.is_inference() and tensor._version > 0


def _equal(a: object, b: object) -> bool:
    if isinstance(a, Tensor) and isinstance(b, Tensor):
        return a.shape == b.shape and a.dtype == b.dtype and torch.equal(a.detach(), b.detach())
    if type(a) is not type(b):
        return False
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(_equal(a[key], b[key]) for key in a)
    if isinstance(a, list | deque | tuple) and isinstance(b, list | deque | tuple):
        return len(a) == len(b) and all(map(_equal, a, b))
    if a is b:
        return True
    try:
        return bool(a == b)
    except Exception:  # an object that cannot be compared counts as another one
        return False

"""Which layers a model runs, in which order, and where its samples are in what they handle.

The order of registration says little: the penultimate spiking layer is the last one that starts before the last weight
layer does. That holds for a network that ends with neurons and for one that ends with a linear layer. A module that
starts after the last weights as well is the output too, and no penultimate layer.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from spikeflip.victims.modules import named_modules, own_parameters
from spikeflip.victims.spike_functions import SpikingLayer


@dataclass(frozen=True)
class SampleAxis:
    """Where samples are in a tensor: along ``dim``, the entries of one together or one batch after the other."""

    dim: int
    together: bool
    ndim: int = 0
    """Axes of the tensor where it was found."""

    def totals(self, tensor: Tensor, n: int) -> Tensor:
        """The sum over everything of one sample, ``(n,)``; zeros for a tensor that does not hold n samples."""
        if n == 0 or tensor.shape[self.dim] % n:
            return torch.zeros(n, device=tensor.device)
        split = tensor.unflatten(self.dim, (n, -1) if self.together else (-1, n))
        where = self.dim if self.together else self.dim + 1
        others = [d for d in range(split.ndim) if d != where]
        totals: Tensor = split.sum(others, dtype=torch.float32) if others else split.float()
        return totals

    @classmethod
    def of(cls, one: Tensor, three: Tensor) -> "SampleAxis | None":
        """The axis, from a layer's tensors for the first sample alone and for three; None where there is no such."""
        if one.ndim != three.ndim:
            return None
        longer = [d for d in range(one.ndim) if three.shape[d] != one.shape[d]]
        if len(longer) != 1 or three.shape[longer[0]] != 3 * one.shape[longer[0]]:
            return None
        dim, frames = longer[0], one.shape[longer[0]]
        for together in (False, True):
            shape = (3, frames) if together else (frames, 3)
            first = three.unflatten(dim, shape).select(dim if together else dim + 1, 0)
            if torch.allclose(first.float(), one.float(), atol=1e-3):
                return cls(dim, together, one.ndim)
        return None


@dataclass(frozen=True)
class Order:
    """The spiking layers in the order in which they first start, the last and the one before the last weights."""

    spiking: tuple[str, ...]
    last: str | None
    penultimate: str | None


def started(calls: Sequence[str], layers: Mapping[str, SpikingLayer]) -> Order:
    """The order of layers, from the names of layers as they started, weight layers among them."""
    first = list(dict.fromkeys(calls))
    weights = [name for name in first if name not in layers]
    neurons = [name for name in calls if name in layers]
    before: list[str] = []
    outputs: Sequence[str] = ()
    if weights:
        before = [name for name in first[: first.index(weights[-1])] if name in layers]
        outputs = calls[len(calls) - calls[::-1].index(weights[-1]) :]
    return Order(
        spiking=tuple(dict.fromkeys(neurons)),
        last=neurons[-1] if neurons else None,
        penultimate=before[-1] if before and before[-1] not in outputs else None,
    )


def weight_layers(model: nn.Module, layers: Mapping[str, SpikingLayer]) -> dict[str, nn.Module]:
    """Modules with matrices or kernels of their own, those inside a spiking layer left out."""
    inside = tuple(f"{name}." if name else "" for name in layers)
    return {
        name: module
        for name, module in named_modules(model)
        if name not in layers
        and not (inside and name.startswith(inside))
        and any(parameter.ndim > 1 for parameter in own_parameters(module).values())
    }


@contextmanager
def on_start(modules: Mapping[str, nn.Module], note: Callable[[str, object], None]) -> Iterator[None]:
    """Tell ``note`` the name and the first argument of every module that starts."""

    def hook(name: str) -> Callable[[nn.Module, tuple[object, ...]], None]:
        return lambda _module, arguments: note(name, arguments[0] if arguments else None)

    handles = [module.register_forward_pre_hook(hook(name)) for name, module in modules.items()]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def on_end(modules: Mapping[str, nn.Module], note: Callable[[str, object], None]) -> Iterator[None]:
    """Tell ``note`` the name and the output of every module that ends, the first part where there are several."""

    def hook(name: str) -> Callable[[nn.Module, object, object], None]:
        return lambda _module, _arguments, answer: note(name, answer[0] if isinstance(answer, tuple) else answer)

    handles = [module.register_forward_hook(hook(name)) for name, module in modules.items()]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()

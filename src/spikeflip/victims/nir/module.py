"""A NIR graph as a torch module: what is not in a cycle runs over the whole sequence, the rest step by step.

No layer keeps anything between calls: states go in and out.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import chain

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from spikeflip.snn.architecture import Shape
from spikeflip.snn.synapses import channels_last
from spikeflip.victims.nir.graph import NEURONS, Flat, Group, Node
from spikeflip.victims.nir.neurons import Discretisation, Integrating, Spiking, build
from spikeflip.victims.nir.shapes import flat_axes, numbers, parameter, whole

Carry = object


@dataclass(frozen=True, eq=False)
class Plan:
    """What runs when: groups, the names of modules, shapes, and which outputs are over after each group."""

    groups: tuple[Group, ...]
    modules: Mapping[str, str]
    shapes: Mapping[str, Shape]
    over: tuple[tuple[str, ...], ...]
    input: str
    output: str


class NirModule(nn.Module):
    """From ``(T, N, *input)`` to the values of the output node, ``(T, N, *output)``."""

    def __init__(
        self,
        flat: Flat,
        groups: tuple[Group, ...],
        shapes: Mapping[str, Shape],
        delays: Mapping[str, NDArray[np.int64]],
        how: Discretisation,
    ) -> None:
        super().__init__()
        names = {}
        into = {flat.input: shapes[flat.input]} | {b: shapes[a] for a, b in flat.edges}
        for path, node in flat.nodes.items():
            module = _module(node, into[path], delays.get(path), how)
            names[path] = self._add(path, module)
        self.plan = Plan(groups, names, shapes, _over(groups, flat.output), flat.input, flat.output)
        loops = (path for group in groups if group.loop for path in group.nodes)
        parts = (path for path, name in names.items() if isinstance(getattr(self, name), Integrating | _Delay))
        beside = next(chain(loops, parts), None)
        for module in self.children():
            if isinstance(module, Spiking):
                module.beside = beside

    def _add(self, path: str, module: nn.Module) -> str:
        """Register a module under its path, as far as modules can have such names."""
        name = path.replace(".", "_") or "_"
        while hasattr(self, name):
            name += "_"
        self.add_module(name, module)
        return name

    def forward(self, x: Tensor) -> Tensor:
        """Run the graph over a sequence, from its resting state."""
        plan = self.plan
        found: dict[str, Tensor] = {}
        for group, over in zip(plan.groups, plan.over, strict=True):
            if group.loop:
                self._run_loop(group, found)
            else:
                (path,) = group.nodes
                given = x if path == plan.input else _sum([found[source] for source in group.now[path]])
                found[path] = self._call(path, given, None)[0]
            for path in over:
                found.pop(path, None)
        return found[plan.output]

    def _run_loop(self, group: Group, found: dict[str, Tensor]) -> None:
        inside = set(group.nodes)
        outer = {path: [found[s] for s in group.now[path] if s not in inside] for path in group.nodes}
        given = {path: _sum(tensors).unbind(0) for path, tensors in outer.items() if tensors}
        like = next(iter(given.values()))
        states: dict[str, Carry] = {}
        last: dict[str, Tensor] = {
            source: like[0].new_zeros(1, len(like[0]), *self.plan.shapes[source])
            for sources in group.last.values()
            for source in sources
        }
        steps: dict[str, list[Tensor]] = {path: [] for path in group.nodes}
        for t in range(len(like)):
            now: dict[str, Tensor] = {}
            for path in group.nodes:
                parts = [given[path][t].unsqueeze(0)] if path in given else []
                parts += [now[source] for source in group.now[path] if source in inside]
                parts += [last[source] for source in group.last[path]]
                now[path], states[path] = self._call(path, _sum(parts), states.get(path))
                steps[path].append(now[path])
            last = {source: now[source] for source in last}
        found.update({path: torch.cat(values) for path, values in steps.items()})

    def _call(self, path: str, x: Tensor, state: Carry) -> tuple[Tensor, Carry]:
        out: tuple[Tensor, Carry] = self.get_submodule(self.plan.modules[path])(x, state)
        return out


def _over(groups: tuple[Group, ...], output: str) -> tuple[tuple[str, ...], ...]:
    """After which group nobody needs a node's output any more."""
    last = {path: i for i, group in enumerate(groups) for path in group.nodes}
    for i, group in enumerate(groups):
        for sources in (*group.now.values(), *group.last.values()):
            last.update(dict.fromkeys(sources, i))
    return tuple(tuple(p for p, at in last.items() if at == i and p != output) for i in range(len(groups)))


def _sum(tensors: list[Tensor]) -> Tensor:
    total = tensors[0]
    for tensor in tensors[1:]:
        total = total + tensor
    return total


class _Pass(nn.Module):
    """Gives what it gets."""

    def forward(self, x: Tensor, state: Carry = None) -> tuple[Tensor, Carry]:
        return x, state


class _Weights(nn.Module):
    """A layer with a weight and, unless it is zero, a bias."""

    bias: Tensor | None

    def __init__(self, node: Node) -> None:
        super().__init__()
        weight = torch.from_numpy(numbers(node, "weight").astype(np.float32))
        self.weight = nn.Parameter(channels_last(weight) if weight.ndim == 4 else weight, requires_grad=False)
        bias = numbers(node, "bias").astype(np.float32) if "bias" in node.values else np.zeros(1)
        self.register_parameter(
            "bias", nn.Parameter(torch.from_numpy(bias), requires_grad=False) if bool(bias.any()) else None
        )


class _Dense(_Weights):
    def forward(self, x: Tensor, state: Carry = None) -> tuple[Tensor, Carry]:
        return F.linear(x, self.weight, self.bias), state


class _Convolution(_Weights):
    def __init__(self, node: Node) -> None:
        super().__init__(node)
        self.axes = self.weight.ndim - 2
        padding = node.values["padding"]
        self.stride = whole(node, "stride", self.axes, 1)
        self.padding = padding if isinstance(padding, str) else whole(node, "padding", self.axes, 0)
        self.dilation = whole(node, "dilation", self.axes, 1)
        (self.groups,) = whole(node, "groups", 1, 1)

    def forward(self, x: Tensor, state: Carry = None) -> tuple[Tensor, Carry]:
        frames = x.flatten(0, 1)
        convolve = F.conv2d if self.axes == 2 else F.conv1d
        frames = convolve(
            channels_last(frames) if self.axes == 2 else frames,
            self.weight,
            self.bias,
            self.stride,
            self.padding,
            self.dilation,
            self.groups,
        )
        return frames.unflatten(0, x.shape[:2]), state


class _Pool(nn.Module):
    """An average over windows, or a sum; what is left at the border is dropped, padding counts as zeros."""

    def __init__(self, node: Node) -> None:
        super().__init__()
        self.kernel, self.stride = whole(node, "kernel_size", 2, 1), whole(node, "stride", 2, 1)
        self.padding = whole(node, "padding", 2, 0)
        self.divisor = 1 if node.kind == "SumPool2d" else None

    def forward(self, x: Tensor, state: Carry = None) -> tuple[Tensor, Carry]:
        frames = channels_last(x.flatten(0, 1))
        pooled = F.avg_pool2d(
            frames, self.kernel, self.stride, self.padding, count_include_pad=True, divisor_override=self.divisor
        )
        return pooled.unflatten(0, x.shape[:2]), state


class _Flatten(nn.Module):
    def __init__(self, node: Node, shape: Shape) -> None:
        super().__init__()
        start, end = flat_axes(node, shape)
        self.start, self.end = start + 2, end + 2

    def forward(self, x: Tensor, state: Carry = None) -> tuple[Tensor, Carry]:
        return x.flatten(self.start, self.end), state


class _Scale(nn.Module):
    scale: Tensor

    def __init__(self, scale: NDArray[np.float64]) -> None:
        super().__init__()
        self.register_buffer("scale", torch.from_numpy(scale.astype(np.float32)))

    def forward(self, x: Tensor, state: Carry = None) -> tuple[Tensor, Carry]:
        return x * self.scale, state


class _Delay(nn.Module):
    """Gives what came whole steps before, zeros at first; each value may have a delay of its own."""

    steps: Tensor

    def __init__(self, steps: NDArray[np.int64]) -> None:
        super().__init__()
        self.longest, self.shortest = int(steps.max()), int(steps.min())
        self.register_buffer("steps", torch.from_numpy(steps))

    def forward(self, x: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        if self.longest == 0:
            return x, None
        before = x.new_zeros(self.longest, *x.shape[1:]) if state is None else state
        whole_past = torch.cat([before, x])
        if self.longest == self.shortest:
            delayed = whole_past[: len(x)]
        else:
            at = torch.arange(len(x), device=x.device).reshape(-1, *[1] * (x.ndim - 1)) + self.longest - self.steps
            delayed = whole_past.gather(0, at.expand(x.shape))
        return delayed, whole_past[len(x) :]


def _module(node: Node, shape: Shape, steps: NDArray[np.int64] | None, how: Discretisation) -> nn.Module:
    match node.kind:
        case "Affine" | "Linear":
            return _Dense(node)
        case "Conv1d" | "Conv2d":
            return _Convolution(node)
        case "AvgPool2d" | "SumPool2d":
            return _Pool(node)
        case "Flatten":
            return _Flatten(node, shape)
        case "Scale":
            return _Scale(parameter(node, "scale", shape))
        case "Delay" if steps is not None:
            return _Delay(steps)
        case kind if kind == "Threshold" or kind in NEURONS:
            return build(node, shape, how)
    return _Pass()

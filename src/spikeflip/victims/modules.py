"""The parts of a foreign model, read from where PyTorch keeps them.

Models override ``parameters``, ``modules`` and their like, with other arguments and other answers, or have attributes
of these names. What :class:`torch.nn.Module` itself registers is in every module's dictionary.
"""

from collections.abc import Iterator

from torch import Tensor, nn


def named_modules(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Every module once, by its first name, the model itself first."""
    seen: set[int] = set()
    waiting = [("", model)]
    while waiting:
        name, module = waiting.pop()
        if id(module) in seen:
            continue
        seen.add(id(module))
        yield name, module
        inside = [
            (f"{name}.{key}" if name else key, m)
            for key, m in vars(module).get("_modules", {}).items()
            if m is not None
        ]
        waiting.extend(reversed(inside))


def modules(model: nn.Module) -> Iterator[nn.Module]:
    """Every module once, the model itself first."""
    return (module for _, module in named_modules(model))


def own_parameters(module: nn.Module) -> dict[str, nn.Parameter]:
    """The parameters of one module without those of the modules in it."""
    return {name: parameter for name, parameter in vars(module).get("_parameters", {}).items() if parameter is not None}


def named_parameters(model: nn.Module) -> Iterator[tuple[str, nn.Parameter]]:
    """Every parameter once, by its first name."""
    seen: set[int] = set()
    for layer, module in named_modules(model):
        for name, parameter in own_parameters(module).items():
            if id(parameter) not in seen:
                seen.add(id(parameter))
                yield f"{layer}.{name}" if layer else name, parameter


def named_buffers(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Every buffer, by name."""
    for layer, module in named_modules(model):
        for name, buffer in vars(module).get("_buffers", {}).items():
            if buffer is not None:
                yield f"{layer}.{name}" if layer else name, buffer

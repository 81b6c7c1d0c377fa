"""Models that cannot be wrapped, told by what they are, before any of them is run."""

import inspect
import re
from importlib import metadata

import torch
from torch import nn

from spikeflip.errors import SpikeflipError
from spikeflip.victims.modules import modules, named_modules, own_parameters
from spikeflip.victims.victim import check_weights

# The oldest release of each framework that was tried.
SUPPORTED: dict[str, str] = {"spikingjelly": "0.0.0.0.14", "snntorch": "0.9", "norse": "1.1", "sinabs": "2.0"}


def check_model(model: object, layout: object) -> nn.Module:
    """The model, if it is one that can be wrapped; a SpikeflipError that says what to pass instead if not."""
    if not isinstance(model, nn.Module):
        kind = "a function" if inspect.isroutine(model) else f"a value of type {type(model).__name__}"
        raise SpikeflipError(
            f"the model is {kind}, whose layers and state cannot be seen: pass the torch.nn.Module itself, and as "
            "layout= a function of model and spikes if it must be called in another way"
        )
    for name, module in named_modules(model):
        at = f"layer {name!r}" if name else "the model"
        if isinstance(module, torch.jit.ScriptModule):
            raise SpikeflipError(f"{at} is compiled by torch.jit: pass the model before that")
        if hasattr(module, "_orig_mod"):
            fix = "put its _orig_mod in its place" if name else "pass the model before that, model._orig_mod"
            raise SpikeflipError(f"{at} is compiled by torch.compile: {fix}")
        if getattr(module, "_compiled_call_impl", None) is not None:
            raise SpikeflipError(f"{at} is compiled by torch.compile: build it without calling its method compile()")
        if isinstance(module, nn.DataParallel | nn.parallel.DistributedDataParallel):
            raise SpikeflipError(f"{at} spreads over devices: pass the model inside it, model.module")
        for key, parameter in own_parameters(module).items():
            if parameter.is_inference():
                where = f"{name}.{key}" if name else key
                raise SpikeflipError(
                    f"the model's parameter {where!r} was made inside torch.inference_mode, and can take part in no "
                    "gradient: build or load the model outside of it"
                )
    check_weights(model)
    _check_inputs(model, layout)
    _check_versions(model)
    return model


def _check_inputs(model: nn.Module, layout: object) -> None:
    if callable(layout):
        return
    try:
        parameters = inspect.signature(model.forward).parameters.values()
    except (TypeError, ValueError):
        return
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    needed = [p.name for p in parameters if p.kind in kinds and p.default is inspect.Parameter.empty]
    most = 2 if layout == "steps+state" else 1
    if len(needed) > most:
        raise SpikeflipError(
            f"the model needs {len(needed)} inputs, {', '.join(needed)}: pass as layout= a function of model and "
            "spikes (N, T, *input) that gives it the others"
        )


def _check_versions(model: nn.Module) -> None:
    """Frameworks are told by the home of the modules' classes; none is imported."""
    homes = {cls.__module__.partition(".")[0] for module in modules(model) for cls in type(module).__mro__}
    for framework in sorted(homes & SUPPORTED.keys()):
        try:
            version = metadata.version(framework)
        except metadata.PackageNotFoundError:
            continue
        if _numbers(version) < _numbers(SUPPORTED[framework]):
            raise SpikeflipError(
                f"the model is of {framework} {version}, which is not supported: install {framework} "
                f"{SUPPORTED[framework]} or newer"
            )


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version.partition("+")[0]))

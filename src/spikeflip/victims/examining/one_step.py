"""Whether a model that takes images ran for one time step, where it may have been trained with many calls an image."""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

from torch import Tensor, nn

from spikeflip.victims.modules import modules
from spikeflip.victims.state import tensors
from spikeflip.victims.wrapped import WrappedModel

ONE_STEP = "one-time-step"
FINDING = (
    "the model runs for one time step: each spiking layer was called once, on one row a sample, and keeps its potential"
)
FIX = "pass time_steps=T if it was trained with T calls an image, which are then made, or time_steps=1 if it was not"


def runs_one_step(victim: WrappedModel, inputs: Tensor) -> bool:
    """Whether each spiking layer runs once, on one row a sample, and one keeps a potential of the shape of its input.

    A potential is kept in the layer, or handed back beside its spikes. A layer that gets a whole sequence keeps one
    that has no axis of time.
    """
    # Of two sizes: a sequence may have as many steps as there are samples.
    return all(_runs_one_step(victim, batch) for batch in (inputs, inputs[:2]))


def _runs_one_step(victim: WrappedModel, inputs: Tensor) -> bool:
    calls: Counter[str] = Counter()
    rows: set[bool] = set()
    kept: list[bool] = []

    def look(name: str, layer: nn.Module) -> Callable[[nn.Module, Any, Any], None]:
        inside = set(map(id, modules(layer)))
        places = [slot for slot in victim.state.slots if id(slot.module) in inside]

        def hook(_module: nn.Module, arguments: Any, answer: Any) -> None:
            calls[name] += 1
            given = next(tensors(arguments), None)
            if given is None:
                return
            rows.add(given.ndim > 1 and len(given) == len(inputs))
            handed: Iterator[Tensor] = tensors(answer[1:]) if isinstance(answer, tuple) else iter(())
            potentials = [tensor for slot in places for tensor in tensors(slot.get())]
            kept.append(any(tensor.shape == given.shape for tensor in (*potentials, *handed)))

        return hook

    with ExitStack() as stack:
        for name in victim.order.spiking:
            layer = victim.layers[name].module
            stack.callback(layer.register_forward_hook(look(name, layer)).remove)
        victim.scores(inputs)
    return bool(calls) and set(calls.values()) == {1} and rows == {True} and any(kept)

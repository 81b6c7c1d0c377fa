"""How much longer a wrapped model takes than the model alone: scores and input gradient, in the frameworks installed.

    python benchmarks/wrapping.py [--width 16] [--samples 8] [--repeats 40] [--json]

The model alone is run as its user would who knows all its traps: reset, one forward pass of the same input, and the
input gradient of the same function by ``torch.autograd.grad``, in evaluation mode with weights frozen, which is the
fastest way. The wrapped model makes a probe and asks it for the gradient. Both sides run in turn in one process, by its
processor time, and the first gradient is compared. ``added_share`` is measured within the wrapped calls: all that is
spent outside of the model's forward pass and autograd, over what is spent inside; work beside it moves this less.

A model that is left with its last state pins the top of the heap; one that is given back does not, and glibc then
returns memory to the system and fetches it again, page by page. That is no work of either side, so both run without it,
unless ``--trim`` is given.
"""

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn

from measuring import in_turn, machine, milliseconds, random_spikes, ratio
from spikeflip import wrap

KEPT = {"MALLOC_TRIM_THRESHOLD_": "4000000000", "MALLOC_MMAP_THRESHOLD_": "4000000000"}
STEPS, SHAPE, CLASSES = 10, (2, 34, 34), 10

Forward = Callable[[Tensor], Tensor]
"""From spikes ``(N, T, *input)`` to scores ``(N, K)``, the model alone."""


def layers(width: int, neuron: Callable[[], nn.Module], *, merge: Callable[[nn.Module], nn.Module]) -> list[nn.Module]:
    """A convolutional classifier; ``merge`` lets a layer without time take inputs with it."""
    return [
        merge(nn.Conv2d(2, width, 3, padding=1, bias=False)),
        neuron(),
        merge(nn.AvgPool2d(2)),
        merge(nn.Conv2d(width, width, 3, padding=1, bias=False)),
        neuron(),
        merge(nn.AvgPool2d(2)),
        merge(nn.Flatten()),
        merge(nn.Linear(width * 64, CLASSES, bias=False)),
        neuron(),
    ]


def itself(layer: nn.Module) -> nn.Module:
    return layer


class Merged(nn.Module):
    """A layer that takes the first two axes as one."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x.flatten(0, 1)).unflatten(0, x.shape[:2])


def spikingjelly(width: int) -> tuple[nn.Module, dict[str, object], Forward]:
    from spikingjelly.activation_based import functional, neuron

    model = nn.Sequential(*layers(width, lambda: neuron.LIFNode(v_threshold=0.1, step_mode="m"), merge=Merged))

    def forward(x: Tensor) -> Tensor:
        functional.reset_net(model)
        return model(x.transpose(0, 1).contiguous()).mean(0)

    return model, {}, forward


def snntorch(width: int) -> tuple[nn.Module, dict[str, object], Forward]:
    import snntorch

    model = nn.Sequential(*layers(width, lambda: snntorch.Leaky(0.5, threshold=0.1, init_hidden=True), merge=itself))

    def forward(x: Tensor) -> Tensor:
        for module in model:
            if isinstance(module, snntorch.Leaky):
                module.reset_mem()
        return torch.stack([model(frame) for frame in x.unbind(1)]).mean(0)

    return model, {"layout": "steps"}, forward


def norse(width: int) -> tuple[nn.Module, dict[str, object], Forward]:
    import norse.torch

    p = norse.torch.LIFParameters(v_th=torch.tensor(0.02))
    model = norse.torch.SequentialState(*layers(width, lambda: norse.torch.LIF(p), merge=Merged))
    return model, {"output": 0}, lambda x: model(x.transpose(0, 1).contiguous())[0].mean(0)


def sinabs(width: int) -> tuple[nn.Module, dict[str, object], Forward]:
    import sinabs
    import sinabs.layers

    model = nn.Sequential(
        *layers(width, lambda: sinabs.layers.LIF(2.0, spike_threshold=torch.tensor(0.1)), merge=Merged)
    )

    def forward(x: Tensor) -> Tensor:
        for module in model:
            if isinstance(module, sinabs.layers.LIF):
                module.v_mem = torch.zeros(0)
        return model(x.contiguous()).mean(1)

    return model, {"layout": "BT"}, forward


FRAMEWORKS = {"spikingjelly": spikingjelly, "snntorch": snntorch, "norse": norse, "sinabs": sinabs}


def fast(seconds: list[float]) -> float:
    """A tenth of the rounds were faster."""
    return sorted(seconds)[len(seconds) // 10]


class Inside:
    """Adds up the time that a model's layers and autograd take while it is entered."""

    def __init__(self, model: nn.Module) -> None:
        self.model, self.seconds = model, 0.0

    def __enter__(self) -> None:
        self.seconds, self.forward, self.grad = 0.0, self.model.forward, torch.autograd.grad
        self.model.forward, torch.autograd.grad = self.timed(self.forward), self.timed(self.grad)

    def __exit__(self, *_: object) -> None:
        del self.model.forward
        torch.autograd.grad = self.grad

    def timed(self, function: Callable[..., object]) -> Callable[..., object]:
        def run(*arguments: object, **options: object) -> object:
            started = time.process_time()
            result = function(*arguments, **options)
            self.seconds += time.process_time() - started
            return result

        return run


def measured(name: str, width: int, samples: int, repeats: int) -> dict[str, object] | None:
    torch.manual_seed(0)
    try:
        model, options, forward = FRAMEWORKS[name](width)
    except ModuleNotFoundError:
        return None
    spikes = random_spikes(samples, STEPS, SHAPE, 0.2)
    victim = wrap(model, spikes[:3], **options)
    model.eval().requires_grad_(False)
    for layer in victim.layers.values():
        layer.module.training = True
    weights = torch.randn(samples, CLASSES, generator=torch.Generator().manual_seed(1))

    def alone() -> Tensor:
        leaf = spikes.clone().requires_grad_()
        return torch.autograd.grad(forward(leaf), leaf, weights)[0]

    def wrapped() -> Tensor:
        return victim.probe(spikes).input_gradient(lambda _scores, chosen: weights[chosen]).values

    def timed(side: Callable[[], Tensor]) -> Callable[[], float]:
        def run() -> float:
            started = time.process_time()  # of one thread: others on the machine count less
            side()
            return time.process_time() - started

        return run

    inside = Inside(model)

    def shared() -> float:
        """The share of the wrapped time that is spent in the model's forward and backward pass."""
        with inside:
            started = time.process_time()
            wrapped()
            return inside.seconds / (time.process_time() - started)

    one, two = alone(), wrapped()
    difference = float((one - two).norm() / one.norm())
    times = in_turn({"alone": timed(alone), "wrapped": timed(wrapped), "share": shared}, repeats)
    return {
        "framework": name,
        "width": width,
        "samples": samples,
        "time_steps": STEPS,
        "gradient_difference": difference,
        **milliseconds("alone_ms", times["alone"]),
        **milliseconds("wrapped_ms", times["wrapped"]),
        **ratio("ratio", times["wrapped"], times["alone"]),
        "added_share": round(1 / statistics.median(times["share"]) - 1, 4),
        "ratio_of_fast": round(fast(times["wrapped"]) / fast(times["alone"]), 3),
        **machine(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--width", type=int, default=16, help="channels of the convolutions")
    parser.add_argument("--samples", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=40)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--trim", action="store_true", help="let the allocator return memory")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    if not arguments.trim and not KEPT.items() <= os.environ.items():
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], os.environ | KEPT)
    torch.set_num_threads(arguments.threads)
    for name in FRAMEWORKS:
        row = measured(name, arguments.width, arguments.samples, arguments.repeats)
        if row is None:
            continue
        if arguments.json:
            print(json.dumps(row))
        else:
            print(
                f"{name:13} alone {row['alone_ms']:8.1f} ms, wrapped {row['wrapped_ms']:8.1f} ms, "
                f"ratio {row['ratio']:.3f} {row['ratio_range']}, of fast rounds {row['ratio_of_fast']:.3f}, "
                f"added by the wrapper's own code {row['added_share']:.3f}"
            )


if __name__ == "__main__":
    main()

"""Models that frameworks bring or are made of, tried as a user would: wrapped, compared with their own call, attacked.

    python benchmarks/models_tried.py [--write] [NAME ...]

Each model is built by its package's own code, narrow and untrained, with weights enlarged until some inputs have a
class that wins. What it says when it is called as its documentation does is compared with what the victim says, bit for
bit, and the gradient of a random weighting of scores with that of ``torch.autograd.grad``. ``--write`` makes
docs/models.md of the rows.
"""

import argparse
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib import import_module, metadata
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from measuring import random_spikes
from spikeflip import SpikeflipError, scg, wrap
from spikeflip.attacks import bim
from spikeflip.interop import as_module
from spikeflip.snn.coding import winner
from spikeflip.snn.surrogate import ATan
from spikeflip.victims import Diagnosis, doctor

PAGE = Path(__file__).parents[1] / "docs" / "models.md"
SAMPLES, STEPS, CLASSES = 4, 4, 10
GRADIENT = 3e-7
"""Largest relative difference of a gradient that counts as equal."""

Call = Callable[[nn.Module, Tensor], Tensor]
"""A fresh model called with ``(N, T, *input)``, or images, by its own documentation; returns scores ``(N, K)``."""


@dataclass(frozen=True)
class Case:
    """A model to try.

    Args:
        name: of the model.
        package: that it comes from.
        build: makes it.
        shape: of one time step, or of an image.
        call: how its documentation calls it.
        options: of ``wrap``.
    """

    name: str
    package: str
    build: Callable[[], nn.Module]
    shape: tuple[int, ...]
    call: Call
    options: dict[str, Any] = field(default_factory=dict)

    @property
    def lines(self) -> str:
        """What a user passes beside the model and the example."""
        return ", ".join(f"{name}={value!r}" for name, value in self.options.items())


@dataclass(frozen=True)
class Row:
    """What became of it."""

    case: Case
    verdict: str
    scores_equal: bool | None = None
    gradient_difference: float | None = None
    seconds: float = 0.0


def sequence(model: nn.Module, x: Tensor) -> Tensor:
    return model(x.transpose(0, 1).contiguous()).mean(0)


def batch_first(model: nn.Module, x: Tensor) -> Tensor:
    return model(x.contiguous()).mean(1)


def first_part(model: nn.Module, x: Tensor) -> Tensor:
    return model(x.transpose(0, 1).contiguous())[0].mean(0)


def stepwise(model: nn.Module, x: Tensor) -> Tensor:
    return torch.stack([model(frame) for frame in x.unbind(1)]).mean(0)


def with_state(model: nn.Module, x: Tensor) -> Tensor:
    state, outputs = None, []
    for frame in x.unbind(1):
        out, state = model(frame, state)
        outputs.append(out)
    return torch.stack(outputs).mean(0)


def repeated(model: nn.Module, images: Tensor) -> Tensor:
    return torch.stack([model(images) for _ in range(STEPS)]).mean(0)


def spikingjelly() -> list[Case]:
    base = "spikingjelly.activation_based"
    functional, layer, neuron = (import_module(f"{base}.{name}") for name in ("functional", "layer", "neuron"))
    lif = neuron.LIFNode

    def multi(build: Callable[[], nn.Module]) -> Callable[[], nn.Module]:
        def made() -> nn.Module:
            model = build()
            functional.set_step_mode(model, "m")
            return model

        return made

    def net(name: str, **options: Any) -> Callable[[], nn.Module]:
        zoo = import_module(f"{base}.model.parametric_lif_net")
        return lambda: getattr(zoo, name)(spiking_neuron=lif, **options)

    def tutorial() -> nn.Module:
        return nn.Sequential(layer.Flatten(), layer.Linear(64, CLASSES, bias=False), lif(tau=2.0))

    zoo = [
        ("MNISTNet", net("MNISTNet", channels=8), (1, 28, 28)),
        ("FashionMNISTNet", net("FashionMNISTNet", channels=8), (1, 28, 28)),
        ("NMNISTNet", net("NMNISTNet", channels=8), (2, 34, 34)),
        ("CIFAR10Net", net("CIFAR10Net", channels=8), (3, 32, 32)),
        ("DVSGestureNet", net("DVSGestureNet", channels=4), (2, 128, 128)),
    ]
    return [
        Case("one-layer tutorial, spikes", "spikingjelly", tutorial, (1, 8, 8), stepwise, {"layout": "steps"}),
        Case(
            "one-layer tutorial, images",
            "spikingjelly",
            tutorial,
            (1, 8, 8),
            repeated,
            {"layout": "static", "time_steps": STEPS},
        ),
        *(Case(name, "spikingjelly", multi(build), shape, sequence) for name, build, shape in zoo),
    ]


def snntorch() -> list[Case]:
    framework = import_module("snntorch")
    neurons: dict[str, Callable[[int], nn.Module]] = {
        "Leaky": lambda n: framework.Leaky(0.8, init_hidden=True),
        "Lapicque": lambda n: framework.Lapicque(0.8, init_hidden=True),
        "Synaptic": lambda n: framework.Synaptic(0.7, 0.8, init_hidden=True),
        "Alpha": lambda n: framework.Alpha(0.8, 0.7, init_hidden=True),
        "RLeaky": lambda n: framework.RLeaky(0.8, linear_features=n, init_hidden=True),
        "RSynaptic": lambda n: framework.RSynaptic(0.7, 0.8, linear_features=n, init_hidden=True),
    }

    def build(neuron: Callable[[int], nn.Module]) -> Callable[[], nn.Module]:
        return lambda: nn.Sequential(nn.Linear(20, 16), neuron(16), nn.Linear(16, CLASSES), neuron(CLASSES))

    def drawn() -> nn.Module:
        slope = import_module("snntorch.surrogate").SSO()
        return build(lambda n: framework.Leaky(0.8, spike_grad=slope, init_hidden=True))()

    return [
        *(Case(name, "snntorch", build(make), (20,), stepwise, {"layout": "steps"}) for name, make in neurons.items()),
        Case("Leaky, surrogate SSO", "snntorch", drawn, (20,), stepwise, {"layout": "steps"}),
        Case(
            "Leaky, surrogate SSO",
            "snntorch",
            drawn,
            (20,),
            stepwise,
            {"layout": "steps", "surrogate": ATan(2.0)},
        ),
    ]


def norse() -> list[Case]:
    framework = import_module("norse.torch")
    low = {"v_th": torch.tensor(0.1)}
    layers: dict[str, Callable[[int], list[nn.Module]]] = {
        "LIF": lambda n: [framework.LIF(framework.LIFParameters(**low))],
        "LIFRecurrent": lambda n: [framework.LIFRecurrent(n, n, framework.LIFParameters(**low))],
        "LIFAdEx": lambda n: [framework.LIFAdEx(framework.LIFAdExParameters(**low))],
        "LIFEx": lambda n: [framework.LIFEx(framework.LIFExParameters(**low))],
        "IAF": lambda n: [framework.IAF(framework.IAFParameters(**low))],
        "LSNN": lambda n: [framework.LSNN(framework.LSNNParameters(**low))],
    }

    def build(make: Callable[[int], list[nn.Module]]) -> Callable[[], nn.Module]:
        return lambda: framework.SequentialState(
            nn.Linear(20, 16), *make(16), nn.Linear(16, CLASSES), *layers["LIF"](CLASSES)
        )

    def cells() -> nn.Module:
        parts = (framework.LIFCell(framework.LIFParameters(**low)) for _ in range(2))
        return framework.SequentialState(nn.Linear(20, 16), next(parts), nn.Linear(16, CLASSES), next(parts))

    return [
        *(Case(name, "norse", build(make), (20,), first_part, {"output": 0}) for name, make in layers.items()),
        Case("LIFCell", "norse", cells, (20,), with_state, {"layout": "steps+state"}),
    ]


def sinabs() -> list[Case]:
    layers = import_module("sinabs.layers")
    low = {"spike_threshold": torch.tensor(0.1)}
    neurons: dict[str, Callable[[int], nn.Module]] = {
        "LIF": lambda n: layers.LIF(2.0, **low),
        "IAF": lambda n: layers.IAF(**low),
        "ALIF": lambda n: layers.ALIF(2.0, 5.0),
        "LIFRecurrent": lambda n: layers.LIFRecurrent(2.0, rec_connect=nn.Linear(n, n), **low),
    }

    def build(neuron: Callable[[int], nn.Module]) -> Callable[[], nn.Module]:
        return lambda: nn.Sequential(nn.Linear(20, 16), neuron(16), nn.Linear(16, CLASSES), neuron(CLASSES))

    return [Case(name, "sinabs", build(make), (20,), batch_first, {"layout": "BT"}) for name, make in neurons.items()]


FRAMEWORKS: dict[str, Callable[[], list[Case]]] = {
    "spikingjelly": spikingjelly,
    "snntorch": snntorch,
    "norse": norse,
    "sinabs": sinabs,
}


def cases(packages: Sequence[str] = tuple(FRAMEWORKS)) -> list[Case]:
    """All models of the packages that are installed."""
    found = []
    for package in packages:
        try:
            metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
        found += FRAMEWORKS[package]()
    return found


def tried(case: Case) -> Row:
    """One model, as a user would try it."""
    started = time.perf_counter()
    inputs = random_spikes(SAMPLES, STEPS, case.shape, 0.3)
    if case.options.get("layout") == "static":
        inputs = torch.rand(SAMPLES, *case.shape, generator=torch.Generator().manual_seed(0))
    scale = _loud(case, inputs)
    model = _built(case, scale)
    try:
        victim = wrap(model, inputs, **case.options)
    except SpikeflipError as error:
        return Row(case, f"refused: {error}", seconds=time.perf_counter() - started)
    own, wanted = _own(_built(case, scale), case.call, inputs)
    leaf = inputs.clone().requires_grad_()
    scores = as_module(victim)(leaf)
    (found,) = torch.autograd.grad(scores, leaf, _weights(own))
    difference = float((found - wanted).norm() / wanted.norm().clamp(min=1e-30))
    labels = scores.argmax(1)
    attack = bim if victim.coding == "direct" else scg
    attack(victim, inputs, labels, steps=2)
    equal = torch.equal(scores.detach(), own)
    verdict = _verdict(doctor(_built(case, scale), inputs, **case.options))
    if "surrogate" in case.options:
        return Row(case, verdict, equal, None, time.perf_counter() - started)
    return Row(case, verdict, equal, difference, time.perf_counter() - started)


def _built(case: Case, scale: float) -> nn.Module:
    """A fresh model, always the same, with enlarged weights."""
    torch.manual_seed(0)
    model = case.build().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.mul_(scale)
    return model


def _loud(case: Case, inputs: Tensor) -> float:
    """A scale of the weights at which some inputs have a class that wins."""
    scales = [1.5**power for power in range(10)]
    with torch.no_grad():
        wins = (scale for scale in scales if bool((winner(case.call(_built(case, scale), inputs)) >= 0).any()))
        return next(wins, scales[-1])


def _own(model: nn.Module, call: Call, inputs: Tensor) -> tuple[Tensor, Tensor]:
    leaf = inputs.clone().requires_grad_()
    scores = call(model, leaf)
    (gradient,) = torch.autograd.grad(scores, leaf, _weights(scores))
    return scores.detach(), gradient


def _weights(scores: Tensor) -> Tensor:
    return torch.randn(scores.shape, generator=torch.Generator().manual_seed(1))


def _verdict(found: Diagnosis) -> str:
    states = {v.check: found.state(v) for v in found.verdicts}
    wrong = [check for check, state in states.items() if state != "passed"]
    if not found.attackable:
        return f"cannot be attacked: {', '.join(check for check in wrong if states[check] == 'failed')}"
    return f"can be attacked; remarks on {', '.join(wrong)}" if wrong else "can be attacked"


HEAD = """# Models that were tried

Made by `python benchmarks/models_tried.py --write`, and tried again by `pytest -m frameworks`. Each model is built by
its package's own code, narrow and untrained, with weights enlarged until some inputs have a class that wins; its own
call is what its documentation shows. Scores are equal if they are so bit for bit, gradients if they differ by less than
3e-7 of their norm. The verdict is that of `spikeflip doctor` on the same inputs, or of `wrap` where it refuses. With
`surrogate=` the gradient is another one by intention.

| model | package | `wrap(model, example, ...)` | scores equal | gradient equal | verdict |
|---|---|---|---|---|---|
"""

FOOT = """
NeuroBench's baselines are not here: its package (2.3.0) brings neither their models nor their weights. How they and
papers' repositories are wrapped is in [Models of other frameworks](victims.md).
"""


def line(row: Row) -> str:
    """A row of the page."""
    case = row.case
    equal = {None: "–", True: "yes", False: "no"}
    gradient = None if row.gradient_difference is None else row.gradient_difference < GRADIENT
    options = f"`{case.lines}`" if case.options else ""
    package = f"{case.package} {metadata.version(case.package)}"
    verdict = row.verdict.replace("|", "\\|")
    return f"| {case.name} | {package} | {options} | {equal[row.scores_equal]} | {equal[gradient]} | {verdict} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help="of models; all if none is given")
    parser.add_argument("--write", action="store_true", help="make docs/models.md")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    rows = []
    for case in cases():
        if not arguments.names or case.name in arguments.names:
            rows.append(tried(case))
            print(line(rows[-1]), f"{rows[-1].gradient_difference} {rows[-1].seconds:.1f} s", flush=True)
    if arguments.write:
        PAGE.write_text(HEAD + "\n".join(map(line, rows)) + "\n" + FOOT)


if __name__ == "__main__":
    main()

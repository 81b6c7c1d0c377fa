"""Spiking classifiers as people write them in each framework, and the same models as plain loops.

A plain loop takes the weights of the model and nothing else of its framework: the equations of the neurons are written
out here, with the derivative of each framework's surrogate, so that scores and gradients can be compared with it. It
also knows the firing decision at another threshold and another surrogate.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

T, CLASSES = 6, 5


def spikes(*shape: int, seed: int = 0, density: float = 0.5) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return (torch.rand(shape, generator=generator) < density).float()


# Slopes of the frameworks' surrogates at the distance to the threshold.


def sigmoid4(u):  # SpikingJelly
    s = torch.sigmoid(4 * u)
    return 4 * s * (1 - s)


def atan2(u):  # snnTorch
    return 1 / (1 + (math.pi * u).square())


def superspike(u):  # Norse
    return 1 / (1 + u.abs()).square()


def exponential(threshold):  # sinabs
    return lambda u: torch.exp(-u.abs() / (0.5 * threshold)) / (0.5 * threshold)


def ramp(u):  # the hand-written models below
    return (1 - u.abs()).clamp(min=0)


@dataclass(frozen=True)
class Cell:
    """A spiking layer of a plain loop: ``step(current, state, fire)`` to spikes and the next state, None at first."""

    threshold: Any
    slope: Callable[[Tensor], Tensor]
    step: Callable[..., tuple[Tensor, Any]]
    inclusive: bool = True
    counts: bool = False


def fire(cell: Cell, delta: Any, slope: Callable[[Tensor], Tensor] | None) -> Callable[[Tensor], Tensor]:
    def function(v: Tensor) -> Tensor:
        u = v - cell.threshold
        moved = u - delta
        if cell.counts:
            shifted = v - delta
            out = torch.where(shifted > 0, (shifted / cell.threshold).trunc(), torch.zeros(()))
        else:
            out = (moved >= 0 if cell.inclusive else moved > 0).to(v)
        return out.detach() + (u - u.detach()) * (slope or cell.slope)(u.detach())

    return function


@dataclass(frozen=True)
class Loop:
    """Layers in order, one step after the other; ``readout`` makes scores of the last layer's outputs of all steps."""

    layers: Sequence[Cell | Callable[[Tensor], Tensor]]
    readout: Callable[[Tensor], Tensor] = lambda out: out.mean(0)

    def scores(self, x: Tensor, *, delta: float = 0.0, slope=None, last_slope=None) -> tuple[Tensor, Tensor]:
        """Scores, and the spikes of the penultimate cell ``(N,)``, which fires ``delta`` higher."""
        cells = [i for i, layer in enumerate(self.layers) if isinstance(layer, Cell)]
        weights = [i for i, layer in enumerate(self.layers) if not isinstance(layer, Cell)]
        before = max((i for i in cells if i < weights[-1]), default=None)
        states: dict[int, Any] = dict.fromkeys(cells)
        outputs, count = [], torch.zeros(len(x))
        for frame in x.unbind(1):
            value = frame
            for i, layer in enumerate(self.layers):
                if isinstance(layer, Cell):
                    own = last_slope if last_slope is not None and i == cells[-1] else slope
                    step = fire(layer, delta if i == before else 0.0, own)
                    value, states[i] = layer.step(value, states[i], step)
                    if i == before:
                        count = count + value.detach().float().flatten(1).sum(1)
                else:
                    value = layer(value)
            outputs.append(value)
        return self.readout(torch.stack(outputs).float()), count


@dataclass(frozen=True)
class Style:
    """One way to write a model, how it is wrapped, and its plain loop."""

    name: str
    needs: tuple[str, ...]
    build: Callable[[], nn.Module]
    loop: Callable[[nn.Module], Loop]
    shape: tuple[int, ...] = (20,)
    options: dict[str, Any] = field(default_factory=dict)
    static: bool = False
    tolerance: float = 1e-5

    def model(self, seed: int = 0) -> nn.Module:
        for package in self.needs:
            pytest.importorskip(package)
        torch.manual_seed(seed)
        model = self.build()
        with torch.no_grad():  # so that all layers fire
            for parameter in model.parameters():
                parameter *= 2 if parameter.ndim > 1 else 1
        return model

    def inputs(self, n: int = 4, seed: int = 0) -> Tensor:
        """``(N, T, *shape)``; images ``(N, 1, *shape)`` for static models."""
        if self.static:
            return torch.rand((n, 1, *self.shape), generator=torch.Generator().manual_seed(seed))
        return spikes(n, T, *self.shape, seed=seed)

    def example(self, n: int = 4) -> Tensor:
        return self.inputs(n).squeeze(1) if self.static else self.inputs(n)


def sizes(model: nn.Module, *names: str) -> list[nn.Module]:
    return [model.get_submodule(name) for name in names]


# Neurons, as equations.


def hard(decay: float, gain: float = 1.0) -> Callable[..., tuple[Tensor, Tensor]]:
    """``v = decay v + gain x``, reset to zero by a factor with a gradient: SpikingJelly and Norse."""

    def step(x, v, spike):
        v = gain * x if v is None else decay * v + gain * x
        s = spike(v)
        return s, (1 - s) * v

    return step


def soft(decay: float, threshold: Any, gain: float = 1.0) -> Callable[..., tuple[Tensor, Tensor]]:
    def step(x, v, spike):
        v = gain * x if v is None else decay * v + gain * x
        s = spike(v)
        return s, v - s * threshold

    return step


def late(decay: float, threshold: Any) -> Callable[..., tuple[Tensor, Tensor]]:
    """SnnTorch: the reset is subtracted a step later, without a gradient."""

    def step(x, v, spike):
        if v is None:
            v = torch.zeros_like(x)
        v = decay * v + x - spike(v).detach() * threshold
        return spike(v), v

    return step


# SpikingJelly, 0.0.0.0.14 and 2.x alike.


def sj():
    from spikingjelly.activation_based import functional, layer, neuron

    return functional, layer, neuron


def sj_multi_step():
    functional, layer, neuron = sj()
    model = nn.Sequential(
        layer.Conv2d(2, 4, 3, padding=1, bias=False),
        neuron.LIFNode(v_threshold=0.25),
        layer.AvgPool2d(2),
        layer.Flatten(),
        layer.Linear(64, CLASSES, bias=False),
        neuron.LIFNode(v_threshold=0.1),
    )
    functional.set_step_mode(model, "m")
    return model


def sj_multi_step_loop(model):
    weights = model.state_dict()
    return Loop(
        [
            lambda x: F.conv2d(x, weights["0.weight"], padding=1),
            Cell(0.25, sigmoid4, hard(0.5, 0.5)),
            lambda x: F.avg_pool2d(x, 2).flatten(1) @ weights["4.weight"].T,
            Cell(0.1, sigmoid4, hard(0.5, 0.5)),
        ]
    )


def sj_single_step():
    _, layer, neuron = sj()
    return nn.Sequential(
        layer.Linear(20, 16), neuron.ParametricLIFNode(v_threshold=0.3), layer.Linear(16, CLASSES), neuron.IFNode()
    )


def sj_single_step_loop(model):
    share = float(torch.sigmoid(model[1].w.detach()))
    return Loop([model[0], Cell(0.3, sigmoid4, hard(1 - share, share)), model[2], Cell(1.0, sigmoid4, hard(1.0))])


def sj_functional():
    functional, layer, neuron = sj()

    class Classifier(nn.Module):
        """Single-step layers run by a function over time, and a linear layer on the mean of the spikes."""

        def __init__(self):
            super().__init__()
            self.fc = layer.Linear(20, 16)
            self.lif = neuron.LIFNode(tau=2.0, v_threshold=0.3, v_reset=None, decay_input=False)
            self.head = nn.Linear(16, CLASSES)

        def forward(self, x):
            return self.head(functional.multi_step_forward(x, nn.Sequential(self.fc, self.lif)).mean(0))

    return Classifier()


def sj_functional_loop(model):
    # A head on the mean is the mean of the heads.
    return Loop([model.fc, Cell(0.3, sigmoid4, soft(0.5, 0.3)), model.head])


def sj_recurrent():
    _, layer, neuron = sj()
    return nn.Sequential(
        nn.Linear(20, 16),
        layer.LinearRecurrentContainer(neuron.LIFNode(v_threshold=0.25), 16, 16),
        nn.Linear(16, CLASSES),
        layer.LinearRecurrentContainer(neuron.LIFNode(v_threshold=0.15), CLASSES, CLASSES),
    )


def sj_recurrent_loop(model):
    def recurrent(container):
        inner = hard(0.5, 0.5)

        def step(x, state, spike):
            y, v = (torch.zeros_like(x), None) if state is None else state
            s, v = inner(container.rc(torch.cat((x, y), -1)), v, spike)
            return s, (s, v)

        return step

    return Loop(
        [
            model[0],
            Cell(0.25, sigmoid4, recurrent(model[1])),
            model[2],
            Cell(0.15, sigmoid4, recurrent(model[3])),
        ]
    )


def sj_nested():
    functional, layer, neuron = sj()
    block = nn.Sequential(
        layer.Conv2d(2, 4, 3, padding=1, bias=False), layer.BatchNorm2d(4), neuron.LIFNode(v_threshold=0.4)
    )
    head = nn.ModuleDict({"fc": layer.Linear(256, CLASSES), "out": neuron.LIFNode(v_threshold=0.1)})

    class Nested(nn.Module):
        def __init__(self):
            super().__init__()
            self.head = head  # registered before what runs before it
            self.body = nn.ModuleList([nn.Sequential(block, layer.Dropout(0.5))])

        def forward(self, x):
            for part in self.body:
                x = part(x)
            return self.head["out"](self.head["fc"](x.flatten(2)))

    model = Nested()
    functional.set_step_mode(model, "m")
    with torch.no_grad():
        block[1].running_mean.uniform_(-0.1, 0.1)
        block[1].running_var.uniform_(0.5, 1.5)
    return model


def sj_nested_loop(model):
    conv, norm, _ = model.body[0][0]

    def convolve(x):
        x = F.conv2d(x, conv.weight, padding=1)
        return F.batch_norm(x, norm.running_mean, norm.running_var, norm.weight, norm.bias, False, eps=norm.eps)

    head = model.head["fc"]
    return Loop(
        [
            convolve,
            Cell(0.4, sigmoid4, hard(0.5, 0.5)),
            lambda x: F.linear(x.flatten(1), head.weight, head.bias),
            Cell(0.1, sigmoid4, hard(0.5, 0.5)),
        ]
    )


# snnTorch.


def snn_explicit():
    import snntorch

    class Classifier(nn.Module):
        """The tutorials' loop over time with explicit membranes, returning spikes and membranes."""

        def __init__(self):
            super().__init__()
            self.lif2 = snntorch.Leaky(0.8, threshold=0.3)
            self.fc2 = nn.Linear(16, CLASSES)
            self.lif1 = snntorch.Leaky(0.8, threshold=0.3)
            self.fc1 = nn.Linear(20, 16)

        def forward(self, x):
            mem1, mem2 = self.lif1.reset_mem(), self.lif2.reset_mem()
            spikes, membranes = [], []
            for t in range(len(x)):
                out, mem1 = self.lif1(self.fc1(x[t]), mem1)
                out, mem2 = self.lif2(self.fc2(out), mem2)
                spikes.append(out)
                membranes.append(mem2)
            return torch.stack(spikes), torch.stack(membranes)

    return Classifier()


def snn_explicit_loop(model):
    cell = Cell(0.3, atan2, late(0.8, 0.3), inclusive=False)
    return Loop([model.fc1, cell, model.fc2, cell])


def snn_membrane_loop(model):
    def step(x, v, spike):
        v = torch.zeros_like(x) if v is None else v
        v = 0.8 * v + x - spike(v).detach() * 0.3
        return v, v

    hidden = Cell(0.3, atan2, late(0.8, 0.3), inclusive=False)
    out = Cell(0.3, atan2, step, inclusive=False)
    return Loop([model.fc1, hidden, model.fc2, out], readout=lambda v: v.amax(0))


def snn_hidden():
    import snntorch

    return nn.Sequential(
        nn.Sequential(nn.Linear(20, 16), snntorch.Leaky(0.8, threshold=0.3, init_hidden=True)),
        nn.Sequential(nn.Linear(16, CLASSES), snntorch.Leaky(0.8, threshold=0.3, init_hidden=True)),
    )


def snn_hidden_loop(model):
    cell = Cell(0.3, atan2, late(0.8, 0.3), inclusive=False)
    return Loop([model[0][0], cell, model[1][0], cell])


def snn_recurrent():
    import snntorch

    return nn.Sequential(
        nn.Linear(20, 16),
        snntorch.RLeaky(0.8, threshold=0.3, init_hidden=True, linear_features=16),
        nn.Linear(16, CLASSES),
        snntorch.RLeaky(0.8, threshold=0.3, init_hidden=True, linear_features=CLASSES),
    )


def snn_recurrent_loop(model):
    def recurrent(module):
        def step(x, state, spike):
            s, v = (torch.zeros_like(x), torch.zeros_like(x)) if state is None else state
            v = 0.8 * v + x + module.recurrent(s) - spike(v).detach() * 0.3
            s = spike(v)
            return s, (s, v)

        return Cell(0.3, atan2, step, inclusive=False)

    return Loop([model[0], recurrent(model[1]), model[2], recurrent(model[3])])


def snn_thresholds(learnable: bool):
    def build():
        import snntorch

        many = torch.linspace(0.2, 0.5, 16)
        return nn.Sequential(
            nn.Linear(20, 16),
            snntorch.Leaky(0.8, threshold=many, learn_threshold=learnable, init_hidden=True),
            nn.Linear(16, CLASSES),
            snntorch.Leaky(0.8, threshold=0.3, learn_threshold=learnable, init_hidden=True),
        )

    return build


def snn_thresholds_loop(model):
    many = torch.linspace(0.2, 0.5, 16)
    return Loop(
        [
            model[0],
            Cell(many, atan2, late(0.8, many), inclusive=False),
            model[2],
            Cell(0.3, atan2, late(0.8, 0.3), inclusive=False),
        ]
    )


# Norse.


def norse_parameters(threshold: float):
    import norse.torch as norse

    return norse.LIFParameters(v_th=torch.tensor(threshold))


def norse_sequence():
    import norse.torch as norse

    return norse.SequentialState(
        nn.Linear(20, 16), norse.LIF(norse_parameters(0.2)), nn.Linear(16, CLASSES), norse.LIF(norse_parameters(0.1))
    )


def norse_cells():
    import norse.torch as norse

    return norse.SequentialState(
        nn.Linear(20, 16),
        norse.LIFCell(norse_parameters(0.2)),
        nn.Linear(16, CLASSES),
        norse.LIFCell(norse_parameters(0.1)),
    )


def norse_lif(x, state, spike, detached=False):
    v, i = (torch.zeros_like(x), torch.zeros_like(x)) if state is None else state
    i = i + x
    v = v + 0.1 * (i - v)
    s = spike(v)
    return s, ((1 - (s.detach() if detached else s)) * v, 0.8 * i)


def norse_loop(model):
    modules = list(model)
    return Loop(
        [
            modules[0],
            Cell(0.2, superspike, norse_lif, inclusive=False),
            modules[2],
            Cell(0.1, superspike, norse_lif, inclusive=False),
        ]
    )


def norse_recurrent():
    import norse.torch as norse

    return norse.SequentialState(
        norse.LIFRecurrent(20, 16, norse_parameters(0.2)), nn.Linear(16, CLASSES), norse.LIF(norse_parameters(0.1))
    )


def norse_recurrent_loop(model):
    recurrent, linear, _ = list(model)

    def step(x, state, spike):
        s, inner = (torch.zeros(len(x), 16), None) if state is None else state
        s, inner = norse_lif(x + F.linear(s, recurrent.recurrent_weights), inner, spike, detached=True)
        return s, (s, inner)

    return Loop(
        [
            lambda x: F.linear(x, recurrent.input_weights),
            Cell(0.2, superspike, step, inclusive=False),
            linear,
            Cell(0.1, superspike, norse_lif, inclusive=False),
        ]
    )


# sinabs.


def sinabs_lif(threshold: float, **options: Any):
    import sinabs.layers

    return sinabs.layers.LIF(4.0, spike_threshold=torch.tensor(threshold), **options)


def sinabs_cell(threshold: float) -> Cell:
    decay = math.exp(-1 / 4.0)
    return Cell(threshold, exponential(threshold), soft(decay, threshold, 1 - decay), counts=True)


def sinabs_batch_first():
    return nn.Sequential(nn.Linear(20, 16), sinabs_lif(0.1), nn.Linear(16, CLASSES), sinabs_lif(0.05))


def sinabs_loop(model):
    return Loop([model[0], sinabs_cell(0.1), model[2], sinabs_cell(0.05)])


def sinabs_squeeze():
    import sinabs.layers

    return nn.Sequential(
        nn.Conv2d(2, 4, 3),
        sinabs.layers.IAFSqueeze(num_timesteps=T, spike_threshold=torch.tensor(0.5)),
        nn.Flatten(),
        nn.Linear(144, CLASSES),
        sinabs.layers.IAFSqueeze(num_timesteps=T, spike_threshold=torch.tensor(0.5)),
    )


def sinabs_squeeze_loop(model):
    cell = Cell(0.5, exponential(0.5), soft(1.0, 0.5), counts=True)
    return Loop([model[0], cell, lambda x: model[3](x.flatten(1)), cell])


def sinabs_recurrent():
    import sinabs.layers

    connect = nn.Linear(16, 16, bias=False)
    layer = sinabs.layers.LIFRecurrent(4.0, rec_connect=connect, spike_threshold=torch.tensor(0.1))
    return nn.Sequential(nn.Linear(20, 16), layer, nn.Linear(16, CLASSES), sinabs_lif(0.05))


def sinabs_recurrent_loop(model):
    inner = sinabs_cell(0.1)

    def step(x, state, spike):
        s, v = (torch.zeros_like(x), None) if state is None else state
        s, v = inner.step(x + model[1].rec_connect(s), v, spike)
        return s, (s, v)

    return Loop([model[0], Cell(0.1, inner.slope, step, counts=True), model[2], sinabs_cell(0.05)])


# Hand-written code in plain PyTorch.


class Ramp(torch.autograd.Function):
    @staticmethod
    def forward(ctx, u, gamma):
        ctx.save_for_backward(u)
        ctx.gamma = gamma
        return (u >= 0).to(u)

    @staticmethod
    def backward(ctx, g):
        (u,) = ctx.saved_tensors
        return g * (ctx.gamma - u.abs()).clamp(min=0) / ctx.gamma**2, None


class PaperNeuron(nn.Module):
    """As in published repositories: a loop over time in forward, ``thresh``, ``tau``, ``act``; no state is kept."""

    def __init__(self, thresh: float = 0.3, tau: float = 0.5):
        super().__init__()
        self.thresh, self.tau, self.gama, self.act = thresh, tau, 1.0, Ramp.apply

    def forward(self, x):
        mem, out = 0, []
        for t in range(x.shape[0]):
            mem = mem * self.tau + x[t]
            spike = self.act(mem - self.thresh, self.gama)
            mem = (1 - spike) * mem
            out.append(spike)
        return torch.stack(out)


class PaperModel(nn.Module):
    """An image in, repeated inside the model, scores out; takes an axis in place, as one such repository does."""

    def __init__(self):
        super().__init__()
        self.conv, self.neuron = nn.Conv2d(1, 4, 3, bias=False), PaperNeuron()
        self.head = nn.Linear(144, CLASSES)

    def forward(self, images):
        x = images.unsqueeze_(0).repeat(T, 1, 1, 1, 1)
        x = self.neuron(self.conv(x.flatten(0, 1)).unflatten(0, (T, -1)))
        return self.head(x.flatten(2)).mean(0)


def paper_loop(model):
    loop = Loop([model.conv, Cell(0.3, ramp, hard(0.5)), lambda x: model.head(x.flatten(1))])

    class Repeated:
        def scores(self, images, **options):
            return loop.scores(images.repeat_interleave(T, 1), **options)

    return Repeated()


class StatefulNeuron(nn.Module):
    """Keeps its membrane in a plain attribute, changes it in place, and counts its steps."""

    def __init__(self, thresh: float):
        super().__init__()
        self.thresh, self.mem, self.steps, self.history = thresh, None, 0, []

    def reset(self):
        self.mem, self.steps, self.history = None, 0, []

    def act(self, u):
        return Ramp.apply(u, 1.0)

    def forward(self, x):
        self.mem = torch.zeros_like(x) if self.mem is None else self.mem
        self.mem = self.mem * 0.5 + x
        spike = self.act(self.mem - self.thresh)
        self.mem = self.mem - spike * self.thresh
        self.steps += 1
        self.history.append(self.steps)
        return spike


def stateful(dtype: torch.dtype = torch.float32):
    def build():
        return nn.Sequential(nn.Linear(20, 16), StatefulNeuron(0.3), nn.Linear(16, CLASSES), StatefulNeuron(0.2)).to(
            dtype
        )

    return build


def stateful_loop(model):
    return Loop(
        [model[0], Cell(0.3, ramp, soft(0.5, 0.3)), model[2], Cell(0.2, ramp, soft(0.5, 0.2))],
    )


class TimeLast(nn.Module):
    """As lava-dl has its axes; returns a dictionary."""

    def __init__(self):
        super().__init__()
        self.fc1, self.one, self.fc2, self.two = nn.Linear(20, 16), PaperNeuron(), nn.Linear(16, CLASSES), PaperNeuron()

    def forward(self, x):
        x = self.one(self.fc1(x.movedim(-1, 0)))
        return {"membrane": x, "spikes": self.two(self.fc2(x)).movedim(0, -1)}


def time_last_loop(model):
    cell = Cell(0.3, ramp, hard(0.5))
    return Loop([model.fc1, cell, model.fc2, cell])


STYLES = [
    Style("spikingjelly multi-step", ("spikingjelly",), sj_multi_step, sj_multi_step_loop, (2, 8, 8)),
    Style(
        "spikingjelly single-step", ("spikingjelly",), sj_single_step, sj_single_step_loop, options={"layout": "steps"}
    ),
    Style("spikingjelly functional, linear head", ("spikingjelly",), sj_functional, sj_functional_loop),
    Style("spikingjelly recurrent", ("spikingjelly",), sj_recurrent, sj_recurrent_loop, options={"layout": "steps"}),
    Style("spikingjelly nested, norm, dropout", ("spikingjelly",), sj_nested, sj_nested_loop, (2, 8, 8)),
    Style("snntorch loop, tuple", ("snntorch",), snn_explicit, snn_explicit_loop, options={"output": 0}),
    Style(
        "snntorch loop, largest membrane",
        ("snntorch",),
        snn_explicit,
        snn_membrane_loop,
        options={"output": 1, "readout": "max"},
    ),
    Style("snntorch hidden, nested", ("snntorch",), snn_hidden, snn_hidden_loop, options={"layout": "steps"}),
    Style("snntorch recurrent", ("snntorch",), snn_recurrent, snn_recurrent_loop, options={"layout": "steps"}),
    Style(
        "snntorch threshold a neuron",
        ("snntorch",),
        snn_thresholds(False),
        snn_thresholds_loop,
        options={"layout": "steps"},
    ),
    Style(
        "snntorch learnable thresholds",
        ("snntorch",),
        snn_thresholds(True),
        snn_thresholds_loop,
        options={"layout": "steps"},
    ),
    Style("norse LIF", ("norse",), norse_sequence, norse_loop, options={"output": 0}),
    Style("norse LIFCell", ("norse",), norse_cells, norse_loop, options={"layout": "steps+state"}),
    Style("norse recurrent", ("norse",), norse_recurrent, norse_recurrent_loop, options={"output": 0}),
    Style("sinabs", ("sinabs",), sinabs_batch_first, sinabs_loop, options={"layout": "BT"}),
    Style("sinabs squeeze", ("sinabs",), sinabs_squeeze, sinabs_squeeze_loop, (2, 8, 8), options={"layout": "flat-BT"}),
    Style("sinabs recurrent", ("sinabs",), sinabs_recurrent, sinabs_recurrent_loop, options={"layout": "BT"}),
    Style("paper code", (), PaperModel, paper_loop, (1, 8, 8), options={"layout": "static"}, static=True),
    Style("stateful by hand", (), stateful(), stateful_loop, options={"layout": "steps"}),
    Style("time last, dictionary", (), TimeLast, time_last_loop, options={"layout": "T-last", "output": "spikes"}),
    Style(
        "half precision",
        (),
        stateful(torch.bfloat16),
        stateful_loop,
        options={"layout": "steps"},
        tolerance=0.05,
    ),
]


def named(style: Style) -> Any:
    marks = [pytest.mark.frameworks] if style.needs else []
    return pytest.param(style, id=style.name.replace(" ", "-").replace(",", ""), marks=marks)

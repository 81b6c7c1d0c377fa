"""Models as SpikingJelly's users write them, each with a plain loop of the same equations."""

import torch
import torch.nn.functional as F
from equations import CLASSES, Cell, Loop, hard, sigmoid4, soft
from torch import nn


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

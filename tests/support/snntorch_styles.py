"""Models as snnTorch's users write them, each with a plain loop of the same equations."""

import torch
from equations import CLASSES, Cell, Loop, atan2, late
from torch import nn


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

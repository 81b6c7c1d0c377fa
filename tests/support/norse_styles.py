"""Models as Norse's users write them, each with a plain loop of the same equations."""

import torch
import torch.nn.functional as F
from equations import CLASSES, Cell, Loop, superspike
from torch import nn


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

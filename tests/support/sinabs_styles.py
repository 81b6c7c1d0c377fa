"""Models as sinabs' users write them, each with a plain loop of the same equations."""

import math
from typing import Any

import torch
from equations import CLASSES, Cell, Loop, T, exponential, soft
from torch import nn


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

"""What an attack will ask for is told to a wrapped model before its forward pass."""

import torch
from torch import nn

from spikeflip import scg, wrap


class Spike(torch.autograd.Function):
    @staticmethod
    def forward(ctx, u):
        ctx.save_for_backward(u)
        return (u >= 0).to(u)

    @staticmethod
    def backward(ctx, gradient):
        return gradient * (ctx.saved_tensors[0].abs() < 2)


class Neuron(nn.Module):
    def __init__(self):
        super().__init__()
        self.thresh, self.act = 0.5, Spike.apply

    def forward(self, x):
        return self.act(x - self.thresh)


def test_no_graph_is_made_of_a_pass_whose_gradient_is_of_another_threshold():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 8), Neuron(), nn.Linear(8, 3))
    spikes = (torch.rand(5, 4, 6) < 0.5).float()
    victim = wrap(model, spikes, layout="steps")
    labels, run = victim.scores(spikes).argmax(1), victim.forward
    for threshold, expected in ((0.9, {False, True}), (None, {True})):
        graphs = []
        victim.forward = lambda *given, graph, to=graphs, **named: (
            to.append(graph),
            run(*given, graph=graph, **named),
        )[1]
        result = scg(victim, spikes, labels, threshold=threshold, steps=2, flipper=False)
        assert result.forwards.sum() > 0
        assert set(graphs) == expected
        if threshold is not None:
            assert graphs[:2] == [False, True]

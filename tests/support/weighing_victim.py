"""A victim whose fewest flips are known: class 1 scores the weights of the cells that fire, class 0 a constant."""

from dataclasses import replace
from types import SimpleNamespace

import torch

from spikeflip.evaluation import SUITES
from spikeflip.snn.gradients import InputGradient

T, F = 4, 6
WEIGHT = (torch.linspace(1.0, 0.3, 24) * torch.tensor([1.0, -1, 1] * 8)).view(T, F)
HEIGHT = 3.71


class LinearVictim:
    """Of spikes ``(N, 4, 6)``; ``asked`` counts the samples that it was asked about."""

    input_shape, time_steps, coding, classes = (F,), T, "rate", 2
    device, penultimate_threshold = torch.device("cpu"), None

    def __init__(self):
        self.asked = 0

    def scores(self, spikes):
        self.asked += len(spikes)
        return torch.stack([torch.full((len(spikes),), HEIGHT), (spikes * WEIGHT).sum((1, 2))], 1)

    def probe(self, spikes, request=None):
        scores = self.scores(spikes)

        def gradient(direction, request=None):
            rows = request.rows_of(len(spikes), spikes.device)
            values = direction(scores[rows], rows)[:, 1].view(-1, 1, 1) * WEIGHT
            nothing = torch.zeros(len(rows), dtype=torch.bool)
            return InputGradient(values, nothing, nothing, nothing.float())

        return SimpleNamespace(scores=scores, input_gradient=gradient)


def fewest_flips(spikes):
    """How many flips take each sample across, ``(N,)``: the largest gains, until they are more than what is missing."""
    one = (spikes * WEIGHT).sum((1, 2)) > HEIGHT
    gains = torch.where(one[:, None, None], -1, 1) * WEIGHT * (1 - 2 * spikes)
    ordered = gains.flatten(1).clamp(min=0).sort(1, descending=True).values.cumsum(1)
    missing = ((spikes * WEIGHT).sum((1, 2)) - HEIGHT).abs().unsqueeze(1)
    return (ordered <= missing).sum(1) + 1


def some_inputs(n=10, seed=1):
    """Spikes with their classes."""
    spikes = (torch.rand((n, T, F), generator=torch.Generator().manual_seed(seed)) < 0.5).float()
    return spikes, ((spikes * WEIGHT).sum((1, 2)) > HEIGHT).long()


def scg_and_spikefool(few):
    """Make the suite of flips one of the control and two quick attacks, by the fixture ``few``."""
    suite = SUITES["binary-l0/1"].members
    few("binary-l0/1", suite[0], replace(suite[1], settings={"steps": 2}), suite[4])

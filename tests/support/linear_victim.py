"""A victim whose scores are linear in its spikes, so that the fewest moves that fool it are known."""

from types import SimpleNamespace

import torch

from spikeflip.snn.gradients import InputGradient


class Linear:
    """Class k scores the sum of the weights ``(K, T, *input)`` of the cells that fire, plus its bias ``(K,)``."""

    coding, penultimate_threshold, device = "rate", None, torch.device("cpu")

    def __init__(self, weights, bias=None):
        self.weights = weights
        self.bias = torch.zeros(len(weights)) if bias is None else bias
        self.classes, self.time_steps, self.input_shape = len(weights), weights.shape[1], tuple(weights.shape[2:])

    def scores(self, spikes):
        # Sums of whole numbers: exact in any order.
        return (spikes.flatten(1).double() @ self.weights.flatten(1).double().T + self.bias).float()

    def probe(self, spikes, request=None):
        scores = self.scores(spikes)

        def gradient(direction, request=None):
            rows = request.rows_of(len(spikes), spikes.device)
            values = (direction(scores[rows], rows) @ self.weights.flatten(1)).view(len(rows), *spikes.shape[1:])
            nothing = torch.zeros(len(rows), dtype=torch.bool)
            return InputGradient(values, nothing, nothing, nothing.float())

        return SimpleNamespace(scores=scores, input_gradient=gradient)


def random_case(seed, steps=10, lines=(2, 3), classes=3, density=0.3, n=1, behind=300):
    """A victim of whole weights, spikes ``(n, T, *lines)``, what it says of them, and the class that is second."""
    numbers = torch.Generator().manual_seed(seed)
    weights = torch.randint(-99, 100, (classes, steps, *lines), generator=numbers).float()
    spikes = (torch.rand(n, steps, *lines, generator=numbers) < density).float()
    labels = torch.full((n,), int(torch.randint(classes, (1,), generator=numbers)))
    victim = Linear(weights)
    rival = (int(labels[0]) + 1) % classes
    victim.bias -= 1e5  # other classes than these two are never in the way
    scores = victim.scores(spikes)
    victim.bias[rival] += 1e5
    victim.bias[labels[0]] += 1e5 + (scores[:, rival] - scores[:, labels[0]]).amax() + behind + 0.5
    return victim, spikes, labels, torch.full_like(labels, rival)


def fewest_moves(victim, spikes, label, wanted):
    """The fewest moves ``(T, *input)`` spikes need until ``wanted`` scores above ``label``; None if all are too few."""
    margin = (victim.scores(spikes[None])[0, label] - victim.scores(spikes[None])[0, wanted]).item()
    worth = (victim.weights[wanted] - victim.weights[label]).flatten(1).T.tolist()
    gains = []
    for line, fires in zip(worth, spikes.flatten(1).T.tolist(), strict=True):
        lowest = sorted(value for value, fired in zip(line, fires, strict=True) if fired)
        highest = sorted((value for value, fired in zip(line, fires, strict=True) if not fired), reverse=True)
        gains += [high - low for low, high in zip(lowest, highest, strict=False)]
    total = 0.0
    for number, gain in enumerate(sorted(gains, reverse=True), 1):
        total += gain
        if total > margin:
            return number
    return None

"""sigma-zero on flips is the plain loop of its formula, step by step."""

import math

import torch
from weighing_victim import HEIGHT, WEIGHT, LinearVictim, some_inputs

from spikeflip.attacks import sigma_zero


def plain(spikes, label, steps):
    """What the victim is asked about, from the original on, of one sample."""
    sign = -1 if label else 1
    gain = (sign * WEIGHT * (1 - 2 * spikes)).double()
    strength, mean, square = (torch.zeros_like(gain) for _ in range(3))
    least, seen = 0.3, [spikes]
    for number in range(steps):
        fooled = number > 0 and sign * float((seen[-1] * WEIGHT).sum() - HEIGHT) > 0
        downhill = 2e-3 * strength / (strength**2 + 1e-3) ** 2 / gain.numel() - (0 if fooled else gain)
        downhill = downhill / downhill.abs().max()
        mean, square = 0.9 * mean + 0.1 * downhill, 0.999 * square + 0.001 * downhill**2
        rate = 0.1 + 0.45 * (1 + math.cos(math.pi * number / steps))
        moments = mean / (1 - 0.9 ** (number + 1)), square / (1 - 0.999 ** (number + 1))
        strength = (strength - rate * moments[0] / (moments[1].sqrt() + 1e-8)).clamp(0, 1)
        least = min(1.0, max(0.0, least + (0.01 if fooled else -0.01) * rate))
        strength[strength < least] = 0
        seen.append(torch.where(strength >= 0.5, 1 - spikes, spikes))
    return seen


def test_it_is_the_plain_loop():
    spikes, labels = some_inputs(6)
    steps, goes_on = 30, 0
    for one, label in zip(spikes, labels, strict=True):
        victim, asked = LinearVictim(), []
        scores = victim.scores
        victim.scores = lambda given, scores=scores, asked=asked: asked.append(given.clone()) or scores(given)
        sigma_zero(victim, one[None], label[None], steps=steps, reduce=False)
        expected = plain(one, int(label), steps)
        assert len(asked) == steps + 1
        assert [found[0].tolist() for found in asked] == [wanted.tolist() for wanted in expected]
        goes_on += len({tuple(found.flatten().tolist()) for found in asked[2:]}) > 1
    assert goes_on

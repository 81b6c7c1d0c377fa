"""Gradient requests in few words."""

import torch

from spikeflip.snn.estimators import estimator
from spikeflip.snn.gradients import BPTT, GradientRequest


def ask(rows=None, *, penultimate_threshold=None, output_window=None):
    return GradientRequest(penultimate_threshold, BPTT(output_window=output_window), rows)


def away(scores, rows):
    """A gradient of the scores in which neighbouring samples and classes do not weigh the same."""
    return (1 + rows[:, None] % 7 + torch.arange(scores.shape[1]) / 7).to(scores)


def gradient(victim, inputs, how, *, rows=None, memory=None, threshold=None, direction=away):
    """By an estimator, or the name of one."""
    request = GradientRequest(threshold, estimator(how) if isinstance(how, str) else how, rows, memory)
    return victim.probe(inputs, request).input_gradient(direction, request)


def same(victim, own, inputs, how, tolerance=1e-9, **options):
    """The gradient of a victim, which is that of another, to within a share of its largest element."""
    one, two = (gradient(v, inputs, how, **options) for v in (victim, own))
    assert two.values.any()
    assert (one.values - two.values).abs().max() <= tolerance * two.values.abs().max()
    for name in ("loss_zero", "output_zero", "penultimate_spikes"):
        assert torch.equal(getattr(one, name), getattr(two, name)), name
    return one.values

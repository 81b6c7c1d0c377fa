"""Gradient requests in few words."""

from spikeflip.snn.gradients import BPTT, GradientRequest


def ask(rows=None, *, penultimate_threshold=None, output_window=None):
    return GradientRequest(penultimate_threshold, BPTT(output_window=output_window), rows)

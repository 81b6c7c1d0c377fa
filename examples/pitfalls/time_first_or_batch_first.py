"""Data with the batch first, a model with time first: it runs, and takes every sample for a time step.

Shapes cannot tell ``(T, N, ...)`` from ``(N, T, ...)``. spikeflip takes the batch first everywhere, is told with
``layout=`` what the model takes, and checks that by its effects.
"""

import torch
from torch import nn

import spikeflip
from spiking_digits import LIF, STEPS, accuracy, encode, fit, load, show, verified


def main(updates: int = 100, samples: int = 50) -> dict[str, object]:
    """Run the raw model on both orders, wrap it with the wrong layout, then with the right one."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(64, 64), LIF(), nn.Linear(64, 10), LIF())  # takes (T, N, 64)
    fit(net, lambda images: net(encode(images).transpose(0, 1)).mean(0), updates)
    images, labels = (part[:samples] for part in load("test"))
    spikes = encode(images)

    # The symptom: with as many samples as time steps, even the shape of the scores is right.
    few = slice(0, STEPS)
    found: dict[str, object] = {
        "accuracy, batch first": accuracy(net(spikes[few]).mean(0), labels[few]),
        "accuracy, time first": accuracy(net(spikes[few].transpose(0, 1)).mean(0), labels[few]),
    }

    # What spikeflip says to a wrong layout.
    try:
        spikeflip.wrap(net, spikes, layout="BT")
    except spikeflip.SpikeflipError as error:
        found["refused, layout BT"] = str(error)

    # The fix: the batch first in the data, and the layout of the model said.
    victim = spikeflip.wrap(net, spikes[:4], layout="TB")
    found["clean accuracy"] = accuracy(victim.scores(spikes), labels)
    found["verified success rate"] = verified(victim, images, labels)

    # And to data with time first.
    try:
        spikeflip.scg(victim, spikes.transpose(0, 1), labels)
    except spikeflip.SpikeflipError as error:
        found["refused, time-first data"] = str(error)
    return show(found)


if __name__ == "__main__":
    main()

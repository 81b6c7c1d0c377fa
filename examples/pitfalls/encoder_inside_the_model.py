"""A Poisson encoder inside the model: a random model, with no gradient beyond the encoder.

Attack libraries fail on it, or find a gradient of zero. The encoder is no part of the victim: wrap what follows it.
spikeflip encodes images itself, afresh in every step of the attack and 100 times to verify its result.
"""

import torch
from torch import Tensor, nn

import spikeflip
from spiking_digits import LIF, STEPS, accuracy, fit, load, show, verified


class PoissonEncoder(nn.Module):
    """Images ``(N, 64)`` to spikes ``(T, N, 64)``."""

    def forward(self, images: Tensor) -> Tensor:
        """Draw spikes with the probability that the intensity is."""
        return (torch.rand(STEPS, *images.shape) < images).float()


class Net(nn.Module):
    """Takes images, like the models that other attack libraries know."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = PoissonEncoder()
        self.body = nn.Sequential(nn.Linear(64, 64), LIF(), nn.Linear(64, 10), LIF())

    def forward(self, images: Tensor) -> Tensor:
        """Firing rates."""
        return self.body(self.encoder(images)).mean(0)


def main(updates: int = 100, samples: int = 50) -> dict[str, object]:
    """Ask the raw model for a gradient, wrap it as it is, then without its encoder."""
    torch.manual_seed(0)
    net = Net()
    fit(net, net, updates)
    images, labels = (part[:samples] for part in load("test"))

    # The symptom: two calls differ, and the images get no gradient.
    asked = images.clone().requires_grad_()
    scores = net(asked)
    scores.sum().backward()
    found: dict[str, object] = {"gradient": asked.grad}
    found["two calls differ by"] = (net(images) - scores).abs().max().item()

    # What spikeflip says.
    try:
        spikeflip.wrap(net, images[:4], layout="static")
    except spikeflip.SpikeflipError as error:
        found["refused"] = str(error)

    # The fix: wrap what follows the encoder.
    spikes = net.encoder(images).transpose(0, 1)
    victim = spikeflip.wrap(net.body, spikes[:4], layout="TB")
    found["clean accuracy"] = accuracy(victim.scores(spikes), labels)
    found["verified success rate"] = verified(victim, images, labels)
    return show(found)


if __name__ == "__main__":
    main()

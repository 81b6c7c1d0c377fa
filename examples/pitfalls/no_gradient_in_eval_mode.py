"""``model.eval()`` and the input has no gradient: SpikingJelly 0.0.0.0.14, and models that copied its neurons.

In evaluation mode these neurons compare without their surrogate. A model that ends with one raises "element 0 of
tensors does not require grad"; before a linear head there is no error, and the input's gradient is None.
``model.train()`` brings it back, and BatchNorm and dropout with it.
"""

import copy
from importlib.metadata import PackageNotFoundError, version

import torch
from torch import Tensor, nn

import spikeflip
from spiking_digits import STEPS, Spike, accuracy, encode, fit, load, show, verified


class LIFNode(nn.Module):
    """What the evaluation mode of SpikingJelly 0.0.0.0.14 comes down to, where that release is not installed."""

    def __init__(self, v_threshold: float = 1.0) -> None:
        super().__init__()
        self.v, self.v_threshold, self.surrogate_function = 0.0, v_threshold, Spike.apply

    def reset(self) -> None:
        """Forget the membrane."""
        self.v = 0.0

    def forward(self, current: Tensor) -> Tensor:
        """One step; the surrogate is used in training mode alone."""
        self.v = 0.5 * self.v + current
        u = self.v - self.v_threshold
        spikes = self.surrogate_function(u) if self.training else (u >= 0).float()
        self.v = self.v * (1 - spikes)
        return spikes


def neuron(v_threshold: float) -> nn.Module:
    """A neuron of SpikingJelly if the installed release is of the old kind, else the one above."""
    try:
        if version("spikingjelly").startswith("0.0.0.0."):
            from spikingjelly.activation_based.neuron import LIFNode as Original

            return Original(v_threshold=v_threshold)
    except PackageNotFoundError:
        pass
    return LIFNode(v_threshold)


def run(net: nn.Sequential, spikes: Tensor) -> Tensor:
    """Scores ``(N, 10)`` of spikes ``(N, T, 64)``."""
    net[2].reset()
    return sum(net(frame) for frame in spikes.unbind(1)) / STEPS


def main(updates: int = 100, samples: int = 50) -> dict[str, object]:
    """Ask the raw model for a gradient in both modes, then its victim."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(64, 64), nn.BatchNorm1d(64), neuron(0.5), nn.Linear(64, 10))
    fit(net, lambda images: run(net, encode(images)), updates)
    images, labels = (part[:samples] for part in load("test"))
    net.eval()

    # The symptom: no gradient, no error.
    spikes = encode(images).requires_grad_()
    scores = run(net, spikes)
    scores.sum().backward()
    found: dict[str, object] = {"gradient in eval mode": spikes.grad}

    # What is often advised: training mode has a gradient, of another model that also changes while it is attacked.
    net[2].reset()
    other = copy.deepcopy(net).train()
    found["scores change in train mode by"] = (run(other, spikes) - scores).abs().max().item()
    found["BatchNorm moves by"] = (other[1].running_mean - net[1].running_mean).abs().max().item()

    # The fix: a victim is in evaluation mode but for its neurons, while it computes a gradient.
    victim = spikeflip.wrap(net, spikes[:4].detach(), layout="steps")
    gradient = victim.probe(spikes.detach()).input_gradient(lambda s, rows: torch.ones_like(s))
    found["gradient of the victim"] = gradient.values.norm().item()
    found["scores of the victim differ by"] = (victim.scores(spikes) - scores).abs().max().item()
    found["clean accuracy"] = accuracy(victim.scores(spikes), labels)
    found["verified success rate"] = verified(victim, images, labels)
    return show(found)


if __name__ == "__main__":
    main()

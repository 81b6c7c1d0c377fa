"""What the examples of this folder share: digits as spikes, a neuron, and training."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import spikeflip

STEPS = 10


class Spike(torch.autograd.Function):
    """A step whose gradient is a triangle around the threshold."""

    @staticmethod
    def forward(ctx, u: Tensor) -> Tensor:
        """1 where the membrane is at the threshold or above."""
        ctx.save_for_backward(u)
        return (u >= 0).float()

    @staticmethod
    def backward(ctx, grad: Tensor) -> Tensor:
        """The surrogate derivative."""
        (u,) = ctx.saved_tensors
        return grad * (1 - u.abs()).clamp(min=0)


class LIF(nn.Module):
    """A leaky neuron over all steps of ``(T, N, ...)``."""

    def __init__(self) -> None:
        super().__init__()
        self.thresh, self.act = 0.5, Spike.apply

    def forward(self, currents: Tensor) -> Tensor:
        """Start from zero, reset to zero."""
        potential, spikes = torch.zeros_like(currents[0]), []
        for current in currents.unbind(0):
            potential = 0.5 * potential + current
            spikes.append(self.act(potential - self.thresh))
            potential = potential * (1 - spikes[-1])
        return torch.stack(spikes)


def load(split: str) -> tuple[Tensor, Tensor]:
    """Images ``(N, 64)`` in [0, 1] and labels."""
    digits = spikeflip.load_images("digits", split)
    return digits.images.flatten(1), digits.labels


def encode(images: Tensor) -> Tensor:
    """Rate-coded spikes ``(N, T, 64)``."""
    return (torch.rand(len(images), STEPS, 64) < images[:, None]).float()


def fit(net: nn.Module, scores: Callable[[Tensor], Tensor], updates: int) -> nn.Module:
    """Train ``net``, whose scores of images ``(N, 64)`` a function computes."""
    images, labels = load("train")
    optimizer = torch.optim.Adam(net.parameters(), 1e-2)
    for _ in range(updates):
        batch = torch.randint(len(labels), (64,))
        loss = F.cross_entropy(5 * scores(images[batch]), labels[batch])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return net


def accuracy(scores: Tensor, labels: Tensor) -> float:
    """The share of samples whose label has the largest score."""
    return (scores.argmax(1) == labels).float().mean().item()


def verified(victim, inputs: Tensor, labels: Tensor) -> float:
    """What SCG reaches on a victim, as judged on the untouched model."""
    result = spikeflip.scg(victim, inputs, labels)
    judgement = spikeflip.judge(victim, inputs, result.adversarials, labels, None, result)
    return judgement.summary()["verified_success_rate"]


def show(found: dict[str, object]) -> dict[str, object]:
    """Print what an example found, and return it."""
    for name, value in found.items():
        print(f"{name}: {value:.3f}" if isinstance(value, float) else f"{name}: {value}")
    return found

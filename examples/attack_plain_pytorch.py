"""Plain PyTorch, as in papers' repositories: own neurons that keep their membrane, on rate-coded digits."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import spikeflip
from spikeflip.attacks import noise

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
    """A leaky neuron that keeps its membrane from step to step."""

    def __init__(self) -> None:
        super().__init__()
        self.v_th, self.spike_fn, self.membrane = 0.5, Spike.apply, 0.0

    def forward(self, current: Tensor) -> Tensor:
        """One step: leak, integrate, fire, reset to zero."""
        potential = 0.5 * self.membrane + current
        spikes = self.spike_fn(potential - self.v_th)
        self.membrane = potential * (1 - spikes)
        return spikes


def reset(net: nn.Module) -> None:
    """Set all membranes to zero."""
    for module in net.modules():
        if isinstance(module, LIF):
            module.membrane = 0.0


def train(updates: int) -> nn.Module:
    """Fit firing rates over a loop of time steps, from membranes at zero."""
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1), LIF(), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(8 * 4 * 4, 10), LIF()
    )
    digits = spikeflip.load_images("digits", "train")
    optimizer = torch.optim.Adam(net.parameters(), 1e-2)
    for _ in range(updates):
        batch = torch.randint(len(digits), (64,))
        images = digits.images[batch]
        reset(net)
        rates = sum(net((torch.rand_like(images) < images).float()) for _ in range(STEPS)) / STEPS
        loss = F.mse_loss(rates, F.one_hot(digits.labels[batch], 10).float())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return net


def attack(net: nn.Module, images: Tensor, labels: Tensor) -> dict[str, float]:
    """Wrap, attack and judge, beside random noise of the same size."""
    example = (torch.rand(4, STEPS, 1, 8, 8) < images[:4, None]).float()
    victim = spikeflip.wrap(net, example, layout="steps", neurons={LIF: ("v_th", "spike_fn")}, reset=reset)
    result = spikeflip.scg(victim, images, labels)  # images are encoded afresh in every step
    found = spikeflip.judge(victim, images, result.adversarials, labels, None, result).summary()
    if found["mse_mean"] is None:
        raise SystemExit("no attack succeeded, so that there is nothing to compare: train longer")
    control = noise(victim, images, labels, strength=found["mse_mean"])
    random = spikeflip.judge(victim, images, control.adversarials, labels, None, control).summary()
    rates = ("clean_accuracy", "attack_success_rate", "verified_success_rate", "mse_mean")
    return {name: found[name] for name in rates} | {"random_verified_rate": random["verified_success_rate"]}


def main(updates: int = 150, samples: int = 100) -> dict[str, float]:
    """Train, attack the first test images, and print the rates."""
    net = train(updates)
    digits = spikeflip.load_images("digits", "test")
    figures = attack(net, digits.images[:samples], digits.labels[:samples])
    for name, value in figures.items():
        print(f"{name:24}{value:7.3f}")
    return figures


if __name__ == "__main__":
    main()

"""snnTorch: the fully connected network of its tutorials, on rate-coded digits."""

import snntorch as snn
import snntorch.functional as SF
import torch
from snntorch import spikegen
from torch import Tensor, nn

import spikeflip
from spikeflip.attacks import noise

STEPS = 15


class Net(nn.Module):
    """Two layers of leaky neurons; takes ``(T, N, 64)``, returns spikes and membranes of all steps."""

    def __init__(self) -> None:
        super().__init__()
        self.fc1, self.lif1 = nn.Linear(64, 100), snn.Leaky(beta=0.9)
        self.fc2, self.lif2 = nn.Linear(100, 10), snn.Leaky(beta=0.9)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Run all steps from membranes at rest."""
        mem1, mem2 = self.lif1.init_leaky(), self.lif2.init_leaky()
        spikes, membranes = [], []
        for frame in x.unbind(0):
            spk1, mem1 = self.lif1(self.fc1(frame), mem1)
            spk2, mem2 = self.lif2(self.fc2(spk1), mem2)
            spikes.append(spk2)
            membranes.append(mem2)
        return torch.stack(spikes), torch.stack(membranes)


def train(updates: int) -> nn.Module:
    """Fit spike counts of rate-coded images, as in the tutorials."""
    torch.manual_seed(0)
    net, loss_of = Net(), SF.ce_count_loss()
    digits = spikeflip.load_images("digits", "train")
    optimizer = torch.optim.Adam(net.parameters(), 5e-3)
    for _ in range(updates):
        batch = torch.randint(len(digits), (128,))
        spikes, _ = net(spikegen.rate(digits.images[batch].flatten(1), num_steps=STEPS))
        optimizer.zero_grad()
        loss_of(spikes, digits.labels[batch]).backward()
        optimizer.step()
    return net


def attack(net: nn.Module, images: Tensor, labels: Tensor) -> dict[str, float]:
    """Wrap, attack and judge, beside random noise of the same size."""
    example = spikegen.rate(images[:4], num_steps=STEPS).transpose(0, 1)  # the batch first in every example
    victim = spikeflip.wrap(net, example, layout="TB", output=0)
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
    figures = attack(net, digits.images[:samples].flatten(1), digits.labels[:samples])
    for name, value in figures.items():
        print(f"{name:24}{value:7.3f}")
    return figures


if __name__ == "__main__":
    main()

"""Norse: LIF neurons with synapses and a leaky integrator as the output, on rate-coded digits."""

import norse.torch as norse
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import spikeflip
from spikeflip.attacks import noise

STEPS = 16


def train(updates: int) -> nn.Module:
    """The classifier of Norse's MNIST task, small: the largest membrane of the output wins."""
    torch.manual_seed(0)
    neurons = norse.LIFParameters(v_th=torch.tensor(0.5))
    net = norse.SequentialState(
        nn.Linear(64, 100), norse.LIF(neurons, dt=0.004), nn.Linear(100, 10, bias=False), norse.LI(dt=0.004)
    )
    digits = spikeflip.load_images("digits", "train")
    optimizer = torch.optim.Adam(net.parameters(), 5e-3)
    for _ in range(updates):
        batch = torch.randint(len(digits), (128,))
        images = digits.images[batch].flatten(1)
        spikes = (torch.rand(STEPS, *images.shape) < images).float()
        membranes, _ = net(spikes)  # (T, N, 10), and the state, which Norse hands out and does not keep
        loss = F.cross_entropy(membranes.amax(0), digits.labels[batch])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return net


def attack(net: nn.Module, images: Tensor, labels: Tensor) -> dict[str, float]:
    """Wrap, attack and judge, beside random noise of the same size."""
    example = (torch.rand(4, STEPS, 64) < images[:4, None]).float()  # (N, T, 64), the batch first in every example
    victim = spikeflip.wrap(net, example, layout="TB", output=0, readout="max")
    result = spikeflip.scg(victim, images, labels, loss="ce")  # images are encoded afresh in every step
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

"""SpikingJelly: convolution, LIF and voting in multi-step mode, on simulated event recordings of digits."""

import torch
import torch.nn.functional as F
from spikingjelly.activation_based import functional, layer, neuron, surrogate
from torch import Tensor, nn

import spikeflip
from spikeflip.attacks import noise

STEPS = 8


def recordings(split: str) -> tuple[Tensor, Tensor]:
    """Spikes ``(N, T, 2, 16, 16)`` of digits that move before an event camera, and labels."""
    digits = spikeflip.load_images("digits", split)
    return spikeflip.simulate_saccades(digits.images, steps=STEPS, size=16), digits.labels


def train(updates: int) -> nn.Module:
    """The network of SpikingJelly's event tutorials, small, trained on firing rates."""
    torch.manual_seed(0)
    net = nn.Sequential(
        layer.Conv2d(2, 8, 3, padding=1, bias=False),
        layer.BatchNorm2d(8),
        neuron.LIFNode(surrogate_function=surrogate.ATan(), detach_reset=True),
        layer.MaxPool2d(2),
        layer.Flatten(),
        layer.Linear(8 * 8 * 8, 50),
        neuron.LIFNode(surrogate_function=surrogate.ATan(), detach_reset=True),
        layer.VotingLayer(5),
    )
    functional.set_step_mode(net, "m")
    spikes, labels = recordings("train")
    optimizer = torch.optim.Adam(net.parameters(), 1e-2)
    for _ in range(updates):
        batch = torch.randint(len(labels), (32,))
        rates = net(spikes[batch].transpose(0, 1)).mean(0)  # the model takes (T, N, ...)
        loss = F.mse_loss(rates, F.one_hot(labels[batch], 10).float())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        functional.reset_net(net)
    return net


def attack(net: nn.Module, spikes: Tensor, labels: Tensor) -> dict[str, float]:
    """Wrap, attack and judge, beside random flips of the same number."""
    victim = spikeflip.wrap(net, spikes[:4], layout="TB")
    result = spikeflip.scg(victim, spikes, labels)
    found = spikeflip.judge(victim, spikes, result.adversarials, labels, None, result).summary()
    if found["mse_mean"] is None:
        raise SystemExit("no attack succeeded, so that there is nothing to compare: train longer")
    control = noise(victim, spikes, labels, strength=found["mse_mean"])
    random = spikeflip.judge(victim, spikes, control.adversarials, labels, None, control).summary()
    rates = ("clean_accuracy", "attack_success_rate", "verified_success_rate", "mse_mean")
    return {name: found[name] for name in rates} | {"random_verified_rate": random["verified_success_rate"]}


def main(updates: int = 100, samples: int = 100) -> dict[str, float]:
    """Train, attack the first test samples, and print the rates."""
    net = train(updates)
    spikes, labels = recordings("test")
    figures = attack(net, spikes[:samples], labels[:samples])
    for name, value in figures.items():
        print(f"{name:24}{value:7.3f}")
    return figures


if __name__ == "__main__":
    main()

"""sinabs: convolutions and integrate-and-fire neurons that fold time into the batch, on simulated event recordings."""

import sinabs
import sinabs.layers as sl
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import spikeflip
from spikeflip.attacks import noise

STEPS = 8


def recordings(split: str) -> tuple[Tensor, Tensor]:
    """Spikes ``(N, T, 2, 16, 16)`` of digits that move before an event camera, and labels."""
    digits = spikeflip.load_images("digits", split)
    return spikeflip.simulate_saccades(digits.images, steps=STEPS, size=16), digits.labels


def train(updates: int) -> nn.Module:
    """The network of sinabs' N-MNIST tutorial, small, trained on spike counts."""
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(2, 8, 3, padding=1, bias=False),
        sl.IAFSqueeze(num_timesteps=STEPS, min_v_mem=-1.0),
        nn.AvgPool2d(2),
        nn.Conv2d(8, 8, 3, padding=1, bias=False),
        sl.IAFSqueeze(num_timesteps=STEPS, min_v_mem=-1.0),
        nn.AvgPool2d(2),
        nn.Flatten(),
        nn.Linear(8 * 4 * 4, 10, bias=False),
        sl.IAFSqueeze(num_timesteps=STEPS, min_v_mem=-1.0),
    )
    spikes, labels = recordings("train")
    optimizer = torch.optim.Adam(net.parameters(), 1e-2)
    for _ in range(updates):
        batch = torch.randint(len(labels), (32,))
        counts = net(spikes[batch].flatten(0, 1)).unflatten(0, (-1, STEPS)).sum(1)  # the model takes (N * T, ...)
        loss = F.cross_entropy(counts, labels[batch])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        sinabs.reset_states(net)
    return net


def attack(net: nn.Module, spikes: Tensor, labels: Tensor) -> dict[str, float]:
    """Wrap, attack and judge, beside random flips of the same number."""
    victim = spikeflip.wrap(net, spikes[:4], layout="flat-BT", readout="sum")
    result = spikeflip.scg(victim, spikes, labels, loss="ce")
    found = spikeflip.judge(victim, spikes, result.adversarials, labels, None, result).summary()
    if found["mse_mean"] is None:
        raise SystemExit("no attack succeeded, so that there is nothing to compare: train longer")
    control = noise(victim, spikes, labels, strength=found["mse_mean"])
    random = spikeflip.judge(victim, spikes, control.adversarials, labels, None, control).summary()
    rates = ("clean_accuracy", "attack_success_rate", "verified_success_rate", "mse_mean")
    return {name: found[name] for name in rates} | {"random_verified_rate": random["verified_success_rate"]}


def main(updates: int = 150, samples: int = 100) -> dict[str, float]:
    """Train, attack the first test samples, and print the rates."""
    net = train(updates)
    spikes, labels = recordings("test")
    figures = attack(net, spikes[:samples], labels[:samples])
    for name, value in figures.items():
        print(f"{name:24}{value:7.3f}")
    return figures


if __name__ == "__main__":
    main()

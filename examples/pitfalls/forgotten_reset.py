"""Nobody reset the model: scores and gradients depend on what ran before.

``loss.backward()`` says so in the second step of an attack ("Trying to backward through the graph a second time").
``torch.autograd.grad`` of a fresh input does not: its answer is just another one.
"""

import torch
from torch import Tensor, nn

import spikeflip
from spiking_digits import STEPS, Spike, accuracy, encode, fit, load, show, verified


class LIF(nn.Module):
    """A leaky neuron that keeps its membrane from step to step, and from batch to batch."""

    def __init__(self) -> None:
        super().__init__()
        self.thresh, self.act, self.mem = 0.5, Spike.apply, 0.0

    def forward(self, current: Tensor) -> Tensor:
        """One step."""
        potential = 0.9 * self.mem + current
        spikes = self.act(potential - self.thresh)
        self.mem = potential * (1 - spikes)
        return spikes


def reset(net: nn.Module) -> None:
    """What must run before every batch."""
    for module in net.modules():
        if isinstance(module, LIF):
            module.mem = 0.0


def run(net: nn.Module, spikes: Tensor) -> Tensor:
    """Scores ``(N, 10)`` of spikes ``(N, T, 64)``."""
    return sum(net(frame) for frame in spikes.unbind(1)) / STEPS


def gradient(net: nn.Module, spikes: Tensor) -> Tensor:
    """The input gradient of one class's scores."""
    spikes = spikes.clone().requires_grad_()
    (found,) = torch.autograd.grad(run(net, spikes)[:, 3].sum(), spikes)
    return found


def main(updates: int = 100, samples: int = 50) -> dict[str, object]:
    """Run the raw model twice, wrap it as it was left, then with its reset."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(64, 64), LIF(), nn.Linear(64, 10), LIF())

    def scores(images: Tensor) -> Tensor:
        reset(net)
        return run(net, encode(images))

    fit(net, scores, updates)
    images, labels = (part[:samples] for part in load("test"))
    spikes = encode(images)

    # The symptom: the same call again gives something else, without a word.
    reset(net)
    first = gradient(net, spikes)
    again = gradient(net, spikes)
    found: dict[str, object] = {"gradient off by": ((again - first).norm() / first.norm()).item()}
    reset(net)
    found["accuracy, fresh"] = accuracy(run(net, spikes), labels)
    run(net, spikes.flip(0))  # another batch in between
    found["accuracy, used"] = accuracy(run(net, spikes), labels)

    # What spikeflip says to a model that was used and cannot reset itself.
    try:
        spikeflip.wrap(net, spikes, layout="steps")
    except spikeflip.SpikeflipError as error:
        found["refused"] = str(error)

    # The fix: say how it is reset. A victim starts every call from there, and leaves the model as it was.
    left = net[1].mem
    victim = spikeflip.wrap(net, spikes, layout="steps", reset=reset)
    found["calls of the victim differ by"] = (victim.scores(spikes) - victim.scores(spikes)).abs().max().item()
    found["clean accuracy"] = accuracy(victim.scores(spikes), labels)
    found["verified success rate"] = verified(victim, images, labels)
    found["membranes left alone"] = net[1].mem is left
    return show(found)


if __name__ == "__main__":
    main()

"""A defence in front of any victim, a median over time, attacked as if it were not there and as what it is."""

import torch
from attack_plain_pytorch import LIF, STEPS, reset, train
from torch import Tensor

import spikeflip


class MedianOverTime(spikeflip.Defence):
    """The victim sees the median of each cell over three time steps."""

    def transform(self, spikes: Tensor) -> Tensor:
        """The median of a step and its neighbours; the first and the last step are their own."""
        before = torch.cat([spikes[:, :1], spikes[:, :-1]], 1)
        after = torch.cat([spikes[:, 1:], spikes[:, -1:]], 1)
        return torch.stack([before, spikes, after]).median(0).values


def main(updates: int = 150, samples: int = 100) -> dict[str, float]:
    """Attack the victim without the defence and with it, and show each what was made on the other."""
    digits = spikeflip.load_images("digits", "test")
    images, labels = digits.images[:samples], digits.labels[:samples]
    example = (torch.rand(4, STEPS, 1, 8, 8) < images[:4, None]).float()
    bare = spikeflip.wrap(train(updates), example, layout="steps", neurons={LIF: ("v_th", "spike_fn")}, reset=reset)
    defended = MedianOverTime(bare)

    unaware = spikeflip.scg(bare, images, labels)
    aware = spikeflip.scg(defended, images, labels)
    judged = {
        "without the defence": spikeflip.judge(bare, images, unaware.adversarials, labels, None, unaware),
        "defended, attack unaware of it": spikeflip.judge(defended, images, unaware.adversarials, labels),
        "defended, attack through it": spikeflip.judge(defended, images, aware.adversarials, labels, None, aware),
    }
    rates = {name: found.summary()["verified_success_rate"] for name, found in judged.items()}
    found = {"clean accuracy": judged["without the defence"].summary()["clean_accuracy"]}
    found |= {"clean accuracy, defended": judged["defended, attack through it"].summary()["clean_accuracy"], **rates}
    for name, value in found.items():
        print(f"{name:32}{value:7.3f}")
    return found


if __name__ == "__main__":
    main()

"""Time our SDA, many samples at once by events, against one written plainly from its formula in dense PyTorch.

    python benchmarks/sda.py [--victim FOLDER --root DIR [--widened 4] [--fooled-within 7]] [--width 0.25 1]
                             [--samples 3] [--rounds 3] [--steps 40] [--goals untargeted targeted] [--processor-time]
                             [--json]

Both attack the same samples of the same victim in one process, at the victim's own threshold and output window, until
each is fooled. The plain one runs one sample after another: the gradient by autograd, 64 candidates in a forward pass,
and one bisection to undo flips; ours goes on undoing until no single flip can be spared, which is part of its time.
What it takes without that is measured too, as its search.
Rounds have samples of their own. Without a victim the weights are untrained, and scaled until every layer fires at a
rate of trained victims; inputs are simulated recordings of digits, and labels what the victim says. With one they are
its own test inputs that it classifies correctly. --widened 4 makes a victim of a quarter of the width one of the whole
that says the same: each hidden neuron four times, and the weights behind it divided by four. A plain pass is slow
there; --fooled-within takes the first inputs that so many of our steps fool. Progress goes to stderr. With
--processor-time only the time on a CPU counts that this process has, where other work shares the machine. See
benchmarks/README.md.
"""

import statistics
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from measuring import in_turn, machine, ratio
from rescoring import untrained
from rows import parser_of, print_rows
from spikeflip import SpikingNetwork, load_checkpoint
from spikeflip.attacks import SDA
from spikeflip.snn.coding import reached, winner
from victims import subject

CANDIDATES = 10
AT_A_TIME = 64
CHOSEN_FROM = 64  # inputs, where those are wanted that are fooled soon
UNTRAINED = 16  # of which some have a winner


Case = tuple[dict[str, object], SpikingNetwork, Tensor, Tensor]
"""What a row says of a victim, the victim, inputs and labels."""


@dataclass(frozen=True)
class Goal:
    """Away from a class, or towards it."""

    classes: int
    targeted: bool

    def reached(self, scores: Tensor) -> bool:
        return bool(reached(winner(scores), torch.tensor([self.classes]), targeted=self.targeted))

    def loss(self, scores: Tensor) -> Tensor:
        """How far scores ``(n, K)`` are from the goal, ``(n,)``: 0 where no class is in the way."""
        own = scores[:, self.classes]
        others = scores.index_fill(1, torch.tensor([self.classes]), -torch.inf).amax(1)
        return (others - own if self.targeted else own - others).clamp(min=0)


@dataclass(frozen=True)
class Found:
    """What became of samples: whether each reached its goal, with how many flips, after how many iterations."""

    success: list[bool]
    flips: list[int]
    iterations: list[int]
    forwards: list[int]

    def and_then(self, other: "Found") -> "Found":
        return Found(*(getattr(self, name) + getattr(other, name) for name in self.__dataclass_fields__))


class Plain:
    """SDA on one sample ``(1, T, *input)``, after Lun et al., CVPR 2025, with nothing shared or skipped."""

    def __init__(self, network: SpikingNetwork, spikes: Tensor, goal: Goal, *, steps: int, seed: int = 0) -> None:
        self.network, self.goal, self.steps = network.on("torch"), goal, steps
        self.spikes, self.shape = spikes.flatten(), spikes.shape
        self.generator = torch.Generator().manual_seed(seed)
        self.effect: dict[int, float] = {}  # of each flip, when it was chosen
        self.iterations = self.forwards = 0

    def found(self) -> Found:
        """Search until the goal is reached, then undo what a bisection finds."""
        while True:
            spikes = self.flipped([list(self.effect)]).requires_grad_()
            scores = self.network(spikes)
            self.forwards += 1
            success = self.goal.reached(scores.detach())
            if success or self.iterations == self.steps:
                break
            self.iterate(spikes, scores)
        if success:
            self.reduce()
        return Found([success], [len(self.effect)], [self.iterations], [self.forwards])

    def iterate(self, spikes: Tensor, scores: Tensor) -> None:
        """Try the flips that promise most, each alone, and keep those that do no harm."""
        self.iterations += 1
        before = self.goal.loss(scores)
        (gradient,) = torch.autograd.grad(before.sum(), spikes)
        tried = self.order(gradient.flatten())[: CANDIDATES * self.iterations].tolist()
        losses = self.goal.loss(self.scores([[*self.effect, cell] for cell in tried]))
        for cell, difference in zip(tried, (losses - before.detach()).tolist(), strict=True):
            if difference <= 0:
                self.effect[cell] = difference

    def reduce(self) -> None:
        """Undo as many flips as a bisection finds, those of least effect first."""
        flips = sorted(self.effect, key=lambda cell: abs(self.effect[cell]))
        low, high = 0, len(flips)
        while low < high:
            middle = (low + high + 1) // 2
            if self.goal.reached(self.scores([flips[middle:]])):
                low = middle
            else:
                high = middle - 1
        self.effect = {cell: self.effect[cell] for cell in flips[low:]}

    def order(self, gradient: Tensor) -> Tensor:
        """Cells that are not flipped yet, by how much their flip gives to first order; the others at random."""
        now = self.flipped([list(self.effect)]).flatten()
        after = now - gradient.sign()
        legal = (gradient != 0) & (after >= 0) & (after <= 1)
        smallest = float(gradient[gradient != 0].abs().min()) if bool(gradient.any()) else 1.0
        score = torch.where(legal, gradient.abs(), torch.rand(len(now), generator=self.generator) * smallest)
        score[list(self.effect)] = -1
        return score.argsort(descending=True, stable=True)[: len(now) - len(self.effect)]

    @torch.no_grad()
    def scores(self, flips: list[list[int]]) -> Tensor:
        """Scores ``(m, K)`` with the cells of each list flipped."""
        self.forwards += len(flips)
        parts = [flips[begin : begin + AT_A_TIME] for begin in range(0, len(flips), AT_A_TIME)]
        return torch.cat([self.network.scores(self.flipped(part)) for part in parts])

    def flipped(self, flips: list[list[int]]) -> Tensor:
        copies = self.spikes.repeat(len(flips), 1)
        for copy, cells in zip(copies, flips, strict=True):
            copy[cells] = 1 - copy[cells]
        return copies.view(len(flips), *self.shape[1:])


def plain(network: SpikingNetwork, inputs: Tensor, labels: Tensor, targets: Tensor | None, steps: int) -> Found:
    """The plain attack on one sample after another."""
    found = Found([], [], [], [])
    for spikes, wanted in zip(inputs.split(1), (labels if targets is None else targets).tolist(), strict=True):
        one = Plain(network, spikes, Goal(wanted, targets is not None), steps=steps).found()
        print("  plain:", one, file=sys.stderr, flush=True)
        found = found.and_then(one)
    return found


def ours(
    network: SpikingNetwork, inputs: Tensor, labels: Tensor, targets: Tensor | None, steps: int, *, reduce: bool = True
) -> Found:
    """SDA of the package, of all samples at once."""
    attack = SDA(steps=steps, candidates=CANDIDATES, threshold=None, output_window=None)
    result = attack(network.on(network.best_engine()), inputs, labels, targets, reduce=reduce)
    flips = (result.adversarials != inputs).flatten(1).sum(1)
    found = Found(result.success.tolist(), flips.tolist(), result.steps.tolist(), result.forwards.tolist())
    print("  ours: ", found, file=sys.stderr, flush=True)
    return found


SIDES: dict[str, Callable[..., Found]] = {"ours": ours, "search": partial(ours, reduce=False), "plain": plain}


def measure(
    about: dict[str, object], network: SpikingNetwork, inputs: Tensor, labels: Tensor, *, targeted: bool, rounds: int,
    steps: int, clock: Callable[[], float] = time.perf_counter,
) -> dict[str, object]:  # fmt: skip
    """One row; the samples are dealt out to the rounds."""
    targets = (labels + 1) % network.classes if targeted else None
    dealt = [torch.arange(len(inputs))[first::rounds] for first in range(rounds)]
    found: dict[str, list[Found]] = {name: [] for name in SIDES}

    def attack(name: str, rows: Tensor, most: int) -> Found:
        return SIDES[name](network, inputs[rows], labels[rows], None if targets is None else targets[rows], most)

    def seconds(name: str, parts: Iterator[Tensor]) -> float:
        rows = next(parts)
        started = clock()
        found[name].append(attack(name, rows, steps))
        return (clock() - started) / len(rows)

    for name in SIDES:
        attack(name, dealt[0][:1], 1)
    waiting = {name: iter(dealt) for name in SIDES}
    times = in_turn({name: (lambda name=name: seconds(name, waiting[name])) for name in SIDES}, rounds)
    row = {
        **about,
        "architecture": network.architecture,
        "goal": "targeted" if targeted else "untargeted",
        "samples": len(inputs),
        "rounds": rounds,
        "steps": steps,
    }
    row |= ratio("speedup", times["plain"], times["ours"]) | ratio("search_speedup", times["plain"], times["search"])
    for name, parts in found.items():
        row |= told(name, times[name], parts)
    return row | machine()


def told(name: str, seconds: list[float], parts: list[Found]) -> dict[str, Any]:
    """What a row says of a side; samples are in the order of the rounds."""
    whole = Found([], [], [], [])
    for part in parts:
        whole = whole.and_then(part)
    won = [flips for flips, success in zip(whole.flips, whole.success, strict=True) if success]
    return {
        f"{name}_seconds_a_sample": round(statistics.median(seconds), 3),
        f"{name}_seconds_a_sample_range": [round(min(seconds), 3), round(max(seconds), 3)],
        f"{name}_success": len(won),
        f"{name}_median_l0": statistics.median(won) if won else None,
        f"{name}_l0": [flips if success else None for flips, success in zip(whole.flips, whole.success, strict=True)],
        f"{name}_iterations": whole.iterations,
        f"{name}_forwards": whole.forwards,
    }


@torch.no_grad()
def widened(network: SpikingNetwork, times: int) -> SpikingNetwork:
    """A network that says the same, up to rounding, with each hidden neuron ``times`` times."""
    wide = SpikingNetwork(
        network.architecture, network.input_shape, time_steps=network.time_steps, neuron=network.neuron, width=times
    )
    new = iter(wide.weights)
    for weight, shape in zip(network.weights_by_layer(), network.shapes, strict=False):
        if weight is None:
            continue
        by_channel = weight.contiguous().view(len(weight), shape[0], -1)
        target = next(new)
        copies = target[0].numel() // weight[0].numel()  # of what the layer sees: one of the input, and of the output
        by_channel = by_channel.repeat_interleave(copies, 1) / copies
        target.copy_(by_channel.repeat_interleave(len(target) // len(weight), 0).view(target.shape))
    return wide


def of_victim(folder: Path, root: Path | None, n: int, within: int | None, times: int) -> Case:
    """A trained victim with the first n inputs, or the first n of those that a search of so many steps fools."""
    victim = subject(load_checkpoint(folder), root, n if within is None else CHOSEN_FROM)
    network, rows = victim.network, torch.arange(len(victim.labels))
    if within is not None:
        attack = SDA(steps=within, candidates=CANDIDATES, threshold=None, output_window=None)
        result = attack(network.on(network.best_engine()), victim.values, victim.labels, reduce=False)
        rows = result.success.nonzero().squeeze(1)[:n]
    about = victim.facts() | {"width": victim.width * times, "copies_of_each_neuron": times, "fooled_within": within}
    return about, widened(network, times), victim.values[rows], victim.labels[rows]


def of_untrained(width: float, n: int) -> Case:
    """An untrained network with the first n inputs for which one class wins."""
    network, values = untrained("paper-spike", width, max(UNTRAINED, 2 * n))
    said = winner(network.on(network.best_engine()).scores(values))
    rows = (said >= 0).nonzero().squeeze(1)[:n]
    about = {"network": "paper-spike", "width": width, "data": "simulated digits, weights untrained"}
    return about, network, values[rows], said[rows]


def main() -> None:
    parser = parser_of(__doc__)
    parser.add_argument("--victim", type=Path, nargs="+", help="folders that 'spikeflip train' wrote")
    parser.add_argument("--root", type=Path, help="folder that holds the victims' data set")
    parser.add_argument("--widened", type=int, default=1, help="how often each hidden neuron is there")
    parser.add_argument("--fooled-within", type=int, help="steps of ours")
    parser.add_argument("--width", type=float, nargs="+", help="of untrained networks; 0.25 and 1 without a victim")
    parser.add_argument("--samples", type=int, default=3, help="a round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--goals", nargs="+", default=["untargeted"], choices=["untargeted", "targeted"])
    parser.add_argument("--processor-time", action="store_true")
    given = parser.parse_args()
    n = given.samples * given.rounds
    cases = [of_victim(folder, given.root, n, given.fooled_within, given.widened) for folder in given.victim or ()]
    cases += [of_untrained(width, n) for width in given.width or ([] if given.victim else [0.25, 1.0])]
    name, clock = ("processor", time.process_time) if given.processor_time else ("wall", time.perf_counter)
    rows = [
        measure(
            about | {"clock": name}, *case, targeted=goal == "targeted", rounds=given.rounds, steps=given.steps,
            clock=clock,
        )
        for about, *case in cases
        for goal in given.goals
    ]  # fmt: skip
    sentence = (
        "{network}, width {width}, {goal}: {ours_seconds_a_sample} s a sample, {ours_median_l0} flips; "
        "plain {speedup} x as long, {plain_median_l0} flips, {search_speedup} x as long as our search alone"
    )
    print_rows(rows, given.json, sentence.format_map)


if __name__ == "__main__":
    main()

"""What CONTRIBUTING.md says how to make, in some ten lines each."""

from dataclasses import dataclass
from types import SimpleNamespace
from typing import ClassVar

import torch

from spikeflip import Defence, Recording
from spikeflip.attacks import Trace, loop
from spikeflip.attacks.bim import sign_step
from spikeflip.attacks.iterated import Iterated
from spikeflip.attacks.options import option
from spikeflip.snn.gradients import Estimator, GradientRequest, InputGradient


@dataclass(frozen=True)
class StraightThrough(Estimator):
    """Every spike passes the whole gradient on."""

    def slope(self, layer):
        return torch.ones_like(layer.potential)


@dataclass(frozen=True, kw_only=True)
class Momentum(Iterated):
    """Steps along the sign of a moving average of the gradient.

    Args:
        decay: share of the average that is kept from one iteration to the next.
    """

    only: ClassVar = "images"
    summary: ClassVar = "steps along the sign of an average of the gradients so far"
    source: ClassVar = "Dong et al., CVPR 2018"

    decay: float = option(0.9, ge=0, le=1)

    def update(self, step):
        gradient = step.gradient("mse", GradientRequest(estimator=StraightThrough()))
        average = self.decay * step.memory.recall("average", gradient.values) + gradient.values
        step.memory.keep("average", average)
        moved = sign_step(step.inputs, average.mean(1), 0.1)
        return loop.Move(moved, torch.full((len(moved),), Trace.SIGN, dtype=torch.int8), gradient)


class Constant:
    """A victim that says class 1, whatever it sees."""

    input_shape, time_steps, coding, classes = (1, 8, 8), 4, "rate", 2
    device, penultimate_threshold = torch.device("cpu"), None

    def scores(self, spikes):
        return torch.tensor([0.0, 1.0]).expand(len(spikes), 2)

    def probe(self, spikes, request=None):
        nothing = torch.zeros(len(spikes), dtype=torch.bool)

        def gradient(_score_gradient, request=None):
            rows = request.rows_of(len(spikes), spikes.device)
            return InputGradient(torch.zeros_like(spikes[rows]), nothing[rows], ~nothing[rows], nothing[rows].float())

        return SimpleNamespace(scores=self.scores(spikes), input_gradient=gradient)


class FirstHalf(Defence):
    """The victim sees the first half of the time steps."""

    def transform(self, spikes):
        return spikes[:, : spikes.shape[1] // 2]


def flips_a_step(change):
    """The most changed elements of one row, or time step."""
    return change.difference.ne(0).flatten(2).sum(2).amax(1).double()


MAGIC = b"WORDS\n"


def read(path):
    """A format: four numbers an event, after its name."""
    rows = [map(int, line.split()) for line in path.read_text().splitlines()[1:]]
    return Recording.from_columns(*zip(*rows, strict=True))


def write(recording, path):
    rows = zip(*(recording.events[name].tolist() for name in ("t", "x", "y", "p")), strict=True)
    path.write_bytes(MAGIC + "".join(f"{t} {x} {y} {int(p)}\n" for t, x, y, p in rows).encode())


words = SimpleNamespace(read=read, write=write, MAGIC=MAGIC)

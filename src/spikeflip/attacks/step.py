"""What an update rule is handed and what it answers: a step of the samples under way, and a move."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from spikeflip.attacks.budget import Budget
from spikeflip.attacks.metrics import Change, Recorded
from spikeflip.attacks.stop import Stop
from spikeflip.errors import NotFiniteError
from spikeflip.snn.coding import encode_for
from spikeflip.snn.gradients import GradientRequest, InputGradient, ScoreGradient
from spikeflip.snn.losses import Loss, score_gradient
from spikeflip.snn.memory import Memory
from spikeflip.snn.validation import Kind
from spikeflip.streams import Purpose, uniform
from spikeflip.victims import Probe, Victim
from spikeflip.victims.victim import takes_counts

MOST_ENCODINGS = 1024
"""Over which a gradient can be averaged."""


@dataclass(frozen=True)
class Call:
    """The arguments of one call that every iteration needs."""

    victim: Victim
    inputs: Tensor
    labels: Tensor
    targets: Tensor | None
    samples: Tensor
    kind: Kind
    steps: int
    budget: Budget | None
    asks: GradientRequest | None
    stop: Stop
    restarts: int
    seed: int
    micro_batch: int
    recorded: Recorded | None

    def change(self, index: Tensor, inputs: Tensor) -> Change:
        """What became of the samples at ``index``."""
        recorded = None if self.recorded is None else self.recorded.rows(index)
        return Change(self.inputs[index].to(inputs), inputs, recorded)


def encode_again(call: Call, inputs: Tensor, samples: Tensor, moments: Tensor, purpose: Purpose = "encode") -> Tensor:
    """What the victim sees of inputs at these moments of the samples' streams."""
    return encode_for(call.victim, inputs, seed=call.seed, samples=samples, purpose=purpose, step=moments)


@dataclass(frozen=True)
class Step:
    """What an update rule sees: n active samples, each at its own iteration."""

    inputs: Tensor
    """The adversarial inputs so far, ``(n, ...)``."""
    spikes: Tensor
    """What the victim saw of ``inputs``, ``(n, T, *input)``; the images themselves where its coding is ``"direct"``."""
    iterations: Tensor
    """``(n,)``, from 0, and from 0 again after a restart."""
    targeted: bool
    classes: Tensor
    """Whose loss the attack moves, ``(n,)``: up that of the true class if untargeted, down that of the target."""
    success: Tensor
    """``(n,)`` bool: ``inputs`` reach the goal already; only under a policy that goes on all the same."""
    memory: Memory
    """What the rule keeps of each sample from one iteration to the next."""
    samples: Tensor
    """Sample ids ``(n,)``."""
    _call: Call
    _probe: Probe
    _rows: Tensor
    _index: Tensor  # where these samples are in the call
    _moments: Tensor  # in the random streams of each sample

    @property
    def originals(self) -> Tensor:
        """The inputs as they were before the attack, ``(n, ...)``."""
        return self._call.inputs[self._index].to(self.inputs)

    @property
    def counts(self) -> bool:
        """Whether ``inputs`` are counts of events, and not of 0 and 1."""
        return self._call.kind == "spikes" and takes_counts(self._call.victim)

    @property
    def victim(self) -> Victim:
        """The model under attack, for what no method here gives; asked anything, it forgets the pass of this step."""
        return self._call.victim

    @property
    def micro_batch(self) -> int:
        """Samples in memory at a time."""
        return self._call.micro_batch

    @property
    def judged(self) -> Tensor:
        """What the victim said of ``spikes``, ``(n, K)``."""
        return self._probe.scores[self._rows]

    def towards_goal(self, values: Tensor) -> Tensor:
        """Losses of ``classes``, or their gradients, with the sign that makes larger nearer to the goal."""
        return -values if self.targeted else values

    def uniform(self, purpose: Purpose, shape: Sequence[int], rows: Tensor | None = None) -> Tensor:
        """Numbers in [0, 1) of these samples' own streams ``(n, *shape)``, new in each iteration and restart.

        Of the samples ``rows`` ``(n,)`` bool alone where given.
        """
        rows = torch.ones(len(self.samples), dtype=torch.bool) if rows is None else rows.cpu()
        ids, moments = self.samples[rows], self._moments[rows]
        return uniform(self._call.seed, ids, purpose, moments, shape, self.inputs.device)

    def gradient(
        self, loss: Loss, request: GradientRequest | None = None, *, encodings: int = 1, at: Tensor | None = None
    ) -> InputGradient:
        """The direction in which the input should move (Eq. 5), ``values`` of shape ``(n, T, *input)``.

        Args:
            loss: of the scores.
            request: of which samples, and with what; of all, and as the victim is, when not given. Its memory is the
                one of this step, unless it brings its own.
            encodings: over how many the gradient is averaged, the one of ``spikes`` and fresh ones of the image; each
                costs a forward and a backward pass more, which the rule counts.
            at: spikes ``(n, T, *input)`` to take it at instead of those of this step, one forward pass more.
        """
        request = request or GradientRequest()
        rows = request.rows_of(len(self._rows), self._rows.device)
        memory = self.memory.of(rows) if request.memory is None else request.memory
        classes = self.classes[rows]

        def direction(scores: Tensor, _rows: Tensor) -> Tensor:
            return self.towards_goal(score_gradient(loss, scores, classes)[1])

        if at is None:
            found = self._probe.input_gradient(direction, replace(request, rows=self._rows[rows], memory=memory))
        else:
            request = replace(request, rows=rows, memory=memory)
            found = self._call.victim.probe(at, request).input_gradient(direction, request)
        if encodings > 1:
            found = self._expected(
                found, direction, replace(request, rows=None, memory=memory.frozen()), rows, encodings
            )
        check_finite(found.values, self.samples[rows.cpu()])
        return replace(found, values=found.values.to(self.spikes.dtype))  # whatever the victim computes in

    def _expected(
        self, first: InputGradient, direction: ScoreGradient, request: GradientRequest, rows: Tensor, encodings: int
    ) -> InputGradient:
        """The mean of a gradient and those of further encodings."""
        values, loss_zero, output_zero = first.values.clone(), first.loss_zero, first.output_zero
        ids, moments, call = self.samples[rows.cpu()], self._moments[rows.cpu()] * MOST_ENCODINGS, self._call
        for number in range(1, encodings):
            spikes = encode_again(call, self.inputs[rows], ids, moments + number, "expect")
            found = call.victim.probe(spikes, request).input_gradient(direction, request)
            values += found.values
            loss_zero, output_zero = loss_zero & found.loss_zero, output_zero & found.output_zero
        return InputGradient(values / encodings, loss_zero, output_zero, first.penultimate_spikes)

    def scores(self, inputs: Tensor, rows: Tensor) -> Tensor:
        """What the untouched victim says of other inputs ``(m, ...)`` of the samples ``rows`` ``(m,)``: ``(m, K)``.

        Images are encoded with the numbers that ``spikes`` were made with. This is one forward pass an input: the rule
        counts them, gives at most ``micro_batch`` at a time, and asks for no gradient afterwards.
        """
        rows = rows.cpu()
        return self._call.victim.scores(encode_again(self._call, inputs, self.samples[rows], self._moments[rows]))


def check_finite(gradient: Tensor, samples: Tensor) -> None:
    """Raise a NotFiniteError that names the samples ``(n,)`` whose gradient, of ``(n, ...)``, is not finite."""
    finite = torch.isfinite(gradient.flatten(1).sum(1))
    if not bool(finite.all()):
        raise NotFiniteError(samples[~finite.cpu()].tolist())


@dataclass(frozen=True)
class Move:
    """What an update rule answers for its n samples."""

    inputs: Tensor
    mover: Tensor
    """``(n,)`` int8, what moved the sample: a value of :class:`spikeflip.attacks.result.Trace`, recorded only."""
    gradient: InputGradient | None = None
    """Of the victim; None where the rule asked for none."""
    vanished: Tensor | None = None
    """``(n,)`` bool: the input gradient was zero everywhere; nowhere if None."""
    stuck: Tensor | None = None
    """``(n,)`` bool: what the victim saw gives the rule nothing to do, now or ever; of none if None."""
    forwards: Tensor | int = 0
    """``(n,)``, passes that the rule made of each sample, beside the one that judged it."""
    backwards: Tensor | int = 0
    """``(n,)``, backward passes beside that of ``gradient``."""


Rule = Callable[[Step], Move]

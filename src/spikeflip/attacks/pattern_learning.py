"""Learning a pattern on some inputs, to be put on others: a universal perturbation, or a patch.

Each cell has a score, the sum of what the gradient has said of it so far. A universal perturbation flips the cells of
highest score; a patch has a 1 where the score is positive. The gradient is taken with the pattern on the inputs, of
those that it does not fool yet, so that later steps serve what earlier ones left.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from math import prod

import torch
from torch import Tensor

from spikeflip.attacks.pattern import Pattern
from spikeflip.attacks.step import check_finite
from spikeflip.attacks.tuned import THRESHOLD
from spikeflip.errors import SpikeflipError
from spikeflip.snn.coding import winner
from spikeflip.snn.estimators import estimator
from spikeflip.snn.gradients import GradientRequest
from spikeflip.snn.losses import Loss, check_loss, score_gradient
from spikeflip.snn.validation import (
    at_a_time,
    check_counts,
    check_goals,
    check_streams,
    check_tensor,
    check_values,
    kind_of,
)
from spikeflip.streams import uniform
from spikeflip.victims import Probe, Victim
from spikeflip.victims.victim import check_victim

Progress = Callable[[int, int], None]
"""Called with the passes over the inputs that are done, and all."""


def learn_universal(
    victim: Victim,
    inputs: Tensor,
    labels: Tensor,
    *,
    cells: int,
    target: int | None = None,
    steps: int = 25,
    loss: Loss = "margin",
    gradient: str = "bptt",
    output_window: float | None = None,
    seed: int = 0,
    micro_batch: int = 16,
    progress: Progress | None = None,
) -> Pattern:
    """Learn which cells to flip in every input, whatever it is.

    Args:
        victim: the model under attack.
        inputs: spikes ``(N, T, *input)`` of exactly 0 and 1 to learn from: other ones than those that are attacked.
        labels: true classes ``(N,)`` int64.
        cells: most cells that are flipped, from 0.
        target: the class towards which inputs are led; away from their own when not given.
        steps: updates; the pattern that fools most of the inputs is kept, of equals the first.
        loss: whose gradient is followed; see :func:`scg`.
        gradient, output_window: how the gradient is estimated, by one estimator; see :func:`scg`.
        seed: of the numbers that take the place of a gradient that has vanished in all inputs.
        micro_batch: inputs in memory at a time.
        progress: called after each pass over the inputs.

    Returns:
        The :class:`Pattern`; its ``facts`` say how many inputs the victim had right (``inputs``), which were learned
        from, and the share of these that it fools (``success``).

    Raises:
        SpikeflipError: an argument is out of range, or the victim has none of the inputs right.

    Source: S. Moosavi-Dezfooli et al., Universal Adversarial Perturbations, CVPR 2017, whose aim it is; here with
    gradients summed over the inputs. J. Büchel et al., Adversarial attacks on spiking convolutional neural networks for
    event-based vision, Front. Neurosci. 2022, flip cells of events.

    >>> from spikeflip import LIF, SpikingNetwork
    >>> network = SpikingNetwork("16FC-3FC", (20,), time_steps=6, neuron=LIF(0.3, 0.25), seed=0)
    >>> spikes = (torch.arange(240).reshape(2, 6, 20) % 3 == 0).float()
    >>> learn_universal(network, spikes, network.scores(spikes).argmax(1), cells=5).cells <= 5
    True
    """
    shape = _checked(victim, inputs, labels)
    if isinstance(cells, bool) or not isinstance(cells, int) or not 0 <= cells <= prod(shape):
        raise SpikeflipError(f"cells is {cells}, and an input has {prod(shape):,}: give 0 to so many")
    blank = Pattern("universal", torch.zeros(shape, dtype=torch.uint8), shape)
    task = _Task(victim, inputs, labels, target, loss, gradient, output_window, seed, micro_batch, cells)
    return task.learn(blank, steps, progress)


def learn_patch(
    victim: Victim,
    inputs: Tensor,
    labels: Tensor,
    *,
    side: int,
    place: tuple[int, ...] | None = None,
    target: int | None = None,
    steps: int = 25,
    loss: Loss = "margin",
    gradient: str = "bptt",
    output_window: float | None = None,
    seed: int = 0,
    micro_batch: int = 16,
    progress: Progress | None = None,
) -> Pattern:
    """Learn the bits of a patch, a square of pixels that hides what lies under it in all time steps and channels.

    Args:
        victim, inputs, labels, target, steps, loss, gradient, output_window, micro_batch, progress: see
            :func:`learn_universal`.
        side: of the square, in pixels; of inputs ``(T, F)`` the length of a run.
        place: its first row and column, or the first of a run. When not given the patch must work anywhere: each input
            has it at another place in each step.
        seed: of the places, too.

    Returns:
        The :class:`Pattern`, as of :func:`learn_universal`.

    Raises:
        SpikeflipError: an argument is out of range, or the victim has none of the inputs right.

    Source: T. Brown et al., Adversarial Patch, 2017 (arXiv:1712.09665); on spikes J. Büchel et al., Front. Neurosci.
    2022.

    >>> from spikeflip import LIF, SpikingNetwork
    >>> network = SpikingNetwork("16FC-3FC", (20,), time_steps=6, neuron=LIF(0.3, 0.25), seed=0)
    >>> spikes = (torch.arange(240).reshape(2, 6, 20) % 3 == 0).float()
    >>> learn_patch(network, spikes, network.scores(spikes).argmax(1), side=4).bits.shape
    torch.Size([6, 4])
    """
    shape = _checked(victim, inputs, labels)
    axes = len(victim.input_shape[-2:])
    most = min(shape[-axes:])
    if isinstance(side, bool) or not isinstance(side, int) or not 1 <= side <= most:
        raise SpikeflipError(f"side is {side}, and inputs have {most} pixels: give 1 to so many")
    free = tuple(length - side for length in shape[-axes:])
    if place is not None and (
        len(place) != axes or not all(0 <= at <= last for at, last in zip(place, free, strict=True))
    ):
        raise SpikeflipError(f"place is {place} for a side of {side}: give a place from {(0,) * axes} to {free}")
    bits = torch.zeros((*shape[:-axes], *[side] * axes), dtype=torch.uint8)
    blank = Pattern("patch", bits, shape, None if place is None else tuple(place))
    task = _Task(victim, inputs, labels, target, loss, gradient, output_window, seed, micro_batch, 0)
    return task.learn(blank, steps, progress)


def _checked(victim: Victim, inputs: Tensor, labels: Tensor) -> tuple[int, ...]:
    """The shape of an input; a SpikeflipError unless these are labelled spikes that the victim takes."""
    check_victim(victim)
    check_tensor(inputs)
    kind = kind_of(inputs, victim.input_shape, victim.coding)
    if kind != "spikes":
        raise SpikeflipError(
            f"inputs of shape {tuple(inputs.shape)} are {kind}, and patterns are learned on spikes: give spikes "
            "(N, T, ...) of 0 and 1"
        )
    check_values(inputs, kind)
    check_goals(labels, None, len(inputs), victim.classes)
    return tuple(inputs.shape[1:])


@dataclass(frozen=True)
class _Task:
    """What a pattern is learned on, and how."""

    victim: Victim
    inputs: Tensor
    labels: Tensor
    target: int | None
    loss: Loss
    gradient: str
    output_window: float | None
    seed: int
    micro_batch: int
    cells: int

    def __post_init__(self) -> None:
        check_loss(self.loss, self.victim.classes)
        estimator(self.gradient, self.output_window)
        check_counts(micro_batch=self.micro_batch)
        check_streams(self.seed, torch.arange(0), 0)
        if self.target is not None and not 0 <= self.target < self.victim.classes:
            raise SpikeflipError(
                f"target {self.target} is out of range: the network has classes 0 to {self.victim.classes - 1}"
            )

    @torch.inference_mode(False)
    def learn(self, blank: Pattern, steps: int, progress: Progress | None) -> Pattern:
        """The pattern that fools most of all that were tried."""
        check_counts(steps=steps)
        every = torch.arange(len(self.inputs))
        right, gains = self._look(None, blank, every, 0)
        rows = every[right]
        if not len(rows):
            raise SpikeflipError(
                f"the victim has none of {len(every):,} inputs right that are not of the target: give others to learn "
                "from"
            )
        best, most, tried = blank, -1, blank
        scores = torch.zeros(blank.bits.shape, dtype=torch.float64)
        for step in range(1, steps + 1):
            if progress is not None:
                progress(step, steps + 1)
            scores += self._drawn(gains, step) if not bool(gains.any()) else gains / gains.abs().sum()
            tried = replace(blank, bits=self._bits(blank, scores))
            fooled, gains = self._look(tried, blank, rows, step)
            if (count := int(fooled.sum())) > most:
                best, most = tried, count
            if count == len(rows):
                break
        if progress is not None:
            progress(steps + 1, steps + 1)
        facts = {"target": self.target, "inputs": len(rows), "success": most / len(rows), "seed": self.seed}
        return replace(best, facts=facts | {"steps": steps, "gradient": self.gradient})

    def _bits(self, blank: Pattern, scores: Tensor) -> Tensor:
        if blank.kind == "patch":
            return (scores > 0).to(torch.uint8)
        flat = scores.flatten()
        best = flat.argsort(descending=True, stable=True)[: self.cells]
        return torch.zeros_like(flat).scatter(0, best, (flat[best] > 0).double()).view_as(scores).to(torch.uint8)

    def _drawn(self, gains: Tensor, step: int) -> Tensor:
        """Random numbers in the place of a gradient that says nothing, of a size with those that do."""
        numbers = uniform(self.seed, torch.tensor([0]), "search", step, gains.shape)[0].double() - 0.5
        return numbers / numbers.abs().sum()

    def _look(self, tried: Pattern | None, blank: Pattern, rows: Tensor, step: int) -> tuple[Tensor, Tensor]:
        """Which of the inputs ``rows`` ``(n,)`` are fooled, and what the others would gain of each bit of the pattern.

        Without a pattern, which inputs can be learned from in the place of the first.
        """
        axes = len(self.victim.input_shape[-2:])
        found = torch.zeros(len(rows), dtype=torch.bool)
        gains = torch.zeros(blank.bits.shape, dtype=torch.float64)
        size = at_a_time(self.victim, self.inputs[:1], self.micro_batch)
        for at in torch.arange(len(rows)).split(size):
            index = rows[at]
            labels = self.labels[index.to(self.labels.device)].to(self.victim.device)
            originals = self.inputs[index.to(self.inputs.device)].detach().to(self.victim.device).float()
            places = blank.places(uniform(self.seed, index, "place", step, (axes,)))
            spikes = originals if tried is None else tried.applied(originals, places)
            probe = self.victim.probe(spikes, self._request)
            won = winner(probe.scores)
            if tried is None:
                found[at] = ((won == labels) & (labels != (-1 if self.target is None else self.target))).cpu()
                asked = found[at]
            else:
                reached = won == self.target if self.target is not None else (won >= 0) & (won != labels)
                found[at] = reached.cpu()
                asked = ~found[at]
            standing = asked.nonzero().squeeze(1).to(self.victim.device)
            if not len(standing):
                continue
            felt = self._felt(probe, labels, standing).to(originals)
            check_finite(felt, index[standing.cpu()])
            if blank.kind == "universal":
                felt = felt * (1 - 2 * originals[standing])
            else:
                cells = blank.cells_at(places[standing.cpu()]).to(felt.device)
                felt = felt.flatten(1).gather(1, cells).reshape(-1, *blank.bits.shape)
            each = felt.double().flatten(1)
            total = each.abs().sum(1, keepdim=True)
            gains += (each / torch.where(total > 0, total, 1)).sum(0).cpu().view_as(gains)
        return found, gains

    @property
    def _request(self) -> GradientRequest:
        threshold = None if self.victim.penultimate_threshold is None else THRESHOLD
        return GradientRequest(threshold, estimator(self.gradient, self.output_window))

    def _felt(self, probe: Probe, labels: Tensor, standing: Tensor) -> Tensor:
        """The gradient that leads the inputs ``standing`` to the goal, ``(n, T, *input)``."""
        goal = labels if self.target is None else torch.full_like(labels, self.target)
        sign = 1 if self.target is None else -1

        def direction(scores: Tensor, at: Tensor) -> Tensor:
            return sign * score_gradient(self.loss, scores, goal[at])[1]

        return probe.input_gradient(direction, replace(self._request, rows=standing)).values

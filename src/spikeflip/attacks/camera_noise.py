"""What a camera, or light in front of it, adds by itself: background activity, hot pixels, a dash, a lit frame."""

from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from typing import ClassVar, Literal, Unpack, get_args

import torch
from torch import Tensor

from spikeflip.attacks.iterated import Iterated, Options
from spikeflip.attacks.options import option
from spikeflip.attacks.random_flips import first_of, flips_of
from spikeflip.attacks.result import AttackResult, Trace
from spikeflip.attacks.step import Move, Rule, Step
from spikeflip.errors import SpikeflipError, choose_from
from spikeflip.snn.validation import Kind
from spikeflip.victims import Victim

Noise = Literal["background", "hot-pixels", "dash", "frame"]


@dataclass(frozen=True, kw_only=True)
class CameraNoise(Iterated):
    """The settings of camera noise; call it with a victim and spikes, or use :func:`camera_noise`.

    Args:
        steps: most tries, each from the original.
        kind: background (cells anywhere), hot-pixels (a pixel and polarity after the other, at all times), dash (two
            neighbouring pixels that move by one each bin) or frame (pixels of the border, at all times).
        share: of added spikes, relative to those of the sample.

    Raises:
        SpikeflipError: a setting is out of range.
    """

    only: ClassVar[Kind | None] = "spikes"
    summary: ClassVar = "what a camera adds: background activity, hot pixels, a dash or a frame, at random places"
    source: ClassVar = "dash and frame: Marchisio et al., IJCNN and IROS 2021; the rest a control"
    follows_gradient: ClassVar = False

    kind: Noise = "background"
    share: float = option(0.1, gt=0, le=1000)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.kind not in get_args(Noise):
            raise SpikeflipError(f"kind is {self.kind!r:.80}: {choose_from(self.kind, get_args(Noise))}")

    def prepare(self, victim: Victim, inputs: Tensor) -> Rule:
        """See :class:`spikeflip.attacks.iterated.Iterated`."""
        shape = victim.input_shape
        if self.kind in ("dash", "frame") and (len(shape) != 3 or shape[2] < 2):
            raise SpikeflipError(
                f"kind is {self.kind}, which takes pixels in rows and columns, and an input is {tuple(shape)}: "
                "choose background or hot-pixels"
            )
        return super().prepare(victim, inputs)

    def update(self, step: Step) -> Move:
        """See :class:`spikeflip.attacks.iterated.Iterated`."""
        originals = step.originals
        order = _ORDERS[self.kind](step, originals.shape[1:]).masked_fill(originals.flatten(1) > 0, torch.inf)
        count = flips_of(originals, self.share).minimum(order.isfinite().sum(1))
        added = first_of(order, count).view_as(originals)
        mover = torch.full((len(originals),), Trace.NOISE, dtype=torch.int8)
        return Move(torch.where(added, 1, originals), mover)


def _background(step: Step, shape: torch.Size) -> Tensor:
    """In which order cells are filled, ``(n, cells)``, those of an infinite number never."""
    return step.uniform("noise", (prod(shape),)).double()


def _hot_pixels(step: Step, shape: torch.Size) -> Tensor:
    """One line after the other, from its first bin on."""
    lines = step.uniform("noise", (prod(shape[1:]),)).argsort(1).argsort(1)
    bins = torch.arange(shape[0], device=lines.device).view(1, -1, 1)
    return (lines.unsqueeze(1) * shape[0] + bins).flatten(1).double()


def _dash(step: Step, shape: torch.Size) -> Tensor:
    """Bin after bin two pixels side by side, ON, from a random place in one of eight directions, over the border."""
    steps, channels, height, width = shape
    row, column, turn = step.uniform("noise", (3,)).double().unbind(1)
    directions = torch.tensor([(0, 1), (1, 1), (1, 0), (1, -1), (0, -1), (-1, -1), (-1, 0), (-1, 1)])
    down, right = directions.to(turn.device)[(turn * 8).long()].unbind(1)
    bins = torch.arange(steps, device=turn.device)
    rows = ((row * height).long().unsqueeze(1) + bins * down.unsqueeze(1)) % height
    columns = ((column * width).long().unsqueeze(1) + bins * right.unsqueeze(1)) % width
    order = torch.full((len(row), prod(shape)), torch.inf, dtype=torch.float64, device=turn.device)
    for beside in (0, 1):
        cells = ((bins * channels + channels - 1) * height + rows) * width + (columns + beside) % width
        order.scatter_(1, cells, (2 * bins + beside).double().expand(len(row), -1))
    return order


def _frame(step: Step, shape: torch.Size) -> Tensor:
    """Along the border from a random pixel of it, ON, each at all times."""
    steps, channels, height, width = shape
    place = torch.arange(height * width).view(height, width)
    border = torch.cat([place[0], place[1:, -1], place[-1, :-1].flip(0) if height > 1 else place[0, :0]])
    border = torch.cat([border, place[1:-1, 0].flip(0)])
    first = (step.uniform("noise", (1,)).double() * len(border)).long()
    turned = (torch.arange(len(border), device=first.device) - first) % len(border)
    order = torch.full((len(first), *shape[:2], height * width), torch.inf, dtype=torch.float64, device=first.device)
    bins = torch.arange(steps, device=first.device).view(1, -1, 1)
    order[:, :, channels - 1, border.to(first.device)] = (turned.unsqueeze(1) * steps + bins).double()
    return order.flatten(1)


_ORDERS: dict[str, Callable[[Step, torch.Size], Tensor]] = {
    "background": _background,
    "hot-pixels": _hot_pixels,
    "dash": _dash,
    "frame": _frame,
}


def camera_noise(
    victim: Victim,
    inputs: Tensor,
    labels: Tensor,
    targets: Tensor | None = None,
    *,
    steps: int = 25,
    kind: Noise = "background",
    share: float = 0.1,
    **options: Unpack[Options],
) -> AttackResult:
    """Add what a camera adds by itself, or light in front of it, at random places: an attack and a control.

    Clock jitter is :func:`random_retiming` with ``share=1`` and a window.

    Args:
        victim: the model under attack.
        inputs: spikes ``(N, T, *input)`` of exactly 0 and 1.
        labels: true classes ``(N,)`` int64.
        targets: wanted classes ``(N,)`` int64; untargeted when not given.
        steps, kind, share: see :class:`CameraNoise`.
        options: as for :func:`scg`.

    Returns:
        An :class:`AttackResult`. One forward pass a try, and one of the original; no backward pass.

    Raises:
        SpikeflipError: an argument is out of range, or the inputs are images.

    Source: A. Marchisio et al., DVS-Attacks, IJCNN 2021, and R-SNN, IROS 2021, try positions of a dash one after the
    other, and light the whole border; here positions are random, and the added spikes are of a given number.

    >>> from spikeflip import SpikingNetwork
    >>> network = SpikingNetwork("16FC-3FC", (20,), time_steps=6, seed=1)
    >>> spikes = (torch.arange(240).reshape(2, 6, 20) % 3 == 0).float()
    >>> result = camera_noise(network, spikes, network.scores(spikes).argmax(1), share=0.1)
    >>> bool((result.adversarials >= spikes).all())
    True
    """
    return CameraNoise(steps=steps, kind=kind, share=share)(victim, inputs, labels, targets, **options)

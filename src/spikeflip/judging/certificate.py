"""Certificates by randomised smoothing: a distance within which no change of an image changes the vote."""

from collections.abc import Callable
from dataclasses import dataclass
from math import floor, log2, prod
from typing import Any

import torch
from torch import Tensor

from spikeflip.errors import SpikeflipError
from spikeflip.intervals import at_least, wilson
from spikeflip.judging.judgement import answers_to
from spikeflip.snn.validation import (
    at_a_time,
    check_classes,
    check_counts,
    check_streams,
    check_tensor,
    check_values,
    kind_of,
)
from spikeflip.victims import Victim
from spikeflip.victims.victim import check_victim

_GRID = 2.0**-24
"""Of the random numbers that a pixel is compared with: what a change of it may do beside its size."""
_PARTS = (0.0, 0.25, 0.5, 0.75)
"""Of the largest radius that there can be, at which the certified accuracy is given."""

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Certificate:
    """What :func:`certify` found, an entry an image."""

    classes: Tensor
    """``(N,)`` int64: the class of the vote, -1 where it is not shown that one has more than half of it."""
    bounds: Tensor
    """``(N,)`` float64: lower bound of the share of encodings that vote for the class that the first draws chose."""
    radii: Tensor
    """``(N,)`` float64, in L1 over pixels in [0, 1]: no nearer image has another class in the vote. 0 for none."""
    time_steps: int
    draws: int
    error: float

    def summary(self, labels: Tensor) -> dict[str, Any]:
        """Rates over all images, each with its 95 % Wilson interval.

        ``certified_accuracy`` has a row each of a few ``radius``: the share of images whose vote is certified, as the
        label, for all changes of this size.

        Args:
            labels: true classes ``(N,)`` int64.
        """
        check_classes("label", labels, len(self.classes), int(max(self.classes.max(), labels.max())) + 1)
        right = self.classes == labels.cpu()

        def rate(flags: Tensor) -> dict[str, Any]:
            share = float(flags.double().mean())
            return {"rate": share, "interval": list(wilson(share, len(flags)))}

        largest = 0.5 / self.time_steps
        return {
            "n": len(right),
            "time_steps": self.time_steps,
            "draws": self.draws,
            "error": self.error,
            "accuracy": rate(right),
            "abstained": rate(self.classes < 0),
            "certified_accuracy": [
                {"radius": part * largest, **rate(right & (self.radii > part * largest))} for part in _PARTS
            ],
        }


def certified_radius(bound: float, time_steps: int, pixels: int) -> float:
    """How far an image may be changed, in L1, with more than half of its encodings still voting for a class.

    A draw of a pixel differs from that of the changed pixel with probability ``|d|``, if both are made of the same
    random number, so that any of the ``T`` draws of any pixel differs with at most ``T ||d||_1``. That is taken from
    the votes at worst. The published radius, ``bound - 1/2``, leaves ``T`` out, and holds for a single step alone. Here
    random numbers are multiples of 2^-24, so that each pixel may do that much more.

    Args:
        bound: of the share of encodings that vote for the class.
        time_steps: T, how often each pixel is drawn.
        pixels: how many there are.

    Source: the idea is of Certified adversarial robustness for rate encoded spiking neural networks, ICLR 2024.

    >>> round(certified_radius(1.0, 8, 64), 4), certified_radius(0.5, 8, 64)
    (0.0625, 0.0)
    """
    return max(0.0, (bound - 0.5) / time_steps - pixels * _GRID)


@torch.inference_mode(False)
def certify(
    victim: Victim,
    images: Tensor,
    *,
    draws: int = 1000,
    first: int = 20,
    error: float = 0.001,
    seed: int = 0,
    samples: Tensor | None = None,
    micro_batch: int = 64,
    progress: Progress | None = None,
) -> Certificate:
    """Certify the vote of a victim over random encodings of each image: randomised smoothing by rate coding.

    The victim that is certified is the vote: it says the class that more than half of all encodings are answered with.
    A few encodings choose a class, and fresh ones bound its share from below. So the class is not chosen by what
    then counts for it.

    Args:
        victim: codes images by rate; its defences are part of it.
        images: ``(N, *input)`` in [0, 1].
        draws: fresh encodings of each image, for the bound; at least ``log2(1 / error)``.
        first: encodings that choose the class, before these.
        error: how often a bound may be wrong, for each image, in (0, 1).
        seed: of the encodings.
        samples: ids ``(N,)`` that name the random streams; 0 to N - 1 when not given.
        micro_batch: encodings in memory at a time.
        progress: called with (done, all) images.

    Returns:
        A :class:`Certificate`: with probability ``1 - error`` an image's radius holds.

    Raises:
        SpikeflipError: the victim's coding is not random, or an argument does not fit or is out of range.

    Source: J. Cohen et al., Certified adversarial robustness via randomized smoothing, ICML 2019, for the two rounds of
    draws; :func:`certified_radius` for the radius.

    >>> from spikeflip import LIF, SpikingNetwork
    >>> victim = SpikingNetwork("8FC-3FC", (4,), time_steps=2, neuron=LIF(0.1, 0.3))
    >>> found = certify(victim, torch.ones(1, 4), draws=20, error=0.01)  # all encodings alike, but 20 only
    >>> found.classes.tolist(), found.bounds.round(decimals=3).tolist(), found.radii.round(decimals=3).tolist()
    ([1], [0.794], [0.147])
    """
    check_victim(victim)
    check_tensor(images)
    if not len(images):
        raise SpikeflipError("there are 0 images, of which nothing can be certified: give at least one")
    if kind_of(images, victim.input_shape, victim.coding) != "images" or victim.coding != "rate":
        raise SpikeflipError(
            "certify votes over random encodings, and these inputs have one encoding alone: give images, and a victim "
            "that codes them by rate"
        )
    check_values(images, "images")
    check_counts(draws=draws, first=first, micro_batch=micro_batch)
    if not 0 < error < 1:
        raise SpikeflipError(f"error is {error}: give a share between 0 and 1, such as 0.001")
    if at_least(draws, draws, error) <= 0.5:
        raise SpikeflipError(
            f"draws is {draws}, and at error {error:g} so few bound no vote above a half, even if all agree: give at "
            f"least {floor(-log2(error)) + 1}"
        )
    n = len(images)
    samples = torch.arange(n) if samples is None else samples
    check_streams(seed, samples, n)
    micro_batch = at_a_time(victim, images, micro_batch)
    classes, bounds, radii = torch.full((n,), -1), torch.zeros(n).double(), torch.zeros(n).double()
    for i, (image, sample) in enumerate(zip(images, samples.tolist(), strict=True)):
        votes = answers_to(victim, image, sample, torch.arange(first + draws), seed, micro_batch, "certify")
        chosen = _most_voted(votes[:first], victim.classes)
        bounds[i] = at_least(int((votes[first:] == chosen).sum()), draws, error)
        if bounds[i] > 0.5:
            classes[i] = chosen
            radii[i] = certified_radius(float(bounds[i]), victim.time_steps, prod(victim.input_shape))
        if progress is not None:
            progress(i + 1, n)
    return Certificate(classes, bounds, radii, victim.time_steps, draws, error)


def _most_voted(votes: Tensor, classes: int) -> int:
    """The class with most of the votes ``(n,)``, the first of several; a tie, -1, is no vote."""
    return int(votes[votes >= 0].bincount(minlength=classes).argmax())

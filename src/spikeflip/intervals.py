"""Confidence intervals of rates."""

from math import log, sqrt

import numpy as np
from numpy.typing import ArrayLike

from spikeflip.errors import SpikeflipError

_Z95 = 1.959963984540054  # 97.5 % quantile of the standard normal distribution


def trials(values: ArrayLike, groups: ArrayLike) -> float:
    """How many independent trials numbers in [0, 1] are worth, of which those of a group may go together.

    Targets of one input are such a group: where one of them succeeds, others are likelier to. It is the number of
    trials whose mean would vary as this one does between the groups: all numbers where those of a group are as unlike
    as any, the groups where they are alike, and nothing beyond these. Where all numbers are the same, nothing shows
    how they go together, and it is the groups.

    Source: E. Korn and B. Graubard, Confidence intervals for proportions with small expected number of positive counts
    estimated from survey data, Survey Methodology 1998.

    Args:
        values: ``(n,)`` in [0, 1].
        groups: ``(n,)``, which group each is of; numbers or names.

    >>> trials([1, 1, 0, 0], ["a", "a", "b", "b"]), trials([1, 0, 1, 0], ["a", "a", "b", "b"]), trials([1, 1], [3, 3])
    (2.0, 4.0, 1.0)
    """
    found, names = np.asarray(values, dtype=float), np.asarray(groups)
    n, (_, group) = len(found), np.unique(names, return_inverse=True)
    if not n:
        return 0.0
    rate, every = found.mean(), int(group.max()) + 1
    if every == n or every == 1 or np.ptp(found) == 0:
        return float(every)
    apart = np.bincount(group, found - rate)
    variance = every / (every - 1) * float((apart**2).sum()) / n**2
    worth = rate * (1 - rate) / variance if variance > 0 else n
    return float(min(n, max(every, worth)))


def wilson(rate: float, n: float, z: float = _Z95) -> tuple[float, float]:
    """The Wilson score interval of a rate in [0, 1] over n trials, 95 % by default; :func:`trials` need not be whole.

    Also used for the mean of n numbers in [0, 1] (a share of draws a sample), whose variance is at most that of a rate:
    the interval is then on the wide side.

    Source: E. B. Wilson, Probable inference, the law of succession, and statistical inference, JASA 1927.

    Raises:
        SpikeflipError: n is negative or the rate is outside [0, 1].

    >>> [round(bound, 3) for bound in wilson(0.5, 10)]
    [0.237, 0.763]
    """
    if n < 0 or not 0 <= rate <= 1:
        raise SpikeflipError(f"an interval of rate {rate} over {n} trials: give a rate in [0, 1] and n of at least 0")
    if n == 0:
        return 0.0, 1.0
    middle = (rate + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * sqrt(rate * (1 - rate) / n + z * z / (4 * n * n))
    # At rates of 0 and 1 the bound is exact; rounding must not put it on the wrong side.
    return max(0.0, min(rate, middle - half)), min(1.0, max(rate, middle + half))


def at_least(hits: int, n: int, error: float) -> float:
    """The lower bound of a rate of which ``hits`` of ``n`` trials were seen: wrong with probability ``error`` at most.

    The largest rate at which so many hits, or more, come with probability ``error`` at most.

    Source: C. Clopper and E. Pearson, The use of confidence or fiducial limits illustrated in the case of the binomial,
    Biometrika 1934; one side of it.

    Raises:
        SpikeflipError: there are more hits than trials, or the error is outside (0, 1).

    >>> [round(at_least(hits, 10, 0.05), 4) for hits in (0, 5, 10)]
    [0.0, 0.2224, 0.7411]
    """
    if not 0 <= hits <= n or not 0 < error < 1:
        raise SpikeflipError(
            f"a bound from {hits} hits in {n} trials with error {error}: give no more hits than trials and an error "
            "between 0 and 1, such as 0.001"
        )
    if hits == 0:
        return 0.0
    seen = np.arange(hits, n + 1)
    logarithms = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, n + 1)))])
    ways = logarithms[n] - logarithms[seen] - logarithms[n - seen]
    low, high = 0.0, 1.0
    for _ in range(60):  # the last halves are below the precision of a float
        rate = (low + high) / 2
        with np.errstate(under="ignore"):
            tail = float(np.exp(ways + seen * log(rate) + (n - seen) * np.log1p(-rate)).sum())
        low, high = (rate, high) if tail <= error else (low, rate)
    return low


def exact(hits: int, n: int, error: float = 0.05) -> tuple[float, float]:
    """The exact interval of a rate of which ``hits`` of ``n`` trials were seen, 95 % by default.

    It misses the rate with probability ``error`` at most, however small ``n`` is; that of :func:`wilson` is narrower,
    and of few trials may miss it more often. The half is outside exactly where a two-sided sign test rejects it.

    Source: Clopper and Pearson 1934, as :func:`at_least`; both sides.

    Raises:
        SpikeflipError: there are more hits than trials, or the error is outside (0, 1).

    >>> [round(bound, 3) for bound in exact(5, 5)]
    [0.478, 1.0]
    """
    return at_least(hits, n, error / 2), 1.0 - at_least(n - hits, n, error / 2)

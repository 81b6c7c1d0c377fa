"""Confidence intervals of rates."""

from math import sqrt

from spikeflip.errors import SpikeflipError

_Z95 = 1.959963984540054  # 97.5 % quantile of the standard normal distribution


def wilson(rate: float, n: int, z: float = _Z95) -> tuple[float, float]:
    """The Wilson score interval of a rate in [0, 1] over n trials, 95 % by default.

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

"""Judging what an attack made: success, verification, metrics and intervals, recomputed from the saved inputs."""

from spikeflip.judging.intervals import wilson
from spikeflip.judging.judge import Judgement, judge

__all__ = ["Judgement", "judge", "wilson"]

"""Judging what an attack made: success, verification, metrics and intervals, recomputed from the saved inputs."""

from importlib import import_module
from typing import TYPE_CHECKING

from spikeflip.intervals import wilson

if TYPE_CHECKING:
    from spikeflip.judging.certificate import Certificate, certify
    from spikeflip.judging.judgement import Judgement, fresh_draws, judge

__all__ = ["Certificate", "Judgement", "certify", "fresh_draws", "judge", "wilson"]

_OF_CERTIFICATES = ("Certificate", "certify")


def __getattr__(name: str) -> object:
    """Import what needs PyTorch when it is first used: tables of finished runs do without."""
    if name not in __all__:
        raise AttributeError(f"module 'spikeflip.judging' has no attribute {name!r}")
    home = "certificate" if name in _OF_CERTIFICATES else "judgement"
    return getattr(import_module(f"spikeflip.judging.{home}"), name)

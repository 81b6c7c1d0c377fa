"""The paper's tables and figures as experiments: what to run, what the paper says, what came out."""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from spikeflip.experiments.page import write_page
    from spikeflip.experiments.registry import EXPERIMENTS
    from spikeflip.experiments.reproduction import reproduce

__all__ = ["EXPERIMENTS", "reproduce", "write_page"]

_HOME = {"EXPERIMENTS": "registry", "reproduce": "reproduction", "write_page": "page"}


def __getattr__(name: str) -> object:
    """Import a name when it is first used: a list of experiments does without PyTorch."""
    if name not in _HOME:
        raise AttributeError(f"module 'spikeflip.experiments' has no attribute {name!r}")
    return getattr(import_module(f"spikeflip.experiments.{_HOME[name]}"), name)

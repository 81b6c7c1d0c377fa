"""Which engine executes a network."""

import logging
from typing import Literal, get_args

from torch import Tensor

from spikeflip.errors import SpikeflipError
from spikeflip.snn.engines.dense import Chain, DenseEngine
from spikeflip.snn.engines.event import EventEngine, why_not

EngineName = Literal["torch", "event"]

_log = logging.getLogger(__name__)


def best_engine(chain: Chain) -> EngineName:
    """The event engine where it can run, else the torch engine."""
    return "torch" if why_not(chain) else "event"


def make_engine(name: EngineName, chain: Chain, workspace: dict[str, Tensor] | None) -> DenseEngine:
    """The engine of that name; the torch engine, with a log line, where the event engine does not cover the chain."""
    if name not in get_args(EngineName):
        raise SpikeflipError(f"engine is {name!r}: choose from {', '.join(get_args(EngineName))}")
    if name == "event":
        reason = why_not(chain)
        if reason is None:
            return EventEngine(chain, workspace)
        _log.warning("the torch engine takes over from the event engine: %s", reason)
    return DenseEngine(chain, workspace)

"""Which engine executes a network."""

import logging
from typing import Literal, get_args

import torch
from torch import Tensor

from spikeflip.errors import SpikeflipError, choose_from
from spikeflip.snn.engines.dense import Chain, DenseEngine
from spikeflip.snn.engines.event import EventEngine, why_not

EngineName = Literal["torch", "event"]
Precision = Literal["float32", "bf16-gradient"]
"""In what the weights work: all in float32; or, in reverse alone, in bfloat16. Scores do not depend on it."""

_GRADIENT_DTYPES: dict[Precision, torch.dtype | None] = {"float32": None, "bf16-gradient": torch.bfloat16}

_log = logging.getLogger(__name__)


def check_choice(engine: str, precision: str) -> None:
    """Refuse an engine or a precision that does not exist, and the two that do not go together."""
    if engine not in get_args(EngineName):
        raise SpikeflipError(f"engine is {engine!r}: {choose_from(engine, get_args(EngineName))}")
    if precision not in get_args(Precision):
        raise SpikeflipError(f"precision is {precision!r}: {choose_from(precision, get_args(Precision))}")
    if engine == "event" and precision != "float32":
        raise SpikeflipError(
            f"precision is {precision!r}, but the event engine works in float32 alone: choose the engine torch"
        )


def best_engine(chain: Chain, precision: Precision = "float32") -> EngineName:
    """The event engine where it can run, else the torch engine."""
    return "torch" if precision != "float32" or why_not(chain) else "event"


def make_engine(
    name: EngineName, chain: Chain, workspace: dict[str, Tensor] | None, precision: Precision = "float32"
) -> DenseEngine:
    """The engine of that name; the torch engine, with a log line, where the event engine does not cover the chain."""
    if name == "event":
        reason = why_not(chain)
        if reason is None:
            return EventEngine(chain, workspace)
        _log.warning("the torch engine takes over from the event engine: %s", reason)
    return DenseEngine(chain, workspace, gradient_dtype=_GRADIENT_DTYPES[precision])

"""The worst case of a threat model: a versioned suite of attacks, each on what still stands, and what came of it."""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from spikeflip.evaluation.findings import THRESHOLDS, Finding, Rate, Verdict
    from spikeflip.evaluation.masking import masking_verdict
    from spikeflip.evaluation.outcome import Evaluation, MemberResult
    from spikeflip.evaluation.suites import SUITES, Member, Suite
    from spikeflip.evaluation.threats import THREATS, Threat
    from spikeflip.evaluation.worst_case import evaluate

_HOMES = {
    "findings": ("THRESHOLDS", "Finding", "Rate", "Verdict"),
    "masking": ("masking_verdict",),
    "outcome": ("Evaluation", "MemberResult"),
    "suites": ("SUITES", "Member", "Suite"),
    "threats": ("THREATS", "Threat"),
    "worst_case": ("evaluate",),
}
_HOME = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "SUITES",
    "THREATS",
    "THRESHOLDS",
    "Evaluation",
    "Finding",
    "Member",
    "MemberResult",
    "Rate",
    "Suite",
    "Threat",
    "Verdict",
    "evaluate",
    "masking_verdict",
]


def __getattr__(name: str) -> object:
    """Import what needs PyTorch when it is first used: pages of cards do without."""
    if name not in _HOME:
        raise AttributeError(f"module 'spikeflip.evaluation' has no attribute {name!r}")
    return getattr(import_module(f"spikeflip.evaluation.{_HOME[name]}"), name)

"""Pictures of attacks, tables of runs, and the page that shows what one or several runs found."""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from spikeflip.report.page import render_report, write_report

__all__ = ["render_report", "write_report"]


def __getattr__(name: str) -> object:
    """Import what needs Matplotlib when it is first used: tables do without."""
    if name not in __all__:
        raise AttributeError(f"module 'spikeflip.report' has no attribute {name!r}")
    return getattr(import_module("spikeflip.report.page"), name)

"""Pictures of attacks and the page that shows what one or several runs found."""

from spikeflip.report.page import render_report, write_report

__all__ = ["render_report", "write_report"]

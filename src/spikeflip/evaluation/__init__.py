"""Whether a figure of robustness can be trusted."""

"""Inputs: everything that knows a file format, and simulated event data."""

from spikeflip.data.images import IMAGE_SETS, ImageSet, load_images, select_per_class
from spikeflip.data.simulate import simulate_saccades

__all__ = ["IMAGE_SETS", "ImageSet", "load_images", "select_per_class", "simulate_saccades"]

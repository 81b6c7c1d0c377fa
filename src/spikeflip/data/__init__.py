"""Inputs: everything that knows a file format, and simulated event data."""

from spikeflip.data.binning import Binned, Binning, bin_events
from spikeflip.data.event_folders import folder_of_recordings
from spikeflip.data.event_layouts import Clip
from spikeflip.data.event_set import EventSet
from spikeflip.data.event_sets import EVENT_SETS, load_event_set
from spikeflip.data.formats import FORMATS, read_recording, write_recording
from spikeflip.data.images import IMAGE_SETS, ImageSet, load_images, select_per_class
from spikeflip.data.recordings import Recording
from spikeflip.data.simulate import simulate_saccades

__all__ = [
    "EVENT_SETS",
    "FORMATS",
    "IMAGE_SETS",
    "Binned",
    "Binning",
    "Clip",
    "EventSet",
    "ImageSet",
    "Recording",
    "bin_events",
    "folder_of_recordings",
    "load_event_set",
    "load_images",
    "read_recording",
    "select_per_class",
    "simulate_saccades",
    "write_recording",
]

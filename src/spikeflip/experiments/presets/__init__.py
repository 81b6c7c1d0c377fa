"""At what size the experiments are run, as data."""

from spikeflip.experiments.presets.cpu import CPU
from spikeflip.experiments.presets.paper import PAPER
from spikeflip.experiments.presets.preset import IN_PAPER, DataSet, Preset, PresetName
from spikeflip.experiments.presets.smoke import SMOKE

PRESETS: dict[PresetName, Preset] = {"paper": PAPER, "cpu": CPU, "smoke": SMOKE}

__all__ = ["IN_PAPER", "PRESETS", "DataSet", "Preset", "PresetName"]

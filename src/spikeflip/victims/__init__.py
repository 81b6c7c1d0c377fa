"""What an attack may see of a model."""

from spikeflip.victims.victim import Probe, Victim

__all__ = ["Probe", "Victim"]

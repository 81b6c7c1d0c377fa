"""Victims from graphs of the Neuromorphic Intermediate Representation, and spiking networks as such graphs.

Source: Pedersen et al., Neuromorphic Intermediate Representation: A Unified Instruction Set for Interoperable
Brain-Inspired Computing (2024).
"""

from spikeflip.victims.nir.loading import load_nir
from spikeflip.victims.nir.saving import save_nir

__all__ = ["load_nir", "save_nir"]

"""What an attack may see of a model, and models of other frameworks as victims."""

from spikeflip.victims.defence import Defence
from spikeflip.victims.examining.doctor import Diagnosis, doctor
from spikeflip.victims.nir import load_nir, save_nir
from spikeflip.victims.spike_functions import NeuronType
from spikeflip.victims.victim import Probe, Victim
from spikeflip.victims.wrap import wrap
from spikeflip.victims.wrapped import WrappedModel

__all__ = [
    "Defence",
    "Diagnosis",
    "NeuronType",
    "Probe",
    "Victim",
    "WrappedModel",
    "doctor",
    "load_nir",
    "save_nir",
    "wrap",
]

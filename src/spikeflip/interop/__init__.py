"""Our victims inside other attack libraries, our attacks called the way these call theirs, and theirs called as ours.

None of them is needed, and one is imported only when an attack of its own is called: their models, criteria and arrays
are known by what they can do.
"""

from spikeflip.interop.adv_lib import adv_lib_attack
from spikeflip.interop.art import ArtAttack
from spikeflip.interop.foolbox import FoolboxAttack
from spikeflip.interop.libraries import EVERY_ATTACK, LIBRARY_ATTACKS, library_attack
from spikeflip.interop.module import VictimModule, as_module

__all__ = [
    "EVERY_ATTACK",
    "LIBRARY_ATTACKS",
    "ArtAttack",
    "FoolboxAttack",
    "VictimModule",
    "adv_lib_attack",
    "as_module",
    "library_attack",
]

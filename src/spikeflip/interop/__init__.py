"""Our victims inside other attack libraries, and our attacks called the way these call theirs.

None of them is imported, nor needed: their models, criteria and arrays are known by what they can do.
"""

from spikeflip.interop.adv_lib import adv_lib_attack
from spikeflip.interop.art import ArtAttack
from spikeflip.interop.foolbox import FoolboxAttack
from spikeflip.interop.module import VictimModule, as_module

__all__ = ["ArtAttack", "FoolboxAttack", "VictimModule", "adv_lib_attack", "as_module"]

"""Attacks of other libraries, called on victims and judged as ours are. A library is imported when it is used."""

from collections import ChainMap
from collections.abc import Mapping
from typing import Any

from spikeflip.attacks import ATTACKS, Attack, AttackInfo
from spikeflip.interop.calling import settings_of
from spikeflip.interop.libraries.adv_lib import DDN, FMN, CarliniWagner, SigmaZero
from spikeflip.interop.libraries.attack import LibraryAttack
from spikeflip.interop.libraries.foolbox import DeepFool, FoolboxCarliniWagner, FoolboxDDN
from spikeflip.interop.libraries.square import Square

LIBRARY_ATTACKS: dict[str, AttackInfo] = {
    "adv-lib:fmn": AttackInfo(FMN),
    "adv-lib:ddn": AttackInfo(DDN),
    "adv-lib:sigma-zero": AttackInfo(SigmaZero),
    "adv-lib:carlini-wagner-l2": AttackInfo(CarliniWagner),
    "foolbox:deepfool-l2": AttackInfo(DeepFool),
    "foolbox:ddn": AttackInfo(FoolboxDDN),
    "foolbox:carlini-wagner-l2": AttackInfo(FoolboxCarliniWagner),
    "pyautoattack:square": AttackInfo(Square),
}
"""A line an attack, by library and name."""

EVERY_ATTACK: Mapping[str, AttackInfo] = ChainMap(LIBRARY_ATTACKS, ATTACKS)
"""Our attacks and those of other libraries, in this order."""


def library_attack(name: str, **settings: Any) -> Attack:
    """An attack of another library, to be called as ours are: ``attack(victim, images, labels, targets)``.

    Args:
        name: of :data:`LIBRARY_ATTACKS`, such as ``"adv-lib:fmn"``.
        settings: of the attack, by name; those that ``spikeflip attack --attack NAME --help`` shows, with ``budget``
            for ``--epsilon`` and ``--metric`` (a number is a ball in L-infinity).

    Returns:
        Its settings, which attack when they are called; see
        :meth:`spikeflip.interop.libraries.LibraryAttack.__call__`.

    Raises:
        SpikeflipError: there is no such attack or setting, or it is out of range; that the library is not installed
            is said when the attack is called.

    >>> library_attack("adv-lib:fmn", metric="linf").steps
    100
    """
    return settings_of(name, settings, LIBRARY_ATTACKS)


__all__ = ["EVERY_ATTACK", "LIBRARY_ATTACKS", "LibraryAttack", "library_attack"]

"""Defences that look at single spikes."""

from spikeflip.errors import SpikeflipError
from spikeflip.victims.defence import Defence
from spikeflip.victims.victim import Victim


class OnSpikes(Defence):
    """A defence of victims that see spikes, and not images as they are.

    Args:
        victim: what is defended.

    Raises:
        SpikeflipError: it sees images as they are.
    """

    def __init__(self, victim: Victim) -> None:
        super().__init__(victim)
        if victim.coding == "direct":
            raise SpikeflipError(
                f"{type(self).__name__} looks at spikes, and the victim sees images as they are: choose a victim with "
                "another coding"
            )

"""Putting a network where it shall run."""

from spikeflip.errors import SpikeflipError
from spikeflip.snn.network import Network


def placed(network: Network, device: str) -> Network:
    """The network, moved to a device; a SpikeflipError where that is not there."""
    try:
        return network.to(device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise SpikeflipError(
            f"--device {device} cannot be used ({reason}): choose cpu, or a device that is there"
        ) from error

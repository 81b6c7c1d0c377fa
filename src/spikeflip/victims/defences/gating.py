"""Stochastic gating as a defence: spikes are dropped at random, by draws that no attack foresees."""

import hashlib

import torch
from torch import Tensor

from spikeflip.errors import SpikeflipError
from spikeflip.snn.validation import check_seed
from spikeflip.streams import uniform
from spikeflip.victims.defences.on_spikes import OnSpikes
from spikeflip.victims.victim import Victim


class StochasticGate(OnSpikes):
    """Every spike of the input passes a gate that is shut with some probability; each input has gates of its own.

    A victim must answer the same of the same spikes, in any batch and process. So the gates are drawn from a stream
    whose name is made of ``seed`` and of the spikes themselves: other spikes, be it by one, have other gates. Of an
    image that is coded by rate each encoding has other spikes. Its fresh encodings, over which attacks average
    (``encodings``) and judges verify, are therefore draws of the gates too. A recording has one draw; a defence with
    another ``seed`` is another draw of it, for judging what an attack found.

    Gradients go back as through open gates, times the share of these: their expectation over draws, as the gates of the
    changed input will be others.

    Args:
        victim: what is defended; it sees spikes.
        drop: share of the spikes that is dropped, in [0, 1).
        seed: of the draws, from 0 to 2^64 - 1.

    Raises:
        SpikeflipError: a value is out of range, or the victim sees images as they are.

    Source: J. Ding et al., Enhancing the robustness of spiking neural networks with stochastic gating mechanisms, AAAI
    2024. There each layer has gates; here the input has.

    >>> from spikeflip import SpikingNetwork
    >>> spikes = torch.ones(1, 10, 100)
    >>> 0.4 < float(StochasticGate(SpikingNetwork("4FC-3FC", (100,)), drop=0.5).transform(spikes).mean()) < 0.6
    True
    """

    def __init__(self, victim: Victim, drop: float = 0.1, seed: int = 0) -> None:
        super().__init__(victim)
        if not isinstance(drop, int | float) or not 0 <= drop < 1:
            raise SpikeflipError(f"drop is {drop!r}: give a share in [0, 1), such as 0.1")
        check_seed(seed)
        self.drop: float = drop
        self.seed: int = seed

    def transform(self, spikes: Tensor) -> Tensor:
        """See :class:`spikeflip.Defence`."""
        numbers = uniform(self.seed, _names(spikes), "gate", 0, spikes.shape[1:], spikes.device)
        return spikes * (numbers >= self.drop)

    def backward(self, spikes: Tensor, gradient: Tensor) -> Tensor:
        """That of the expected gates."""
        return gradient * (1 - self.drop)


def _names(spikes: Tensor) -> Tensor:
    """A number of each sample ``(N, ...)`` that depends on its values alone, ``(N,)`` int64 from 0."""
    values = spikes.detach().to("cpu", torch.float32).contiguous().numpy() + 0.0  # -0 is 0
    digests = (hashlib.blake2b(row.tobytes(), digest_size=8).digest() for row in values)
    return torch.tensor([int.from_bytes(digest, "little") >> 1 for digest in digests], dtype=torch.int64)

"""Training a ReLU twin: the batches, schedule, dropout and shifts of a spiking network's training, plain autograd."""

import math
from dataclasses import asdict
from pathlib import Path

import torch
from torch import Tensor

from spikeflip.errors import SpikeflipError
from spikeflip.snn.batches import Masks
from spikeflip.snn.losses import resolve
from spikeflip.snn.perturbing import Batch, Perturb, identity_of
from spikeflip.snn.training import Labelled, Progress, Steps, optimise
from spikeflip.snn.training_settings import Training
from spikeflip.snn.training_state import History
from spikeflip.snn.twin import ReluNetwork
from spikeflip.snn.watch import Seen, expected_right

# From PyTorch's default, uniform within 1 / sqrt(fan-in), to He's, within sqrt(6 / fan-in), which keeps the size of
# what passes a ReLU layer: without it nothing arrives at the end of the paper's eight layers.
_HE = math.sqrt(6)


def train_twin(
    network: ReluNetwork,
    data: Labelled,
    validation: Labelled,
    settings: Training,
    *,
    progress: Progress | None = None,
    state: Path | None = None,
    fingerprint: str = "",
    perturb: Perturb | None = None,
) -> History:
    """Train a ReLU network in place with Adam; resumable as :func:`spikeflip.snn.training.train`.

    Args:
        network: its weights are updated; hidden layers start from theirs times sqrt 6 (He et al., 2015).
        data: training images ``(N, *input)`` and classes.
        validation: held-out images and classes; none are needed.
        settings: as for a spiking network, on logits instead of rates; ``initial_rate`` is for spiking networks.
        progress, state, fingerprint, perturb: as for :func:`spikeflip.snn.training.train`.

    Returns:
        Losses and validation accuracies.

    Raises:
        SpikeflipError: the inputs do not fit the network, a setting is for spiking networks alone, or the saved state
            is damaged or of another training.
    """
    if settings.initial_rate:
        raise SpikeflipError(
            f"initial_rate is {settings.initial_rate}, but a ReLU network has no spikes to count: leave it at 0"
        )
    if settings.mse_first:
        raise SpikeflipError(
            f"mse_first is {settings.mse_first}, but the outputs of a ReLU network are no rates: leave it at 0"
        )
    identity = {
        "kind": "relu",
        "architecture": network.architecture,
        "settings": asdict(settings),
        "data": fingerprint,
        **identity_of(perturb),
    }

    def begin() -> None:
        with torch.no_grad():
            for weight in list(network.weights)[:-1]:
                weight.mul_(_HE)

    def update(batch: Tensor, number: int) -> Seen:
        return _update(network, data, batch, settings, number, perturb)

    steps = Steps(begin, update)
    return optimise(network, data, validation, settings, steps, identity, progress=progress, state=state)


def _update(
    network: ReluNetwork, data: Labelled, batch: Tensor, settings: Training, update: int, perturb: Perturb | None
) -> Seen:
    """Put the gradient of one batch into the parameters; returns what was seen of it."""
    network.zero_grad()
    masks = Masks(network, settings.dropout, settings.widest_dropout, seed=settings.seed, update=update)
    total, right = 0.0, 0.0
    for rows in batch.split(settings.micro_batch):
        part = Batch.of(network, data, rows, update, settings)
        images, classes = part.inputs if perturb is None else perturb(part), part.labels
        logits = network(images.to(network.device), masks.draw(len(rows)))
        loss = resolve(settings.loss)(logits, classes).sum()
        (loss / len(batch)).backward()
        total += loss.item()
        right += expected_right(logits, classes)
    return Seen(total / len(batch), right, 0, len(batch))

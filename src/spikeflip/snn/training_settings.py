"""How a network is trained: the settings of every training, with their ranges."""

from dataclasses import dataclass

from spikeflip.errors import SpikeflipError
from spikeflip.snn.losses import LossName, resolve
from spikeflip.snn.validation import check_counts

LARGEST_RATE = 100.0
"""Of learning rates; larger ones leave the range of the optimiser's numbers."""

LARGEST_SHARE = 0.5
"""Of potentials that can be scaled to the threshold: about half are negative."""


@dataclass(frozen=True)
class Training:
    """How a victim is trained.

    Args:
        loss: on the output rates, ``"mse"`` against one-hot classes or ``"ce"`` with the rates as logits.
        mse_first: share of the updates in which the loss is ``"mse"``, before it is the other. With rates as logits the
            gradient of ``"ce"`` hardly depends on how wrong an output is, which tells classes apart slowly and may
            silence outputs.
        updates: number of optimiser steps.
        batch_size: samples an update.
        learning_rate: of Adam, at its highest, the same for all layers; it rises over the first updates (3 % of them)
            and falls as a half cosine. None takes ``relative_rate`` instead.
        relative_rate: the same as a share of each layer's weights (their root mean square). A rate for all layers
            moves the small weights of a wide layer so far in one update that the layer falls silent.
        dropout: share of spikes dropped after a hidden weight layer, one mask a sample for all time steps.
        widest_dropout: the same after the convolution with the most channels.
        coding_steps: most time steps that images are coded in while training; the network's if None. An update costs as
            much as it has steps, and neurons that forget within a few steps learn from few: the rest only averages.
        shift: augmentation: each input of an update is moved by up to so many cells, in both directions.
        initial_share: before training, weights are scaled layer by layer until this share of the potentials that
            receive input would reach the threshold, without reset, on the first 32 inputs; sparse recordings leave deep
            layers silent otherwise, and a silent network does not learn. 0 leaves the weights as they are.
        initial_rate: the same for a share of all potentials of the first batch, as earlier versions had it: with sparse
            inputs single events fire then. Where it is not 0, ``initial_share`` is not used.
        orthogonality: regularisation: after each update every layer's weights move so far towards orthogonal ones of
            the same size; see :func:`spikeflip.snn.regularising.retract`.
        seed: of batches, encodings, masks.
        micro_batch: samples in memory at a time. It changes the rounding of the sums and, with dropout, which masks a
            sample gets.
        validate_every: updates between two measurements of the validation accuracy, and between two saved states.
    """

    loss: LossName = "mse"
    mse_first: float = 0.0
    updates: int = 300
    batch_size: int = 64
    learning_rate: float | None = None
    relative_rate: float = 0.05
    dropout: float = 0.1
    widest_dropout: float = 0.1
    coding_steps: int | None = None
    shift: int = 0
    initial_share: float = 0.1
    initial_rate: float = 0.0
    orthogonality: float = 0.0
    seed: int = 0
    micro_batch: int = 16
    validate_every: int = 50

    def __post_init__(self) -> None:
        resolve(self.loss)
        check_counts(
            updates=self.updates,
            batch_size=self.batch_size,
            micro_batch=self.micro_batch,
            validate_every=self.validate_every,
        )
        if self.coding_steps is not None:
            check_counts(coding_steps=self.coding_steps)
        if self.shift < 0:
            raise SpikeflipError(f"shift is {self.shift}: give a number of cells, 0 for none")
        if self.learning_rate is not None and not 0 < self.learning_rate <= LARGEST_RATE:
            raise SpikeflipError(
                f"learning_rate is {self.learning_rate}: give a number above 0, at most {LARGEST_RATE}, such as 0.001"
            )
        if not 0 < self.relative_rate < 1:
            raise SpikeflipError(f"relative_rate is {self.relative_rate}: give a share in (0, 1), such as 0.05")
        for name in ("mse_first", "dropout", "widest_dropout", "initial_share", "initial_rate", "orthogonality"):
            if not 0 <= (value := getattr(self, name)) < 1:
                raise SpikeflipError(f"{name} is {value}: give a share in [0, 1)")
        if self.initial_share >= LARGEST_SHARE:
            raise SpikeflipError(
                f"initial_share is {self.initial_share}: give less than {LARGEST_SHARE}, as half of the potentials are "
                "negative"
            )

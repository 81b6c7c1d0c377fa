"""Training by backpropagation through time, resumable at any moment with the same result.

Every random number comes from a stream of (seed, purpose, sample or update), so an interrupted training that is
resumed ends with the same weights as an undisturbed one.
"""

import json
import logging
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from spikeflip.errors import SpikeflipError
from spikeflip.snn.batches import Masks, batches, schedule, shifted
from spikeflip.snn.coding import encode, winner
from spikeflip.snn.inputs import check_classes, check_counts, check_values, kind_of
from spikeflip.snn.losses import LossName, resolve, score_gradient
from spikeflip.snn.network import Network, SpikingNetwork
from spikeflip.snn.neuron import integrate
from spikeflip.writing import make_folder, write_bytes

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Training:
    """How a victim is trained.

    Args:
        loss: on the output rates, ``"mse"`` against one-hot classes or ``"ce"`` with the rates as logits.
        updates: number of optimiser steps.
        batch_size: samples an update.
        learning_rate: of Adam, at its highest; it rises over the first 3 % of the updates and falls as a half cosine.
        dropout: share of spikes dropped after a hidden weight layer, one mask a sample for all time steps.
        widest_dropout: the same after the convolution with the most channels.
        shift: augmentation: each input of an update is moved by up to so many cells, in both directions.
        initial_rate: before training, weights are scaled layer by layer until this share of a layer's neurons would
            fire (without reset) on the first inputs; sparse recordings leave deep layers silent otherwise, and a
            silent network does not learn. 0 leaves the weights as they are.
        seed: of batches, encodings, masks.
        micro_batch: samples in memory at a time, but for ``initial_rate``, which takes a whole batch. It changes the
            rounding of the sums and, with dropout, which masks a sample gets.
        validate_every: updates between two measurements of the validation accuracy, and between two saved states.
    """

    loss: LossName = "mse"
    updates: int = 300
    batch_size: int = 64
    learning_rate: float = 1e-3
    dropout: float = 0.25
    widest_dropout: float = 0.5
    shift: int = 0
    initial_rate: float = 0.0
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
        if self.shift < 0:
            raise SpikeflipError(f"shift is {self.shift}: give a number of cells, 0 for none")
        if not 0 < self.learning_rate < math.inf:
            raise SpikeflipError(f"learning_rate is {self.learning_rate}: give a positive number, such as 0.001")
        for name in ("dropout", "widest_dropout", "initial_rate"):
            if not 0 <= (value := getattr(self, name)) < 1:
                raise SpikeflipError(f"{name} is {value}: give a share in [0, 1)")


@dataclass
class History:
    """What training saw: one entry a validation; no accuracies where nothing was held out."""

    update: list[int] = field(default_factory=list)
    loss: list[float] = field(default_factory=list)
    validation_accuracy: list[float] = field(default_factory=list)


@dataclass(frozen=True)
class TrainingProgress:
    """Given to the progress callback after every update; the accuracy is that of the last validation."""

    update: int
    updates: int
    loss: float
    validation_accuracy: float | None


Progress = Callable[[TrainingProgress], None]
Labelled = tuple[Tensor, Tensor]
"""Inputs, as images ``(N, *input)`` in [0, 1] or spikes ``(N, T, *input)``, and their classes ``(N,)`` int64."""


def train(
    network: SpikingNetwork,
    data: Labelled,
    validation: Labelled,
    settings: Training,
    *,
    progress: Progress | None = None,
    state: Path | None = None,
    fingerprint: str = "",
) -> History:
    """Train a network in place by BPTT (Eq. 8) with Adam.

    Args:
        network: its weights are updated.
        data: training inputs and classes.
        validation: held-out inputs and classes; none are needed.
        settings: see :class:`Training`.
        progress: called after every update.
        state: a file in which the training is saved at every validation and from which it goes on when it exists.
        fingerprint: of the data; a saved state of other data is refused.

    Returns:
        Losses and validation accuracies.

    Raises:
        SpikeflipError: the inputs do not fit the network, or the saved state is damaged or of another training.
    """
    identity = {
        "architecture": network.architecture,
        "time_steps": network.time_steps,
        "coding": network.coding,
        "neuron": repr(network.neuron),
        "settings": asdict(settings),
        "data": fingerprint,
    }

    def begin() -> None:
        if settings.initial_rate:
            _scale_weights(network, data[0][: settings.batch_size], settings)

    def update(batch: Tensor, number: int) -> float:
        return _update(network, data, batch, settings, number)

    return optimise(network, data, validation, settings, update, begin, identity, progress=progress, state=state)


def optimise(
    network: Network,
    data: Labelled,
    validation: Labelled,
    settings: Training,
    update: Callable[[Tensor, int], float],
    begin: Callable[[], None],
    identity: Mapping[str, Any],
    *,
    progress: Progress | None = None,
    state: Path | None = None,
) -> History:
    """The loop of every training, and all that makes it go on after an interruption; :func:`train` says more.

    Args:
        network, data, validation, settings, progress, state: as for :func:`train`.
        update: puts the gradient of a batch ``(n,)`` of positions into the parameters, given the number of the update
            from 1; returns the mean loss.
        begin: called before the first update, not when a training goes on.
        identity: what a saved state must agree in.
    """
    _check(network, (data, validation), settings)
    optimiser = torch.optim.Adam(network.parameters(), lr=settings.learning_rate)
    history, first = History(), 0
    if state is not None and state.exists():
        history, first = _restore(state, network, optimiser, identity)
        _log.info("training goes on at update %d of %d", first, settings.updates)
    else:
        begin()
    following = batches(len(data[0]), settings.batch_size, seed=settings.seed, first=first)
    for number, batch in zip(range(first + 1, settings.updates + 1), following, strict=False):
        for group in optimiser.param_groups:
            group["lr"] = settings.learning_rate * schedule(number, settings.updates)
        loss = update(batch, number)
        optimiser.step()
        if number % settings.validate_every == 0 or number == settings.updates:
            history.update.append(number)
            history.loss.append(loss)
            if len(validation[0]):
                history.validation_accuracy.append(accuracy(network, *validation, seed=settings.seed))
            if state is not None:
                _save(state, network, optimiser, identity, history, number)
        if progress is not None:
            known = history.validation_accuracy
            progress(TrainingProgress(number, settings.updates, loss, known[-1] if known else None))
    optimiser.zero_grad()  # they would stay in memory as long as the network
    return history


def _check(network: Network, parts: Sequence[Labelled], settings: Training) -> None:
    if not len(parts[0][0]):
        raise SpikeflipError("there are no training inputs: give at least one")
    for inputs, classes in parts:
        check_values(inputs, kind_of(inputs, network.input_shape, network.coding))
        check_classes("label", classes, len(inputs), network.classes)
    if settings.shift and len(network.input_shape) < 2:
        raise SpikeflipError(
            f"shift is {settings.shift}, but inputs of shape {network.input_shape} have no rows to move: give 0"
        )


def accuracy(network: Network, inputs: Tensor, classes: Tensor, *, seed: int = 0, micro_batch: int = 64) -> float:
    """The share of inputs whose class alone scores the most, over one encoding each; ties count as wrong."""
    right = 0
    for start in range(0, len(inputs), micro_batch):
        part = slice(start, start + micro_batch)
        samples = torch.arange(start, start + len(inputs[part]))
        seen = encode(
            inputs[part], network.input_shape, network.time_steps, coding=network.coding, seed=seed, samples=samples
        )
        right += int((winner(network.scores(seen.to(network.device))).cpu() == classes[part].cpu()).sum())
    return right / max(1, len(inputs))


def _update(network: SpikingNetwork, data: Labelled, batch: Tensor, settings: Training, update: int) -> float:
    """Put the gradient of one batch into the parameters; returns the mean loss."""
    engine, device = network.engine, network.device
    sums, total = engine.weight_sums(), 0.0
    dropout = Masks(network, settings.dropout, settings.widest_dropout, seed=settings.seed, update=update)
    for rows in batch.split(settings.micro_batch):
        values, classes = data[0][rows], data[1][rows].to(device)
        if settings.shift:
            values = shifted(values, settings.shift, seed=settings.seed, rows=rows, update=update)
        spikes = encode(
            values,
            network.input_shape,
            network.time_steps,
            coding=network.coding,
            seed=settings.seed,
            samples=rows,
            purpose="train",
            step=update,
        ).to(device)
        losses: list[Tensor] = []

        def output_gradient(out: Tensor, classes: Tensor = classes, losses: list[Tensor] = losses) -> Tensor:
            loss, gradient = score_gradient(settings.loss, out.mean(1), classes)
            losses.append(loss)
            return (gradient / (len(batch) * out.shape[1])).unsqueeze(1).expand_as(out).contiguous()

        with torch.no_grad():
            engine.add_weight_gradients(spikes, output_gradient, dropout.draw(len(rows)), sums)
        total += float(losses[0].sum())
    gradients = [gradient for gradient in engine.weight_gradients(sums) if gradient is not None]
    for parameter, gradient in zip(network.weights, gradients, strict=True):
        parameter.grad = gradient
    return total / len(batch)


def _scale_weights(network: SpikingNetwork, inputs: Tensor, settings: Training) -> None:
    """Scale each layer's weights so that ``initial_rate`` of its potentials, without reset, reach the threshold."""
    engine, neuron = network.engine, network.neuron
    samples = torch.arange(len(inputs))
    with torch.no_grad():
        spikes = encode(
            inputs,
            network.input_shape,
            network.time_steps,
            coding=network.coding,
            seed=settings.seed,
            samples=samples,
            purpose="train",
        )
        spikes = spikes.to(network.device)
        for i, weight in enumerate(network.weights_by_layer()):
            current = engine.current(i, spikes)
            if weight is not None:
                potentials, _ = integrate(current, replace(neuron, reset="none"))
                rank = max(1, round(settings.initial_rate * potentials.numel()))
                reached = float(potentials.flatten().topk(rank).values[-1])
                if reached > 0:
                    weight.mul_(neuron.threshold / reached)
                    current.mul_(neuron.threshold / reached)
            _, spikes = integrate(current, neuron)


def _save(
    path: Path,
    network: Network,
    optimiser: torch.optim.Adam,
    identity: Mapping[str, Any],
    history: History,
    update: int,
) -> None:
    tensors: dict[str, Tensor] = {}
    for i, weight in enumerate(network.weights):
        moments = optimiser.state[weight]
        tensors |= {f"{i}.weight": weight.data, f"{i}.first": moments["exp_avg"], f"{i}.second": moments["exp_avg_sq"]}
    metadata = {"identity": json.dumps(identity), "history": json.dumps(asdict(history)), "update": str(update)}
    make_folder(path.parent)
    write_bytes(path, save({name: value.cpu().contiguous() for name, value in tensors.items()}, metadata))


def _restore(
    path: Path, network: Network, optimiser: torch.optim.Adam, identity: Mapping[str, Any]
) -> tuple[History, int]:
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata()
            if json.loads(metadata["identity"]) != identity:
                raise SpikeflipError(
                    f"{path} holds the unfinished training of another network, setting or data set: "
                    "train with the same options to finish it, or delete it"
                )
            update = int(metadata["update"])
            for i, weight in enumerate(network.weights):
                with torch.no_grad():
                    weight.copy_(file.get_tensor(f"{i}.weight"))
                optimiser.state[weight] = {
                    "step": torch.tensor(float(update)),
                    "exp_avg": torch.empty_like(weight.data).copy_(file.get_tensor(f"{i}.first")),
                    "exp_avg_sq": torch.empty_like(weight.data).copy_(file.get_tensor(f"{i}.second")),
                }
            return History(**json.loads(metadata["history"])), update
    except SpikeflipError:
        raise
    except (SafetensorError, KeyError, TypeError, ValueError, RuntimeError, OSError) as error:
        raise SpikeflipError(f"the saved training {path} is damaged ({error}): delete it to start anew") from error

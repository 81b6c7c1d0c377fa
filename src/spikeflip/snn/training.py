"""Training by backpropagation through time, resumable at any moment with the same result.

Every random number comes from a stream of (seed, purpose, sample or update), so an interrupted training that is
resumed ends with the same weights as an undisturbed one.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from spikeflip.errors import SpikeflipError
from spikeflip.snn.batches import Masks, batches, schedule
from spikeflip.snn.coding import encode_for, winner
from spikeflip.snn.firing import Firing, measure_firing
from spikeflip.snn.losses import LossName, score_gradient
from spikeflip.snn.network import Network, SpikingNetwork
from spikeflip.snn.perturbing import Batch, Perturb, identity_of
from spikeflip.snn.regularising import retract
from spikeflip.snn.startup import revive_outputs, scale_weights
from spikeflip.snn.training_settings import Training
from spikeflip.snn.training_state import History, restore_state, save_state
from spikeflip.snn.validation import at_a_time, check_classes, check_values, kind_of
from spikeflip.snn.watch import Seen, Watch, expected_right

# Inputs on which layers are scaled before training, and watched in it.
_WATCHED = 32

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainingProgress:
    """Given to the progress callback after every update.

    Args:
        update, updates: the number of this update, and of all.
        loss: the mean loss of its batch.
        validation_accuracy: of the last validation; None before the first.
        firing: of a spiking network when the watch looked last.
        stage: ``"train"``, or ``"twin"`` for a ReLU network whose weights a spiking one then begins with.
    """

    update: int
    updates: int
    loss: float
    validation_accuracy: float | None
    firing: Firing | None = None
    stage: str = "train"


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
    perturb: Perturb | None = None,
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
        perturb: gives the inputs that each update learns from, as adversarial training does; the data's own if None.

    Returns:
        Losses, validation accuracies and the firing of the layers. Where the network fell silent the training went back
        to a state in which it fired, with a lower learning rate; what did not help is in its notices.

    Raises:
        SpikeflipError: the inputs do not fit the network, a layer stays silent however its weights are scaled, or the
            saved state is damaged or of another training.
    """
    seen = data[0][:_WATCHED], torch.arange(min(_WATCHED, len(data[0])))

    def spikes(values: Tensor, samples: Tensor) -> Tensor:
        parts = [
            encode_for(
                network,
                values[rows],
                seed=settings.seed,
                samples=samples[rows],
                purpose="train",
            ).to(torch.uint8)
            for rows in torch.arange(len(values)).split(settings.micro_batch)
        ]
        return torch.cat(parts)

    identity = {
        "architecture": network.architecture,
        "time_steps": network.time_steps,
        "coding": network.coding,
        "neuron": repr(network.neuron),
        "settings": asdict(settings),
        "data": fingerprint,
        **identity_of(perturb),
    }

    def scale() -> None:
        share = settings.initial_share or Training.initial_share
        scale_weights(network, spikes(*seen), share, micro_batch=settings.micro_batch)

    def begin() -> None:
        if settings.initial_rate:
            first = data[0][: settings.batch_size]
            given = spikes(first, torch.arange(len(first)))
            micro_batch = settings.micro_batch
            scale_weights(network, given, settings.initial_rate, of_stimulated=False, micro_batch=micro_batch)
        elif settings.initial_share:
            scale()

    def update(batch: Tensor, number: int) -> Seen:
        return _update(network, data, batch, settings, number, perturb)

    def measure() -> Firing:
        return measure_firing(network, spikes(*seen), micro_batch=settings.micro_batch)

    def revive(dead: Tensor, rows: Tensor) -> None:
        share = settings.initial_share or Training.initial_share
        revive_outputs(network, spikes(*seen), dead, rows, share, micro_batch=settings.micro_batch)

    steps = Steps(begin, update, measure, scale, revive)
    return optimise(network, data, validation, settings, steps, identity, progress=progress, state=state)


@dataclass(frozen=True)
class Steps:
    """What a kind of network is trained by.

    Args:
        begin: called before the first update, not when a training goes on.
        update: puts the gradient of a batch ``(n,)`` of positions into the parameters, given the number of the update
            from 1; returns what it saw.
        measure: says how the network fires; None for one without spikes.
        scale: scales the weights until every layer fires.
        revive: gives outputs, ``(K,)`` bool, new weights of these rows ``(K, F)``.
    """

    begin: Callable[[], None]
    update: Callable[[Tensor, int], Seen]
    measure: Callable[[], Firing] | None = None
    scale: Callable[[], None] | None = None
    revive: Callable[[Tensor, Tensor], None] | None = None


def optimise(
    network: Network,
    data: Labelled,
    validation: Labelled,
    settings: Training,
    steps: Steps,
    identity: Mapping[str, Any],
    *,
    progress: Progress | None = None,
    state: Path | None = None,
) -> History:
    """The loop of every training, and all that makes it go on after an interruption; :func:`train` says more.

    Args:
        network, data, validation, settings, progress, state: as for :func:`train`.
        steps: what is done before the first update, and in each.
        identity: what a saved state must agree in.
    """
    _check(network, (data, validation), settings)
    optimiser = torch.optim.Adam([{"params": [weight]} for weight in network.weights])
    watch = _watch(network, data, settings, steps, optimiser)
    history, first = History(), 0
    if state is not None and state.exists():
        history, first = restore_state(state, network, optimiser, identity, watch)
        _log.info("training goes on at update %d of %d", first, settings.updates)
    else:
        steps.begin()
    watch.begin(first)
    following = batches(len(data[0]), settings.batch_size, seed=settings.seed, first=first)
    last = first if watch.gave_up else settings.updates
    for number, batch in zip(range(first + 1, last + 1), following, strict=False):
        for group in optimiser.param_groups:
            group["lr"] = _rate(group["params"][0], settings) * watch.factor * schedule(number, settings.updates)
        seen = steps.update(batch, number)
        optimiser.step()
        retract(network.weights, settings.orthogonality)
        watch.saw(seen)
        kept = number % settings.validate_every == 0 or number == settings.updates
        _look(watch, history, number, kept=kept)
        if kept or watch.gave_up:
            history.add(number, seen.loss, _validated(network, validation, settings))
            if state is not None:
                save_state(state, network, optimiser, identity, history, number, watch)
        if progress is not None:
            progress(_now(number, settings.updates, seen.loss, history, watch))
        if watch.gave_up:
            break
    optimiser.zero_grad()  # they would stay in memory as long as the network
    history.notices = watch.notices
    return history


def _look(watch: Watch, history: History, number: int, *, kept: bool) -> None:
    """Let the watch look where it is time to, or the state is saved next."""
    regular = number % watch.every == 0
    if kept or regular:
        watch.look(number, keep=kept)
    if regular:  # not at every validation: a victim keeps what is noted here
        history.add_firing(number, watch.firing)


def _validated(network: Network, validation: Labelled, settings: Training) -> float | None:
    return accuracy(network, *validation, seed=settings.seed) if len(validation[0]) else None


def _now(number: int, updates: int, loss: float, history: History, watch: Watch) -> TrainingProgress:
    validated = history.validation_accuracy
    return TrainingProgress(number, updates, loss, validated[-1] if validated else None, watch.firing)


def _watch(network: Network, data: Labelled, settings: Training, steps: Steps, optimiser: torch.optim.Adam) -> Watch:
    """A watch that can put back the weights that the network has now."""
    weights = list(network.weights)

    def restart() -> None:
        with torch.no_grad():
            for weight, value in zip(weights, watch.initial, strict=True):
                weight.copy_(value)
        steps.begin()

    def revive(classes: list[int]) -> None:
        if steps.revive is not None:
            dead = torch.zeros(network.classes, dtype=torch.bool, device=network.device)
            dead[classes] = True
            steps.revive(dead, watch.initial[-1])

    chance = int(data[1].bincount().max()) / len(data[1])
    initial = [weight.detach().clone() for weight in weights]
    watch = Watch(weights, initial, optimiser, settings.updates, chance, steps.measure, steps.scale, restart, revive)
    return watch


def _rate(weight: Tensor, settings: Training) -> float:
    """The highest learning rate of a layer's weights."""
    if settings.learning_rate is not None:
        return settings.learning_rate
    return settings.relative_rate * float(weight.detach().square().mean().sqrt())


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
    right, micro_batch = 0, at_a_time(network, inputs, micro_batch)
    for start in range(0, len(inputs), micro_batch):
        part = slice(start, start + micro_batch)
        samples = torch.arange(start, start + len(inputs[part]))
        seen = encode_for(network, inputs[part], seed=seed, samples=samples)
        right += int((winner(network.scores(seen.to(network.device))).cpu() == classes[part].cpu()).sum())
    return right / max(1, len(inputs))


def _update(
    network: SpikingNetwork, data: Labelled, batch: Tensor, settings: Training, update: int, perturb: Perturb | None
) -> Seen:
    """Put the gradient of one batch into the parameters; returns what was seen of it."""
    engine, device = network.engine, network.device
    sums, total, right, silent = engine.weight_sums(), 0.0, 0.0, 0
    fired = torch.zeros(network.classes, dtype=torch.bool, device=device)
    dropout = Masks(network, settings.dropout, settings.widest_dropout, seed=settings.seed, update=update)
    loss_name: LossName = "mse" if update <= settings.mse_first * settings.updates else settings.loss
    for rows in batch.split(settings.micro_batch):
        part = Batch.of(network, data, rows, update, settings)
        values, classes = part.inputs if perturb is None else perturb(part), part.labels
        spikes = part.encoded(values, "train", update)
        scores: list[Tensor] = []
        losses: list[Tensor] = []

        def output_gradient(
            out: Tensor, classes: Tensor = classes, scores: list[Tensor] = scores, losses: list[Tensor] = losses
        ) -> Tensor:
            scores.append(out.mean(1))
            loss, gradient = score_gradient(loss_name, scores[0], classes)
            losses.append(loss)
            return (gradient / (len(batch) * out.shape[1])).unsqueeze(1).expand_as(out).contiguous()

        with torch.no_grad():
            engine.add_weight_gradients(spikes, output_gradient, dropout.draw(len(rows)), sums)
        total += float(losses[0].sum())
        right += expected_right(scores[0], classes)
        silent += int((scores[0].amax(1) == 0).sum())
        fired |= (scores[0] > 0).any(0)
    gradients = [gradient for gradient in engine.weight_gradients(sums) if gradient is not None]
    for parameter, gradient in zip(network.weights, gradients, strict=True):
        parameter.grad = gradient
    met = frozenset(fired.nonzero().flatten().tolist())
    return Seen(total / len(batch), right, silent, len(batch), frozenset(data[1][batch].tolist()) - met, met)

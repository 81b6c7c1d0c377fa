"""The recipe of a training: what the user does not say is chosen by the data, their number and the network."""

import math
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

from spikeflip.attacks.adversarial_training import AdversarialTraining
from spikeflip.attacks.flip_training import FlipTraining
from spikeflip.errors import SpikeflipError
from spikeflip.runs.config import TrainConfig
from spikeflip.snn.training_settings import Training

Kind = Literal["images", "simulated", "recordings"]


@dataclass(frozen=True)
class _Amount:
    """How long data of a kind are trained on.

    Args:
        batch_size: samples an update, or all that there are.
        epochs: how often each sample is seen.
        most: samples seen in all, where there are many.
        shift: augmentation, where there are enough samples to need an answer that does not depend on the place.
        dropout: after every hidden weight layer.
        relative_rate: the learning rate as a share of the weights.
        fan_in: most inputs of a neuron in the networks that the rate was measured on; of more it is lower.
        coding_steps: time steps that images are coded in while training, the network's if None.
    """

    batch_size: int
    epochs: int
    most: int
    shift: int = 0
    dropout: float = 0.1
    relative_rate: float = 0.05
    fan_in: int = 6272
    coding_steps: int | None = None


# A colour image needs more than a digit: weights that see some already, and more time.
_AMOUNTS: dict[str, _Amount] = {
    "images": _Amount(64, 12, 24_000),
    "colour": _Amount(64, 18, 172_800, shift=2, dropout=0.0, relative_rate=0.02, fan_in=8192, coding_steps=4),
    "simulated": _Amount(64, 26, 38_000, shift=1),
    "recordings": _Amount(40, 14, 16_000, shift=2, dropout=0.15),
}
_TWINS: dict[str, _Amount] = {
    "images": _Amount(64, 60, 100_000, relative_rate=0.03),
    "colour": _Amount(64, 60, 100_000, shift=2, relative_rate=0.03, fan_in=8192),
}
_MSE_FIRST = 0.6
"""Of trainings with CE: from random weights it gave 69 to 85 % where MSE gave 98 % (N-MNIST), and so 96 %."""
_FEWEST_UPDATES = 100
_FEW_SAMPLES = 100

# Fewer samples than this are all trained on: of a smaller set, what is held out is missed more than it tells.
_ENOUGH_TO_HOLD_OUT = 5000
_HELD_OUT = 200

_OPTIONS = tuple(field.name for field in fields(Training))
_ELSEWHERE = ("loss", "seed", "micro_batch", "validate_every")
"""Settings that the configuration always says."""


@dataclass(frozen=True)
class Recipe:
    """How a victim is trained, and how the ReLU twin whose weights it begins with, where it does."""

    training: Training
    twin: Training | None = None
    of_twin: bool = False
    """Whether a ReLU twin itself is trained, which has no firing to begin with."""
    adversarial: AdversarialTraining | FlipTraining | None = None
    """What each update's inputs are attacked with, where they are; not those that the twin before it learns from."""

    @property
    def perturb(self) -> AdversarialTraining | FlipTraining | None:
        """The same for the training; None where nothing would be changed."""
        return None if self.adversarial is None or self.adversarial.is_idle else self.adversarial

    def as_json(self) -> dict[str, Any]:
        """The settings that were given or chosen, for a victim's description."""
        made = {name: value for name, value in asdict(self.training).items() if name not in _ELSEWHERE}
        if self.adversarial is not None:
            made["adversarial"] = asdict(self.adversarial)
        return made if self.twin is None else made | {"twin": asdict(self.twin)}

    def sentence(self, samples: int) -> str:
        """The recipe in one line, for the terminal."""
        made = self.training
        rate = f"{made.relative_rate:g} of the weights" if made.learning_rate is None else f"{made.learning_rate:g}"
        steps = (
            f"{made.updates:,} updates of {made.batch_size}, learning rate {rate}, dropout {made.dropout:g} and "
            f"{made.widest_dropout:g}, shift {made.shift}"
        )
        if made.coding_steps is not None:
            steps += f", images coded in at most {made.coding_steps} time steps"
        steps += f", orthogonality {made.orthogonality:g}" if made.orthogonality else ""
        if (attacked := self.adversarial) is not None:
            steps += f", {_attacked(attacked)} in {attacked.steps} steps"
            steps += f", less for the first {attacked.warm_up:.0%}" if attacked.warm_up else ""
        twin = "" if self.twin is None else f"a ReLU twin for {self.twin.updates:,} updates, then "
        loss = f", mse for the first {made.mse_first:.0%}" if made.mse_first else ""
        if self.of_twin:
            return f"recipe for {samples:,} samples: {steps}"
        share = f"initial rate {made.initial_rate:g}" if made.initial_rate else f"initial share {made.initial_share:g}"
        return f"recipe for {samples:,} samples: {twin}{steps}, {share}{loss}"


def _attacked(how: AdversarialTraining | FlipTraining) -> str:
    if isinstance(how, FlipTraining):
        return f"recordings attacked by flips of up to {how.share:g} of their events"
    return f"images attacked within {how.epsilon:g}"


def held_out(config: TrainConfig, samples: int) -> int:
    """How many of the training samples are held out for validation.

    Raises:
        SpikeflipError: none would be left to train on.
    """
    if not samples:
        raise SpikeflipError("there are no training inputs: give at least one")
    if config.validation is None:
        return _HELD_OUT if samples >= _ENOUGH_TO_HOLD_OUT else 0
    if config.validation >= samples:
        raise SpikeflipError(f"--validation is {config.validation} of {samples} samples: leave some to train on")
    return config.validation


def choose_recipe(
    config: TrainConfig, kind: Kind, samples: int, channels: int, fan_in: int = 1, *, spiking_start: bool = False
) -> Recipe:
    """The settings of a training: those given, and for the others what was measured to work on data of their kind.

    Args:
        config: what the user says; an option that is None is chosen here.
        kind: what is trained on.
        samples: number of training samples, without those held out.
        channels: of an input. Colour images begin with the weights of a ReLU twin unless ``--start`` gives others: a
            deep spiking network learns them from random weights slowly or not at all.
        fan_in: most inputs of a neuron of the network.
        spiking_start: whether ``--start`` gives the weights of a spiking victim, which fire as they are.

    Raises:
        SpikeflipError: options exclude each other.
    """
    given = {name: value for name in _OPTIONS if (value := getattr(config, name)) is not None}
    for one, other in (("learning_rate", "relative_rate"), ("initial_rate", "initial_share")):
        if one in given and other in given:
            names = [f"--{name.replace('_', '-')} {given[name]:g}" for name in (one, other)]
            raise SpikeflipError(f"{' and '.join(names)} exclude each other: give one")
    if config.coding_steps is not None and (kind != "images" or config.coding != "rate" or config.twin):
        raise SpikeflipError(f"--coding-steps {config.coding_steps} is for images that are coded by rate: leave it out")
    if "initial_rate" in given or (spiking_start and "initial_share" not in given):
        given["initial_share"] = 0.0
    colour = kind == "images" and channels == 3
    amounts = _TWINS if config.twin else _AMOUNTS
    chosen = _chosen(amounts["colour" if colour else kind], samples, fan_in, given)
    if config.coding != "rate":
        del chosen["coding_steps"]
    if config.loss == "ce" and not config.twin:
        chosen["mse_first"] = _MSE_FIRST
    training = Training(**(chosen | given))
    if not colour or config.twin or config.start is not None or not config.twin_first:
        return Recipe(training, of_twin=config.twin, adversarial=_adversarial(config, kind))
    kept = {name: given[name] for name in _ELSEWHERE}
    twin = Training(**(_chosen(_TWINS["colour"], samples, fan_in, {}) | kept | {"loss": "ce"}))
    return Recipe(training, twin, adversarial=_adversarial(config, kind))


def check_adversarial(config: TrainConfig) -> None:
    """Raise a SpikeflipError if something is said of adversarial training, and there is none."""
    for name, value in _how_attacked(config).items() if config.adversarial is None else ():
        option = f"--adversarial-{name.replace('_', '-')}"
        raise SpikeflipError(f"{option} {value:g} says how --adversarial attacks: give that too")


def _adversarial(config: TrainConfig, kind: Kind) -> AdversarialTraining | FlipTraining | None:
    attack = AdversarialTraining if kind == "images" else FlipTraining
    return None if config.adversarial is None else attack(config.adversarial, **_how_attacked(config))


def _how_attacked(config: TrainConfig) -> dict[str, Any]:
    said = {"steps": config.adversarial_steps, "warm_up": config.adversarial_warm_up}
    return {name: value for name, value in said.items() if value is not None}


def _chosen(amount: _Amount, samples: int, fan_in: int, given: dict[str, Any]) -> dict[str, Any]:
    """How much of the data is seen, in which batches, and how fast it is learned."""
    size = given.get("batch_size", min(samples, amount.batch_size))
    seen = min(amount.epochs * samples, amount.most)
    # A neuron's potential moves by what its inputs' weights do together, which grows as the root of their number.
    slower = min(1.0, math.sqrt(amount.fan_in / fan_in))
    return {
        "updates": max(_FEWEST_UPDATES, round(seen / size)),
        "batch_size": size,
        "shift": amount.shift if samples >= _FEW_SAMPLES else 0,
        "dropout": amount.dropout,
        "widest_dropout": amount.dropout,
        "relative_rate": float(f"{amount.relative_rate * slower:.3g}"),
        "coding_steps": amount.coding_steps,
    }

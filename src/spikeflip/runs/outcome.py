"""What came of a training: accuracies, how the layers fire, and whether anything was learned."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from spikeflip.attacks.adversarial_training import ascend
from spikeflip.attacks.flip_training import events_of, flip_most, most_flips
from spikeflip.intervals import wilson
from spikeflip.judging import judge
from spikeflip.notices import Notice
from spikeflip.snn.coding import encode_for
from spikeflip.snn.firing import Firing, measure_firing
from spikeflip.snn.network import Network, SpikingNetwork
from spikeflip.snn.training import Labelled, accuracy
from spikeflip.snn.training_state import History
from spikeflip.snn.validation import at_a_time, kind_of
from spikeflip.victims import Victim

# Of the training samples, so many say whether anything was learned where there are few test inputs or none.
_TRIED = 200
_FEW = 30
_MOSTLY_SILENT = 0.9
# As training does, which keeps their spikes in memory.
_WATCHED = 32
# Under attack: inputs of the test set, steps of the gradient, and encodings of what these end with.
_ATTACKED, _STEPS, _DRAWS, _TOGETHER = 100, 25, 20, 20


@dataclass(frozen=True)
class Outcome:
    """How good a trained victim is; accuracies are over one encoding each, and a tie is wrong.

    Args:
        accuracy: of the test inputs; None where there are none.
        accuracy_n: how many there are.
        training_accuracy: of the first training samples.
        training_accuracy_n: how many were tried.
        firing: of a spiking network's layers, on the first 32 training samples.
        chance: the share of the most frequent class among the samples that ``learned`` is told from.
        learned: whether its accuracy is above chance beyond the 95 % interval.
        notices: what a reader of the accuracy must know.
        robust_accuracy: of the first 100 test inputs, as :func:`robust_accuracy` measures it; None where it does not.
        robust_accuracy_n: how many were attacked; None where nothing was to be.
    """

    accuracy: float | None
    accuracy_n: int
    training_accuracy: float
    training_accuracy_n: int
    firing: Firing | None
    chance: float
    learned: bool
    notices: tuple[Notice, ...] = ()
    robust_accuracy: float | None = None
    robust_accuracy_n: int | None = None

    def as_json(self) -> dict[str, Any]:
        """For a victim's description; the notices are left out, which it joins with others."""
        attacked = {"robust_accuracy": self.robust_accuracy, "robust_accuracy_n": self.robust_accuracy_n}
        return {
            "accuracy": self.accuracy,
            "accuracy_n": self.accuracy_n,
            **(attacked if self.robust_accuracy_n is not None else {}),
            "training_accuracy": self.training_accuracy,
            "training_accuracy_n": self.training_accuracy_n,
            "chance": self.chance,
            "learned": self.learned,
            "firing": None if self.firing is None else self.firing.as_json(),
        }


def judge_training(
    network: Network,
    trained: Labelled,
    test: Labelled,
    history: History,
    *,
    seed: int,
    limit: float | None = None,
) -> Outcome:
    """Measure a trained victim.

    Args:
        network: as training left it.
        trained: the training inputs and classes.
        test: inputs that it was not trained on, none or more.
        history: of the training, whose notices say what was tried.
        seed: of the encodings.
        limit: within which test inputs are attacked too, where they are; see :func:`robust_accuracy`.
    """
    few = trained[0][:_TRIED], trained[1][:_TRIED]
    on_training = accuracy(network, *few, seed=seed)
    on_test = accuracy(network, *test, seed=seed) if len(test[1]) else None
    chance, learned = _compared(on_training, few[1])
    if on_test is not None and (len(test[1]) >= _FEW or not learned):
        chance, learned = _compared(on_test, test[1])
    learned = learned and len(trained[1].unique()) > 1
    firing = _firing(network, few[0][:_WATCHED], seed) if isinstance(network, SpikingNetwork) else None
    outcome = Outcome(on_test, len(test[1]), on_training, len(few[1]), firing, chance, learned)
    if limit is not None:
        attacked = test[0][:_ATTACKED], test[1][:_ATTACKED]
        robust = robust_accuracy(network, *attacked, limit, seed=seed) if len(test[1]) else None
        outcome = replace(outcome, robust_accuracy=robust, robust_accuracy_n=len(attacked[1]))
    return replace(outcome, notices=tuple(_notices(outcome, history)))


def robust_accuracy(victim: Victim, inputs: Tensor, labels: Tensor, limit: float, *, seed: int = 0) -> float:
    """The accuracy on inputs after the attack of adversarial training in 25 steps, all of them on every input.

    Args:
        victim: what is attacked.
        inputs: images ``(N, *input)`` in [0, 1] or spikes ``(N, T, *input)``, at least one.
        labels: true classes ``(N,)`` int64.
        limit: of images the radius of the L∞ ball, in the same units; of spikes the most flips, as a share of a
            sample's own events.
        seed: of all random numbers; a sample's position names its streams.

    Returns:
        The mean share of 20 fresh encodings of each attacked input that are right, of one where they are all the same;
        inputs that were wrong from the start count 0, as in :func:`spikeflip.judge`.
    """
    spikes = kind_of(inputs, victim.input_shape, victim.coding) == "spikes"

    def attacked(rows: Tensor) -> Tensor:
        values, classes = inputs[rows], labels[rows].to(victim.device)

        def encoded(found: Tensor, step: int) -> Tensor:
            return encode_for(victim, found, seed=seed, samples=rows, step=step)

        if spikes:
            return flip_most(victim, values, classes, most_flips(events_of(values), limit), steps=_STEPS)
        return ascend(
            victim,
            values,
            classes,
            limit,
            steps=_STEPS,
            seed=seed,
            samples=rows,
            moment=0,
            encoded=encoded,
        )

    together = at_a_time(victim, inputs, _TOGETHER)
    found = torch.cat([attacked(rows).to(inputs) for rows in torch.arange(len(inputs)).split(together)])
    return float(judge(victim, inputs, found, labels, draws=_DRAWS, seed=seed).rows["still_right"].mean())


def _compared(rate: float, classes: Tensor) -> tuple[float, bool]:
    """The share of the most frequent class, and whether an accuracy is above it beyond its 95 % interval."""
    chance = int(classes.bincount().max()) / len(classes)
    return chance, wilson(rate, len(classes))[0] > chance


def _firing(network: SpikingNetwork, inputs: Tensor, seed: int) -> Firing:
    spikes = encode_for(
        network,
        inputs,
        seed=seed,
        samples=torch.arange(len(inputs)),
    )
    return measure_firing(network, spikes)


def _notices(outcome: Outcome, history: History) -> Iterator[Notice]:
    quiet = outcome.firing and outcome.firing.quietest
    if quiet and quiet.silent_neurons >= _MOSTLY_SILENT and outcome.training_accuracy_n >= _FEW:
        yield Notice(
            "silent-layer",
            f"in layer {quiet.layer} {quiet.silent_neurons:.0%} of the neurons never fire; a lower learning rate, less "
            "dropout or a larger --initial-share keeps more of them alive",
            quiet.silent_neurons,
        )
    if not outcome.learned:
        rate, n, what = outcome.accuracy, outcome.accuracy_n, "test inputs"
        if rate is None:
            rate, n, what = outcome.training_accuracy, outcome.training_accuracy_n, "training samples"
        yield Notice(
            "not-learned",
            f"the victim did not learn: {rate:.1%} of {n:,} {what} are right, and always saying the most frequent "
            f"class is right for {outcome.chance:.1%}; {_advice(outcome, history)}; attacks on it say nothing",
            rate,
        )


def _advice(outcome: Outcome, history: History) -> str:
    if outcome.chance == 1:
        return "all of these are of one class, so that nothing can be told: give inputs of others"
    if outcome.firing and (silent := outcome.firing.silent):
        return f"layer {silent.layer} never fires: try a lower learning rate, less dropout or a larger --initial-share"
    if history.notices:
        return "the cures that training tried did not help: try other options or another --seed"
    return "try more --updates, another learning rate or another --seed"

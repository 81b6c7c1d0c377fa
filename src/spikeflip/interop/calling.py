"""What the three ways of calling our attacks share: which attack, which victim, which classes, and the call."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from numbers import Real
from typing import Any

import numpy as np
import torch
from torch import Tensor

from spikeflip.attacks import ATTACKS, FGSM, Attack, AttackInfo, Budget
from spikeflip.errors import SpikeflipError, choose_from
from spikeflip.interop.module import Answer, asking, precise
from spikeflip.snn.coding import encode_for
from spikeflip.snn.validation import check_classes, check_streams, check_values, kind_of
from spikeflip.victims import Victim
from spikeflip.victims.victim import is_victim, takes_counts

_SAME = 1e-6
_FEW = 16
"""Inputs with which a model is asked for its victim; a change that leaves one as it is may show on another."""


@dataclass(frozen=True)
class Outcome:
    """What an attack made, and the scores that decided."""

    adversarials: Tensor
    """Shape, dtype and device of the inputs."""
    scores: Tensor
    """``(N, K)``, of the one encoding that judged them last."""


def settings_of(attack: str | Attack, settings: dict[str, Any], among: Mapping[str, AttackInfo] = ATTACKS) -> Attack:
    """An attack by its name ``among`` others, or its settings, with some of them replaced.

    Raises:
        SpikeflipError: there is no such attack, or it has no such setting.
    """
    if not isinstance(attack, str):
        if isinstance(attack, type) or not hasattr(attack, "__dataclass_fields__"):
            raise SpikeflipError(
                f"the attack is {attack!r}: give its name, such as 'scg', or its settings, such as SCG()"
            )
        kind = type(attack)
    elif attack in among:
        kind = among[attack].settings
    else:
        raise SpikeflipError(f"there is no attack {attack!r}: {choose_from(attack, among)}")
    known = [field.name for field in fields(kind)]
    for name in settings:
        if name not in known:
            raise SpikeflipError(f"{kind.__name__} has no setting {name!r}: {choose_from(name, known)}")
    budget = settings.get("budget")
    if budget is not None and not isinstance(budget, Budget):
        settings = {**settings, "budget": Budget(budget, kind.budget_in)}
    return kind(**settings) if isinstance(attack, str) else replace(attack, **settings)


def within(attack: Attack, limit: float, metric: str) -> Attack:
    """The attack with that budget; for FGSM, which makes one step, an L-infinity limit is the step too.

    Raises:
        SpikeflipError: the attack has no budget, or it is no number from 0.
    """
    if not hasattr(attack, "budget"):
        raise SpikeflipError(f"{type(attack).__name__} has no budget, but one of {limit} is asked for: leave it out")
    if isinstance(limit, bool) or not isinstance(limit, Real):
        raise SpikeflipError(
            f"the budget is of type {type(limit).__name__}: give one number for all samples, such as 0.1"
        )
    budget = Budget(float(limit), metric)
    one_step = isinstance(attack, FGSM) and metric == "linf" and limit > 0
    step = {"step_size": budget.limit} if one_step else {}
    return replace(attack, budget=budget, **step)


def victim_of(model: object, inputs: Tensor, call: Callable[[Any, Tensor], object]) -> Victim:
    """The victim in a model of another library, or the model itself if it is one.

    Args:
        model: holds what :func:`spikeflip.interop.as_module` returned, in whatever way.
        inputs: ``(N, ...)``; the model is called with a few.
        call: how the model is called.

    Raises:
        SpikeflipError: there is none, there are several, or the model changes what goes into its victim or comes out.
    """
    if inputs.ndim == 0:
        raise SpikeflipError("inputs have shape (): give several, the batch axis first")
    if is_victim(model):
        return model
    name = type(model).__name__
    if not callable(model) and not hasattr(model, "predict"):
        raise SpikeflipError(f"the model is a {name}, {_HOLDS_NONE}")
    few, refused, given = inputs[:_FEW], None, None
    with asking() as found:
        try:
            given = call(model, few)
        except SpikeflipError as error:  # of what preprocessing made of the inputs, or of the inputs themselves
            refused = error
    victims = {id(answer.victim): answer.victim for answer in found}
    if len(victims) > 1:
        raise SpikeflipError(f"the model, a {name}, holds {len(victims)} victims: attack one at a time")
    if not all(_equal(answer.inputs, few) for answer in found):
        raise SpikeflipError(
            f"the model, a {name}, changes inputs before its victim sees them: leave preprocessing out, our attacks "
            "and victims work on values in [0, 1]"
        )
    if refused is not None:
        raise refused
    if not victims:
        raise SpikeflipError(f"the model is a {name}, {_HOLDS_NONE}")
    if not any(_same_classes(answer, given) for answer in found):
        raise SpikeflipError(
            f"the model, a {name}, answers with other classes than its victim: leave postprocessing out, our attacks "
            "see the victim's scores"
        )
    return next(iter(victims.values()))


def _equal(seen: Tensor, given: Tensor) -> bool:
    return seen.shape == given.shape and torch.allclose(seen.cpu().float(), given.cpu().float(), atol=_SAME)


def _same_classes(answer: Answer, given: object) -> bool:
    """Whether what a model gave has its largest entries where its victim's scores have theirs."""
    raw, inner = getattr(given, "raw", given), answer.scores
    outer = torch.from_numpy(raw) if isinstance(raw, np.ndarray) else raw
    if inner is None or not isinstance(outer, Tensor) or outer.shape != inner.shape:
        return False
    inner, outer = inner.cpu(), outer.detach().cpu()
    return torch.equal(outer.gather(1, inner.argmax(1, keepdim=True)), outer.amax(1, keepdim=True))


_HOLDS_NONE = (
    "which holds no victim: build it on spikeflip.interop.as_module(victim), or give the victim itself; "
    "spikeflip.wrap makes one of a model"
)


def run(
    attack: Attack,
    victim: Victim,
    inputs: Tensor,
    labels: Tensor | None,
    targets: Tensor | None,
    *,
    seed: int,
    samples: Tensor | None,
    micro_batch: int,
) -> Outcome:
    """Attack as these libraries expect it: labels may be left out, and images may be of any floating-point type.

    Args:
        attack: its settings.
        victim: the model.
        inputs: images ``(N, *input)`` or spikes ``(N, T, *input)``.
        labels: true classes ``(N,)``; what the victim takes the inputs for if None.
        targets: wanted classes ``(N,)`` or None. Without labels, inputs that are taken for their target stay.
        seed: of all random streams.
        samples: ids ``(N,)`` int64 that name the samples' streams; 0 to N - 1 if None.
        micro_batch: samples in memory at a time.
    """
    kind = kind_of(inputs, victim.input_shape, victim.coding)
    cast = precise(inputs.detach()) if inputs.is_floating_point() else inputs.detach()
    check_values(cast, kind, counts=takes_counts(victim))
    samples = torch.arange(len(inputs)) if samples is None else samples
    check_streams(seed, samples, len(inputs))
    samples = samples.cpu()

    def scores(values: Tensor, moments: Tensor) -> Tensor:
        return _scores(victim, values, samples, moments, seed=seed, micro_batch=micro_batch)

    moments = torch.zeros_like(samples)
    attacked = torch.arange(len(inputs))
    if labels is not None:
        check_classes("label", labels, len(inputs), victim.classes)
    if targets is not None:
        check_classes("target", targets, len(inputs), victim.classes)
        targets = targets.detach().cpu()
    if labels is None:
        labels = scores(cast, moments).argmax(1)
        attacked = attacked if targets is None else (labels != targets).nonzero().squeeze(1)
    labels = labels.detach().cpu()
    result = attack(
        victim,
        cast[attacked],
        labels[attacked],
        None if targets is None else targets[attacked],
        seed=seed,
        samples=samples[attacked],
        micro_batch=micro_batch,
    )
    adversarials = cast.clone()
    adversarials[attacked] = result.adversarials
    moments[attacked] = result.steps if result.moments is None else result.moments
    decided = scores(adversarials, moments).to(inputs.device)
    return Outcome(adversarials.to(inputs.dtype), decided)


def _scores(victim: Victim, values: Tensor, samples: Tensor, moments: Tensor, *, seed: int, micro_batch: int) -> Tensor:
    """Of one encoding each, drawn at these moments of the samples' streams; ``(N, K)`` on the CPU."""
    parts = [torch.empty(0, victim.classes)]
    for rows in torch.arange(len(values)).split(micro_batch) if len(values) else ():
        seen = encode_for(
            victim,
            values[rows].to(victim.device),
            seed=seed,
            samples=samples[rows],
            step=moments[rows],
        )
        parts.append(victim.scores(seen).cpu())
    return torch.cat(parts)


def check_tensor(name: str, value: object) -> Tensor:
    """The value, if it is a tensor of PyTorch, or one of foolbox's that holds one."""
    raw = getattr(value, "raw", value)
    if not isinstance(raw, Tensor):
        raise SpikeflipError(f"{name} are a {type(value).__name__}: give a tensor of PyTorch")
    return raw


def as_classes(name: str, value: object) -> Tensor:
    """Class numbers as int64 on the CPU, whatever type of integers they are."""
    classes = check_tensor(name, value).detach().cpu()
    return classes if classes.is_floating_point() or classes.dtype == torch.bool else classes.long()

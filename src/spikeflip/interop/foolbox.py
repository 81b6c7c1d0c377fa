"""Our attacks called as those of foolbox: ``attack(model, inputs, criterion, epsilons=...)``."""

from collections.abc import Iterable, Sequence
from typing import Any, overload

import torch
from torch import Tensor

from spikeflip.attacks import Attack
from spikeflip.errors import SpikeflipError
from spikeflip.interop.calling import Outcome, as_classes, check_tensor, run, settings_of, victim_of, within

_Epsilon = float | None


class FoolboxAttack:
    """An attack of ours with foolbox's way of calling; foolbox is not needed.

    Args:
        attack: a name of :data:`spikeflip.attacks.ATTACKS`, such as ``"scg"``, or settings, such as ``SCG()``.
        metric: what an epsilon limits; see :class:`spikeflip.Budget`.
        seed: of all random streams.
        micro_batch: samples in memory at a time.
        settings: of the attack, by name.

    Raises:
        SpikeflipError: there is no such attack or setting.

    >>> from spikeflip import SpikingNetwork
    >>> network = SpikingNetwork("16FC-3FC", (20,), time_steps=6, seed=1)
    >>> images, labels = torch.linspace(0, 1, 40).reshape(2, 20), torch.tensor([0, 1])
    >>> raw, clipped, success = FoolboxAttack("bim", steps=2)(network, images, labels, epsilons=[0.03, 0.1])
    >>> len(clipped), success.shape
    (2, torch.Size([2, 2]))
    """

    def __init__(
        self, attack: str | Attack, *, metric: str = "linf", seed: int = 0, micro_batch: int = 16, **settings: Any
    ) -> None:
        self.attack = settings_of(attack, settings)
        self.metric, self.seed, self.micro_batch = metric, seed, micro_batch

    def __repr__(self) -> str:
        return f"FoolboxAttack({self.attack!r}, metric={self.metric!r}, seed={self.seed})"

    @overload
    def __call__(
        self,
        model: object,
        inputs: Tensor,
        criterion: object,
        *,
        epsilons: _Epsilon,
        samples: Tensor | None = None,
    ) -> tuple[Tensor, Tensor, Tensor]: ...

    @overload
    def __call__(
        self,
        model: object,
        inputs: Tensor,
        criterion: object,
        *,
        epsilons: Sequence[_Epsilon],
        samples: Tensor | None = None,
    ) -> tuple[list[Tensor], list[Tensor], Tensor]: ...

    def __call__(
        self,
        model: object,
        inputs: Tensor,
        criterion: object,
        *,
        epsilons: _Epsilon | Sequence[_Epsilon],
        samples: Tensor | None = None,
    ) -> tuple[Tensor | list[Tensor], Tensor | list[Tensor], Tensor]:
        """Attack, once for every epsilon.

        Args:
            model: a ``foolbox.PyTorchModel`` of :func:`spikeflip.interop.as_module`, that module, or a victim.
            inputs: images ``(N, *input)`` in [0, 1], or spikes ``(N, T, *input)`` of exactly 0 and 1.
            criterion: labels ``(N,)``, ``Misclassification(labels)``, ``TargetedMisclassification(classes)``, or both
                joined by ``&``. Without labels, an input is attacked unless it is taken for its target already.
            epsilons: a limit of ``metric``, or K of them; None leaves the attack the budget of its settings, or none.
                For FGSM a limit of L-infinity is the step too.
            samples: ids ``(N,)`` int64 that name the samples' streams; 0 to N - 1 if not given.

        Returns:
            Raw adversarials, the same again as clipped ones, since our attacks keep to a budget themselves, and
            success ``(N,)`` bool; lists of K and ``(K, N)`` where K epsilons were given. Success is the criterion's,
            of the scores of the encoding that judged last: inputs that were wrong from the start count.

        Raises:
            SpikeflipError: an argument cannot be used.
        """
        x = check_tensor("inputs", inputs)
        labels, targets = _classes_of(criterion)
        victim = victim_of(model, x, lambda foolbox_model, few: foolbox_model(few))
        # An array without axes is one value.
        several = isinstance(epsilons, Iterable) and not isinstance(epsilons, str) and getattr(epsilons, "ndim", 1) > 0
        limits: list[Any] = list(epsilons) if several else [epsilons]  # type: ignore[arg-type]
        attacks = [self.attack if limit is None else within(self.attack, limit, self.metric) for limit in limits]
        outcomes = [
            run(attack, victim, x, labels, targets, seed=self.seed, samples=samples, micro_batch=self.micro_batch)
            for attack in attacks
        ]
        success = [_success(outcome, labels, targets) for outcome in outcomes]
        raw, clipped = ([outcome.adversarials for outcome in outcomes] for _ in range(2))
        if several:
            return raw, clipped, torch.stack(success) if success else torch.zeros(0, len(x), dtype=torch.bool)
        return raw[0], clipped[0], success[0]


def _classes_of(criterion: object) -> tuple[Tensor | None, Tensor | None]:
    """Labels and targets of a criterion, one of them at least."""
    if isinstance(getattr(criterion, "raw", criterion), Tensor):
        return as_classes("labels", criterion), None
    if hasattr(criterion, "a") and hasattr(criterion, "b"):
        pairs = _classes_of(criterion.a), _classes_of(criterion.b)
        labels, targets = ([found for found in side if found is not None] for side in zip(*pairs, strict=True))
        if len(labels) <= 1 and len(targets) <= 1:
            return next(iter(labels), None), next(iter(targets), None)
    elif hasattr(criterion, "labels"):
        return as_classes("labels", criterion.labels), None
    elif hasattr(criterion, "target_classes"):
        return None, as_classes("target classes", criterion.target_classes)
    raise SpikeflipError(
        f"the criterion is {type(criterion).__name__}, which our attacks do not have: give labels, "
        "Misclassification(labels), TargetedMisclassification(classes), or these two joined by &"
    )


def _success(outcome: Outcome, labels: Tensor | None, targets: Tensor | None) -> Tensor:
    classes = outcome.scores.argmax(1)
    won = torch.ones_like(classes, dtype=torch.bool)
    if labels is not None:
        won &= classes != labels.to(classes.device)
    return won if targets is None else won & (classes == targets.to(classes.device))

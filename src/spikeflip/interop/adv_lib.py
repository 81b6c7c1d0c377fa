"""Our attacks in the form of adv-lib's: a function of model, inputs and labels that returns adversarials."""

from collections.abc import Callable
from numbers import Real
from typing import Any

from torch import Tensor

from spikeflip.attacks import Attack
from spikeflip.errors import SpikeflipError
from spikeflip.interop.calling import as_classes, check_tensor, run, settings_of, victim_of, within

_EPSILON = ("eps", "epsilon", "ε")
"""How these libraries name a budget."""

_NORMS = {0: "l0", 1: "l1", 2: "l2", float("inf"): "linf"}
"""How they name what it limits, beside the names themselves."""


def adv_lib_attack(
    attack: str | Attack, *, metric: str = "linf", seed: int = 0, micro_batch: int = 16, **settings: Any
) -> Callable[..., Tensor]:
    """An attack of ours as a function, which secml-torch and AttackBench take as they take those of adv-lib.

    Args:
        attack: a name of :data:`spikeflip.attacks.ATTACKS`, such as ``"scg"``, or settings, such as ``SCG()``.
        metric: what ``eps`` limits; see :class:`spikeflip.Budget`.
        seed: of all random streams.
        micro_batch: samples in memory at a time.
        settings: of the attack, by name.

    Returns:
        A function ``(model, inputs, labels, targets=None, targeted=False, **more) -> adversarials``.

        The model is a victim, :func:`spikeflip.interop.as_module` of one, or a model of these libraries around that.
        Labels are the true classes ``(N,)``; if ``targeted`` without ``targets`` they are the wanted ones, as in
        adv-lib, and an input that is taken for its target stays. More may be ``eps``, a budget (for FGSM, of
        L-infinity, the step too), also called ``ε`` and ``epsilon``; ``norm`` or ``threat_model``, what it limits in
        this call, as a number or ``"linf"``; ``samples``, ids that name the samples' streams; and settings of the
        attack.

    Raises:
        SpikeflipError: there is no such attack or setting; when called, an argument cannot be used.

    >>> import torch
    >>> from spikeflip import SpikingNetwork
    >>> network = SpikingNetwork("16FC-3FC", (20,), time_steps=6, seed=1)
    >>> images, labels = torch.linspace(0, 1, 40).reshape(2, 20), torch.tensor([0, 1])
    >>> adv_lib_attack("bim", steps=2)(network, images, labels, eps=0.03).shape
    torch.Size([2, 20])
    """
    chosen = settings_of(attack, settings)

    def function(
        model: object,
        inputs: Tensor,
        labels: Tensor,
        targets: Tensor | None = None,
        targeted: bool = False,
        *,
        norm: float | str | None = None,
        threat_model: str | None = None,
        samples: Tensor | None = None,
        **more: Any,
    ) -> Tensor:
        x, classes = check_tensor("inputs", inputs), as_classes("labels", labels)
        limits = [more.pop(name) for name in _EPSILON if name in more]
        if len(limits) > 1:
            raise SpikeflipError(f"the budget is given {len(limits)} times: give one of {', '.join(_EPSILON)}")
        wanted = None if targets is None else as_classes("targets", targets)
        called = settings_of(chosen, more)
        outcome = run(
            within(called, limits[0], _metric(threat_model if norm is None else norm, metric)) if limits else called,
            victim_of(model, x, lambda foreign, few: foreign(few)),
            x,
            None if targeted and wanted is None else classes,
            classes if targeted and wanted is None else wanted,
            seed=seed,
            samples=samples,
            micro_batch=micro_batch,
        )
        return outcome.adversarials

    function.__name__ = function.__qualname__ = attack if isinstance(attack, str) else type(attack).__name__.lower()
    return function


def _metric(norm: float | str | None, metric: str) -> str:
    if norm is None or isinstance(norm, str):
        return metric if norm is None else norm.lower()
    if not isinstance(norm, Real) or norm not in _NORMS:
        raise SpikeflipError(f"norm is {norm}: choose from 0, 1, 2 and inf, or give the name of a metric")
    return _NORMS[norm]

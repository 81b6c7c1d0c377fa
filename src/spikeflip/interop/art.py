"""Our attacks called as those of the Adversarial Robustness Toolbox: ``attack.generate(x, y)`` on arrays."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from spikeflip.attacks import Attack
from spikeflip.errors import SpikeflipError
from spikeflip.interop.calling import run, settings_of, victim_of


class ArtAttack:
    """An attack of ours with ART's way of calling; ART is not needed, and this is no subclass of its ``EvasionAttack``.

    Args:
        estimator: a ``PyTorchClassifier`` of :func:`spikeflip.interop.as_module`, that module, or a victim.
        attack: a name of :data:`spikeflip.attacks.ATTACKS`, such as ``"scg"``, or settings, such as ``SCG()``.
        targeted: whether the classes given to :meth:`generate` are wanted ones.
        seed: of all random streams.
        batch_size: samples in memory at a time.
        settings: of the attack, by name.

    Raises:
        SpikeflipError: there is no such attack or setting.

    >>> from spikeflip import SpikingNetwork
    >>> network = SpikingNetwork("16FC-3FC", (20,), time_steps=6, seed=1)
    >>> x = np.linspace(0, 1, 40, dtype=np.float32).reshape(2, 20)
    >>> ArtAttack(network, "bim", steps=2).generate(x, y=np.array([0, 1])).shape
    (2, 20)
    """

    def __init__(
        self,
        estimator: object,
        attack: str | Attack,
        *,
        targeted: bool = False,
        seed: int = 0,
        batch_size: int = 16,
        **settings: Any,
    ) -> None:
        self.estimator, self.targeted = estimator, targeted
        self.attack = settings_of(attack, settings)
        self.seed, self.batch_size = seed, batch_size

    def __repr__(self) -> str:
        return f"ArtAttack({self.attack!r}, targeted={self.targeted}, seed={self.seed})"

    def generate(
        self, x: NDArray[Any], y: NDArray[Any] | None = None, *, samples: Tensor | None = None
    ) -> NDArray[Any]:
        """Adversarials of ``x``.

        Args:
            x: images ``(N, *input)`` in [0, 1], or spikes ``(N, T, *input)`` of exactly 0 and 1.
            y: class numbers ``(N,)`` or ``(N, 1)``, or one-hot ``(N, K)``: the true ones, or the wanted ones if
                targeted, where an input that is taken for its target stays. If None, what the victim takes ``x`` for.
            samples: ids ``(N,)`` int64 that name the samples' streams; 0 to N - 1 if not given.

        Returns:
            An array of the shape and type of ``x``.

        Raises:
            SpikeflipError: an argument cannot be used.
        """
        if not isinstance(x, np.ndarray) or x.dtype.kind not in "fiub":
            found = x.dtype if isinstance(x, np.ndarray) else type(x).__name__
            raise SpikeflipError(f"x is of type {found}: give an array of numbers")
        if self.targeted and y is None:
            raise SpikeflipError("the attack is targeted, but y is None: give the classes to aim at, (N,) or one-hot")
        # PyTorch has neither foreign byte orders nor long doubles.
        inputs = torch.from_numpy(x.astype(np.float64 if x.dtype.itemsize > 8 else x.dtype.newbyteorder("=")))
        victim = victim_of(self.estimator, inputs, _predict)
        classes = None if y is None else _classes(y, len(x), victim.classes)
        outcome = run(
            self.attack,
            victim,
            inputs,
            None if self.targeted else classes,
            classes if self.targeted else None,
            seed=self.seed,
            samples=samples,
            micro_batch=self.batch_size,
        )
        return outcome.adversarials.numpy().astype(x.dtype, copy=False)


def _predict(model: Any, inputs: Tensor) -> object:
    return model.predict(inputs.numpy()) if hasattr(model, "predict") else model(inputs)


def _classes(y: NDArray[Any], n: int, classes: int) -> Tensor:
    values = np.asarray(y)
    if values.ndim == 2 and values.shape[1] == 1:
        values = values[:, 0]
    elif values.shape == (n, classes):
        if not bool(((values == values.max(1, keepdims=True)).sum(1) == 1).all()):
            raise SpikeflipError("y has rows without a single largest entry: give class numbers (N,) or one-hot rows")
        values = values.argmax(1)
    if values.shape != (n,) or values.dtype.kind not in "iu":
        raise SpikeflipError(
            f"y has shape {np.shape(y)} and type {values.dtype} for {n} inputs: give class numbers (N,) or one-hot "
            f"rows (N, {classes})"
        )
    return torch.from_numpy(values.astype(np.int64))

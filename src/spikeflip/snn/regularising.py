"""Regularising weights: each layer is kept near one that stretches no change of its input more than another."""

from collections.abc import Iterable

import torch
from torch import Tensor


@torch.no_grad()
def retract(weights: Iterable[Tensor], strength: float) -> None:
    """Move each weight in place a step towards an orthogonal one of the same size; 0 leaves them as they are.

    With W as a matrix, a row an output, and s the root mean square of its singular values, the step is
    ``W - strength (W W' / s² - 1) W``: each singular value moves towards s, and W keeps its Frobenius norm. The
    largest singular value bounds how much a change of the layer's input can change its current. The published
    retraction makes them all 1. Here they become alike: the size of spiking weights belongs to the firing threshold.

    Args:
        weights: ``(out, in)`` or ``(out, in, k, k)``, where the rest is flattened.
        strength: of a step, in [0, 1); of a weight that it would carry too far, it is less.

    Source: J. Ding et al., SNN-RAT: robustness-enhanced spiking neural network through regularized adversarial
    training, NeurIPS 2022, and M. Cisse et al., Parseval networks, ICML 2017.

    >>> weight = torch.tensor([[3.0, 0.0], [0.0, 1.0]])
    >>> retract([weight], 0.1)
    >>> [round(float(value), 3) for value in torch.linalg.svdvals(weight)]
    [2.945, 1.152]
    """
    for weight in weights if strength else ():
        wide = weight.flatten(1)
        outer = len(wide) <= wide.shape[1]
        gram = wide @ wide.T if outer else wide.T @ wide
        size = wide.norm()
        if size == 0:
            continue
        gram *= len(gram) / size.square()
        # No singular value may pass zero: none of the Gram matrix is above its norm.
        step = min(strength, 1 / float(gram.norm()))
        moved = wide + step * (wide - (gram @ wide if outer else wide @ gram))
        weight.copy_((moved * (size / moved.norm())).view_as(weight))

"""Defences that change what a victim sees: a victim in front of another."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import torch
from torch import Tensor

from spikeflip.errors import SpikeflipError
from spikeflip.limits import ran_out
from spikeflip.notices import Notice
from spikeflip.snn.architecture import Shape
from spikeflip.snn.coding import Coding
from spikeflip.snn.gradients import GradientRequest, InputGradient, ScoreGradient
from spikeflip.victims.victim import Probe, Victim, check_victim, takes_counts


class Defence(ABC):
    """A victim that sees its input through :meth:`transform`; a subclass needs nothing else.

    Attacks and judges meet it as any other victim: scores are always those behind the true transform.

    Args:
        victim: what is defended; another defence too.

    Raises:
        SpikeflipError: it is no victim.

    >>> from spikeflip import SpikingNetwork
    >>> class FirstHalf(Defence):
    ...     def transform(self, spikes):
    ...         return spikes[:, : spikes.shape[1] // 2]
    >>> FirstHalf(SpikingNetwork("4FC-3FC", (8,))).scores(torch.ones(2, 10, 8)).shape
    torch.Size([2, 3])
    """

    def __init__(self, victim: Victim) -> None:
        check_victim(victim)
        self.victim = victim

    @abstractmethod
    def transform(self, spikes: Tensor) -> Tensor:
        """What the victim is shown of spikes ``(N, T, *input)``, floats; the same whenever it is given the same."""

    def backward(self, spikes: Tensor, gradient: Tensor) -> Tensor:
        """The gradient with respect to ``spikes``, from that with respect to what the victim was shown of them.

        By autograd through :meth:`transform`. One that has no gradient, or an unhelpful one, gives another way back
        here: ``return gradient`` is the straight-through estimator.

        Raises:
            SpikeflipError: autograd finds no way through.
        """
        with torch.inference_mode(False), torch.enable_grad():
            source = spikes.clone().requires_grad_()
            shown = self.transform(source * 1)  # no leaf, so that it may be worked on in place
            if not shown.requires_grad:
                raise SpikeflipError(
                    f"the defence {type(self).__name__} has no gradient: override backward, for example with "
                    "'return gradient', the straight-through estimator"
                )
            return torch.autograd.grad(shown, source, gradient.clone().to(shown))[0]

    def scores(self, spikes: Tensor) -> Tensor:
        """See :class:`spikeflip.victims.Victim`."""
        return self.victim.scores(self._shown(spikes))

    def probe(self, spikes: Tensor, request: GradientRequest | None = None) -> "DefendedProbe":
        """See :class:`spikeflip.victims.Victim`."""
        return DefendedProbe(self, spikes, self.victim.probe(self._shown(spikes), request))

    @property
    def input_shape(self) -> Shape:
        """See :class:`spikeflip.victims.Victim`."""
        return self.victim.input_shape

    @property
    def time_steps(self) -> int:
        """See :class:`spikeflip.victims.Victim`."""
        return self.victim.time_steps

    @property
    def coding(self) -> Coding:
        """See :class:`spikeflip.victims.Victim`."""
        return self.victim.coding

    @property
    def classes(self) -> int:
        """See :class:`spikeflip.victims.Victim`."""
        return self.victim.classes

    @property
    def device(self) -> torch.device:
        """See :class:`spikeflip.victims.Victim`."""
        return self.victim.device

    @property
    def penultimate_threshold(self) -> float | None:
        """See :class:`spikeflip.victims.Victim`."""
        return self.victim.penultimate_threshold

    @property
    def counts(self) -> bool:
        """Whether its inputs are counts of events, and not spikes of 0 and 1."""
        return takes_counts(self.victim)

    @property
    def notices(self) -> tuple[Notice, ...]:
        """What a reader of its rates must know."""
        return getattr(self.victim, "notices", ())

    @property
    def shapes(self) -> tuple[Shape, ...]:
        """Of the input and the layers, as far as they are known: what a pass takes of memory."""
        return tuple(getattr(self.victim, "shapes", (self.input_shape,)))

    @contextmanager
    def _named(self, method: str) -> Iterator[None]:
        """An error of the user's code is the user's to mend."""
        try:
            yield
        except SpikeflipError:
            raise
        except Exception as error:
            if ran_out(error):
                raise
            said = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
            raise SpikeflipError(
                f"{method} of the defence {type(self).__name__} raised an error ({said}): mend it"
            ) from error

    def _way_back(self, spikes: Tensor, gradient: Tensor) -> Tensor:
        with self._named("backward"):
            found = self.backward(spikes, gradient)
        if not isinstance(found, Tensor) or found.shape != spikes.shape:
            shape = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
            raise SpikeflipError(
                f"backward of the defence {type(self).__name__} gives {shape}: return a gradient of the shape of the "
                f"spikes, {tuple(spikes.shape)}"
            )
        return found

    def _shown(self, spikes: Tensor) -> Tensor:
        with torch.no_grad(), self._named("transform"):
            shown = self.transform(spikes.clone() if spikes.is_floating_point() else spikes.float())
        if not isinstance(shown, Tensor) or len(shown) != len(spikes):
            found = tuple(shown.shape) if isinstance(shown, Tensor) else type(shown).__name__
            raise SpikeflipError(
                f"the defence {type(self).__name__} makes {found} of spikes {tuple(spikes.shape)}: return a tensor "
                "(N, T, *input) of the same samples"
            )
        return shown


class DefendedProbe:
    """One forward pass through a defence, and the way back through both."""

    def __init__(self, defence: Defence, spikes: Tensor, inner: Probe) -> None:
        self._defence, self._spikes, self._inner = defence, spikes, inner
        self.scores = inner.scores

    def input_gradient(self, score_gradient: ScoreGradient, request: GradientRequest | None = None) -> InputGradient:
        """See :class:`spikeflip.victims.Probe`."""
        found = self._inner.input_gradient(score_gradient, request)
        rows = (request or GradientRequest()).rows_of(len(self._spikes), self._spikes.device)
        spikes = self._spikes[rows]
        values = self._defence._way_back(spikes if spikes.is_floating_point() else spikes.float(), found.values)
        return replace(found, values=values)

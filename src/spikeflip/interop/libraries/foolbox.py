"""Attacks of foolbox that look for the smallest change of an image in L2."""

import importlib
from abc import abstractmethod
from dataclasses import dataclass
from types import ModuleType
from typing import Any, ClassVar

import torch
from torch import Tensor

from spikeflip.attacks.options import option
from spikeflip.interop.libraries.attack import Guided, Library, Question

FOOLBOX = Library(
    "foolbox",
    "3.3.4",
    "pip install 'spikeflip[interop-attacks]'",
    lambda: importlib.import_module("foolbox"),
)


@dataclass(frozen=True, kw_only=True)
class _Foolbox(Guided):
    """What they have in common."""

    library: ClassVar = FOOLBOX

    @abstractmethod
    def made(self, attacks: Any) -> Any:
        """The attack of foolbox with these settings."""

    def find(self, library: Any, question: Question) -> Tensor:
        """See :class:`spikeflip.interop.libraries.LibraryAttack`."""
        model = library.PyTorchModel(question.module, bounds=(0, 1), device=question.images.device)
        kind = library.TargetedMisclassification if question.targeted else library.Misclassification
        raw, _, _ = self.made(library.attacks)(model, question.images, kind(question.classes), epsilons=None)
        found: Tensor = raw
        return found


@dataclass(frozen=True, kw_only=True)
class DeepFool(_Foolbox):
    """The settings of foolbox's DeepFool in L2.

    Args:
        steps: most iterations; each asks for as many gradients as there are candidates.
        candidates: the likeliest classes, at most; the first is the victim's answer.

    Raises:
        SpikeflipError: a setting is out of range.
    """

    summary: ClassVar = "DeepFool: steps to the nearest boundary of a victim taken as linear"
    source: ClassVar = "Moosavi-Dezfooli et al., CVPR 2016; foolbox"
    goals: ClassVar[tuple[str, ...]] = ("untargeted",)

    steps: int = option(50, ge=1, le=1_000_000)
    candidates: int = option(10, ge=2, le=1_000_000)

    def made(self, attacks: Any) -> Any:
        """The attack of foolbox with these settings."""
        return attacks.L2DeepFoolAttack(steps=self.steps, candidates=self.candidates)


@dataclass(frozen=True, kw_only=True)
class FoolboxDDN(_Foolbox):
    """The settings of foolbox's decoupled direction and norm attack.

    Args:
        steps: iterations.

    Raises:
        SpikeflipError: a setting is out of range.
    """

    summary: ClassVar = "decoupled direction and norm: a smallest change in L2"
    source: ClassVar = "Rony et al., CVPR 2019; foolbox"

    steps: int = option(100, ge=1, le=1_000_000)

    def made(self, attacks: Any) -> Any:
        """The attack of foolbox with these settings."""
        return attacks.DDNAttack(steps=self.steps)


@dataclass(frozen=True, kw_only=True)
class FoolboxCarliniWagner(_Foolbox):
    """The settings of foolbox's L2 attack of Carlini and Wagner.

    Args:
        steps: most iterations of each search.
        searches: binary searches for the weight of the loss, each ten times the one before until one succeeds.
        step_size: learning rate of Adam, in the space of the inverse hyperbolic tangent of pixels.

    Raises:
        SpikeflipError: a setting is out of range.
    """

    summary: ClassVar = "Carlini and Wagner: a smallest change in L2, weighed against the margin"
    source: ClassVar = "Carlini and Wagner, S&P 2017; foolbox"

    steps: int = option(100, ge=10, le=1_000_000)
    searches: int = option(9, ge=1, le=1000)
    step_size: float = option(0.1, gt=0)

    def made(self, attacks: Any) -> Any:
        """The attack of foolbox with these settings."""
        return attacks.L2CarliniWagnerAttack(
            steps=self.steps, binary_search_steps=self.searches, stepsize=self.step_size
        )

    def find(self, library: ModuleType, question: Question) -> Tensor:
        """See :class:`spikeflip.interop.libraries.LibraryAttack`; what foolbox leaves black is the image again."""
        found = super().find(library, question)
        black = ~found.flatten(1).any(1).reshape(-1, *[1] * (found.ndim - 1))
        return torch.where(black, question.images, found)

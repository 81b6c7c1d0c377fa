"""Attacks of adv-lib that look for the smallest change of an image."""

import importlib
from dataclasses import dataclass
from types import ModuleType
from typing import ClassVar, Literal

from torch import Tensor

from spikeflip.attacks.options import option
from spikeflip.errors import SpikeflipError, choose_from
from spikeflip.interop.libraries.attack import Guided, Library, Question

ADV_LIB = Library(
    "adv-lib",
    "0.2.8",
    "pip install 'setuptools<81' wheel && pip install --no-build-isolation adv-lib",
    lambda: importlib.import_module("adv_lib.attacks"),
)

_NORMS = {"l0": 0.0, "l1": 1.0, "l2": 2.0, "linf": float("inf")}


@dataclass(frozen=True, kw_only=True)
class FMN(Guided):
    """The settings of adv-lib's fast minimum-norm attack.

    Args:
        steps: iterations.
        metric: the norm of the change that is made small.

    Raises:
        SpikeflipError: a setting is out of range.
    """

    summary: ClassVar = "fast minimum-norm attack: a ball that shrinks after a success and grows after a failure"
    source: ClassVar = "Pintor et al., NeurIPS 2021; adv-lib"
    library: ClassVar = ADV_LIB

    steps: int = option(100, ge=1, le=1_000_000)
    metric: Literal["l0", "l1", "l2", "linf"] = "l2"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.metric not in _NORMS:
            raise SpikeflipError(f"metric is {self.metric!r}: {choose_from(self.metric, _NORMS)}")

    def find(self, library: ModuleType, question: Question) -> Tensor:
        """See :class:`spikeflip.interop.libraries.LibraryAttack`."""
        found: Tensor = library.fmn(
            question.module,
            question.images,
            question.classes,
            norm=_NORMS[self.metric],
            targeted=question.targeted,
            steps=self.steps,
        )
        return found


@dataclass(frozen=True, kw_only=True)
class DDN(Guided):
    """The settings of adv-lib's decoupled direction and norm attack; images are not rounded to 256 levels.

    Args:
        steps: iterations.

    Raises:
        SpikeflipError: a setting is out of range.
    """

    summary: ClassVar = "decoupled direction and norm: a smallest change in L2"
    source: ClassVar = "Rony et al., CVPR 2019; adv-lib"
    library: ClassVar = ADV_LIB

    steps: int = option(100, ge=1, le=1_000_000)

    def find(self, library: ModuleType, question: Question) -> Tensor:
        """See :class:`spikeflip.interop.libraries.LibraryAttack`."""
        found: Tensor = library.ddn(
            question.module,
            question.images,
            question.classes,
            targeted=question.targeted,
            steps=self.steps,
            levels=None,
        )
        return found


@dataclass(frozen=True, kw_only=True)
class SigmaZero(Guided):
    """The settings of adv-lib's sigma-zero attack.

    Args:
        steps: iterations.

    Raises:
        SpikeflipError: a setting is out of range.
    """

    summary: ClassVar = "sigma-zero: as few values of an image as possible, by a smooth stand-in for their number"
    source: ClassVar = "Cinà et al., ICLR 2025; adv-lib"
    goals: ClassVar[tuple[str, ...]] = ("untargeted",)
    library: ClassVar = ADV_LIB

    steps: int = option(100, ge=1, le=1_000_000)

    def find(self, library: ModuleType, question: Question) -> Tensor:
        """See :class:`spikeflip.interop.libraries.LibraryAttack`."""
        found: Tensor = library.sigma_zero(question.module, question.images, question.classes, num_steps=self.steps)
        return found


@dataclass(frozen=True, kw_only=True)
class CarliniWagner(Guided):
    """The settings of adv-lib's L2 attack of Carlini and Wagner.

    Args:
        steps: most iterations of each search.
        searches: binary searches for the weight of the loss, each ten times the one before until one succeeds.
        step_size: learning rate of Adam, in the space of the inverse hyperbolic tangent of pixels.

    Raises:
        SpikeflipError: a setting is out of range.
    """

    summary: ClassVar = "Carlini and Wagner: a smallest change in L2, weighed against the margin"
    source: ClassVar = "Carlini and Wagner, S&P 2017; adv-lib"
    library: ClassVar = ADV_LIB

    # The library looks for progress ten times a search.
    steps: int = option(100, ge=10, le=1_000_000)
    searches: int = option(9, ge=1, le=1000)
    step_size: float = option(0.1, gt=0)

    def find(self, library: ModuleType, question: Question) -> Tensor:
        """See :class:`spikeflip.interop.libraries.LibraryAttack`."""
        found: Tensor = library.carlini_wagner_l2(
            question.module,
            question.images,
            question.classes,
            targeted=question.targeted,
            learning_rate=self.step_size,
            binary_search_steps=self.searches,
            max_iterations=self.steps,
        )
        return found

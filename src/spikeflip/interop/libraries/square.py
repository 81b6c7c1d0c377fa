"""Square, which asks for scores alone, as packaged in pyautoattack."""

import importlib
from dataclasses import dataclass
from types import ModuleType
from typing import ClassVar

from torch import Tensor

from spikeflip.attacks.budget import Budget
from spikeflip.attacks.dense import EPSILON, project
from spikeflip.attacks.options import option
from spikeflip.errors import SpikeflipError
from spikeflip.interop.libraries.attack import Library, LibraryAttack, Question
from spikeflip.victims import Victim

PYAUTOATTACK = Library(
    "pyautoattack",
    "0.2.0",
    "pip install 'spikeflip[interop-attacks]'",
    lambda: importlib.import_module("pyautoattack.square"),
)

_NORMS = {"linf": "Linf", "l2": "L2"}


@dataclass(frozen=True, kw_only=True)
class Square(LibraryAttack):
    """The settings of Square.

    Args:
        steps: most tries, each a forward pass for each encoding.
        budget: the ball, in ``"linf"`` or ``"l2"``; a limit of 0 returns the images as they are.

    Raises:
        SpikeflipError: a setting is out of range.
    """

    summary: ClassVar = "Square: squares of random place and sign that raise the loss, by scores alone, in a ball"
    source: ClassVar = "Andriushchenko et al., ECCV 2020; pyautoattack"
    library: ClassVar = PYAUTOATTACK
    follows_gradient: ClassVar = False

    steps: int = option(1000, ge=1, le=1_000_000)
    budget: Budget | None = EPSILON

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.budget is None:
            raise SpikeflipError("budget is None: give the size of the ball, such as Budget(8 / 255, 'linf')")
        if self.budget.metric not in _NORMS:
            raise SpikeflipError(
                f"budget is in {self.budget.metric}, and this attack keeps to a ball in linf or l2: give that"
            )

    def prepare(self, victim: Victim) -> None:
        """See :class:`spikeflip.interop.libraries.LibraryAttack`."""
        super().prepare(victim)
        shape = tuple(victim.input_shape)
        if len(shape) != 3 or min(shape[1:]) < 5:
            raise SpikeflipError(
                f"Square takes images (C, H, W) of 5 pixels or more each way, and the victim takes {shape}: choose "
                "another attack"
            )

    def find(self, library: ModuleType, question: Question) -> Tensor:
        """See :class:`spikeflip.interop.libraries.LibraryAttack`."""
        ball = self.budget
        assert ball is not None
        if ball.limit == 0:
            return question.images
        attack = library.SquareAttack(
            question.module,
            norm=_NORMS[ball.metric],
            eps=ball.limit,
            n_queries=self.steps,
            seed=question.seed,
            targeted=question.targeted,
            device=question.images.device,
        )
        margin_and_loss = attack.margin_and_loss

        def untied(images: Tensor, classes: Tensor) -> tuple[Tensor, Tensor]:
            """The library calls a margin of 0 a success, and may ask for a part of the batch."""
            margin, loss = margin_and_loss(images, classes)
            return margin + question.module.edge, loss

        attack.margin_and_loss = untied
        return project(attack.perturb(question.images, question.classes), question.images, ball)

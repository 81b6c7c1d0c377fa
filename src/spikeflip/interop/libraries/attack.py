"""What attacks of other libraries have in common: how one is called, and how what it finds becomes a result of ours."""

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import ClassVar

import torch
from torch import Tensor

from spikeflip.attacks.iterated import Described
from spikeflip.attacks.loop import REDUCE_ON_IMAGES, Progress
from spikeflip.attacks.metrics import Recorded
from spikeflip.attacks.options import check_options, option, options_of
from spikeflip.attacks.result import AttackResult
from spikeflip.attacks.step import MOST_ENCODINGS
from spikeflip.attacks.stop import Stop
from spikeflip.errors import SpikeflipError
from spikeflip.interop.libraries.counted import CountedModule
from spikeflip.snn.coding import encode_for, winner
from spikeflip.snn.validation import (
    Kind,
    at_a_time,
    check_counts,
    check_goals,
    check_streams,
    check_tensor,
    check_values,
    kind_of,
)
from spikeflip.streams import foreign_numbers, stream
from spikeflip.victims import Victim
from spikeflip.victims.victim import check_victim


@dataclass(frozen=True)
class Library:
    """A library of attacks, which is imported when one of them is called.

    Args:
        name: as it is installed.
        version: the one that was tried.
        install: the command that installs it.
        load: imports it.
    """

    name: str
    version: str
    install: str
    load: Callable[[], ModuleType]

    def imported(self) -> ModuleType:
        """The module with its attacks.

        Raises:
            SpikeflipError: it, or something that it needs, is not installed.
        """
        try:
            return self.load()
        except ImportError as error:
            what = str(error).partition("\n")[0]
            raise SpikeflipError(
                f"the attack is one of {self.name} {self.version}, which is not installed ({what}): {self.install}"
            ) from error


@dataclass(frozen=True)
class Question:
    """What a library is asked for: n images that a victim classifies as ``classes``, or shall if ``targeted``."""

    module: CountedModule
    images: Tensor
    """``(n, *input)`` float32 in [0, 1], on the victim's device."""
    classes: Tensor
    """``(n,)`` int64, there too."""
    targeted: bool
    seed: int
    """Of the library's own random numbers, below 2^31; PyTorch's are seeded with it already."""


@dataclass(frozen=True, kw_only=True)
class LibraryAttack(Described):
    """The settings of an attack of another library.

    Args:
        encodings: encodings of a rate-coded image whose scores and gradients are averaged, the same in every call.
        lead: by how much the goal must win for the library, in units of scores; more of it holds over more encodings.

    Raises:
        SpikeflipError: a setting is out of range.
    """

    only: ClassVar[Kind | None] = "images"
    alone: ClassVar[bool] = False
    budget_in: ClassVar[str] = "linf"
    library: ClassVar[Library]

    encodings: int = option(1, ge=1, le=MOST_ENCODINGS)
    lead: float = option(0.0, ge=0)

    def __post_init__(self) -> None:
        check_options(self)
        whole = [known.name for known in options_of(type(self)).values() if known.type is int]
        check_counts(**{name: getattr(self, name) for name in whole})

    @abstractmethod
    def find(self, library: ModuleType, question: Question) -> Tensor:
        """What the library makes of the images, ``(n, *input)``; where it fails, the images or its last try."""

    def prepare(self, victim: Victim) -> None:
        """Raise a SpikeflipError where the attack is not defined on the victim."""
        if self.encodings > 1 and victim.coding != "rate":
            raise SpikeflipError(
                f"encodings is {self.encodings}, but nothing is drawn to encode these inputs: leave it at 1"
            )

    @property
    def window(self) -> float | None:
        """The surrogate width of the output layer in gradients; the victim's own if None."""
        return None

    @torch.inference_mode(False)
    def __call__(
        self,
        victim: Victim,
        inputs: Tensor,
        labels: Tensor,
        targets: Tensor | None = None,
        *,
        stop: Stop | None = None,
        restarts: int = 1,
        reduce: bool | None = None,
        seed: int = 0,
        samples: Tensor | None = None,
        micro_batch: int = 16,
        progress: Progress | None = None,
        trace: bool = False,
        recorded: Recorded | None = None,
    ) -> AttackResult:
        """Attack images that the victim classifies correctly, ``micro_batch`` of them in each call of the library.

        Args:
            victim: the model under attack.
            inputs: images ``(N, *input)`` in [0, 1], float32 or float64; the library sees float32.
            labels: true classes ``(N,)`` int64.
            targets: wanted classes ``(N,)`` int64; untargeted when not given.
            stop, restarts, reduce, trace: what a library does not know; only None, 1, None or False, and False.
            seed: of the encodings, and of the library's random numbers.
            samples: ids ``(N,)`` int64 that name the samples' streams; 0 to N - 1 when not given.
            micro_batch: images in a call of the library, fewer where memory does not allow them.
            progress: called with the number of finished samples and of all.
            recorded: unused: images have no recordings.

        Returns:
            One entry a sample. ``success`` is ours: the winner of one encoding that the library has not seen, the
            ``encodings``-th of the sample's stream (``moments``). ``steps`` are the gradients that the library asked
            for, or the scores if none. Passes are those of all its calls with the sample's batch, and two for judging;
            gradients vanish where a loss asked for a change and the input's gradient is zero.

        Raises:
            SpikeflipError: an argument is out of range, or the library is not installed.
        """
        check_victim(victim)
        check_tensor(inputs)
        self._refuse(stop, restarts, trace, targets)
        if reduce:
            raise SpikeflipError(REDUCE_ON_IMAGES)
        kind = kind_of(inputs, victim.input_shape, victim.coding)
        if kind != "images":
            raise SpikeflipError(
                f"inputs of shape {tuple(inputs.shape)} are spikes, but this attack is defined on images only: choose "
                "one for spikes, such as scg"
            )
        check_counts(micro_batch=micro_batch)
        check_values(inputs, kind)
        check_goals(labels, targets, len(inputs), victim.classes)
        samples = torch.arange(len(inputs)) if samples is None else samples
        check_streams(seed, samples, len(inputs))
        self.prepare(victim)
        run = _Run(self, self.library.imported(), victim, seed, at_a_time(victim, inputs, micro_batch))
        return run.all(inputs.detach(), labels.cpu(), None if targets is None else targets.cpu(), samples, progress)

    def _refuse(self, stop: Stop | None, restarts: int, trace: bool, targets: Tensor | None) -> None:
        """Raise a SpikeflipError for what our loop alone knows."""
        whose = f"an attack of {self.library.name}"
        if stop is not None:
            raise SpikeflipError(f"{whose} decides itself when it stops: leave --confidence (stop=) out")
        if restarts != 1:
            raise SpikeflipError(f"restarts is {restarts}, and {whose} begins once: leave it out")
        if trace:
            raise SpikeflipError(f"{whose} tells nothing of its iterations: leave --trace (trace=True) out")
        if targets is not None and "targeted" not in self.goals:
            raise SpikeflipError("targets are given, and this attack is untargeted only: leave them out")


@dataclass(frozen=True, kw_only=True)
class Guided(LibraryAttack):
    """The settings of an attack that follows the gradient.

    Args:
        output_window: surrogate width of the output layer in gradients; the victim's own when not given.

    Raises:
        SpikeflipError: a setting is out of range.
    """

    output_window: float | None = option(None, gt=0)

    @property
    def window(self) -> float | None:
        """See :class:`LibraryAttack`."""
        return self.output_window


@dataclass(frozen=True)
class _Run:
    """One call of an attack."""

    attack: LibraryAttack
    library: ModuleType
    victim: Victim
    seed: int
    micro_batch: int

    def all(
        self,
        inputs: Tensor,
        labels: Tensor,
        targets: Tensor | None,
        samples: Tensor,
        progress: Progress | None,
    ) -> AttackResult:
        """Attack what is classified correctly, a batch after the other."""
        result = AttackResult.blank(inputs, None)
        for rows in torch.arange(len(inputs)).split(self.micro_batch) if len(inputs) else ():
            result.prediction[rows] = self._winners(inputs[rows], samples[rows], 0)
            result.forwards[rows] += 1
        result.already_wrong.copy_(result.prediction != labels)
        attacked = (~result.already_wrong).nonzero().squeeze(1)
        done = len(inputs) - len(attacked)
        for rows in attacked.split(self.micro_batch) if len(attacked) else ():
            self._batch(rows, inputs[rows], (labels if targets is None else targets)[rows], targets, samples, result)
            done += len(rows)
            if progress is not None:
                progress(done, len(inputs))
        return result

    def _batch(
        self,
        rows: Tensor,
        originals: Tensor,
        classes: Tensor,
        targets: Tensor | None,
        samples: Tensor,
        result: AttackResult,
    ) -> None:
        device, targeted, moment = self.victim.device, targets is not None, self.attack.encodings
        module = CountedModule(
            self.victim,
            classes,
            targeted=targeted,
            lead=self.attack.lead,
            seed=self.seed,
            draws=self.attack.encodings,
            output_window=self.attack.window,
            micro_batch=self.micro_batch,
        )
        seed = int(stream(self.seed, int(samples[rows[0]]), "start").integers(2**31))
        images = originals.to(device, torch.float32)
        with foreign_numbers(seed), torch.enable_grad():
            found = self.attack.find(self.library, Question(module, images, classes.to(device), targeted, seed))
        adversarials = _kept(found.detach().to(device), images, originals)
        result.adversarials[rows] = adversarials
        won = self._winners(adversarials, samples[rows], moment)
        reached = won == classes if targeted else (won >= 0) & (won != classes)
        result.success[rows] = reached & (module.steps > 0)
        result.prediction[rows] = won
        result.steps[rows] = module.steps
        result.forwards[rows] += module.forwards + 1
        result.backwards[rows] = module.backwards
        result.vanished[rows] = module.vanished
        result.first_vanishing[rows] = module.first_vanishing
        assert result.moments is not None
        result.moments[rows] = moment

    def _winners(self, images: Tensor, samples: Tensor, step: int) -> Tensor:
        seen = encode_for(self.victim, images.to(self.victim.device), seed=self.seed, samples=samples, step=step)
        return winner(self.victim.scores(seen)).cpu()


def _kept(found: Tensor, images: Tensor, originals: Tensor) -> Tensor:
    """What a library found, as images like the originals: pixels that it left alone are exactly as they were.

    Libraries leave [0, 1] by rounding. A sample with a value that is no number stays as it was: nothing was found.
    """
    usable = found.isfinite().flatten(1).all(1).reshape(-1, *[1] * (found.ndim - 1))
    moved = (usable & (found != images)).to(originals.device)
    return torch.where(moved, found.clamp(0, 1).to(originals), originals)

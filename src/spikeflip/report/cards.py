"""Result cards: what an evaluation found, in a file that others can compare with theirs."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from spikeflip.errors import SpikeflipError
from spikeflip.report.loading import read_json

FORMAT = "spikeflip card 1"
_MOST_CARDS = 1000

_Word = Annotated[str, Field(max_length=400)]
_Rate = Annotated[float, Field(ge=0, le=1)]
_Count = Annotated[int, Field(ge=0)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, strict=True)


_Kind = TypeVar("_Kind", bound=_Part)


class CardVictim(_Part):
    """Whose card it is."""

    name: _Word
    weights_sha256: _Word
    facts: dict[str, Any]
    """What else is known of it."""


class CardData(_Part):
    """What it was evaluated on."""

    name: _Word
    split: _Word
    sha256: _Word


class CardMember(_Part):
    """What an attack of the suite did."""

    name: _Word
    attack: _Word
    view: Literal["white box", "scores", "decisions", "control"]
    attempted: _Count
    broken: _Count
    alone: _Count | None
    forwards: _Count
    backwards: _Count
    left_out: Annotated[str, Field(max_length=2000)] | None


class CardPoint(_Part):
    """A point of the curve."""

    budget: _Rate
    robust_accuracy: _Rate


class CardFinding(_Part):
    """What speaks against the figures."""

    code: _Word
    figure: float
    threshold: float
    sentence: Annotated[str, Field(max_length=2000)]
    weight: Literal["masked", "doubtful", "note"]


class CardVerdict(_Part):
    """Whether the figures can be trusted."""

    word: Literal["trustworthy", "doubtful", "masked"]
    findings: Annotated[list[CardFinding], Field(max_length=100)]
    rates: dict[str, list[int]]
    forwards: _Count
    backwards: _Count


class CardNotice(_Part):
    """What must be known of the victim or the data."""

    code: _Word
    text: Annotated[str, Field(max_length=2000)]
    figure: float | None


class CardFigures(_Part):
    """The figures of an evaluation: :meth:`spikeflip.evaluation.Evaluation.summary`, without times, and notices."""

    suite: _Word
    threat: _Word
    metric: _Word
    budget: _Rate
    goal: Literal["untargeted", "targeted"]
    n: Annotated[int, Field(ge=1)]
    draws: _Count
    seed: _Count
    every: bool
    clean_accuracy: _Rate
    clean_accuracy_interval: Annotated[list[_Rate], Field(min_length=2, max_length=2)]
    robust_accuracy: _Rate
    robust_accuracy_interval: Annotated[list[_Rate], Field(min_length=2, max_length=2)]
    broken: _Count
    broken_by_controls_alone: _Count
    distance_median: Annotated[float, Field(ge=0)] | None
    curve: Annotated[list[CardPoint], Field(max_length=1000)]
    members: Annotated[list[CardMember], Field(max_length=100)]
    verdict: CardVerdict | None
    notices: Annotated[list[CardNotice], Field(max_length=100)] = []


class Card(CardFigures):
    """A result card."""

    format: Literal["spikeflip card 1"]
    spikeflip: _Word
    """The version that made it."""
    victim: CardVictim
    data: CardData


def make_card(
    name: str,
    description: Mapping[str, Any],
    data: Mapping[str, Any],
    summary: Mapping[str, Any],
    version: str,
) -> dict[str, Any]:
    """The card of an evaluation, as plain values.

    Args:
        name: of the victim, in tables.
        description: what is known of it; see :class:`spikeflip.runs.victim.LoadedVictim`.
        data: the facts of the data.
        summary: of the evaluation.
        version: of this package.
    """
    facts = dict(description)
    members = [{key: value for key, value in one.items() if key != "seconds"} for one in summary["members"]]
    return {
        "format": FORMAT,
        "spikeflip": version,
        "victim": {"name": name[:400], "weights_sha256": facts.pop("weights_sha256"), "facts": facts},
        "data": {key: str(data[key])[:400] for key in CardData.model_fields},
        **summary,
        "members": members,
    }


def read_card(path: Path) -> Card:
    """The card in a file, whoever wrote it.

    Raises:
        SpikeflipError: it is no card.
    """
    return _read(path, Card, "is not a card of spikeflip evaluate", "remove it, or write it anew")


def read_figures(path: Path) -> CardFigures:
    """The figures in the folder of an evaluation, whoever wrote them; a SpikeflipError for a file that holds none."""
    return _read(path, CardFigures, "holds no figures of spikeflip evaluate", "evaluate again, or restore the file")


def _read(path: Path, kind: type[_Kind], what: str, cure: str) -> _Kind:
    try:
        values = read_json(path)
    except SpikeflipError as error:
        if error.__cause__ is None:  # it is not there
            raise
        why = " ".join(str(error.__cause__).split())[:200]
        raise SpikeflipError(f"{path} is damaged ({why}): {cure}") from error.__cause__
    try:
        return kind(**values)
    except (ValidationError, TypeError) as error:
        why = str(error)
        if isinstance(error, ValidationError):
            first = error.errors()[0]
            why = f"{'.'.join(map(str, first['loc']))[:200] or 'it'}: {first['msg']}"
        raise SpikeflipError(f"{path} {what} ({why}): {cure}") from None


def read_cards(folder: Path) -> list[Card]:
    """The cards of a folder, by file name, which can be compared.

    Raises:
        SpikeflipError: there is none, a JSON file is no card, or they are of different suites, budgets or goals.
    """
    if not folder.is_dir():
        raise SpikeflipError(f"{folder} is not a folder: give one with cards that evaluate --card wrote")
    paths = sorted(path for path in folder.iterdir() if path.suffix == ".json")
    if not paths:
        raise SpikeflipError(f"{folder} holds no cards: write some with evaluate --card {folder}/NAME.json")
    if len(paths) > _MOST_CARDS:
        raise SpikeflipError(f"{folder} holds {len(paths):,} files, and a page takes {_MOST_CARDS:,}: give fewer")
    cards = [read_card(path) for path in paths]
    for what in ("suite", "budget", "goal"):
        _check_same(what, paths, cards)
    return cards


def _check_same(what: str, paths: Sequence[Path], cards: Sequence[Card]) -> None:
    first = getattr(cards[0], what)
    for path, card in zip(paths, cards, strict=True):
        if (other := getattr(card, what)) != first:
            raise SpikeflipError(
                f"{path.name} is of the {what} {other} and {paths[0].name} of {first}, which cannot be compared: give "
                "each a folder of its own"
            )

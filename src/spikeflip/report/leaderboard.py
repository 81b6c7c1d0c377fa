"""The page of result cards: a table of victims that one suite evaluated at one budget, the most robust first."""

import base64
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from spikeflip.errors import SpikeflipError
from spikeflip.reading import may_replace
from spikeflip.report.cards import Card, read_cards
from spikeflip.report.page import GENERATOR, environment
from spikeflip.report.tables import one_line
from spikeflip.writing import write_bytes

_SORT = """
for (const head of document.querySelectorAll("thead th")) {
  head.querySelector("button").addEventListener("click", () => {
    const body = document.querySelector("tbody"), at = head.cellIndex;
    const up = head.getAttribute("aria-sort") === "descending";
    const value = row => row.cells[at].dataset.value ?? row.cells[at].textContent;
    const number = head.classList.contains("number");
    const rows = [...body.rows].sort((a, b) =>
      number ? value(a) - value(b) : value(a).localeCompare(value(b)));
    if (!up) rows.reverse();
    for (const other of document.querySelectorAll("thead th")) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", up ? "ascending" : "descending");
    body.append(...rows);
  });
}
"""
"""All that the page runs; nothing else may run in it, as its policy has the checksum."""


def write_leaderboard(folder: Path, out: Path) -> Path:
    """Writes the page of the cards in a folder; the file appears whole or not at all.

    Raises:
        SpikeflipError: The folder holds no cards, or some that cannot be compared, or `out` cannot be written or is a
            file that is not a page.
    """
    page = render_leaderboard(read_cards(folder))
    try:
        if out.is_file() and not may_replace(out, GENERATOR):
            raise SpikeflipError(f"{out} exists and is not a page of spikeflip: give another name, or delete it")
        write_bytes(out, page.encode())
    except OSError as error:
        raise SpikeflipError(
            f"cannot write the page {out} ({error.strerror or error}); name a file in an existing folder that you may "
            "write to"
        ) from error
    return out


def render_leaderboard(cards: Sequence[Card]) -> str:
    """Makes the page as a string; the cards are of one suite, budget and goal, at least one."""
    first = cards[0]
    ordered = sorted(cards, key=lambda card: (-card.robust_accuracy, card.victim.name))
    template = environment().get_template("leaderboard.html.j2")
    page = template.render(
        suite=first.suite,
        budget=first.budget,
        goal=first.goal,
        notes=_notes(cards),
        rows=[_row(card) for card in ordered],
        script=_SORT,
        checksum=base64.b64encode(hashlib.sha256(_SORT.encode()).digest()).decode(),
    )
    return page.encode("utf-8", "backslashreplace").decode("utf-8")


def _notes(cards: Sequence[Card]) -> list[str]:
    """What is not the same in all cards, and yet no reason not to show them together."""
    notes = []
    if len({(card.data, card.n) for card in cards}) > 1:
        notes.append("The cards are of different data or numbers of inputs: compare rows that have the same.")
    draws = sorted({card.draws for card in cards})
    if len(draws) > 1:
        said = f"{', '.join(f'{number:,}' for number in draws[:-1])} or {draws[-1]:,}"
        notes.append(
            f"The cards judge an input by {said} fresh encodings. One is enough for a victim without randomness; for "
            "others, fewer leave more to chance."
        )
    if len({card.every for card in cards}) > 1:
        notes.append(
            "Some cards ran every attack on all inputs and others on what still stood: “broken most by” depends on it."
        )
    return notes


def _row(card: Card) -> dict[str, Any]:
    strongest = max(card.members, key=lambda member: member.broken, default=None)
    model = card.victim.facts.get("architecture") or card.victim.facts.get("model")
    return {
        "name": one_line(card.victim.name),
        "model": one_line(str(model)[:200]) if model else None,
        "data": one_line(card.data.name),
        "split": one_line(card.data.split),
        "checksum": one_line(card.data.sha256[:12]),
        "n": card.n,
        "draws": card.draws,
        "clean": card.clean_accuracy,
        "robust": card.robust_accuracy,
        "low": card.robust_accuracy_interval[0],
        "high": card.robust_accuracy_interval[1],
        "verdict": None if card.verdict is None else card.verdict.word,
        "strongest": one_line(strongest.name) if strongest is not None and strongest.broken else None,
        "left_out": [one_line(member.name) for member in card.members if member.left_out is not None],
        "version": one_line(card.spikeflip),
        "weights": one_line(card.victim.weights_sha256[:12]),
    }
